"""Shapes and pieces of random draws."""

from __future__ import annotations

import numpy as np

LEAST, MOST = np.finfo(float).tiny, 1 - np.finfo(float).epsneg  # what draws on open intervals are kept within
_LARGEST_RATE = 1e18  # beyond, NumPy's Poisson draws leave its integers


def common_shape(*parts: np.ndarray) -> tuple[int, ...]:
    """Return the shape to which arrays broadcast."""
    return np.broadcast_shapes(*(np.shape(part) for part in parts))


def log_gamma_draw(rng: np.random.Generator, log_shape: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return log of draws of the gamma distribution of mean 1.

    Gamma(a) is Gamma(a + 1) times U^(1/a), whose logarithm does not underflow (Marsaglia and Tsang 2000).
    """
    shape = np.exp(log_shape)
    return np.asarray(np.log(rng.standard_gamma(shape + 1.0, size) / shape) - rng.standard_exponential(size) / shape)


def poisson_draw(rng: np.random.Generator, rate: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return Poisson counts as floats; rates above 1e18 count as that."""
    return rng.poisson(np.minimum(rate, _LARGEST_RATE), size).astype(float)
