"""The table of models beyond Normal experts: a row each, on which every property of `test_every_model` runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import bayes_moe as bm
from tests.cases import Case

N = 36


def covariates(seed: int, columns: int = 1) -> np.ndarray:
    """Return columns in odd units."""
    rng = np.random.default_rng([seed, 7])
    return 5.0 + np.array([3.0, 0.02, 40.0])[:columns] * rng.normal(size=(N, columns))


def levels(seed: int, x: np.ndarray) -> np.ndarray:
    """Return what y is about: one of two lines of the first column, standardised."""
    rng = np.random.default_rng([seed, 8])
    z = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std()
    return np.where(rng.random(N) < 0.5, 0.5 + z, -0.3 - 0.5 * z)


def target(family: Any, seed: int, x: np.ndarray) -> Any:
    """Return a target on the family's support."""
    rng, level = np.random.default_rng([seed, 9]), levels(seed, x)
    noise = rng.normal(size=(N, 2))
    kind = type(family).__name__
    if kind in ("LogNormal", "Gamma", "Weibull"):
        return 40.0 * np.exp(0.5 * level + 0.3 * noise[:, 0])
    if kind == "Beta":
        return 1.0 / (1.0 + np.exp(-level - 0.5 * noise[:, 0]))
    if kind in ("Poisson", "NegativeBinomial", "ZeroInflated"):
        return rng.poisson(np.exp(1.0 + 0.5 * level)).astype(float) * (rng.random(N) < 0.8)
    if kind == "Bernoulli":
        return level + noise[:, 0] > 0
    if kind == "Binomial":
        return np.floor(rng.random(N) * 5.0)
    if kind == "Categorical":
        return np.array(["bus", "car", "walk"])[rng.integers(3, size=N)]
    if kind == "Ordinal":
        return np.searchsorted([-0.7, 0.1, 0.9], level + noise[:, 0]) + 1
    if kind == "MvNormal":
        return np.column_stack(
            [10.0 + 3.0 * level + noise[:, 0], -200.0 * level + 50.0 * noise[:, 0] + 90 * noise[:, 1]]
        )
    if kind == "Joint":
        return pd.DataFrame({"count": rng.poisson(np.exp(level)), "size": 8.0 + 2.0 * level + noise[:, 0]})
    return 8.0 + 2.0 * level + noise[:, 0]


def of(family: Any, seed: int, count: int = 2, weighted: bool = False, features: Any = None, **predictors: Any) -> Case:
    """Return a mixture of like experts on a target of their family."""
    x = covariates(seed)
    weights = np.random.default_rng([seed, 10]).choice([0.3, 1.0, 1.0, 2.0, 3.7], size=N) if weighted else None
    model = bm.MixtureOfExperts([bm.Expert(family, **predictors)] * count, features=features)
    return Case(model, x, target(family, seed, x), weights)


def _with_column(family: Any, seed: int, name: str, values: np.ndarray) -> Case:
    x = covariates(seed)
    table = pd.DataFrame({"x": x[:, 0], name: values})
    return Case(bm.MixtureOfExperts([bm.Expert(family)] * 2), table, target(family, seed, x))


def _two_columns(family: Any, seed: int, **predictors: Any) -> Case:
    x = covariates(seed, 2)
    table = pd.DataFrame(x, columns=["x", "z"])
    return Case(bm.MixtureOfExperts([bm.Expert(family, **predictors)] * 2), table, target(family, seed, x))


def _unlike(experts: list[bm.Expert], family: Any, seed: int) -> Case:
    x = covariates(seed)
    return Case(bm.MixtureOfExperts(experts), x, target(family, seed, x))


def power_of(target_: Any, seed: int, family: Any = None, weighted: bool = False, **predictors: Any) -> Case:
    """Return two experts of a power of y, which spreads over two orders of magnitude."""
    x, family = covariates(seed), family or bm.Normal()
    y = np.abs(target(family, seed, x)) ** 2 + 0.1
    weights = np.random.default_rng([seed, 10]).choice([0.3, 1.0, 1.0, 2.0, 3.7], size=N) if weighted else None
    return Case(bm.MixtureOfExperts([bm.Expert(family, **predictors)] * 2, target=target_), x, y, weights)


