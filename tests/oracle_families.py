"""Densities of the families once more, by SciPy and from the published parameterisations alone.

For every family: its linear predictors with their default priors on the standardised scale, where default priors of
intercepts lie, and SciPy's log density of y in the user's units. Nothing that computes is read from the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from scipy import special, stats

Values = Mapping[str, np.ndarray]


class Follows(Enum):
    """How a linear predictor follows the units of y."""

    MEAN = "moves and stretches with y"
    LOG = "is the log of something that stretches with y"
    NOTHING = "does not"


@dataclass(frozen=True)
class Anatomy:
    """One parameter: its linear predictors, and their default priors (loc, scale) of intercept and slopes."""

    parameter: str
    word: str
    follows: Follows
    intercept: tuple[float, float]
    slopes: tuple[float, float]
    labels: tuple[str, ...] = ()
    zero_sum: bool = False
    output: int | None = 0  # None: that of the label

    @property
    def logarithm(self) -> bool:
        return self.word == f"log_{self.parameter}"

    @property
    def columns(self) -> list[str]:
        return [f"{self.word}_{label}" for label in self.labels] or [self.word]


_WIDE = ((0.0, 2.5), (0.0, 2.5))
_SIGMA = Anatomy("sigma", "log_sigma", Follows.LOG, (math.log(0.5), 0.75), (0.0, 0.5))
_SHAPE = Anatomy("shape", "log_shape", Follows.NOTHING, (math.log(4.0), 1.0), (0.0, 0.5))
_MU = Anatomy("mu", "mu", Follows.MEAN, *_WIDE)
_LOG_MEAN = Anatomy("mu", "log_mu", Follows.NOTHING, *_WIDE)
_LOGIT = Anatomy("p", "logit_p", Follows.NOTHING, *_WIDE)
_DISPERSION = Anatomy("dispersion", "log_dispersion", Follows.NOTHING, (0.0, 1.0), (0.0, 0.5))
_ZERO = Anatomy("zero", "logit_zero", Follows.NOTHING, (-1.0, 1.5), (0.0, 1.0))


def anatomy(family: Any, classes: tuple[str, ...], outputs: int) -> list[Anatomy]:
    """Return the parameters of a family, in order; labels are those of the data where the family names none."""
    kind = type(family).__name__
    if kind == "Categorical":
        labels = family.classes or classes
        return [Anatomy("logits", "logit", Follows.NOTHING, *_WIDE, labels, zero_sum=True)]
    if kind == "Ordinal":
        labels = family.levels or classes
        return [
            Anatomy("mu", "mu", Follows.NOTHING, *_WIDE),
            Anatomy("cutpoint", "cutpoint", Follows.NOTHING, (0.0, 2.5), (0.0, 0.5)),
            Anatomy("gap", "log_gap", Follows.NOTHING, (0.0, 1.0), (0.0, 0.5), labels[1:-1]),
        ]
    if kind == "MvNormal":
        names = family.outputs if isinstance(family.outputs, tuple) else tuple(f"y{i}" for i in range(outputs))
        pairs = tuple(f"{names[i]}_{names[j]}" for i in range(len(names)) for j in range(i))
        out = [
            replace(_MU, labels=names, output=None),
            Anatomy("scale", "log_diag", Follows.LOG, _SIGMA.intercept, _SIGMA.slopes, names, output=None),
        ]
        full = family.covariance.name == "FULL"
        return [*out, Anatomy("lower", "lower", Follows.NOTHING, (0.0, 1.0), (0.0, 0.5), pairs)] if full else out
    if kind == "Joint":
        return [
            replace(a, parameter=f"{name}_{a.parameter}", word=prefixed(name, a.word), output=i)
            for i, (name, part) in enumerate(family.parts)
            for a in anatomy(part, (), 1)
        ]
    if kind == "ZeroInflated":
        return [*anatomy(family.base, (), 1), _ZERO]
    return PLAIN[kind]


def prefixed(name: str, word: str) -> str:
    """Return a word of one part of a joint family."""
    return f"log_{name}_{word[4:]}" if word.startswith("log_") else f"{name}_{word}"


PLAIN = {
    "Normal": [_MU, _SIGMA],
    "StudentT": [_MU, _SIGMA, Anatomy("nu", "log_nu_minus_2", Follows.NOTHING, (math.log(10.0), 1.0), (0.0, 0.5))],
    "SkewNormal": [_MU, _SIGMA, Anatomy("skew", "skew", Follows.NOTHING, (0.0, 2.5), (0.0, 1.0))],
    "LogNormal": [Anatomy("mu", "mu", Follows.LOG, *_WIDE), replace(_SIGMA, follows=Follows.NOTHING)],
    "Gamma": [Anatomy("mu", "log_mu", Follows.LOG, *_WIDE), _SHAPE],
    "Weibull": [Anatomy("scale", "log_scale", Follows.LOG, *_WIDE), _SHAPE],
    "Beta": [
        Anatomy("mu", "logit_mu", Follows.NOTHING, *_WIDE),
        Anatomy("precision", "log_precision", Follows.NOTHING, (math.log(4.0), 1.0), (0.0, 0.5)),
    ],
    "Poisson": [_LOG_MEAN],
    "NegativeBinomial": [_LOG_MEAN, _DISPERSION],
    "Bernoulli": [_LOGIT],
    "Binomial": [_LOGIT],
    "Uniform": [],
}


def centre(family: Any, y: np.ndarray, weights: np.ndarray, size: np.ndarray | None) -> dict[str, float]:
    """Return where default priors of intercepts lie; ``size`` is the exposure or the number of trials."""
    kind = type(family).__name__
    at = weights if size is None else weights * size
    total, mass = math.fsum(weights * y), math.fsum(at)
    if kind in ("Poisson", "NegativeBinomial", "ZeroInflated"):
        return {"log_mu": math.log((total + 0.5) / mass)}
    if kind in ("Bernoulli", "Binomial"):
        return {"logit_p": float(special.logit((total + 0.5) / (mass + 1.0)))}
    if kind in ("Gamma", "Weibull"):
        return {"log_mu" if kind == "Gamma" else "log_scale": math.log(total / mass)}
    if kind == "Beta":
        return {"logit_mu": float(special.logit(total / mass))}
    return {}


def log_density(family: Any, y: np.ndarray, p: Values, size: np.ndarray | None = None) -> np.ndarray:
    """Return SciPy's log density of y in the user's units under linear predictors in the user's units."""
    kind = type(family).__name__
    if kind == "Joint":
        return _joint(family, y, p)
    if kind == "MvNormal":
        return _several(y, p)
    if kind == "Categorical":
        logits = np.stack([p[name] for name in p if name.startswith("logit_")], axis=-1)
        return np.asarray(special.log_softmax(logits, axis=-1)[np.arange(len(y)), y.astype(int)])
    if kind == "Ordinal":
        return _ordinal(y, p)
    if kind == "ZeroInflated":
        base = log_density(family.base, y, p, size)
        chance = special.expit(p["logit_zero"])
        return np.asarray(np.log(np.where(y == 0, chance, 0.0) + (1 - chance) * np.exp(base)))
    return np.asarray(ONE[kind](y, p, size))


