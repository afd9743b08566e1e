"""Closed forms of log densities with their derivatives, for engines that ask for them a million times.

A closed form takes y (n, 1), the linear predictors (n, k) each and the given columns (n, 1), and returns the log
density, its first derivatives and, row by row, the upper triangle of its second ones, which mean nothing where they
were not asked for (``bends``). The graph of the log density says
the same (a test holds them equal) and stands in where a closed form leaves the range of floating-point numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .formulas import HALF_LOG_2PI

_LARGE = 1e4  # from here on three terms of the asymptotic series are exact


class ClosedTerms(NamedTuple):
    """Value (n, k), slopes (n, k) per predictor, and bends (n, k) per pair i <= j, in the order 00, 01, ..., 11, ..."""

    value: np.ndarray
    slopes: Sequence[np.ndarray]
    bends: Sequence[np.ndarray]


class Stirling(NamedTuple):
    """G(x) = x log x - x - log Gamma(x) with two derivatives: what Stirling's leading terms leave."""

    value: np.ndarray
    slope: np.ndarray
    bend: np.ndarray


def stirling(x: np.ndarray, *, bends: bool) -> Stirling:
    """Return G and its derivatives at x > 0, without the cancellation of large numbers; the second if asked for.

    Examples
    --------
    >>> stirling(np.array([1.0, 50.0]), bends=False).slope
    array([0.5772, 0.01  ])
    """
    from scipy.special import digamma, gammaln, polygamma  # a third of a second that `import bayes_moe` does not pay

    large = x > _LARGE
    small = np.where(large, 1.0, x)
    log_small, inverse = np.log(small), 1.0 / np.where(large, x, _LARGE)
    value = small * log_small - small - gammaln(small)
    series = 0.5 * np.log(np.where(large, x, _LARGE)) - HALF_LOG_2PI - inverse * (1.0 / 12.0 - inverse**2 / 360.0)
    slope = inverse * (0.5 + inverse * (1.0 / 12.0 - inverse**2 / 120.0))
    bend = -(inverse**2) * (0.5 + inverse * (1.0 / 6.0 - inverse**2 / 30.0))
    return Stirling(
        np.where(large, series, value),
        np.where(large, slope, log_small - digamma(small)),
        np.where(large, bend, 1.0 / small - polygamma(1, small)) if bends else np.zeros_like(x),
    )


def location_scale(z: np.ndarray, inverse: Any, slope: np.ndarray, bend: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Return derivatives in (mu, log sigma) of h(z) - log sigma from those of h, with z = (y - mu) / sigma.

    ``inverse`` is 1 / sigma; the bends are those of mu mu, mu log sigma and log sigma twice.
    """
    slopes = [-inverse * slope, -1.0 - z * slope]
    bends = [inverse**2 * bend, inverse * (slope + z * bend), z * (slope + z * bend)]
    return slopes, bends
