"""Samples from mixtures of experts: a posterior draw, then an expert, then an outcome."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_moe.errors import InputError
from bayes_moe.posterior.mixtures import Floats, MixtureDraws, slices


@np.errstate(all="ignore")
def sample(m: MixtureDraws, size: int, rng: np.random.Generator) -> Floats:
    """Return draws from the predictive distribution (size, n): parameters, then expert, then y.

    One sample is one posterior draw for all rows together, so a sample is a coherent picture of all rows.
    With ``size`` equal to S every posterior draw is used once, in order; otherwise posterior draws are
    picked at random with replacement. The result does not depend on ``chunk_elements``.

    Memory: the result and one array of its size for every parameter, besides a chunk.
    """
    if size < 0:
        raise InputError(f"size: expected at least 0, got {size}")
    picked = np.arange(size) if size == m.draws else np.sort(rng.integers(m.draws, size=size))
    uniform = rng.random((size, m.rows))
    chosen: dict[str, NDArray[Any]] = {}
    rows_asked = max(1, m.chunk_elements // (m.experts * min(max(size, 1), 64)))
    for rows in slices(m.rows, rows_asked):
        at_most = max(1, m.chunk_elements // (m.experts * (rows.stop - rows.start)))
        for samples in _runs(picked, at_most):
            first = int(picked[samples.start])
            draws = slice(first, int(picked[samples.stop - 1]) + 1)
            shape = (draws.stop - draws.start, rows.stop - rows.start, m.experts)
            log_gate, parameters = m.components(rows, draws)
            draw = (picked[samples] - first)[:, None]
            gate = np.exp(np.broadcast_to(log_gate, shape)[draw[:, 0]])
            expert = _pick(gate, uniform[samples, rows])
            for name, array in parameters.items():
                if name not in chosen:
                    chosen[name] = np.empty((size, m.rows), array.dtype)
                chosen[name][samples, rows] = np.broadcast_to(array, shape)[draw, np.arange(shape[1]), expert]
    if size == 0 or m.rows == 0:
        return np.empty((size, m.rows))
    result: Floats = m.family.draw(rng, **chosen)
    result[np.isnan(uniform)] = np.nan
    return result if size == m.draws else rng.permutation(result)


def _runs(picked: NDArray[np.int64], at_most: int) -> Iterator[slice]:
    """Cut sorted draw numbers into runs without gaps, of at most so many samples."""
    breaks = np.flatnonzero(np.diff(picked) > 1) + 1
    edges = [0, *breaks.tolist(), picked.size]
    for start, stop in pairwise(edges):
        for run in slices(stop - start, at_most):
            yield slice(start + run.start, start + run.stop)


def _pick(gate: Floats, uniform: Floats) -> NDArray[np.int64]:
    """Return the expert (s, r) in whose share of [0, 1) the uniform number falls.

    Where a gate is NaN the uniform number becomes NaN.
    """
    share = np.cumsum(gate, axis=-1)
    uniform[np.isnan(share[..., -1])] = np.nan
    threshold = uniform * share[..., -1]
    below = [share[..., k] <= threshold for k in range(share.shape[-1] - 1)]
    return np.sum(below, axis=0, dtype=np.int64) if below else np.zeros(uniform.shape, np.int64)
