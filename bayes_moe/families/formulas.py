"""What the formulas of densities are made of: functions that graphs and arrays share, and special functions of them.

A formula takes the functions as its first argument, so that it exists once for PyTensor graphs and for NumPy arrays.
The special functions have elementary derivatives of every order, finite wherever they are: a graph needs neither
digamma nor trigamma, and no branch that is not taken spoils a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import log, pi, sqrt
from typing import Any

import numpy as np

Function = Callable[[Any], Any]
HALF_LOG_2PI = 0.5 * log(2 * pi)
_ROOT_2 = sqrt(2.0)
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_FROM = 10.0  # where Stirling's six terms reach the last digit
_LOG_FROM = log(_FROM)
_TAIL = -25.0  # below, five terms of the asymptotic series of Mills' ratio reach the last digit
_TERMS = 5


@dataclass(frozen=True)
class Functions:
    """Elementary functions, of graphs or of arrays."""

    exp: Function
    expm1: Function
    log: Function
    log1p: Function
    softplus: Function
    erfc: Function
    gammaln: Function
    floor: Function
    equal: Callable[[Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    where: Callable[[Any, Any, Any], Any]


@cache
def graphs() -> Functions:
    """Return PyTensor's functions."""
    import pytensor.tensor as pt  # a second that a fit does not pay

    return Functions(
        pt.exp,
        pt.expm1,
        pt.log,
        pt.log1p,
        pt.softplus,
        pt.erfc,
        pt.gammaln,
        pt.floor,
        pt.eq,
        lambda x, most: pt.switch(x < most, x, most),  # PyTensor rewrites of pt.minimum's second derivatives fail
        lambda x, least: pt.switch(x > least, x, least),
        pt.switch,
    )


@cache
def arrays() -> Functions:
    """Return NumPy's functions."""
    from scipy.special import erfc, gammaln  # a third of a second that `import bayes_moe` does not pay

    return Functions(
        np.exp,
        np.expm1,
        np.log,
        np.log1p,
        lambda x: np.logaddexp(0.0, x),
        erfc,
        gammaln,
        np.floor,
        np.equal,
        np.minimum,
        np.maximum,
        np.where,
    )


def on_arrays(formula: Callable[..., Any], *arguments: Any) -> np.ndarray:
    """Return a formula's value for arrays; densities that underflow to 0 are no reason to warn."""
    with np.errstate(over="ignore"):
        return np.asarray(formula(arrays(), *(np.asarray(argument, dtype=float) for argument in arguments)))


def log_phi(f: Functions, x: Any) -> Any:
    r"""Return the log of the standard normal distribution function, log Phi(x), at any x.

    Below -25 by the asymptotic series of Mills' ratio,
    :math:`\Phi(x) = \varphi(x) |x|^{-1} (1 - x^{-2} + 3 x^{-4} - 15 x^{-6} + \dots)` (Abramowitz & Stegun 26.2.12).

    Examples
    --------
    >>> log_phi(arrays(), np.array([-1e9, 0.0, 40.0]))
    array([-5.0000e+17, -6.9315e-01,  0.0000e+00])
    """
    low = f.minimum(x, _TAIL)
    inverse = 1.0 / low
    square = inverse * inverse
    series: Any = 0.0
    for order in range(_TERMS, 0, -1):
        series = -(2 * order - 1) * square * (1.0 + series)
    tail = f.log1p(series) + f.log(-inverse) - HALF_LOG_2PI - 0.5 * low * low
    return f.where(x < _TAIL, tail, f.log(0.5 * f.erfc(f.maximum(x, _TAIL) * (-1 / _ROOT_2))))


def gamma_rest(f: Functions, log_z: Any) -> Any:
    r"""Return what Stirling's leading terms leave of the log gamma function, from log z.

    .. math:: G(z) = z \log z - z - \log\Gamma(z)

    It grows like half of log z for large z and like log z for small z, so that differences of log gamma functions
    written with it do not cancel. From z = 10 by Stirling's series, below by the same at z + 9.

    Examples
    --------
    >>> gamma_rest(arrays(), np.array([-300.0, 0.0, 300.0]))
    array([-300.    ,   -1.    ,  149.0811])
    """
    small = log_z < _LOG_FROM
    log_low, log_high = f.minimum(log_z, _LOG_FROM), f.maximum(log_z, _LOG_FROM)
    z = f.exp(log_low)
    far = z + 9.0
    series = _stirling(f.where(small, 1.0 / far, f.exp(-log_high)))
    pairs = z * far  # (z + k) (z + 9 - k) = pairs + k (9 - k)
    product = (pairs + 8.0) * (pairs + 14.0) * (pairs + 18.0) * (pairs + 20.0)
    low = z * log_low - z + log_low - (z + 8.5) * f.log(far) + far - HALF_LOG_2PI - series + f.log(product)
    return f.where(small, low, 0.5 * log_high - HALF_LOG_2PI - series)


def log_rising(f: Functions, log_r: Any, y: Any) -> Any:
    r"""Return the log of Gamma(r + y) / (Gamma(r) r^y) for y > 0, from log r; 0 in the limit of large r.

    Examples
    --------
    >>> log_rising(arrays(), np.array([-300.0, 0.0, 300.0]), 3.0)
    array([600.6931,   1.7918,   0.    ])
    """
    ratio = f.softplus(f.log(y) - log_r)  # log of (r + y) / r
    total = f.exp(log_r) + y
    return total * ratio - y + gamma_rest(f, log_r) - gamma_rest(f, log_r + ratio)


def _stirling(inverse: Any) -> Any:
    square = inverse * inverse
    series: Any = 0.0
    for coefficient in reversed(_STIRLING):
        series = coefficient + square * series
    return inverse * series


def is_count(f: Functions, y: Any) -> Any:
    """Return where y is a whole number from 0."""
    return (y >= 0) & f.equal(y, f.floor(y)) & (y < np.inf)
