"""Skew normal experts: Normal experts that lean to one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi, sqrt
from typing import Any

import numpy as np

from ..predictors import Constant
from .base import Closure, Family, Parameter, Role, Support, default_priors
from .closed import ClosedTerms
from .draws import common_shape
from .elementary import exp, location_scale, log_share
from .formulas import HALF_LOG_2PI, Functions, graphs, log_phi, on_arrays
from .normal import MU, SIGMA

_LOG_2 = log(2.0)


@dataclass(frozen=True)
class SkewNormal(Family):
    r"""Skew normal density with its location, log scale and skewness predicted.

    .. math:: \log f(y) = \log 2 - \log\sigma + \log\varphi(z) + \log\Phi(\alpha z), \quad z = \frac{y - \mu}{\sigma}

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``, in units of y; the location, which is not the
    mean: that is :math:`\mu + \sigma\delta\sqrt{2/\pi}` with :math:`\delta = \alpha/\sqrt{1+\alpha^2}`), ``sigma``
    (default ``bm.Constant()``; its predictor is that of log sigma) and ``skew`` (default ``bm.Constant()``; alpha).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.SkewNormal().mean(mu=np.array(0.0), log_sigma=np.array(0.0), skew=np.array(5.0))
    array(0.7824)

    References
    ----------
    Azzalini (1985), A class of distributions which includes the normal ones, Scandinavian Journal of Statistics 12.
    """

    @property
    def support(self) -> Support:
        return Support.REAL

    @property
    def closure(self) -> Closure:
        return Closure.AFFINE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return _PARAMETERS

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(skew_normal_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        offset = np.exp(predicted["log_sigma"]) * _delta(predicted["skew"]) * sqrt(2 / pi)
        return np.asarray(predicted["mu"] + offset)

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        variance = np.exp(2.0 * predicted["log_sigma"]) * (1.0 - 2 / pi * _delta(predicted["skew"]) ** 2)
        return np.broadcast_to(variance, common_shape(*predicted.values()))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr, owens_t  # a third of a second that `import bayes_moe` does not pay

        z = (y - predicted["mu"]) * np.exp(-predicted["log_sigma"])
        return np.asarray(np.clip(ndtr(z) - 2.0 * owens_t(z, predicted["skew"]), 0.0, 1.0))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        shape = common_shape(*predicted.values())
        skew = predicted["skew"]
        leaning = _delta(skew) * np.abs(rng.standard_normal(shape))
        z = leaning + rng.standard_normal(shape) / np.hypot(1.0, skew)
        return np.asarray(predicted["mu"] + np.exp(predicted["log_sigma"]) * z)


def _delta(skew: np.ndarray) -> np.ndarray:
    return np.asarray(skew / np.hypot(1.0, skew))


def skew_normal_terms(y: Any, mu: Any, log_sigma: Any, skew: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    inverse = exp(-log_sigma)
    z = (y - mu) * inverse
    u = skew * z
    share = log_share(u)
    value = _LOG_2 - HALF_LOG_2PI - log_sigma - 0.5 * z * z + share.value
    both = location_scale(z, inverse, skew * share.slope - z, skew**2 * share.bend - 1.0)
    d_mu, d_sigma, mu_mu, mu_sigma, sigma_sigma = both
    mixed = share.slope + u * share.bend
    rest = (-inverse * mixed, sigma_sigma, -z * mixed, z * z * share.bend)
    return (value, d_mu, d_sigma, z * share.slope, mu_mu, mu_sigma, *rest)


def _log_density(f: Functions, y: Any, mu: Any, log_sigma: Any, skew: Any) -> Any:
    z = (y - mu) * f.exp(-log_sigma)
    return _LOG_2 - HALF_LOG_2PI - log_sigma - 0.5 * z * z + log_phi(f, skew * z)


_PARAMETERS = (
    MU,
    SIGMA,
    Parameter("skew", "skew", Role.FREE, Constant(), default_priors(0.0, 2.5, 1.0)),
)
