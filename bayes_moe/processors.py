"""How many processors this process may use."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """Return how many threads of this process may work at a time: its processors, or fewer by OMP_NUM_THREADS."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(processors(), int(wish))) if wish.isdigit() else processors()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS works on one thread: NumPy's, and SciPy's, which compiled kernels call."""
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    """Return what limits threads; to look for the libraries takes 2 ms, as long as a quick fit's binding."""
    import scipy.linalg.cython_blas  # noqa: F401  (only libraries that are loaded by now are found)

    return ThreadpoolController()
