"""The functions that closed forms are written in: NumPy's on arrays, compiled ones on the numbers of one row.

A closed form exists once. On arrays it runs as it is written; `kernels` says what each function of this module is to
a compiler, that of `stirling` being its own text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .formulas import HALF_LOG_2PI

_TAIL = -25.0  # below, five terms of the asymptotic series of Mills' ratio reach the last digit
_FROM = 10.0  # where six terms of Stirling's series reach the last digit


def exp(x: Any) -> Any:
    """Return e to the power x."""
    return np.exp(x)


def expm1(x: Any) -> Any:
    """Return e to the power x, less 1."""
    return np.expm1(x)


def log(x: Any) -> Any:
    """Return the natural logarithm."""
    return np.log(x)


def log1p(x: Any) -> Any:
    """Return the logarithm of 1 + x."""
    return np.log1p(x)


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)) without overflow."""
    return np.logaddexp(0.0, x)


def logaddexp(x: Any, y: Any) -> Any:
    """Return log(exp(x) + exp(y)) without overflow."""
    return np.logaddexp(x, y)


def expit(x: Any) -> Any:
    """Return the probability of a logit, 1 / (1 + exp(-x)), to full relative precision."""
    return np.exp(-np.logaddexp(0.0, -x))


def log_ndtr(x: Any) -> Any:
    """Return the log of the standard normal distribution function."""
    from scipy import special  # a third of a second that `import bayes_moe` does not pay

    return special.log_ndtr(x)


def where(condition: Any, one: Any, other: Any) -> Any:
    """Return ``one`` where the condition holds, else ``other``; both are computed."""
    return np.where(condition, one, other)


class Share(NamedTuple):
    """The log of the standard normal distribution function with two derivatives."""

    value: Any
    slope: Any
    bend: Any


def log_share(x: Any) -> Share:
    """Return log Phi(x) and its derivatives at any x.

    Below -25 by the asymptotic series of Mills' ratio (Abramowitz and Stegun (1964), 26.2.12), whose rest beside 1
    gives the second derivative without cancellation.

    Examples
    --------
    >>> log_share(np.array([-1e9, 0.0])).bend
    array([-1.    , -0.6366])
    """
    low, high = where(x < _TAIL, x, _TAIL), where(x < _TAIL, _TAIL, x)
    square = 1.0 / (low * low)
    rest = square * (1.0 - square * (3.0 - square * (15.0 - square * (105.0 - square * 945.0))))
    series = 1.0 - rest
    far = log(series / -low) - HALF_LOG_2PI - 0.5 * low * low
    near = log_ndtr(high)
    slope = exp(-HALF_LOG_2PI - 0.5 * high * high - near)
    return Share(
        where(x < _TAIL, far, near),
        where(x < _TAIL, -low / series, slope),
        where(x < _TAIL, -low * low * rest / (series * series), -slope * (high + slope)),
    )


class Stirling(NamedTuple):
    """G(x) = x log x - x - log Gamma(x) with two derivatives: what Stirling's leading terms leave."""

    value: Any
    slope: Any
    bend: Any


def stirling(x: Any) -> Stirling:
    """Return G and its derivatives at x > 0, without the cancellation of large numbers.

    From 10 by Stirling's series, below by the same at x + 9; log Gamma(x + 9) - log Gamma(x + 1) is then the log of
    the product of (x + k), k = 1 to 8, whose factors go in pairs (x + k) (x + 9 - k) = x (x + 9) + k (9 - k).

    References
    ----------
    Abramowitz and Stegun (1964), 6.1.41, 6.3.18 and 6.4.12.

    Examples
    --------
    >>> stirling(np.array([1.0, 50.0])).slope
    array([0.5772, 0.01  ])
    """
    small = x < _FROM
    far = x + 9.0
    log_x, log_far = log(x), log(far)
    inverse = 1.0 / where(small, far, x)
    square = inverse * inverse
    rest = inverse * (
        1 / 12
        + square * (-1 / 360 + square * (1 / 1260 + square * (-1 / 1680 + square * (1 / 1188 - square * 691 / 360360))))
    )
    fall = square * (
        1 / 12
        + square * (-1 / 120 + square * (1 / 252 + square * (-1 / 240 + square * (1 / 132 - square * 691 / 32760))))
    )
    turn = (
        -square
        * inverse
        * (
            1 / 6
            + square * (-1 / 30 + square * (1 / 42 + square * (-1 / 30 + square * (5 / 66 - square * 691 / 2730))))
        )
    )
    pairs, between = x * far, 2.0 * x + 9.0  # and the derivative of the one in x
    low, high = (pairs + 8.0) * (pairs + 14.0), (pairs + 18.0) * (pairs + 20.0)
    d_low, d_high = 2.0 * pairs + 22.0, 2.0 * pairs + 38.0
    product = low * high
    one = (d_low * high + low * d_high) / product
    two = 2.0 * (low + high + d_low * d_high) / product  # second derivative in the pairs
    half = 0.5 * inverse
    value = x * log_x - x + log_x - (x + 8.5) * log_far + far - HALF_LOG_2PI - rest + log(product)
    slope = log_x - log_far + half + fall + 1.0 / x + between * one
    bend = (9.0 / far - 1.0 / x) / x - half * inverse + turn + 2.0 * one + between * between * (two - one * one)
    return Stirling(
        where(small, value, 0.5 * log_x - HALF_LOG_2PI - rest),
        where(small, slope, half + fall),
        where(small, bend, -half * inverse + turn),
    )


def location_scale(z: Any, inverse: Any, slope: Any, bend: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return derivatives in (mu, log sigma) of h(z) - log sigma from those of h, with z = (y - mu) / sigma.

    ``inverse`` is 1 / sigma. First the two slopes, then the bends of mu mu, mu log sigma and log sigma twice.
    """
    return (
        -inverse * slope,
        -1.0 - z * slope,
        inverse * inverse * bend,
        inverse * (slope + z * bend),
        z * (slope + z * bend),
    )
