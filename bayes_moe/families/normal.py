"""Normal experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from .. import priors
from ..predictors import Constant, Linear
from .base import Closure, Family, Parameter, Role, Support
from .closed import ClosedTerms
from .elementary import exp, location_scale
from .formulas import HALF_LOG_2PI


@dataclass(frozen=True)
class Normal(Family):
    r"""Normal density with its mean and log standard deviation predicted.

    .. math:: \log f(y) = -\tfrac12 \log 2\pi - \log\sigma - \tfrac12 \Big(\frac{y - \mu}{\sigma}\Big)^2

    Parameters of the distribution: ``mu`` (default ``bm.Linear()``, in units of y) and ``sigma`` (default
    ``bm.Constant()``; its predictor is that of log sigma).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Expert(bm.Normal(), mu=bm.Linear(), sigma=bm.Linear()).family
    Normal()
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
        import pytensor.tensor as pt  # a second that a fit does not pay

        mu, log_sigma = predicted
        return -HALF_LOG_2PI - log_sigma - 0.5 * ((y - mu) * pt.exp(-log_sigma)) ** 2

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(normal_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        mu, log_sigma = predicted["mu"], predicted["log_sigma"]
        return np.asarray(-HALF_LOG_2PI - log_sigma - 0.5 * ((y - mu) * np.exp(-log_sigma)) ** 2)

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return predicted["mu"]

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.exp(2.0 * predicted["log_sigma"]), np.shape(predicted["mu"]))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr  # a third of a second that `import bayes_moe` does not pay

        return np.asarray(ndtr((y - predicted["mu"]) * np.exp(-predicted["log_sigma"])))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        mu = predicted["mu"]
        return np.asarray(mu + np.exp(predicted["log_sigma"]) * rng.standard_normal(np.shape(mu)))


def normal_terms(y: Any, mu: Any, log_sigma: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    inverse = exp(-log_sigma)
    z = (y - mu) * inverse
    return (-HALF_LOG_2PI - log_sigma - 0.5 * z * z, *location_scale(z, inverse, -z, -1.0 + 0.0 * z))


_PARAMETERS = (
    Parameter(
        "mu",
        "mu",
        Role.LOCATION,
        Linear(),
        priors.Coefficients(priors.Normal(0.0, 2.5, standardised=True), priors.Normal(0.0, 2.5, standardised=True)),
    ),
    Parameter(
        "sigma",
        "log_sigma",
        Role.LOG_SCALE,
        Constant(),
        # 95 % of sigma in 0.12 to 2.2 sd of y; vanishing at 0 faster than any power keeps the mode finite
        priors.Coefficients(
            priors.Normal(log(0.5), 0.75, standardised=True), priors.Normal(0.0, 0.5, standardised=True)
        ),
    ),
)
MU, SIGMA = _PARAMETERS  # of every family that moves and stretches with y
