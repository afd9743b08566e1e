"""Weibull experts: waiting times and strengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ..predictors import Constant, Linear
from .base import Closure, Family, Known, Parameter, Role, Support, default_priors
from .checks import refuse_not_positive, weighted_mean
from .closed import ClosedTerms
from .draws import LEAST, common_shape
from .elementary import exp
from .formulas import Functions, graphs, on_arrays

_SHORT = 0.02  # 1 / shape below which the squared coefficient of variation comes from its power series


@dataclass(frozen=True)
class Weibull(Family):
    r"""Weibull density of y > 0 with log scale and log shape predicted.

    .. math:: \log f(y) = \log a - \log y + a \log\frac{y}{s} - \Big(\frac{y}{s}\Big)^a

    Parameters of the distribution: ``scale`` (default ``bm.Linear()``; its predictor is that of log s, and 63 % of y
    lie below s) and ``shape`` (default ``bm.Constant()``; its predictor is that of log a).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Weibull().mean(log_scale=np.array(0.0), log_shape=np.log(2.0))
    array(0.8862)
    """

    @property
    def support(self) -> Support:
        return Support.POSITIVE

    @property
    def closure(self) -> Closure:
        return Closure.SCALE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return _PARAMETERS

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Weibull:
        refuse_not_positive(y, "Weibull()")
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        return {"log_scale": log(weighted_mean(y, weights))}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        return (np.log(y),)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(weibull_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import gammaln  # a third of a second that `import bayes_moe` does not pay

        with np.errstate(over="ignore"):
            return np.asarray(np.exp(predicted["log_scale"] + gammaln(1.0 + np.exp(-predicted["log_shape"]))))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import gammaln  # a third of a second that `import bayes_moe` does not pay

        inverse = np.exp(-predicted["log_shape"])
        with np.errstate(over="ignore"):
            log_square = 2.0 * predicted["log_scale"] + 2.0 * gammaln(1.0 + inverse)
            excess = _log_excess(inverse)
            # squared mean times expm1(excess), without infinity times zero
            return np.asarray(np.exp(log_square + excess) * -np.expm1(-excess))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        inside = np.asarray(y) > 0
        log_ratio = np.log(np.where(inside, y, 1.0)) - predicted["log_scale"]
        with np.errstate(over="ignore"):
            return np.where(inside, -np.expm1(-np.exp(np.exp(predicted["log_shape"]) * log_ratio)), 0.0)

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        exponential = rng.standard_exponential(common_shape(*predicted.values()))
        log_ratio = np.log(np.maximum(exponential, LEAST)) * np.exp(-predicted["log_shape"])
        with np.errstate(over="ignore"):
            return np.asarray(np.maximum(np.exp(predicted["log_scale"] + log_ratio), LEAST))


def _log_excess(inverse: np.ndarray) -> np.ndarray:
    """Return log of (mean of squares / squared mean): log Gamma(1 + 2 e) - 2 log Gamma(1 + e) at e = 1 / shape."""
    from scipy.special import gammaln, zeta  # a third of a second that `import bayes_moe` does not pay

    e = np.minimum(inverse, _SHORT)
    orders = np.arange(12, 1, -1)
    series = np.zeros(np.shape(e))
    for term, order in zip(zeta(orders) / orders * (2.0**orders - 2.0), orders, strict=True):
        series = series + (-1.0) ** order * term * e**order
    return np.where(inverse < _SHORT, series, gammaln(1.0 + 2.0 * inverse) - 2.0 * gammaln(1.0 + inverse))


def weibull_terms(log_y: Any, log_scale: Any, log_shape: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    shape = exp(log_shape)
    power = shape * (log_y - log_scale)
    grown = exp(power)
    slopes = (shape * (grown - 1.0), 1.0 + power * (1.0 - grown))
    bends = (
        -(shape**2) * grown,
        shape * (grown - 1.0 + power * grown),
        power * (1.0 - grown) - power**2 * grown,
    )
    return (log_shape + power - log_y - grown, *slopes, *bends)


def _log_density(f: Functions, y: Any, log_scale: Any, log_shape: Any) -> Any:
    inside = (y > 0) & (y < np.inf)
    log_y = f.log(f.where(inside, y, 1.0))
    log_power = f.exp(log_shape) * (log_y - log_scale)
    return f.where(inside, log_shape - log_y + log_power - f.exp(log_power), -np.inf)


_PARAMETERS = (
    # its intercept lies around the log of the mean: stretched to unit standard deviation, y may still be far from 1
    Parameter("scale", "log_scale", Role.LOG_SCALE, Linear(), default_priors(0.0, 2.5, 2.5)),
    Parameter("shape", "log_shape", Role.FREE, Constant(), default_priors(log(4.0), 1.0, 0.5)),
)
