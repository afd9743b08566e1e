"""How many processors this process may use."""

from __future__ import annotations

import os


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """Return how many threads of this process may work at a time: its processors, or fewer by OMP_NUM_THREADS."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(processors(), int(wish))) if wish.isdigit() else processors()
