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
from math import lgamma, prod
from typing import Any

import numpy as np

from ..predictors.base import Basis, Predictor
from .branching import Branching
from .normalised import log_softmax, totals

_HALF_LOG_2PI = 0.9189385332046727


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
    inverse_gamma
        None, or shape and scale of the prior of a variable above 0: inverse-gamma, its value the logarithm. ``loc``
        and ``scale`` are then mode and curvature of the logarithm's prior.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    loc: np.ndarray
    scale: np.ndarray
    zero_sum: bool = False
    inverse_gamma: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def value_name(self) -> str:
        """Name of the unconstrained value variable in the PyMC model."""
        if self.inverse_gamma is not None:
            return f"{self.name}_log__"
        return f"{self.name}_zerosum__" if self.zero_sum else self.name

    @cached_property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of the unconstrained value variable."""
        return (*self.shape[:-1], self.shape[-1] - 1) if self.zero_sum else self.shape

    @cached_property
    def size(self) -> int:
        """Number of unconstrained values."""
        return prod(self.value_shape)

    def constrained(self, values: np.ndarray) -> np.ndarray:
        """Return constrained values (..., shape) from unconstrained ones (..., size)."""
        shaped = values.reshape((*values.shape[:-1], *self.value_shape))
        if self.inverse_gamma is not None:
            return np.exp(shaped)
        if not self.zero_sum:
            return shaped
        return np.asarray(shaped @ zero_sum_basis(self.shape[-1]).T)

    def log_prior(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the log prior density of every unconstrained value, flat, and its first two derivatives."""
        if self.inverse_gamma is None:
            loc, scale = (np.broadcast_to(each, self.value_shape).ravel() for each in (self.loc, self.scale))
            z = (values - loc) / scale
            return -0.5 * z**2 - np.log(scale) - _HALF_LOG_2PI, -z / scale, -1.0 / scale**2
        alpha, beta = (np.broadcast_to(each, self.value_shape).ravel() for each in self.inverse_gamma)
        shrunk = beta * np.exp(-values)
        constant = alpha * np.log(beta) - [lgamma(each) for each in alpha]
        return constant - alpha * values - shrunk, shrunk - alpha, -shrunk


@dataclass(frozen=True, eq=False)
class Block:
    """Linear predictors of a gate whose log weights bend together, and with no others.

    Parameters
    ----------
    rows
        Their positions among the gate's linear predictors.
    values
        Positions among the gate's unconstrained values of those that the M-step moves for them.
    """

    rows: np.ndarray
    values: np.ndarray


