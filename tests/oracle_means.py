"""What a shared mean adds to the oracle: columns by refits without single rows, one after another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayes_moe import Constant, Expert, Linear, MixtureOfExperts
from tests.cases import Case, bound

PLACES = {"mu": "mean", "sigma": "log_sd"}
"""Which column is added to which parameter of a Normal expert."""


def kernel(theta: np.ndarray, x: np.ndarray, z: np.ndarray) -> float:
    """Return the covariance of two standardised rows, as the documentation writes it."""
    p = len(x)
    a, lengths = math.exp(theta[0]), np.exp(theta[1 : 1 + p])
    b, scales = np.exp(theta[1 + p : 1 + 2 * p]), np.exp(theta[1 + 2 * p : 1 + 3 * p])

    def matern(r: float) -> float:
        return (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r)

    alone = math.fsum(b[j] ** 2 * matern(abs(x[j] - z[j]) / scales[j]) for j in range(p))
    joint = a**2 * matern(math.sqrt(math.fsum(((x - z) / lengths) ** 2)))
    return joint + alone + math.exp(2 * theta[1 + 3 * p]) * (1 + math.fsum(x * z))


def left_out(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and log standard deviation of every row given the others (n,); hyper-parameters as they were fitted.

    That these are a maximum, tests of the smoother show.
    """
    fitted = bound(case).data.mean
    assert fitted is not None
    theta = fitted.smoother.log_parameters
    x, (center, unit) = (x - x.mean(axis=0)) / x.std(axis=0), (y.mean(), y.std())
    z, n = (y - center) / unit, len(y)
    matrix = np.array([[kernel(theta, x[i], x[j]) for j in range(n)] for i in range(n)])
    matrix += np.eye(n) * math.exp(2 * theta[-1])
    means, spreads = np.empty(n), np.empty(n)
    for i in range(n):
        rest = np.arange(n) != i
        towards = np.linalg.solve(matrix[np.ix_(rest, rest)], matrix[rest, i])
        means[i] = center + unit * (towards @ z[rest])
        spreads[i] = unit * math.sqrt(matrix[i, i] - towards @ matrix[rest, i])
    return means, np.log(spreads)


def spelled_out(model: MixtureOfExperts) -> MixtureOfExperts:
    """Return a mixture of Normal experts with its shared mean as the offsets that it stands for."""
    experts = []
    for expert in model.experts:
        moved: dict[str, Any] = {}
        for name, column in PLACES.items():
            old: Any = expert.predictors[name]
            if isinstance(old, Constant):
                moved[name] = Constant(old.shared, old.intercept, offset=column)
            else:
                moved[name] = Linear(old.columns, old.intercept, old.slopes, old.shared, column)
        experts.append(Expert(expert.family, **moved))
    return MixtureOfExperts(experts, model.gate)
