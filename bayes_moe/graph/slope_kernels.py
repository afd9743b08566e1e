"""What training a network computes beside matrix products: slopes in linear predictors, and of hidden units."""

from __future__ import annotations

import numpy as np
from numba import njit

from .arithmetic import exp
from .kernels import _copy, _weighted_sum, mix, normal_experts, normal_scores


@njit(cache=True, nogil=True, error_model="numpy")
def normal_row_slopes(eta, y, weights, log_density):  # type: ignore[no-untyped-def]
    """Return the weighted log density of some rows and overwrite ``eta`` by its derivative.

    Parameters
    ----------
    eta
        (3K, rows): gate logits, means and log sigmas.
    y, weights
        (rows,).
    log_density
        (rows,): filled with the log density of every row, without the constant that all share.
    """
    experts, rows = eta.shape[0] // 3, eta.shape[1]
    gate, joint, inverse_sigma = np.empty((experts, rows)), np.empty((experts, rows)), np.empty((experts, rows))
    scratch = np.empty((4, rows))
    normal_experts(eta, scratch[0], y, joint, inverse_sigma)
    _copy(eta, gate)
    mix(gate, joint, log_density, scratch)
    normal_scores(eta, joint, gate, inverse_sigma, weights)
    return _weighted_sum(log_density, weights)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def silu(sums, values, slopes):  # type: ignore[no-untyped-def]
    """Fill value and derivative of ``a / (1 + exp(-a))`` at every element of ``sums`` (rows, units)."""
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            a = sums[i, j]
            share = 1.0 / (1.0 + exp(-a))
            h = a * share
            values[i, j] = h
            slopes[i, j] = share + h * (1.0 - share)
