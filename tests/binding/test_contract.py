"""Families that users write: what works, and what is refused before anything is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from scipy import stats

import bayes_moe as bm
from bayes_moe.families import Closure, Family, Parameter, Role, Support
from bayes_moe.families.base import default_priors

X = np.linspace(-1.0, 1.0, 40)[:, None]
Y = X[:, 0] + np.random.default_rng(1).logistic(size=40)


@dataclass(frozen=True)
class Logistic(Family):
    """A logistic density of scale 1."""

    @property
    def support(self) -> Support:
        return Support.REAL

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("mu", "mu", Role.FREE, bm.Linear(), default_priors(0.0, 2.5, 2.5)),)

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        z = y - predicted[0]
        return -z - 2.0 * pt.softplus(-z)

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(stats.logistic.logpdf(y, predicted["mu"]))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return predicted["mu"]

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return np.full_like(predicted["mu"], np.pi**2 / 3.0)

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(stats.logistic.cdf(y, predicted["mu"]))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        return rng.logistic(predicted["mu"])


class Summed(Logistic):
    """Forgets that every row has a density of its own."""

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return super().log_density(y, **predicted).sum(axis=0)[None, None]


class Another(Logistic):
    """Draws another graph than its arrays."""

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return super().logpdf(y, *predicted) - 1.0


class Misnamed(Logistic):
    """Asks for a predictor that it does not have."""

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return predicted["location"]


def _fit(family: Family) -> bm.Fit:
    return bm.fit(bm.MixtureOfExperts([bm.Expert(family)] * 2), X, Y, bm.EM(seed=1, starts=4), progress=False)


def test_a_family_of_ones_own_is_fitted() -> None:
    fit = _fit(Logistic())
    assert fit.outcome.facts["decrement"] <= 1e-6
    low, high = fit.interval(X[:5], 0.9).values.T
    np.testing.assert_allclose(fit.cdf(X[:5], high).values - fit.cdf(X[:5], low).values, 0.9, atol=1e-8)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Summed, r"Summed.log_density: expected a value for every element"),
        (Another, r"Another.logpdf: expected what log_density says"),
        (Misnamed, r"Misnamed.mean: expected a function of y and \['mu'\], got KeyError"),
    ],
)
def test_a_family_that_breaks_its_contract_is_refused(family: Callable[[], Family], message: str) -> None:
    with pytest.raises(bm.SpecError, match=message):
        _fit(family())
