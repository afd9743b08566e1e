"""Timing in turn, tables and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

OUT = Path("out/benchmarks")


def environment(**given: str) -> dict[str, str]:
    """Return the variables of a child process, which may keep its bytecode: what is compiled once is no waiting."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | given


def in_turn(candidates: Mapping[str, Callable[[], object]], rounds: int, inner: int = 1) -> dict[str, float]:
    """Return the median seconds of one call of every candidate, timed A B C A B C ... in one run."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        candidate()
    for _ in range(rounds):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            for _ in range(inner):
                candidate()
            times[name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    text = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(header[i]), *(len(row[i]) for row in text)) for i in range(len(header))]
    lines = ["| " + " | ".join(name.ljust(width) for name, width in zip(header, widths, strict=True)) + " |"]
    lines.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    lines += ["| " + " | ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in text]
    sys.stdout.write(f"\n{title}\n\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()


def keep(name: str, results: object) -> None:
    """Write results to ``out/benchmarks/NAME.json`` with the machine they came from."""
    OUT.mkdir(parents=True, exist_ok=True)
    machine = {"processor": platform.processor(), "cores": os.process_cpu_count(), "python": platform.python_version()}
    (OUT / f"{name}.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1))


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
