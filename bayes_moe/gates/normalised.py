"""Softmax of rows: NumPy is slow at reducing a short last axis, so columns are worked through instead."""

from __future__ import annotations

from functools import reduce

import numpy as np

_MANY = 32  # columns from which NumPy's own reduction is no slower


def largest(values: np.ndarray) -> np.ndarray:
    """Return the largest value of every row (n,) of values (n, K)."""
    if values.shape[1] > _MANY:
        return np.asarray(values.max(axis=1))
    return np.asarray(reduce(np.maximum, values.T))


def totals(values: np.ndarray) -> np.ndarray:
    """Return the sum of every row (n,) of values (n, K)."""
    return np.asarray(values @ np.ones(values.shape[1]))


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Return values (n, K) less the log of the sum of their exponentials, row by row."""
    shifted = values - largest(values)[:, None]
    return np.asarray(shifted - np.log(totals(np.exp(shifted)))[:, None])


def softmax(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log Σ exp of every row (n,) and shares (n, K); a row of -inf alone has -inf, and zeros for shares.

    Examples
    --------
    >>> softmax(np.log([[1.0, 3.0]]))
    (array([1.3863]), array([[0.25, 0.75]]))
    """
    top = largest(values)
    safe = np.where(np.isfinite(top), top, 0.0)
    shares = np.exp(values - safe[:, None])
    total = totals(shares)
    with np.errstate(divide="ignore"):
        value = safe + np.log(total)
    shares /= np.where(total == 0, 1.0, total)[:, None]
    return np.asarray(value), shares
