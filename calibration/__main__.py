"""``python -m calibration run`` and ``python -m calibration report``."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from .ranks import ENGINES, replicate, unfinished
from .report import report
from .store import append, read
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
    report_parser = verbs.add_parser("report", help="print the table and draw the figures")
    report_parser.add_argument("--folder", type=Path, default=Path("docs/figures"))
    given = parser.parse_args()
    if given.verb == "report":
        sys.stdout.write(report(given.folder))
        return 0
    unknown = [name for name in given.names if name not in STUDIES]
    if unknown:
        parser.error(f"name: expected some of {', '.join(STUDIES)}, got {', '.join(unknown)}")
    try:
        for name in given.names or STUDIES:
            run(name, given.engine, given.replications, given.processes)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted; what was finished is kept, and the next call goes on\n")
        return 130
    return 0


def run(name: str, engine: str, replications: int, processes: int) -> None:
    """Fit the replications of one study that are missing."""
    there = {one["index"] for one in read(engine, name) if not unfinished(one)}
    missing = [index for index in range(replications) if index not in there]
    began, done = time.monotonic(), 0
    # fresh processes: PyTensor and numba must not be forked while they compile
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(replicate, name, engine, index) for index in missing}
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in finished:
                    append(engine, name, one.result())
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
