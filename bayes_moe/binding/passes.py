"""Passes of the kernels over all rows, cut for several processors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .parallel import spread
from .rows import Rows

Sums = tuple[float, list[np.ndarray]]


def gradient_pass(rows: Rows, slices: Sequence[slice], coefficients: np.ndarray, log_sigma: np.ndarray) -> Sums:
    """Return the weighted log density, and its derivatives in coefficients (2K or 3K, P) and log sigma (K,)."""
    from ..graph.kernels import normal_gradient  # numba: half a second that `import bayes_moe` does not pay

    def summed(blocks: slice) -> Sums:
        out = [np.zeros(coefficients.shape), np.zeros(len(log_sigma))]
        seen = rows.blocks[blocks], rows.y[blocks], rows.weights[blocks]
        return normal_gradient(coefficients, log_sigma, *seen, *out), out

    return _total(spread(summed, slices))


def em_pass(
    rows: Rows,
    slices: Sequence[slice],
    coefficients: np.ndarray,
    log_sigma: np.ndarray,
    *,
    curvature: bool,
    sigma_phase: bool,
    given: np.ndarray | None,
) -> Sums:
    """Return the weighted log density and d log sigma, sizes, scores, pairs and moments as `normal_em_pass` has them.

    Parameters
    ----------
    rows, slices
        The data and how they are cut.
    coefficients, log_sigma
        Where to take the sums.
    curvature
        Whether to sum the gate's Hessian.
    sigma_phase
        Sum the curvature in log sigma instead of the moments for the means.
    given
        Blocked responsibilities (B, K, rows) to use instead of the computed ones.
    """
    from ..graph.kernels import normal_em_pass  # numba, as above

    k, width = len(log_sigma), coefficients.shape[1]
    packed = width * (width + 1) // 2
    pairs = (k * (k + 1) // 2 if curvature else 0, packed)
    shapes = (k,), (k,), coefficients.shape, pairs, (k, packed + width + 1)

    def summed(blocks: slice) -> Sums:
        out = [np.zeros(shape) for shape in shapes]
        fixed = np.zeros((0, k, 1)) if given is None else given[blocks]
        seen = rows.blocks[blocks], rows.y[blocks], rows.weights[blocks]
        return normal_em_pass(coefficients, log_sigma, *seen, fixed, sigma_phase, *out), out

    return _total(spread(summed, slices))


def _total(found: list[Sums]) -> Sums:
    """Return the sums over all parts, added in order."""
    value, sums = found[0]
    for more, others in found[1:]:
        value += more
        for into, array in zip(sums, others, strict=True):
            into += array
    return value, sums
