"""Random problems for EM, half of them degenerate (rows D20 to D24 of the catalogue of bad data)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayes_moe import (
    Constant,
    EqualGate,
    Expert,
    Linear,
    MixtureOfExperts,
    Polynomial,
    SoftmaxGate,
    nearly_flat,
)
from tests.cases import Case

Spoil = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def _as_is(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return x, y


def _spike(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """D20: half of y is one number."""
    return x, np.where(rng.random(len(y)) < 0.5, 1.25, y)


def _twice(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """D21: every row twice."""
    return np.repeat(x[::2], 2, axis=0), np.repeat(y[::2], 2)


def _perfect_line(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """D22: p + 3 rows on one exact plane, apart from the others."""
    few = x.shape[1] + 3
    out = y.copy()
    out[:few] = 30.0 + x[:few].sum(axis=1)
    return x, out


def _separated(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """D23: two far groups in x, with a line each."""
    right = np.arange(len(y)) % 2 == 0
    return x + np.where(right, 50.0, -50.0)[:, None], np.where(right, 10.0, -10.0) + 0.1 * y


def _few_places(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """D24: two distinct values per column."""
    return (x > 0).astype(float), y


SPOILS: tuple[Spoil, ...] = (_as_is, _spike, _as_is, _twice, _perfect_line, _as_is, _separated, _few_places)
SIZES = (2, 1, 3, 2, 5, 3)


def _models(experts: int) -> tuple[MixtureOfExperts, ...]:
    plain = MixtureOfExperts(experts)
    return (
        plain,
        MixtureOfExperts([Expert(sigma=Linear())] * experts),
        MixtureOfExperts([Expert(sigma=Constant(shared=True))] * experts, SoftmaxGate(Constant())),
        MixtureOfExperts([Expert(mu=Polynomial(2))] * experts, SoftmaxGate(Polynomial(2))),
        nearly_flat(plain),
        MixtureOfExperts([Expert(mu=Linear(shared=True))] * experts, EqualGate()),
        MixtureOfExperts([Expert(mu=Constant(), sigma=Linear(shared=True))] * (experts - 1) + [Expert()]),
    )


def problem(seed: int) -> Case:
    """Return the random problem of a seed: model, size, kind of trouble and weights all change with it."""
    rng = np.random.default_rng([seed, 9])
    n, p = int(rng.integers(20, 61)), int(rng.integers(0, 3))
    x = rng.normal(size=(n, p)) * np.exp(rng.normal(size=p))
    slopes = rng.normal(size=(3, p)) * 2.0
    z = rng.integers(3, size=n)
    y = (
        3.0 * rng.normal(size=3)[z]
        + (x * slopes[z]).sum(axis=1)
        + np.exp(rng.normal(size=3) - 1)[z] * rng.normal(size=n)
    )
    x, y = SPOILS[seed % len(SPOILS)](x, y, rng)
    weights = rng.choice([0.0, 0.5, 1.0, 2.0], size=len(y)) if seed % 3 == 0 else None
    models = _models(SIZES[int(rng.integers(len(SIZES)))])
    return Case(models[int(rng.integers(len(models)))], x, y, weights)
