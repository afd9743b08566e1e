"""A mixture of normal experts whose parameters are known, in plain NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayes_moe.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NormalMixture:
    """Normal experts with linear means and linear log standard deviations under a softmax-linear gate.

    With K experts and d features,

    ``p(y | x) = Σ_k g_k(x) Normal(y; mu_k(x), sigma_k(x))``,
    ``g(x) = softmax_k(gate_intercept_k + gate_slopes_k·x)``,
    ``mu_k(x) = mu_intercept_k + mu_slopes_k·x``,
    ``log sigma_k(x) = sigma_intercept_k + sigma_slopes_k·x``.

    The gate's coefficients sum to zero over the experts. All of this is in the units of ``X`` and ``y``.

    Parameters
    ----------
    gate_intercept, mu_intercept, sigma_intercept
        Shape (K,).
    gate_slopes, mu_slopes, sigma_slopes
        Shape (K, d).
    """

    gate_intercept: Array
    gate_slopes: Array
    mu_intercept: Array
    mu_slopes: Array
    sigma_intercept: Array
    sigma_slopes: Array

    @property
    def experts(self) -> int:
        """The number of experts, K."""
        return len(self.mu_intercept)

    @property
    def features(self) -> int:
        """The number of columns of ``X``, d."""
        return int(self.mu_slopes.shape[1])

    def gate(self, X: ArrayLike) -> Array:
        """Return the gate's probabilities, shape (n, K)."""
        return np.exp(self._log_gate(self._inputs(X)))

    def expert_means(self, X: ArrayLike) -> Array:
        """Return each expert's mean, shape (n, K), in units of y."""
        return self.mu_intercept + self._inputs(X) @ self.mu_slopes.T

    def expert_sigmas(self, X: ArrayLike) -> Array:
        """Return each expert's standard deviation, shape (n, K), in units of y."""
        return np.exp(self.sigma_intercept + self._inputs(X) @ self.sigma_slopes.T)

    def mean(self, X: ArrayLike) -> Array:
        """Return E[y | x], shape (n,), in units of y."""
        return (self.gate(X) * self.expert_means(X)).sum(axis=1)

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return the exact log p(y | x) of each row, shape (n,).

        Raises
        ------
        InputError
            If ``X`` is not (n, d) or ``y`` not (n,).
        """
        total: Array = np.logaddexp.reduce(self._log_terms(X, y), axis=1)
        return total

    def responsibilities(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return the exact p(expert | x, y) of each row, shape (n, K)."""
        terms = self._log_terms(X, y)
        return np.exp(terms - np.logaddexp.reduce(terms, axis=1, keepdims=True))

    def _log_terms(self, X: ArrayLike, y: ArrayLike) -> Array:
        inputs = self._inputs(X)
        outputs = np.asarray(y, dtype=np.float64)
        if outputs.shape != (len(inputs),):
            raise InputError(
                f"y: expected shape ({len(inputs)},), got {outputs.shape} → pass one output for each row of X"
            )
        log_sigma = self.sigma_intercept + inputs @ self.sigma_slopes.T
        z = (outputs[:, None] - self.expert_means(inputs)) * np.exp(-log_sigma)
        return self._log_gate(inputs) - 0.5 * math.log(2 * math.pi) - log_sigma - 0.5 * z**2

    def _log_gate(self, inputs: Array) -> Array:
        logits = self.gate_intercept + inputs @ self.gate_slopes.T
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    def _inputs(self, X: ArrayLike) -> Array:
        inputs = np.asarray(X, dtype=np.float64)
        if inputs.ndim != 2 or inputs.shape[1] != self.features:
            raise InputError(
                f"X: expected shape (n, {self.features}), got {inputs.shape} → pass the simulator's columns"
            )
        return inputs
