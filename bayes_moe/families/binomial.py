"""Binomial experts: so many of so many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ..errors import InputError, listed
from ..predictors import Linear
from .base import Closure, Family, Known, Parameter, Role, Support, default_priors
from .checks import check_column, refuse, refuse_not_counts, weighted_mean
from .closed import ClosedTerms
from .draws import common_shape
from .elementary import expit, softplus
from .formulas import Functions, graphs, is_count, on_arrays


@dataclass(frozen=True)
class Binomial(Family):
    r"""Probabilities of y successes in n trials with the logit of the chance of success predicted.

    .. math:: \log f(y) = \log\binom{n}{y} - y \log(1 + e^{-\eta}) - (n - y) \log(1 + e^{\eta}),
              \quad \eta = \log\frac{p}{1 - p}

    Parameters of the distribution: ``p`` (default ``bm.Linear()``; its predictor is that of the logit). Its functions
    take the numbers of trials after the predictor, as ``trials``.

    Parameters
    ----------
    trials
        Name of the column that holds the number of trials n of each row.

    Raises
    ------
    SpecError
        If ``trials`` is not a name.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Binomial(trials="n").mean(logit_p=np.array(0.0), trials=np.array(10))
    array(5.)
    """

    trials: str

    def __post_init__(self) -> None:
        check_column("Binomial", "trials", self.trials, optional=False)

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
    def given(self) -> Mapping[str, str]:
        return {"trials": self.trials}

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Binomial:
        refuse_not_counts(y, f"Binomial({self.trials!r})")
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        """Return the logit of the mean of shares y / trials that are given weights times trials.

        Half a trial more of each outcome keeps it finite.
        """
        mean = weighted_mean(y, weights, prior=0.5, rows=1.0)
        return {"logit_p": log(mean) - log(1.0 - mean)}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *predicted)

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        from scipy.special import gammaln  # a third of a second that `import bayes_moe` does not pay

        (trials,) = given
        return y, trials, gammaln(trials + 1.0) - gammaln(y + 1.0) - gammaln(trials - y + 1.0)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        return ClosedTerms.read(binomial_terms(*self.known(y, given), *etas), len(etas))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, predicted["logit_p"], predicted["trials"])

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(predicted["trials"] * expit(predicted["logit_p"]))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        logit = predicted["logit_p"]
        return np.asarray(predicted["trials"] * expit(logit) * expit(-logit))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import betainc  # a third of a second that `import bayes_moe` does not pay

        logit, trials = predicted["logit_p"], predicted["trials"]
        count = np.clip(np.floor(y), 0.0, np.maximum(trials - 1.0, 0.0))
        below = betainc(np.maximum(trials - count, 1.0), count + 1.0, expit(-logit))
        return np.where(np.asarray(y) < 0, 0.0, np.where(np.floor(y) >= trials, 1.0, below))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        chance, trials = expit(predicted["logit_p"]), predicted["trials"]
        return rng.binomial(np.asarray(trials, dtype=np.int64), chance, common_shape(chance, trials)).astype(float)


def check_trials(y: np.ndarray, trials: np.ndarray) -> None:
    """Refuse numbers of trials that are not whole, or below the number of successes.

    Raises
    ------
    InputError
        Naming the rows.

    Examples
    --------
    >>> check_trials(np.array([3, 5]), np.array([3, 4]))
    Traceback (most recent call last):
    bayes_moe.errors.InputError: y: expected at most as many successes as trials for bm.Binomial, got 5 (row 1) → ...
    """
    y, trials = np.asarray(y, dtype=float), np.asarray(trials, dtype=float)
    bad = np.flatnonzero(~((trials >= 0) & (trials == np.floor(trials)) & (trials < np.inf)))
    if bad.size:
        raise InputError(
            f"trials: expected whole numbers from 0 for bm.Binomial, got {listed(f'{t:.10g}' for t in trials[bad])} "
            f"({'row' if bad.size == 1 else 'rows'} {listed(bad.tolist())}) → pass the number of trials of each row"
        )
    way_out = "correct these rows; the column of trials counts successes and failures together"
    refuse(y > trials, y, "Binomial", "at most as many successes as trials", way_out)


def binomial_terms(y: Any, trials: Any, log_ways: Any, logit: Any) -> Any:
    """Return the log density with its derivatives; see `closed`."""
    chance = expit(logit)
    value = log_ways - y * softplus(-logit) - (trials - y) * softplus(logit)
    return value, y - trials * chance, -trials * chance * (1.0 - chance)


def _log_density(f: Functions, y: Any, logit_p: Any, trials: Any) -> Any:
    inside = is_count(f, y) & is_count(f, trials) & (y <= trials)
    count, total = f.where(inside, y, 0.0), f.where(inside, trials, 0.0)
    ways = f.gammaln(total + 1.0) - f.gammaln(count + 1.0) - f.gammaln(total - count + 1.0)
    value = ways - count * f.softplus(-logit_p) - (total - count) * f.softplus(logit_p)
    return f.where(inside, value, -np.inf)


_PARAMETERS = (Parameter("p", "logit_p", Role.FREE, Linear(), default_priors(0.0, 2.5, 2.5)),)
