"""Negative binomial experts: counts that vary more than Poisson counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..predictors import Constant, Linear
from .base import Closure, Family, Known, Parameter, Role, Support, default_priors
from .checks import check_column, refuse_not_counts
from .closed import ClosedTerms
from .draws import common_shape, log_gamma_draw, poisson_draw
from .elementary import exp, expit, log, log1p, stirling, where
from .formulas import Functions, graphs, is_count, log_rising, on_arrays
from .poisson import log_mean, poisson_cdf

_LEAST_DISPERSION = 1e-12  # below, the distribution function is Poisson's to that many digits of mu + y squared


@dataclass(frozen=True)
class NegativeBinomial(Family):
    r"""Negative binomial probabilities of counts with their log mean and log dispersion predicted.

    .. math:: \log f(y) = \log\frac{\Gamma(y + r)}{\Gamma(r)\, y!} + r \log\frac{r}{r + \mu}
              + y \log\frac{\mu}{r + \mu}, \quad r = 1/\alpha

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``; its predictor is that of the log mean) and
    ``dispersion`` (default ``bm.Constant()``; its predictor is that of log alpha). The variance is
    :math:`\mu + \alpha\mu^2`; with alpha to 0 the probabilities are Poisson's.

    Parameters
    ----------
    exposure
        Name of the column that holds the time, area or number at risk behind each count; its log is added to the
        predictor of the log mean, so that this predicts the log rate per unit of exposure. None: 1 in every row.

    Raises
    ------
    SpecError
        If ``exposure`` is not a name.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.NegativeBinomial().variance(log_mu=np.log(10.0), log_dispersion=np.log(0.5))
    array(60.)

    References
    ----------
    Cameron and Trivedi (2013), Regression Analysis of Count Data, section 3.3 (their NB2).
    """

    exposure: str | None = None

    def __post_init__(self) -> None:
        check_column("NegativeBinomial", "exposure", self.exposure, optional=True)

    @property
    def support(self) -> Support:
        return Support.COUNT

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return _PARAMETERS

    @property
    def exposures(self) -> Mapping[str, str]:
        return {} if self.exposure is None else {"log_mu": self.exposure}

    def meet(self, y: np.ndarray, weights: np.ndarray) -> NegativeBinomial:
        refuse_not_counts(y, "NegativeBinomial()")
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        """Return the log mean; with exposures, of rates y / exposure that are given weights times exposure."""
        return log_mean(y, weights)

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        from scipy.special import gammaln  # a third of a second that `import bayes_moe` does not pay

        return y, gammaln(y + 1.0)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(negative_binomial_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.exp(predicted["log_mu"]), common_shape(*predicted.values()))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        log_mu = predicted["log_mu"]
        return np.asarray(np.exp(log_mu) + np.exp(2.0 * log_mu + predicted["log_dispersion"]))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import betaincc  # a third of a second that `import bayes_moe` does not pay

        log_mu, log_dispersion = predicted["log_mu"], predicted["log_dispersion"]
        count = np.maximum(np.floor(y), 0.0)
        dispersed = np.exp(log_dispersion) > _LEAST_DISPERSION
        log_alpha = np.where(dispersed, log_dispersion, 0.0)
        below = betaincc(count + 1.0, np.exp(-log_alpha), expit(log_mu + log_alpha))
        return np.where(np.asarray(y) >= 0, np.where(dispersed, below, poisson_cdf(y, log_mu)), 0.0)

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        size = common_shape(*predicted.values())
        log_rate = predicted["log_mu"] + log_gamma_draw(rng, -predicted["log_dispersion"], size)
        return poisson_draw(rng, np.exp(log_rate), size)


def negative_binomial_terms(y: Any, log_factorial: Any, log_mu: Any, log_dispersion: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    mu, size = exp(log_mu), exp(-log_dispersion)
    total, seen = mu + size, y + size
    share = (y - mu) / total
    # the log of seen / total, of either the small difference from 1 or the small quotient
    grown = where(share < -0.5, log(seen / total), log1p(share))
    after, before = stirling(seen), stirling(size)
    value = seen * grown - y - after.value + before.value - log_factorial + y * log_mu
    by_size = grown - share - after.slope + before.slope
    twice = share**2 / seen - after.bend + before.bend
    bends = (-seen * size * mu / total**2, -size * mu * share / total, size * (size * twice + by_size))
    return (value, size * share, -size * by_size, *bends)


def _log_density(f: Functions, y: Any, log_mu: Any, log_dispersion: Any) -> Any:
    inside = is_count(f, y)
    count = f.where(inside, y, 0.0)
    some = f.maximum(count, 1.0)
    rising = f.where(count > 0, log_rising(f, -log_dispersion, some), 0.0)
    failures = (f.exp(-log_dispersion) + count) * f.softplus(log_mu + log_dispersion)
    return f.where(inside, rising - f.gammaln(count + 1.0) + count * log_mu - failures, -np.inf)


_PARAMETERS = (
    Parameter("mu", "log_mu", Role.FREE, Linear(), default_priors(0.0, 2.5, 2.5)),
    Parameter("dispersion", "log_dispersion", Role.FREE, Constant(), default_priors(0.0, 1.0, 0.5)),
)