def _grouped_power() -> Case:
    case = power_of(bm.Power(0.5), 134, weighted=True)
    model = bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Constant()), target=bm.Power(0.5))
    return Case(model, case.X, case.y, case.weights, groups=np.arange(N) // 3)


_DAYS = np.random.default_rng(5).uniform(1.0, 9.0, size=N)
_TRIALS = np.random.default_rng(6).integers(5, 9, size=N).astype(float)
_PARTS = {"size": bm.Normal(), "count": bm.Poisson()}

FAMILIES: dict[str, Case] = {
    "Student": of(bm.StudentT(), 101),
    "Student, nu and sigma of x": of(bm.StudentT(), 102, sigma=bm.Linear(), nu=bm.Linear()),
    "skew-normal": of(bm.SkewNormal(), 103),
    "log-normal": of(bm.LogNormal(), 104, weighted=True),
    "gamma": of(bm.Gamma(), 105, shape=bm.Linear()),
    "Weibull": of(bm.Weibull(), 106),
    "beta": of(bm.Beta(), 107),
    "Poisson": of(bm.Poisson(), 108, count=3),
    "Poisson with exposure": _with_column(bm.Poisson(exposure="days"), 109, "days", _DAYS),
    "negative binomial": of(bm.NegativeBinomial(), 110),
    "zero-inflated Poisson": of(bm.ZeroInflated(), 111, weighted=True),
    "zero-inflated negative binomial": of(bm.ZeroInflated(bm.NegativeBinomial()), 112, zero=bm.Linear()),
    "Bernoulli": of(bm.Bernoulli(), 113),
    "binomial": _with_column(bm.Binomial(trials="n"), 114, "n", _TRIALS),
    "categorical": of(bm.Categorical(), 115),
    "categorical, shared, weighted": of(bm.Categorical(), 116, weighted=True, logits=bm.Linear(shared=True)),
    "ordinal": of(bm.Ordinal(), 117),
    "ordinal, cutpoints of their own": of(bm.Ordinal(), 118, cutpoint=bm.Constant(), gap=bm.Constant()),
    "multivariate normal": of(bm.MvNormal(), 119),
    "multivariate normal, diagonal, weighted": of(
        bm.MvNormal(covariance=bm.Covariance.DIAGONAL), 120, weighted=True, scale=bm.Linear()
    ),
    "joint": of(bm.Joint(_PARTS), 121),
    "Poisson, Gaussian processes": of(bm.Poisson(), 125, mu=bm.HSGP(4)),
    "categorical, Gaussian processes, weighted": of(bm.Categorical(), 126, weighted=True, logits=bm.HSGP(3)),
    "multivariate normal, one Gaussian process": of(bm.MvNormal(), 127, mu=bm.HSGP(3, shared=True)),
    "multivariate normal, splines": of(bm.MvNormal(), 128, mu=bm.Spline(3)),
    "Student, one slope, bumps of sigma": _two_columns(
        bm.StudentT(),
        129,
        mu=bm.Linear(("x", "z"), shared=("z",)),
        sigma=bm.RBF(2, columns=("x", "z")),
        nu=bm.Constant(offset="z"),
    ),
    "categorical, one slope": _two_columns(bm.Categorical(), 130, logits=bm.Polynomial(2, shared=("x",))),
    "Normal and Student and noise": _unlike(
        [bm.Expert(), bm.Expert(bm.StudentT(), sigma=bm.Linear()), bm.Expert(bm.Uniform())], bm.Normal(), 122
    ),
    "Poisson and negative binomial": _unlike(
        [bm.Expert(bm.Poisson()), bm.Expert(bm.NegativeBinomial()), bm.Expert(bm.Poisson())], bm.Poisson(), 123
    ),
    "square root of y, weighted": power_of(bm.Power(0.5), 131, weighted=True, sigma=bm.Linear()),
    "Student, learned power": power_of(bm.Power(), 132, bm.StudentT()),
    "logarithm of y": power_of(bm.Power(0), 133),
    "groups, square root of y, weighted": _grouped_power(),
    "gamma and log-normal": _unlike([bm.Expert(bm.Gamma()), bm.Expert(bm.LogNormal())], bm.Gamma(), 124),
}

SLOW_GRAPHS = ("beta", "skew-normal")  # whose second derivatives take PyTensor long: properties in the long tier
