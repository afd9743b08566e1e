"""Student t experts: like Normal experts, with tails heavy enough for outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ..predictors import Constant
from .base import Closure, Family, Parameter, Role, Support, default_priors
from .closed import ClosedTerms
from .draws import common_shape
from .elementary import exp, location_scale, log1p, stirling
from .formulas import HALF_LOG_2PI, Functions, graphs, log_rising, on_arrays
from .normal import MU, SIGMA

_LOG_2 = log(2.0)
_HALF = np.float64(0.5)  # a graph takes the log of a plain float in single precision
_NORMAL_FROM = 1e10  # degrees of freedom from which the distribution function is the normal one to ten digits


@dataclass(frozen=True)
class StudentT(Family):
    r"""Student t density with its location, log scale and degrees of freedom predicted; nu > 2.

    .. math:: \log f(y) = \log\Gamma(\tfrac{\nu+1}{2}) - \log\Gamma(\tfrac\nu2) - \tfrac12 \log \pi\nu - \log\sigma
              - \tfrac{\nu+1}{2} \log\Big(1 + \frac{(y - \mu)^2}{\nu\sigma^2}\Big)

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``, in units of y), ``sigma`` (default
    ``bm.Constant()``; its predictor is that of log sigma; the standard deviation is larger by
    :math:`\sqrt{\nu/(\nu-2)}`) and ``nu`` (default ``bm.Constant()``; its predictor is that of log(nu - 2), so that
    the variance is finite; its prior has its median at 12 and 95 % within 3.4 and 73).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Expert(bm.StudentT(), nu=bm.Constant(shared=True)).family.predicted
    ('mu', 'log_sigma', 'log_nu_minus_2')

    References
    ----------
    Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution, JASA 84.
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
        return ClosedTerms.read(student_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.broadcast_to(predicted["mu"], common_shape(*predicted.values()))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        ratio = 1.0 + 2.0 * np.exp(-predicted["log_nu_minus_2"])
        return np.broadcast_to(np.exp(2.0 * predicted["log_sigma"]) * ratio, common_shape(*predicted.values()))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr, stdtr  # a third of a second that `import bayes_moe` does not pay

        z = (y - predicted["mu"]) * np.exp(-predicted["log_sigma"])
        nu = 2.0 + np.exp(predicted["log_nu_minus_2"])
        return np.asarray(np.where(nu < _NORMAL_FROM, stdtr(np.minimum(nu, _NORMAL_FROM), z), ndtr(z)))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        shape = common_shape(*predicted.values())
        half = 1.0 + 0.5 * np.exp(predicted["log_nu_minus_2"])
        normal = rng.standard_normal(shape) / np.sqrt(rng.standard_gamma(half, shape) / half)
        return np.asarray(predicted["mu"] + np.exp(predicted["log_sigma"]) * normal)


def student_terms(y: Any, mu: Any, log_sigma: Any, log_excess: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    inverse, excess = exp(-log_sigma), exp(log_excess)
    nu = 2.0 + excess
    z = (y - mu) * inverse
    square = z * z
    total = nu + square
    # not a number where the square is none, so that the graph says how far out that is
    log_tail, log_step = log1p(square / nu) + 0.0 * square, log1p(1.0 / nu)
    half, more = stirling(0.5 * nu), stirling(0.5 * nu + 0.5)
    # log Gamma((nu + 1)/2) - log Gamma(nu/2) - log(nu/2)/2, Stirling's leading terms written without cancelling
    lead = 0.5 * ((nu + 1.0) * log_step - 1.0)
    value = lead - more.value + half.value - HALF_LOG_2PI - log_sigma - 0.5 * (nu + 1.0) * log_tail
    bend = (nu + 1.0) * (square - nu) / total**2
    d_mu, d_sigma, mu_mu, mu_sigma, sigma_sigma = location_scale(z, inverse, -(nu + 1.0) * z / total, bend)
    by_nu = 0.5 * (log_step - 1.0 / nu - more.slope + half.slope)
    by_nu = by_nu - 0.5 * (log_tail - (nu + 1.0) * square / (nu * total))
    twice = 0.5 / (nu**2 * (nu + 1.0)) - 0.25 * (more.bend - half.bend)
    crossed = square * (nu * total - (nu + 1.0) * (total + nu)) / (nu * total) ** 2
    twice = twice + 0.5 * (square / (nu * total) + crossed)
    pull = excess * (square - 1.0) / total**2
    slopes = (d_mu, d_sigma, excess * by_nu)
    nu_nu = excess * (excess * twice + by_nu)
    return (value, *slopes, mu_mu, mu_sigma, inverse * z * pull, sigma_sigma, square * pull, nu_nu)


def _log_density(f: Functions, y: Any, mu: Any, log_sigma: Any, log_nu_minus_2: Any) -> Any:
    square = (y - mu) * (y - mu)
    log_half = f.softplus(log_nu_minus_2 - _LOG_2)  # of nu / 2
    log_unit = 2.0 * log_sigma + _LOG_2 + log_half  # of nu sigma^2
    ratio = square * f.exp(-log_unit)
    near = ratio < 1.0  # far away, in logarithms: the square of a large ratio, in its second derivatives, overflows
    far = f.softplus(f.log(f.where(near, 1.0, square)) - log_unit)
    tails = f.where(near, f.log1p(f.where(near, ratio, 0.0)), far)
    return log_rising(f, log_half, _HALF) - HALF_LOG_2PI - log_sigma - (f.exp(log_half) + 0.5) * tails


_PARAMETERS = (
    MU,
    SIGMA,
    Parameter("nu", "log_nu_minus_2", Role.FREE, Constant(), default_priors(log(10.0), 1.0, 0.5)),
)
