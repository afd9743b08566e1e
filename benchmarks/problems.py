"""The reference problem of every benchmark, and the floor no gradient can go below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZES = ((500, 2, 3), (2000, 5, 4), (20000, 10, 8))


@dataclass(frozen=True, eq=False)
class Problem:
    """Data of ``moe(rows, features, experts)``: softmax gate of sd 2, linear Normal experts, sigma 0.2 to 0.6."""

    X: np.ndarray
    y: np.ndarray
    experts: int

    @property
    def name(self) -> str:
        """Rows x features x experts."""
        return f"{len(self.y)} x {self.X.shape[1]} x {self.experts}"


def moe(rows: int, features: int, experts: int, seed: int = 1) -> Problem:
    """Return one simulated problem."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, features))
    design = np.column_stack([np.ones(rows), X])
    gate = 2.0 * rng.standard_normal((features + 1, experts))
    beta = rng.standard_normal((features + 1, experts))
    sigma = rng.uniform(0.2, 0.6, experts)
    logits = design @ gate
    label = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    y = np.sum(design * beta[:, label].T, axis=1) + sigma[label] * rng.standard_normal(rows)
    return Problem(X, y, experts)


def floor(problem: Problem) -> None:
    """Do the least that a gradient needs: four matrix products and two vectorised exponentials."""
    design = _design(problem)
    weights = _weights(problem)
    logits, means = design @ weights, design @ weights
    np.exp(logits, out=logits)
    np.exp(means, out=means)
    design.T @ logits
    design.T @ means


_CACHE: dict[int, tuple[np.ndarray, np.ndarray]] = {}


def _design(problem: Problem) -> np.ndarray:
    if id(problem) not in _CACHE:
        rng = np.random.default_rng(0)
        width = problem.X.shape[1] + 1
        _CACHE[id(problem)] = (
            np.column_stack([np.ones(len(problem.y)), problem.X]),
            0.1 * rng.standard_normal((width, problem.experts)),
        )
    return _CACHE[id(problem)][0]


def _weights(problem: Problem) -> np.ndarray:
    return _CACHE[id(problem)][1]
