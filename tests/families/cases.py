"""The table of families: for each, random parameters, extreme ones, and SciPy's distribution to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

import bayes_moe as bm
from bayes_moe.families import Family, Support

Values = dict[str, np.ndarray]
LOGS = (-300.0, -30.0, 0.0, 30.0, 300.0)
LOGITS = (-800.0, -30.0, 0.0, 30.0, 800.0)
LINEAR = (-1e3, 0.0, 1e3)


@dataclass(frozen=True)
class Case:
    """One family.

    ``ranges``: from where random parameters are drawn, uniformly; ``trials`` is drawn as a whole number.
    ``extremes``: values of every parameter, all combinations of which are tried at every one of ``points``.
    ``outside``: values of y outside the support.
    """

    family: Family
    ranges: dict[str, tuple[float, float]]
    reference: Callable[[Values], Any]
    extremes: dict[str, tuple[float, ...]]
    points: tuple[float, ...]
    outside: tuple[float, ...]
    overflows: bool = False
    rtol: float = 1e-9

    def parameters(self, rng: np.random.Generator, rows: int) -> Values:
        found = {name: rng.uniform(*limits, rows) for name, limits in self.ranges.items()}
        return found | {name: np.floor(found[name]) for name in self.family.given}

    def target(self, rng: np.random.Generator, predicted: Values) -> np.ndarray:
        """Values of y from the distribution with these parameters, tails more often than they come."""
        rows = len(next(iter(predicted.values()))) if predicted else 200
        u = special.expit(rng.uniform(-12.0, 12.0, rows))
        y = np.asarray(self.reference(predicted).ppf(u), dtype=float)
        return np.clip(y, 1e-300, 1 - 1e-15) if self.family.support is Support.UNIT else y


class Mixed:
    """A discrete distribution from its probabilities of 0, 1, ..., (rows, codes)."""

    def __init__(self, chances: np.ndarray) -> None:
        self.chances = chances / chances.sum(axis=1, keepdims=True)
        self.codes = np.arange(chances.shape[1])

    def logpmf(self, y: np.ndarray) -> np.ndarray:
        return np.log(self.chances[np.arange(len(y)), y.astype(int)])

    def cdf(self, y: np.ndarray) -> np.ndarray:
        return np.where(self.codes <= np.floor(y)[:, None], self.chances, 0.0).sum(axis=1)

    def mean(self) -> np.ndarray:
        return self.chances @ self.codes

    def var(self) -> np.ndarray:
        return self.chances @ self.codes**2 - self.mean() ** 2

    def ppf(self, u: np.ndarray) -> np.ndarray:
        return (self.chances.cumsum(axis=1) < u[:, None]).sum(axis=1).clip(0, len(self.codes) - 1)


class Inflated:
    """SciPy's distribution of counts with more zeros."""

    def __init__(self, base: Any, logit: np.ndarray) -> None:
        self.base, self.zero = base, special.expit(logit)

    def logpmf(self, y: np.ndarray) -> np.ndarray:
        return np.log(np.where(y == 0, self.zero, 0.0) + (1 - self.zero) * self.base.pmf(y))

    def cdf(self, y: np.ndarray) -> np.ndarray:
        return np.where(y >= 0, self.zero + (1 - self.zero) * self.base.cdf(y), 0.0)

    def mean(self) -> np.ndarray:
        return (1 - self.zero) * self.base.mean()

    def var(self) -> np.ndarray:
        second = (1 - self.zero) * (self.base.var() + self.base.mean() ** 2)
        return second - self.mean() ** 2

    def ppf(self, u: np.ndarray) -> np.ndarray:
        return np.where(u <= self.zero, 0.0, self.base.ppf(np.clip((u - self.zero) / (1 - self.zero), 1e-12, 1)))


def _ordinal(p: Values) -> Mixed:
    cuts = (
        p["cutpoint"][:, None]
        + np.cumsum([np.zeros_like(p["mu"]), np.exp(p["log_gap_b"]), np.exp(p["log_gap_c"])], axis=0).T
    )
    below = special.expit(cuts - p["mu"][:, None])
    ends = np.ones((len(below), 1))
    return Mixed(np.diff(np.hstack([0 * ends, below, ends]), axis=1))


def _nbinom(p: Values) -> Any:
    r = np.exp(-p["log_dispersion"])
    return stats.nbinom(r, r / (r + np.exp(p["log_mu"])))


def _beta(p: Values) -> Any:
    precision = np.exp(p["log_precision"])
    return stats.beta(special.expit(p["logit_mu"]) * precision, special.expit(-p["logit_mu"]) * precision)


def _location(p: Values) -> dict[str, np.ndarray]:
    return {"loc": p["mu"], "scale": np.exp(p["log_sigma"])}


_POSITIVE = (-np.inf, -1.0, 0.0, np.inf)
_NO_COUNTS = (-np.inf, -1.0, -0.5, 0.5, 2.000001, np.inf)
_COUNTS = (0.0, 1.0, 7.0, 1e6)
_REAL = (-5.0, 0.0, 1e-9, 1e4)
_MOVED = {"mu": LINEAR, "log_sigma": LOGS}
_SOME = {"mu": (-50.0, 50.0), "log_sigma": (-1.5, 4.0)}
_RATE, _ZERO = {"log_mu": (-4.0, 6.0)}, {"logit_zero": (-5.0, 5.0)}
_NEGATIVE = _RATE | {"log_dispersion": (-6.0, 2.0)}

