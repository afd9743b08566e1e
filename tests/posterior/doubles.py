"""Stand-ins for what a fit supplies, and oracles written with loops over `math`, for the mixture tests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bayes_moe.posterior.mixtures import Components, ExpertFamily, MixtureDraws

Floats = NDArray[np.float64]


class Normal:
    discrete = False

    def mean(self, mu: Floats, log_sigma: Floats) -> Floats:
        return mu + 0.0 * log_sigma

    def variance(self, mu: Floats, log_sigma: Floats) -> Floats:
        return np.exp(2.0 * log_sigma) + 0.0 * mu

    def cdf(self, y: Floats, mu: Floats, log_sigma: Floats) -> Floats:
        return np.asarray(stats.norm.cdf(y, mu, np.exp(log_sigma)))

    def log_density(self, y: Floats, mu: Floats, log_sigma: Floats) -> Floats:
        return np.asarray(stats.norm.logpdf(y, mu, np.exp(log_sigma)))

    def draw(self, rng: np.random.Generator, mu: Floats, log_sigma: Floats) -> Floats:
        return rng.normal(mu, np.exp(log_sigma))


class LyingNormal(Normal):
    """A Normal whose variance is a million times too small."""

    def variance(self, mu: Floats, log_sigma: Floats) -> Floats:
        return 1e-6 * super().variance(mu, log_sigma)


class NormalOrLaplace:
    """Two families in one: the parameter ``kind`` is 0 for a Normal and 1 for a Laplace expert."""

    discrete = False

    def _of(self, kind: NDArray[np.int64], mu: Floats, log_sigma: Floats) -> tuple[Any, Any, Any]:
        return stats.norm(mu, np.exp(log_sigma)), stats.laplace(mu, np.exp(log_sigma)), kind == 0

    def mean(self, **parameters: Any) -> Floats:
        normal, laplace, is_normal = self._of(**parameters)
        return np.asarray(np.where(is_normal, normal.mean(), laplace.mean()))

    def variance(self, **parameters: Any) -> Floats:
        normal, laplace, is_normal = self._of(**parameters)
        return np.asarray(np.where(is_normal, normal.var(), laplace.var()))

    def cdf(self, y: Floats, **parameters: Any) -> Floats:
        normal, laplace, is_normal = self._of(**parameters)
        return np.asarray(np.where(is_normal, normal.cdf(y), laplace.cdf(y)))

    def log_density(self, y: Floats, **parameters: Any) -> Floats:
        normal, laplace, is_normal = self._of(**parameters)
        return np.asarray(np.where(is_normal, normal.logpdf(y), laplace.logpdf(y)))

    def draw(self, rng: np.random.Generator, **parameters: Any) -> Floats:
        normal, laplace, is_normal = self._of(**parameters)
        return np.asarray(np.where(is_normal, normal.rvs(random_state=rng), laplace.rvs(random_state=rng)))


class ScipyFamily:
    """Any location-scale or shape family of SciPy, with the parameters ``shape`` and ``scale``."""

    discrete = False

    def __init__(self, frozen: Any) -> None:
        self._of = frozen

    def mean(self, **parameters: Floats) -> Floats:
        return np.asarray(self._of(**parameters).mean())

    def variance(self, **parameters: Floats) -> Floats:
        return np.asarray(self._of(**parameters).var())

    def cdf(self, y: Floats, **parameters: Floats) -> Floats:
        return np.asarray(self._of(**parameters).cdf(y))

    def log_density(self, y: Floats, **parameters: Floats) -> Floats:
        return np.asarray(self._of(**parameters).logpdf(y))

    def draw(self, rng: np.random.Generator, **parameters: Floats) -> Floats:
        return np.asarray(self._of(**parameters).rvs(random_state=rng))


GAMMA = ScipyFamily(lambda shape, scale: stats.gamma(shape, scale=scale))
CAUCHY = ScipyFamily(lambda shape, scale: stats.cauchy(shape, scale))


@dataclass
class Arrays:
    """Components held in arrays (S, n, K), which remembers the size of everything it was asked for."""

    log_gate: Floats
    parameters: dict[str, Floats]
    asked: list[int] = field(default_factory=list)

    def __call__(self, rows: slice, draws: slice) -> Components:
        cut = self.log_gate[draws, rows]
        self.asked.append(cut.size)
        assert cut.size > 0
        return cut, {name: array[draws, rows] for name, array in self.parameters.items()}

    def mixture(self, family: ExpertFamily | None = None, chunk_elements: int = 2_000_000) -> MixtureDraws:
        S, n, K = self.log_gate.shape
        return MixtureDraws(n, S, K, self, family or Normal(), chunk_elements)


def log_softmax(logits: Floats) -> Floats:
    top = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = top - np.log(np.exp(top).sum(axis=-1, keepdims=True))
    return result


def normal_arrays(S: int, n: int, K: int, seed: int, spread: float = 2.0) -> Arrays:
    """Return random Normal components; draws differ a little, rows and experts a lot."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(1, n, K)) + 0.4 * rng.normal(size=(S, n, K))
    mu = spread * rng.normal(size=(1, n, K)) + 0.3 * rng.normal(size=(S, n, K))
    log_sigma = -0.5 + 0.5 * rng.normal(size=(1, 1, K)) + 0.1 * rng.normal(size=(S, n, K))
    return Arrays(log_softmax(logits), {"mu": mu, "log_sigma": log_sigma})


def two_normals(weight: float, mu: tuple[float, float], sigma: tuple[float, float]) -> Arrays:
    """Return one draw and one row of a mixture of two Normals; ``weight`` is the first one's."""
    log_gate = np.log([[[weight, 1.0 - weight]]])
    return Arrays(log_gate, {"mu": np.array([[mu]]), "log_sigma": np.log([[sigma]])})


@dataclass(frozen=True)
class NormalOracle:
    """The averaged predictive distribution of one row, summed term by term with `math.fsum`."""

    terms: list[tuple[int, int, float, float, float]]  # draw, expert, weight g/S, mu, sigma

    def mean(self) -> float:
        return math.fsum(w * mu for _, _, w, mu, _ in self.terms)

    def variance(self) -> float:
        mean = self.mean()
        return math.fsum(w * (sigma**2 + (mu - mean) ** 2) for _, _, w, mu, sigma in self.terms)

    def cdf(self, y: float) -> float:
        return math.fsum(w * 0.5 * math.erfc((mu - y) / sigma / math.sqrt(2)) for _, _, w, mu, sigma in self.terms)

    def density(self, y: float, expert: int | None = None, draw: int | None = None) -> float:
        return math.fsum(
            w * math.exp(-0.5 * ((y - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
            for s, k, w, mu, sigma in self.terms
            if (expert is None or k == expert) and (draw is None or s == draw)
        )


def oracle(arrays: Arrays, row: int) -> NormalOracle:
    S, _, K = arrays.log_gate.shape
    mu, log_sigma = arrays.parameters["mu"], arrays.parameters["log_sigma"]
    return NormalOracle(
        [
            (
                s,
                k,
                math.exp(arrays.log_gate[s, row, k]) / S,
                float(mu[s, row, k]),
                math.exp(log_sigma[s, row, k]),
            )
            for s in range(S)
            for k in range(K)
        ]
    )