def _counts(p: Values, size: np.ndarray | None) -> np.ndarray:
    return np.exp(p["log_mu"]) * (1.0 if size is None else size)


def _negative_binomial(y: np.ndarray, p: Values, size: np.ndarray | None) -> np.ndarray:
    r = np.exp(-p["log_dispersion"])
    return np.asarray(stats.nbinom(r, r / (r + _counts(p, size))).logpmf(y))


def _beta(y: np.ndarray, p: Values, _: Any) -> np.ndarray:
    precision = np.exp(p["log_precision"])
    a, b = special.expit(p["logit_mu"]) * precision, special.expit(-p["logit_mu"]) * precision
    return np.asarray(stats.beta(a, b).logpdf(y))


ONE: dict[str, Callable[..., Any]] = {
    "Normal": lambda y, p, _: stats.norm.logpdf(y, p["mu"], np.exp(p["log_sigma"])),
    "StudentT": lambda y, p, _: stats.t.logpdf(y, 2 + np.exp(p["log_nu_minus_2"]), p["mu"], np.exp(p["log_sigma"])),
    "SkewNormal": lambda y, p, _: stats.skewnorm.logpdf(y, p["skew"], p["mu"], np.exp(p["log_sigma"])),
    "LogNormal": lambda y, p, _: stats.lognorm.logpdf(y, np.exp(p["log_sigma"]), scale=np.exp(p["mu"])),
    "Gamma": lambda y, p, _: stats.gamma.logpdf(y, np.exp(p["log_shape"]), scale=np.exp(p["log_mu"] - p["log_shape"])),
    "Weibull": lambda y, p, _: stats.weibull_min.logpdf(y, np.exp(p["log_shape"]), scale=np.exp(p["log_scale"])),
    "Beta": _beta,
    "Poisson": lambda y, p, size: stats.poisson.logpmf(y, _counts(p, size)),
    "NegativeBinomial": _negative_binomial,
    "Bernoulli": lambda y, p, _: stats.bernoulli.logpmf(y, special.expit(p["logit_p"])),
    "Binomial": lambda y, p, size: stats.binom.logpmf(y, size, special.expit(p["logit_p"])),
}


def _ordinal(y: np.ndarray, p: Values) -> np.ndarray:
    gaps = [np.exp(p[name]) for name in p if name.startswith("log_gap_")]
    cuts = np.cumsum(np.stack([p["cutpoint"], *gaps], axis=-1), axis=-1)
    below = special.expit(cuts - p["mu"][:, None])
    whole = np.hstack([np.zeros((len(y), 1)), below, np.ones((len(y), 1))])
    return np.asarray(np.log(np.diff(whole, axis=1)[np.arange(len(y)), y.astype(int)]))


def _several(y: np.ndarray, p: Values) -> np.ndarray:
    count = y.shape[1]
    mu = np.stack([v for name, v in p.items() if name.startswith("mu_")], axis=-1)
    scale = np.exp(np.stack([v for name, v in p.items() if name.startswith("log_diag_")], axis=-1))
    lower = [v for name, v in p.items() if name.startswith("lower_")]
    out = []
    for row in range(len(y)):
        factor, at = np.diag(scale[row]), 0
        for i in range(count):
            for j in range(i if lower else 0):
                factor[i, j] = scale[row, i] * lower[at][row]
                at += 1
        out.append(stats.multivariate_normal.logpdf(y[row], mu[row], factor @ factor.T))
    return np.array(out)


def _joint(family: Any, y: np.ndarray, p: Values) -> np.ndarray:
    parts = []
    for i, (name, part) in enumerate(family.parts):
        own = {a.word: p[prefixed(name, a.word)] for a in anatomy(part, (), 1)}
        parts.append(log_density(part, y[:, i], own))
    return np.asarray(sum(parts))
