"""Poisson experts: counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ..predictors import Linear
from .base import Closure, Family, Known, Parameter, Role, Support, default_priors
from .checks import check_column, refuse_not_counts, weighted_mean
from .closed import ClosedTerms
from .draws import common_shape, poisson_draw
from .elementary import exp
from .formulas import Functions, graphs, is_count, on_arrays


@dataclass(frozen=True)
class Poisson(Family):
    r"""Poisson probabilities of counts y = 0, 1, 2, ... with their log mean predicted.

    .. math:: \log f(y) = y \log\mu - \mu - \log y!

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``; its predictor is that of the log mean).

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
    >>> bm.Poisson(exposure="years").log_density(np.array([0, 2, -1]), log_mu=np.log(2.0))
    array([-2.    , -1.3069,    -inf])
    """

    exposure: str | None = None

    def __post_init__(self) -> None:
        check_column("Poisson", "exposure", self.exposure, optional=True)

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

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Poisson:
        refuse_not_counts(y, "Poisson()")
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
        return ClosedTerms.read(poisson_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.exp(predicted["log_mu"])

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return np.exp(predicted["log_mu"])

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return poisson_cdf(y, predicted["log_mu"])

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        return poisson_draw(rng, np.exp(predicted["log_mu"]), common_shape(predicted["log_mu"]))


def log_mean(y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
    """Return where the prior of the log mean lies; half a count more keeps it finite when all counts are 0."""
    return {"log_mu": log(weighted_mean(y, weights, prior=0.5))}


def poisson_cdf(y: np.ndarray, log_mu: np.ndarray) -> np.ndarray:
    """Return P(Y <= y)."""
    from scipy.special import gammaincc  # a third of a second that `import bayes_moe` does not pay

    count = np.floor(y)
    return np.where(count >= 0, gammaincc(np.maximum(count, 0.0) + 1.0, np.exp(log_mu)), 0.0)


def poisson_terms(y: Any, log_factorial: Any, log_mu: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    mu = exp(log_mu)
    return y * log_mu - mu - log_factorial, y - mu, -mu


def _log_density(f: Functions, y: Any, log_mu: Any) -> Any:
    inside = is_count(f, y)
    count = f.where(inside, y, 0.0)
    return f.where(inside, count * log_mu - f.exp(log_mu) - f.gammaln(count + 1.0), -np.inf)


_PARAMETERS = (Parameter("mu", "log_mu", Role.FREE, Linear(), default_priors(0.0, 2.5, 2.5)),)
