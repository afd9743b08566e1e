"""Run every benchmark, or those named: ``python -m benchmarks gradient em``."""

from __future__ import annotations

import sys
from importlib import import_module

from .timing import say

NAMES = ("gradient", "startup", "em", "optimum", "nuts", "chains", "families", "mdn")


def main(chosen: list[str]) -> int:
    """Run benchmarks one after the other."""
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        say(f"benchmarks: expected names from {NAMES}, got {unknown}")
        return 2
    for name in chosen or NAMES:
        import_module(f".{name}", __package__).main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
