"""``python -m calibration run``, ``recovery`` and ``report``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from . import recovery
from .ranks import ENGINES, replicate, unfinished
from .recovery import DESIGNS, recovered
from .report import report
from .store import RECOVERY, append, read
from .studies import STUDIES


def main() -> int:
    """Read the arguments and go."""
    parser = argparse.ArgumentParser(prog="python -m calibration", description="Simulation-based calibration.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run_parser = verbs.add_parser("run", help="fit replications that are missing")
    run_parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(STUDIES)}; default: all")
    run_parser.add_argument("--engine", choices=ENGINES, default="nuts")
    run_parser.add_argument("--replications", type=int, default=500)
    run_parser.add_argument("--processes", type=int, default=2)
    recovery_parser = verbs.add_parser("recovery", help="fit fixed truths again and again")
    recovery_parser.add_argument("names", nargs="*", metavar="design", help=f"of {', '.join(DESIGNS)}; default: all")
    recovery_parser.add_argument("--engine", choices=recovery.ENGINES, default="nuts")
    recovery_parser.add_argument("--rows", type=int, nargs="*", default=recovery.ROWS)
    recovery_parser.add_argument("--replications", type=int, default=200)
    recovery_parser.add_argument("--processes", type=int, default=2)
    report_parser = verbs.add_parser("report", help="print the table and draw the figures")
    report_parser.add_argument("--folder", type=Path, default=Path("docs/figures"))
    given = parser.parse_args()
    if given.verb == "report":
        sys.stdout.write(report(given.folder))
        return 0
    there: Iterable[str] = STUDIES if given.verb == "run" else DESIGNS
    unknown = [name for name in given.names if name not in there]
    if unknown:
        parser.error(f"name: expected some of {', '.join(there)}, got {', '.join(unknown)}")
    names = given.names or list(there)
    try:
        if given.verb == "run":
            for name in names:
                run(replicate, given.engine, name, given.replications, given.processes)
        else:
            for name in (f"{design} {rows}" for rows in given.rows for design in names):
                run(recovered, given.engine, name, given.replications, given.processes, RECOVERY)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted; what was finished is kept, and the next call goes on\n")
        return 130
    return 0


def run(
    fitted: Callable[[str, str, int], dict[str, Any]],
    engine: str,
    name: str,
    replications: int,
    processes: int,
    kind: str = "",
) -> None:
    """Fit the replications of one study that are missing, and keep them in the folder ``kind`` plus engine."""
    folder = kind + engine
    there = {one["index"] for one in read(folder, name) if kind or not unfinished(one)}
    missing = [index for index in range(replications) if index not in there]
    began, done = time.monotonic(), 0
    # fresh processes: PyTensor and numba must not be forked while they compile
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(fitted, name, engine, index) for index in missing}
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in finished:
                    append(folder, name, one.result())
                    done += 1
                left = (time.monotonic() - began) / done * (len(missing) - done)
                say(f"{engine}, {name}", len(there) + done, replications, left)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def say(title: str, done: int, wanted: int, left: float) -> None:
    """Say how far a study is: on one line of a terminal, or a line every 50 in a file."""
    text = f"{title}: {done} of {wanted}, {left / 60:.0f} min left"
    if sys.stdout.isatty():
        sys.stdout.write(f"\r{text}  " + ("\n" if done == wanted else ""))
    elif done % 50 == 0 or done == wanted:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
