"""Gamma experts: positive numbers whose standard deviation grows with their mean."""

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
from .draws import LEAST, common_shape, log_gamma_draw
from .elementary import exp, expm1, stirling
from .formulas import Functions, gamma_rest, graphs, on_arrays


@dataclass(frozen=True)
class Gamma(Family):
    r"""Gamma density of y > 0 with log mean and log shape predicted.

    .. math:: \log f(y) = a \log\frac{a}{\mu} + (a - 1) \log y - \frac{a y}{\mu} - \log\Gamma(a)

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``; its predictor is that of the log mean) and
    ``shape`` (default ``bm.Constant()``; its predictor is that of log a). The variance is :math:`\mu^2/a`.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Gamma().variance(log_mu=np.log(10.0), log_shape=np.log(4.0))
    array(25.)

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, chapter 8.
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

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Gamma:
        refuse_not_positive(y, "Gamma()")
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        return {"log_mu": log(weighted_mean(y, weights))}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        return (np.log(y),)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(gamma_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.exp(predicted["log_mu"]), common_shape(*predicted.values()))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(2.0 * predicted["log_mu"] - predicted["log_shape"]))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import gammainc  # a third of a second that `import bayes_moe` does not pay

        shape = np.exp(predicted["log_shape"])
        ratio = np.where(y <= 0, 0.0, y * np.exp(-predicted["log_mu"]))  # not 0 times inf at a mean of 0
        return np.asarray(gammainc(shape, shape * ratio))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        size = common_shape(*predicted.values())
        log_ratio = log_gamma_draw(rng, predicted["log_shape"], size)
        return np.asarray(np.maximum(np.exp(predicted["log_mu"] + log_ratio), LEAST))


def gamma_terms(log_y: Any, log_mu: Any, log_shape: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    shape, log_ratio = exp(log_shape), log_y - log_mu
    excess, rest = expm1(log_ratio), stirling(shape)  # of the ratio over 1
    gap = log_ratio - excess  # log r - r + 1
    by_shape = shape * (gap + rest.slope)
    slopes = (shape * excess, by_shape)
    bends = (-shape * (excess + 1.0), shape * excess, by_shape + shape**2 * rest.bend)
    return (shape * gap - log_y + rest.value, *slopes, *bends)


def _log_density(f: Functions, y: Any, log_mu: Any, log_shape: Any) -> Any:
    inside = (y > 0) & (y < np.inf)
    log_y = f.log(f.where(inside, y, 1.0))
    log_ratio = log_y - log_mu
    value = f.exp(log_shape) * (log_ratio - f.expm1(log_ratio)) - log_y + gamma_rest(f, log_shape)
    return f.where(inside, value, -np.inf)


_PARAMETERS = (
    # its intercept lies around the log of the mean: stretched to unit standard deviation, y may still be far from 1
    Parameter("mu", "log_mu", Role.LOG_SCALE, Linear(), default_priors(0.0, 2.5, 2.5)),
    Parameter("shape", "log_shape", Role.FREE, Constant(), default_priors(log(4.0), 1.0, 0.5)),
)
