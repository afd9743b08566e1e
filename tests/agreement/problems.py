"""Small seeded data sets on which two systems sample the same posterior. NumPy alone, so that both can read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS = 8
"""Rows whose log density is compared."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Data of one comparison.

    Parameters
    ----------
    X, y
        (n, p) and (n,).
    exposure
        (n,) exposures or numbers of trials, where there are some.
    codes
        (n,) group of every row, where there are some.
    """

    X: np.ndarray
    y: np.ndarray
    exposure: np.ndarray | None = None
    codes: np.ndarray | None = None


def _uniform(rng: np.random.Generator, n: int, p: int) -> np.ndarray:
    return rng.uniform(-2, 4, (n, p))


def two_lines() -> Problem:
    """Two Normal experts whose weights change with x."""
    rng = np.random.default_rng(1)
    x = _uniform(rng, 120, 1)
    right = rng.random(120) < 1 / (1 + np.exp(-1.5 * (x[:, 0] - 1)))
    y = np.where(right, 12 - 2 * x[:, 0], 1 + x[:, 0]) + rng.normal(size=120)
    return Problem(x, y)


def widening() -> Problem:
    """Two Normal experts with log sigma linear in x, under constant weights."""
    rng = np.random.default_rng(2)
    x = _uniform(rng, 150, 1)
    first = rng.random(150) < 0.35
    noise = rng.normal(size=150) * np.exp(-0.5 + 0.25 * x[:, 0])
    return Problem(x, np.where(first, -6 + x[:, 0], 6 - x[:, 0]) + noise)


def outliers() -> Problem:
    """Two Student-t experts over two columns."""
    rng = np.random.default_rng(3)
    x = _uniform(rng, 160, 2)
    first = rng.random(160) < 1 / (1 + np.exp(-x[:, 1]))
    noise = rng.standard_t(3, size=160) * 0.6
    return Problem(x, np.where(first, 8 + x[:, 0] - x[:, 1], -5 + 2 * x[:, 1]) + noise)


def visits() -> Problem:
    """Two Poisson experts with exposures."""
    rng = np.random.default_rng(4)
    x = _uniform(rng, 150, 1)
    days = rng.uniform(0.5, 3.0, 150)
    first = rng.random(150) < 1 / (1 + np.exp(-(x[:, 0] - 1)))
    rate = np.where(first, np.exp(2.2 - 0.2 * x[:, 0]), np.exp(-0.3 + 0.3 * x[:, 0]))
    return Problem(x, rng.poisson(days * rate).astype(float), exposure=days)


def durations() -> Problem:
    """Two gamma experts under constant weights."""
    rng = np.random.default_rng(5)
    x = _uniform(rng, 150, 1)
    first = rng.random(150) < 0.4
    mean = np.where(first, np.exp(3.5 + 0.2 * x[:, 0]), np.exp(0.5 - 0.1 * x[:, 0]))
    return Problem(x, rng.gamma(4.0, mean / 4.0))


def three_regimes() -> Problem:
    """Three Normal experts side by side along x."""
    rng = np.random.default_rng(6)
    x = _uniform(rng, 180, 1)
    part = np.searchsorted([0.0, 2.0], x[:, 0] + 0.2 * rng.normal(size=180))
    level = np.array([0.0, 10.0, 20.0])[part] + np.array([2.0, -2.0, 1.0])[part] * x[:, 0]
    return Problem(x, level + 0.7 * rng.normal(size=180))


def centres() -> Problem:
    """Binomial counts of groups of rows that share a label."""
    rng = np.random.default_rng(7)
    codes = np.repeat(np.arange(30), 4)
    x = _uniform(rng, 120, 1)
    trials = rng.integers(5, 30, 120)
    first = (np.arange(30) % 3 == 0)[codes]
    odds = np.where(first, 1.0 - 0.3 * x[:, 0], -1.2 + 0.2 * x[:, 0])
    return Problem(x, rng.binomial(trials, 1 / (1 + np.exp(-odds))).astype(float), trials.astype(float), codes)


PROBLEMS = {
    "two lines, softmax gate": two_lines(),
    "sigma linear in x, constant gate": widening(),
    "Student-t experts": outliers(),
    "Poisson experts with exposures": visits(),
    "gamma experts, constant gate": durations(),
    "tree of three": three_regimes(),
    "sticks of two": two_lines(),
    "grouped binomial experts": centres(),
}