class BoundGate(ABC):
    """A gate that knows its number of experts and its basis."""

    experts: int
    joint: bool = False
    """Whether the target is the joint density of x and y; derivatives are then those of `log_joint`."""

    @property
    @abstractmethod
    def free(self) -> tuple[Free, ...]:
        """The free variables, in order."""

    @abstractmethod
    def coefficients(self, values: Sequence[Any], functions: Any) -> Any:
        """Return the coefficients (..., G, 1 + p) of the linear predictors.

        ``values`` are the constrained free variables in order (zero-sum ones with all K elements), with any leading
        dimensions of draws, and ``functions`` is ``numpy`` or ``pytensor.tensor``.
        """

    def at(self, q: np.ndarray) -> np.ndarray:
        """Return the coefficients (G, 1 + p) at one vector of unconstrained values."""
        values, start = [], 0
        for free in self.free:
            values.append(free.constrained(q[start : start + free.size]))
            start += free.size
        return np.asarray(self.coefficients(values, np))

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

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The linear predictors in blocks; the M-step's problem falls apart into one problem a block."""
        values = np.arange(self.moved(sum(free.size for free in self.free)))
        return (Block(np.arange(self.predictors), values),)

    def log_weights(self, eta: np.ndarray) -> np.ndarray:
        """Return log weights (n, K) from linear predictors (n, G): the softmax unless a gate says otherwise."""
        return log_softmax(eta)

    def log_joint(self, eta: np.ndarray) -> np.ndarray:
        """Return the log weights (n, K) as the target has them, with the density of x where that is modelled."""
        return self.log_weights(eta)

    def log_total(self, log_joint: np.ndarray) -> np.ndarray:
        """Return the log density of x (n,), 0 where it is not modelled."""
        return np.logaddexp.reduce(log_joint, axis=1) if self.joint else np.zeros(len(log_joint))

    def log_weights_graph(self, eta: Any) -> Any:
        """Return unnormalised log weights (n, K) as a graph of the linear predictors (n, G)."""
        return eta

    def slopes(self, eta: np.ndarray) -> np.ndarray:
        """Return the derivatives (n, K, G) of the log weights in the linear predictors."""
        weights = np.exp(self.log_weights(eta))
        return np.asarray(np.eye(self.experts)[None] - weights[:, None, :])

    def pull(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Return the gradient (n, G) of Σ_k mass_k log weight_k, with mass (n, K)."""
        return np.asarray(mass - totals(mass)[:, None] * np.exp(self.log_weights(eta)))

    def bends(self, eta: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        """Return, block by block, the Hessian (n, b, b) of Σ_k mass_k log weight_k, with mass (n, K)."""
        weights = np.exp(self.log_weights(eta))
        total = totals(mass)[:, None, None]
        return [total * (weights[:, :, None] * weights[:, None, :] - weights[:, :, None] * np.eye(self.experts))]

    def bend(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Return the whole Hessian (n, G, G) of Σ_k mass_k log weight_k, with mass (n, K)."""
        out = np.zeros((len(eta), self.predictors, self.predictors))
        for block, square in zip(self.blocks, self.bends(eta, mass), strict=True):
            out[:, block.rows[:, None], block.rows] = square
        return out

    def closed_form(self, sizes: np.ndarray, squares: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the unconstrained values that the M-step moves to, or None where it takes Newton's steps.

        ``sizes`` (K,) are sums of responsibilities as the gate counts them, ``squares`` sums of `bends` with the
        gate's columns.
        """
        del sizes, squares
        return None

    @property
    def rate(self) -> float | None:
        """Prior standard deviation of a learned log scale, which is then the last of the values; None without one."""
        return None

    @property
    def dim(self) -> str:
        """Name of the dimension of its linear predictors."""
        return "expert"

    @property
    def count(self) -> int:
        """Number of free numbers that the likelihood sees."""
        return self.moved(sum(free.size for free in self.free))

    def reported(self, raw: Any, functions: Any, *, sloped: bool) -> dict[str, Any]:
        """Return what is reported of coefficients (..., G, 1 + p) of the raw columns; ``sloped`` where p > 0."""
        del functions
        return {"gate_intercept": raw[..., 0], **({"gate_slopes": raw[..., 1:]} if sloped else {})}

    @property
    def reported_dims(self) -> Mapping[str, tuple[str, ...]]:
        """Dimensions of what is reported."""
        return {"gate_intercept": (self.dim,), "gate_slopes": (self.dim, "gate_feature")}

    @property
    def coords(self) -> Mapping[str, Sequence[Any]]:
        """Coordinates of the dimensions that no other part of a model has."""
        return {}

    @property
    def tree(self) -> Branching | None:
        """The tree whose equal branches may be exchanged without changing the model; None: any equal experts may."""
        return None

    def orders(self, features: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        """Return orders (K,) of clusters of rows that may suit the gate better than the one they have.

        None where all orders are the same to it. ``features`` (n, p) is what the gate sees, ``mass`` (n, K) how much
        of a row belongs to a cluster; expert k takes cluster ``order[k]``.
        """
        del features, mass
        return []

    def row_order(self, permutations: np.ndarray) -> np.ndarray:
        """Return which linear predictor stands in each place (draws, G) once experts are renamed.

        ``permutations`` (draws, K): new expert j was expert ``permutations[s, j]``.
        """
        return permutations

    def permuted(self, values: np.ndarray, permutations: np.ndarray) -> np.ndarray:
        """Return what belongs to its linear predictors, (draws, G, ...), once experts are renamed."""
        order = self.row_order(permutations)
        return np.take_along_axis(values, order.reshape(order.shape + (1,) * (values.ndim - 2)), axis=1)

    def steepest(self, slopes: np.ndarray) -> float:
        """Return by how much the log odds of two choices change at most, from slopes (G, p), per unit of a column."""
        return float((slopes.max(axis=0) - slopes.min(axis=0)).max())

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

    def check_experts(self, experts: int) -> None:
        """Refuse a number of experts that the gate cannot have."""
        del experts

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
