"""Log-normal experts: Normal experts of log y."""

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
from .elementary import exp, location_scale
from .formulas import HALF_LOG_2PI, Functions, graphs, on_arrays


@dataclass(frozen=True)
class LogNormal(Family):
    r"""Log-normal density of y > 0 with mean and log standard deviation of log y predicted.

    .. math:: \log f(y) = -\log y - \tfrac12 \log 2\pi - \log\sigma - \tfrac12 \Big(\frac{\log y - \mu}{\sigma}\Big)^2

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``; the mean of log y) and ``sigma`` (default
    ``bm.Constant()``; its predictor is that of the log of the standard deviation of log y).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.LogNormal().mean(mu=np.array(0.0), log_sigma=np.array(0.0))
    array(1.6487)
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

    def meet(self, y: np.ndarray, weights: np.ndarray) -> LogNormal:
        refuse_not_positive(y, "LogNormal()")
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        return {"mu": weighted_mean(np.log(y), weights)}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        return (np.log(y),)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(log_normal_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(predicted["mu"] + 0.5 * np.exp(2.0 * predicted["log_sigma"])))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            square = np.exp(2.0 * predicted["log_sigma"])
            return np.asarray(np.exp(2.0 * predicted["mu"] + square) * np.expm1(square))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr  # a third of a second that `import bayes_moe` does not pay

        inside = np.asarray(y) > 0
        z = (np.log(np.where(inside, y, 1.0)) - predicted["mu"]) * np.exp(-predicted["log_sigma"])
        return np.where(inside, ndtr(z), 0.0)

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        normal = rng.standard_normal(common_shape(*predicted.values()))
        return np.maximum(np.exp(predicted["mu"] + np.exp(predicted["log_sigma"]) * normal), LEAST)


def log_normal_terms(log_y: Any, mu: Any, log_sigma: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    inverse = exp(-log_sigma)
    z = (log_y - mu) * inverse
    value = -HALF_LOG_2PI - log_sigma - 0.5 * z * z - log_y
    return (value, *location_scale(z, inverse, -z, -1.0 + 0.0 * z))


def _log_density(f: Functions, y: Any, mu: Any, log_sigma: Any) -> Any:
    inside = (y > 0) & (y < np.inf)
    log_y = f.log(f.where(inside, y, 1.0))
    z = (log_y - mu) * f.exp(-log_sigma)
    return f.where(inside, -log_y - HALF_LOG_2PI - log_sigma - 0.5 * z * z, -np.inf)


_PARAMETERS = (
    # its intercept lies around the mean of log y: stretched to unit standard deviation, y may still be far from 1
    Parameter("mu", "mu", Role.LOG_SCALE, Linear(), default_priors(0.0, 2.5, 2.5)),
    Parameter("sigma", "log_sigma", Role.FREE, Constant(), default_priors(log(0.5), 0.75, 0.5)),
)
