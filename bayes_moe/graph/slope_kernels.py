"""Derivatives of a mixture's log density in the linear predictors, row by row: what a network is trained on."""

from __future__ import annotations

import numpy as np
from numba import njit

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
