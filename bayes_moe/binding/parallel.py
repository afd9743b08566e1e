"""Passes over many rows on several processors.

Rows are cut by their number alone, and sums are added in the order of the parts: results are the same on any number
of processors, to the last digit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import batched, pairwise

from ..processors import one_blas_thread, workers

_SMALL = 1_000_000  # multiplications below which handing out work costs more than it saves
_FEWEST_BLOCKS, _MOST_PARTS = 16, 32


def parts(blocks: int, work: float) -> list[slice]:
    """Return slices over blocks of rows, an even number of them where there is enough work for two.

    Examples
    --------
    >>> parts(79, 4e6)[:2], len(parts(79, 4e6)), parts(79, 1e3)
    ([slice(0, 19, None), slice(19, 39, None)], 4, [slice(0, 79, None)])
    """
    count = min(2 * (blocks // (2 * _FEWEST_BLOCKS)), _MOST_PARTS)
    if work < _SMALL or count < 2:
        return [slice(0, blocks)]
    edges = [blocks * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def spread[T](task: Callable[[slice], T], slices: Sequence[slice]) -> list[T]:
    """Return what ``task`` gives for every slice, in order; it must leave the interpreter alone for long."""
    if len(slices) == 1 or workers() == 1:
        return [task(piece) for piece in slices]
    # one thread of BLAS for each of ours: its own would fight with them
    shares = [list(share) for share in batched(slices, -(-len(slices) // workers()))]
    with one_blas_thread():
        others = [_pool(os.getpid()).submit(_each, task, share) for share in shares[1:]]
        found = _each(task, shares[0])
        return [*found, *(result for other in others for result in other.result())]


def _each[T](task: Callable[[slice], T], share: Sequence[slice]) -> list[T]:
    return [task(piece) for piece in share]


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads of this process; a forked child makes its own."""
    del process
    return ThreadPoolExecutor(workers(), thread_name_prefix="bayes_moe")
