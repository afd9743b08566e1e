"""Bernoulli experts: yes or no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ..errors import InputError, listed
from ..predictors import Linear
from .base import Closure, Family, Parameter, Role, Support, default_priors
from .checks import weighted_mean
from .closed import ClosedTerms
from .elementary import expit, softplus
from .formulas import Functions, graphs, on_arrays


@dataclass(frozen=True)
class Bernoulli(Family):
    r"""Probabilities of y = 1 and y = 0 with their logit predicted.

    .. math:: \log f(1) = -\log(1 + e^{-\eta}), \qquad \log f(0) = -\log(1 + e^{\eta}),
              \qquad \eta = \log\frac{p}{1 - p}

    Parameters of the distribution: ``p`` (default ``bm.Linear()``; its predictor is that of the logit).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Bernoulli().log_density(np.array([1, 0, 2]), logit_p=np.array(800.0))
    array([   0., -800.,  -inf])
    """

    @property
    def support(self) -> Support:
        return Support.BINARY

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return _PARAMETERS

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Bernoulli:
        levels = np.unique(np.asarray(y, dtype=float))
        if not np.isin(levels, (0.0, 1.0)).all():
            shown = listed(f"{level:g}" for level in levels)
            rows = listed(np.flatnonzero(~np.isin(np.asarray(y, dtype=float), (0.0, 1.0))).tolist())
            way_out = f"y == {levels[-1]:g}" if levels.size == 2 else "bm.Categorical(), or bm.Binomial for counts"
            raise InputError(
                f"y: expected the levels 0 and 1 for bm.Bernoulli(), got the levels {shown} (others in rows {rows}) "
                f"→ pass {way_out}"
            )
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        """Return the logit of the mean; half a row more of each kind keeps it finite when all y are alike."""
        mean = weighted_mean(np.asarray(y, dtype=float), weights, prior=0.5, rows=1.0)
        return {"logit_p": log(mean) - log(1.0 - mean)}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(bernoulli_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def probabilities(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the probabilities of 0 and 1, (..., 2)."""
        logit = predicted["logit_p"]
        return np.stack([expit(-logit), expit(logit)], axis=-1)

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(expit(predicted["logit_p"]))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(expit(predicted["logit_p"]) * expit(-predicted["logit_p"]))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        at = np.asarray(y)
        return np.where(at < 0, 0.0, np.where(at < 1, expit(-predicted["logit_p"]), 1.0))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        logit = predicted["logit_p"]
        return np.asarray(rng.random(np.shape(logit)) < expit(logit), dtype=float)


def bernoulli_terms(y: Any, logit: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    chance = expit(logit)
    return -softplus((1.0 - 2.0 * y) * logit), y - chance, -chance * (1.0 - chance)


def _log_density(f: Functions, y: Any, logit_p: Any) -> Any:
    inside = f.equal(y, 0.0) | f.equal(y, 1.0)
    sign = f.where(inside, 1.0 - 2.0 * y, 1.0)
    return f.where(inside, -f.softplus(sign * logit_p), -np.inf)


_PARAMETERS = (Parameter("p", "logit_p", Role.FREE, Linear(), default_priors(0.0, 2.5, 2.5)),)
