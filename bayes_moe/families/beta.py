"""Beta experts: numbers between 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ..predictors import Constant, Linear
from .base import Closure, Family, Known, Parameter, Role, Support, default_priors
from .checks import refuse, weighted_mean
from .closed import ClosedTerms
from .draws import LEAST, MOST, common_shape
from .elementary import exp, expit, softplus, stirling
from .formulas import Functions, gamma_rest, graphs, on_arrays


@dataclass(frozen=True)
class Beta(Family):
    r"""Beta density of 0 < y < 1 with the logit of its mean and its log precision predicted.

    .. math:: \log f(y) = \log\Gamma(\phi) - \log\Gamma(\mu\phi) - \log\Gamma((1-\mu)\phi)
              + (\mu\phi - 1) \log y + ((1-\mu)\phi - 1) \log(1 - y)

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``; its predictor is that of the logit of the mean) and
    ``precision`` (default ``bm.Constant()``; its predictor is that of log phi). The variance is
    :math:`\mu(1-\mu)/(1+\phi)`.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Beta().variance(logit_mu=np.array(0.0), log_precision=np.log(4.0))
    array(0.05)

    References
    ----------
    Ferrari and Cribari-Neto (2004), Beta regression for modelling rates and proportions, Journal of Applied
    Statistics 31.
    """

    @property
    def support(self) -> Support:
        return Support.UNIT

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return _PARAMETERS

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Beta:
        y = np.asarray(y, dtype=float)
        way_out = "divide by the largest possible value, and move exact 0 and 1 inside: (y * (n - 1) + 0.5) / n"
        refuse(~((y > 0) & (y < 1)), y, "Beta()", "numbers between 0 and 1, both excluded", way_out)
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        mean = weighted_mean(y, weights)
        return {"logit_mu": log(mean) - log(1.0 - mean)}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        return np.log(y), np.log1p(-y)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(beta_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.broadcast_to(expit(predicted["logit_mu"]), common_shape(*predicted.values()))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        logit = predicted["logit_mu"]
        return np.asarray(expit(logit) * expit(-logit) / (1.0 + np.exp(predicted["log_precision"])))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import betainc  # a third of a second that `import bayes_moe` does not pay

        return np.asarray(betainc(*_shapes(**predicted), np.clip(y, 0.0, 1.0)))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        a, b = _shapes(**predicted)
        return np.clip(rng.beta(a, b, common_shape(a, b)), LEAST, MOST)


def _shapes(logit_mu: np.ndarray, log_precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = np.exp(log_precision - np.logaddexp(0.0, -logit_mu))
    b = np.exp(log_precision - np.logaddexp(0.0, logit_mu))
    return np.maximum(a, LEAST), np.maximum(b, LEAST)


def beta_terms(log_y: Any, log_rest: Any, logit_mu: Any, log_precision: Any) -> Any:
    """Return the log density with its derivatives; see `closed`.

    Log gamma and digamma functions of the precision phi and its parts mu phi, (1 - mu) phi are written by `stirling`:
    their leading terms are log mu and log(1 - mu).
    """
    log_mu, log_other = -softplus(-logit_mu), -softplus(logit_mu)
    mu, other, precision = expit(logit_mu), expit(-logit_mu), exp(log_precision)
    a, b = mu * precision, other * precision
    whole, one, two = stirling(precision), stirling(a), stirling(b)
    value = one.value + two.value - whole.value + a * (log_y - log_mu) + b * (log_rest - log_other) - log_y - log_rest
    off_a, off_b = log_y - log_mu + one.slope, log_rest - log_other + two.slope
    gap, spread = off_a - off_b, mu * other
    by_precision = mu * off_a + other * off_b - whole.slope
    turn_a, turn_b, turn = 1.0 / a - one.bend, 1.0 / b - two.bend, 1.0 / precision - whole.bend
    bends = (
        spread * precision * ((other - mu) * gap - spread * precision * (turn_a + turn_b)),
        spread * precision * (gap + precision * (other * turn_b - mu * turn_a)),
        precision * by_precision + precision**2 * (turn - mu**2 * turn_a - other**2 * turn_b),
    )
    return (value, spread * precision * gap, precision * by_precision, *bends)


def _log_density(f: Functions, y: Any, logit_mu: Any, log_precision: Any) -> Any:
    inside = (y > 0) & (y < 1)
    safe = f.where(inside, y, 0.5)
    log_y, log_rest = f.log(safe), f.log1p(-safe)
    log_mu, log_other = -f.softplus(-logit_mu), -f.softplus(logit_mu)
    log_a, log_b = log_precision + log_mu, log_precision + log_other
    value = f.exp(log_a) * (log_y - log_mu) + f.exp(log_b) * (log_rest - log_other) - log_y - log_rest
    value = value + gamma_rest(f, log_a) + gamma_rest(f, log_b) - gamma_rest(f, log_precision)
    return f.where(inside, value, -np.inf)


_PARAMETERS = (
    Parameter("mu", "logit_mu", Role.FREE, Linear(), default_priors(0.0, 2.5, 2.5)),
    Parameter("precision", "log_precision", Role.FREE, Constant(), default_priors(log(4.0), 1.0, 0.5)),
)