CASES = {
    "Normal": Case(bm.Normal(), _SOME, lambda p: stats.norm(**_location(p)), _MOVED, _REAL, ()),
    "StudentT": Case(
        bm.StudentT(),
        _SOME | {"log_nu_minus_2": (-3.0, 8.0)},
        lambda p: stats.t(2.0 + np.exp(p["log_nu_minus_2"]), **_location(p)),
        _MOVED | {"log_nu_minus_2": LOGS},
        _REAL,
        (),
    ),
    "SkewNormal": Case(
        bm.SkewNormal(),
        _SOME | {"skew": (-8.0, 8.0)},
        lambda p: stats.skewnorm(p["skew"], **_location(p)),
        _MOVED | {"skew": LOGITS},
        _REAL,
        (),
    ),
    "LogNormal": Case(
        bm.LogNormal(),
        {"mu": (-10.0, 10.0), "log_sigma": (-3.0, 0.5)},
        lambda p: stats.lognorm(np.exp(p["log_sigma"]), scale=np.exp(p["mu"])),
        {"mu": LOGS, "log_sigma": LOGS},
        (1e-300, 0.1, 1.0, 1e300),
        _POSITIVE,
    ),
    "Gamma": Case(
        bm.Gamma(),
        {"log_mu": (-10.0, 10.0), "log_shape": (-2.0, 7.0)},
        lambda p: stats.gamma(np.exp(p["log_shape"]), scale=np.exp(p["log_mu"] - p["log_shape"])),
        {"log_mu": LOGS, "log_shape": LOGS},
        (1e-100, 0.1, 1.0, 1e20),
        _POSITIVE,
    ),
    "Weibull": Case(
        bm.Weibull(),
        {"log_scale": (-10.0, 10.0), "log_shape": (-1.0, 5.0)},
        lambda p: stats.weibull_min(np.exp(p["log_shape"]), scale=np.exp(p["log_scale"])),
        {"log_scale": LOGS, "log_shape": LOGS},
        (1e-300, 0.1, 1.0, 1e300),
        _POSITIVE,
        overflows=True,
        rtol=1e-7,  # SciPy's variance cancels
    ),
    "Beta": Case(
        bm.Beta(),
        {"logit_mu": (-2.0, 2.0), "log_precision": (1.0, 7.0)},
        _beta,
        {"logit_mu": LOGITS, "log_precision": LOGS},
        (1e-300, 0.1, 0.5, 1 - 2.0**-53),
        (-np.inf, -1.0, 0.0, 1.0, 2.0, np.inf),
    ),
    "Poisson": Case(
        bm.Poisson("years"), _RATE, lambda p: stats.poisson(np.exp(p["log_mu"])), {"log_mu": LOGS}, _COUNTS, _NO_COUNTS
    ),
    "NegativeBinomial": Case(
        bm.NegativeBinomial(), _NEGATIVE, _nbinom, {"log_mu": LOGS, "log_dispersion": LOGS}, _COUNTS, _NO_COUNTS
    ),
    "ZeroInflated Poisson": Case(
        bm.ZeroInflated(),
        {"log_mu": (-3.0, 4.0)} | _ZERO,
        lambda p: Inflated(stats.poisson(np.exp(p["log_mu"])), p["logit_zero"]),
        {"log_mu": LOGS, "logit_zero": LOGITS},
        _COUNTS,
        _NO_COUNTS,
    ),
    "ZeroInflated NegativeBinomial": Case(
        bm.ZeroInflated(bm.NegativeBinomial()),
        _NEGATIVE | _ZERO,
        lambda p: Inflated(_nbinom(p), p["logit_zero"]),
        {"log_mu": LOGS, "log_dispersion": LOGS, "logit_zero": LOGITS},
        _COUNTS,
        _NO_COUNTS,
    ),
    "Bernoulli": Case(
        bm.Bernoulli(),
        {"logit_p": (-12.0, 12.0)},
        lambda p: stats.bernoulli(special.expit(p["logit_p"])),
        {"logit_p": LOGITS},
        (0.0, 1.0),
        (-np.inf, -1.0, 0.5, 2.0, np.inf),
    ),
    "Binomial": Case(
        bm.Binomial("n"),
        {"logit_p": (-6.0, 6.0), "trials": (0.0, 200.0)},
        lambda p: stats.binom(p["trials"], special.expit(p["logit_p"])),
        {"logit_p": LOGITS, "trials": (40.0,)},
        (0.0, 1.0, 39.0, 40.0),
        (-np.inf, -1.0, 0.5, 41.0, np.inf),
    ),
    "Ordinal": Case(
        bm.Ordinal(("a", "b", "c", "d")),
        {"mu": (-4.0, 4.0), "cutpoint": (-3.0, 3.0), "log_gap_b": (-2.0, 1.0), "log_gap_c": (-2.0, 1.0)},
        _ordinal,
        {"mu": LOGITS, "cutpoint": LOGITS, "log_gap_b": LOGS, "log_gap_c": LOGS},
        (0.0, 1.0, 2.0, 3.0),
        (-np.inf, -1.0, 0.5, 4.0, np.inf),
    ),
    "Uniform": Case(bm.Uniform(-3.0, 7.0), {}, lambda _: stats.uniform(-3.0, 10.0), {}, (-3.0, 1.0, 7.0), (-3.1, 7.1)),
}
