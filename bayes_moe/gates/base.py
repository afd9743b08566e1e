"""What every gate agrees to.

A gate is a frozen specification. Bound to a number of experts and a basis it says which free variables it has, all
standard normal on the real line, and how they become coefficients of unnormalised log weights: a small smooth map
whose first and second derivatives it knows. The mixture normalises the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np

from ..predictors.base import Basis, Predictor


@dataclass(frozen=True, eq=False)
class Free:
    """One free variable of a model, on the real line.

    Parameters
    ----------
    name
        Name of the random variable in the PyMC model.
    dims
        Names of its dimensions there.
    shape
        Lengths of those dimensions.
    loc, scale
        Its Normal prior, broadcastable to ``shape``.
    zero_sum
        True when it sums to zero over its last dimension; its value variable has one element less there.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    loc: np.ndarray
    scale: np.ndarray
    zero_sum: bool = False

    @cached_property
    def value_name(self) -> str:
        """Name of the unconstrained value variable in the PyMC model."""
        return f"{self.name}_zerosum__" if self.zero_sum else self.name

    @cached_property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of the unconstrained value variable."""
        return (*self.shape[:-1], self.shape[-1] - 1) if self.zero_sum else self.shape

    @cached_property
    def size(self) -> int:
        """Number of unconstrained values."""
        return prod(self.value_shape)


class BoundGate(ABC):
    """A gate that knows its number of experts and its basis."""

    experts: int

    @property
    @abstractmethod
    def free(self) -> tuple[Free, ...]:
        """The free variables, in order."""

    @abstractmethod
    def coefficients(self, values: Sequence[Any], functions: Any) -> Any:
        """Return the coefficients (..., K, 1 + p) of the unnormalised log weights.

        ``values`` are the constrained free variables in order (zero-sum ones with all K elements), with any leading
        dimensions of draws, and ``functions`` is ``numpy`` or ``pytensor.tensor``.
        """

    @abstractmethod
    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Return d coefficients / d q, (K, 1 + p, size), at unconstrained values ``q``."""

    @abstractmethod
    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the Hessian of <gradient, coefficients(q)>, (size, size); ``gradient`` is (K, 1 + p)."""

    def pull_back(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to q from that with respect to the coefficients, (K, 1 + p)."""
        return np.asarray(np.tensordot(gradient, self.jacobian(q), 2))

    @property
    def predictors(self) -> int:
        """Number of linear predictors G; one per expert unless a gate says otherwise."""
        return self.experts

    def moved(self, size: int) -> int:
        """Return how many of its ``size`` values the M-step moves by Newton's method; `settle` sees to the others."""
        return size

    def log_weights(self, eta: np.ndarray) -> np.ndarray:
        """Return log weights (n, K) from linear predictors (n, G): the softmax unless a gate says otherwise."""
        top = eta.max(axis=1, keepdims=True)
        shifted = eta - top
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    def slopes(self, eta: np.ndarray) -> np.ndarray:
        """Return the derivatives (n, K, G) of the log weights in the linear predictors."""
        weights = np.exp(self.log_weights(eta))
        return np.asarray(np.eye(self.experts)[None] - weights[:, None, :])

    def pull(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Return the gradient (n, G) of Σ_k mass_k log weight_k, with mass (n, K)."""
        return np.asarray(mass - mass.sum(axis=1, keepdims=True) * np.exp(self.log_weights(eta)))

    def bend(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Return the Hessian (n, G, G) of Σ_k mass_k log weight_k, with mass (n, K)."""
        weights = np.exp(self.log_weights(eta))
        total = mass.sum(axis=1)[:, None, None]
        return np.asarray(
            total * (weights[:, :, None] * weights[:, None, :] - weights[:, :, None] * np.eye(self.experts))
        )

    def settle(self, q: np.ndarray) -> np.ndarray:
        """Return the unconstrained values of highest prior among those with the same coefficients.

        Gates whose coefficients determine their values return ``q`` as it is.
        """
        return q

    @abstractmethod
    def described(self, values: Mapping[str, Any], functions: Any = np) -> dict[str, Any]:
        """Return further quantities worth reporting, from constrained free variables (draws, ...).

        ``functions`` is ``numpy`` or ``pytensor.tensor``.
        """


class Gate(ABC):
    """A specification of p(z = k | x); ``predictor`` gives its log weights."""

    predictor: Predictor

    @abstractmethod
    def bind(self, experts: int, basis: Basis) -> BoundGate:
        """Return the gate for ``experts`` experts on ``basis``."""


@lru_cache(maxsize=64)
def zero_sum_basis(experts: int) -> np.ndarray:
    """Return the isometry (K, K - 1) from free values to zero-sum ones that PyMC's zero-sum transform uses.

    Examples
    --------
    >>> import numpy as np
    >>> q = zero_sum_basis(3)
    >>> bool(np.allclose(q.T @ q, np.eye(2)) and np.allclose(q.sum(0), 0))
    True
    """
    size = experts - 1
    root = np.sqrt(experts)
    norm = 1.0 / (root + experts)
    out = np.zeros((experts, size))
    out[:size] = np.eye(size)
    out[size] = norm - 1.0 / root
    out = out - norm if size else out
    out.setflags(write=False)
    return out
