"""Coordinates in which a sampler sees a rounder density.

Two changes of variables, one after the other. Where a learned log scale t multiplies other values z, as in
``b = exp(r t) z``, the posterior is a curved ridge in z when the data speak about b, and one in b when they do not;
half way, ``c = exp(r t / 2) z``, it is straight enough in both cases (partial non-centring: Papaspiliopoulos, Roberts
and Sköld 2007). Then the Hessian at the mode whitens the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import NumericalError
from ..log_density import Funnel, LogDensity
from .newton import newton

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]

_CENTRING = 0.5
_STEP = 1e-5


@runtime_checkable
class Funnelled(LogDensity, Protocol):
    """A density that knows of a funnel among its values."""

    @property
    def funnel(self) -> Funnel | None:
        """The funnel, or None."""
        ...


@dataclass(frozen=True, eq=False)
class Recentred:
    """A log density in half-centred values c of the same length as q.

    Parameters
    ----------
    density
        The log density in q.
    funnel
        The funnel to straighten, or None to leave q as it is.
    """

    density: LogDensity
    funnel: Funnel | None

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.density.size

    def to_q(self, c: np.ndarray) -> np.ndarray:
        """Return q from c, draws leading."""
        if self.funnel is None:
            return c
        q = c.copy()
        q[..., self.funnel.values] *= np.exp(-self.rate * c[..., self.funnel.scale, None])
        return q

    def from_q(self, q: np.ndarray) -> np.ndarray:
        """Return c from q, draws leading."""
        if self.funnel is None:
            return q
        c = q.copy()
        c[..., self.funnel.values] *= np.exp(self.rate * q[..., self.funnel.scale, None])
        return c

    @property
    def rate(self) -> float:
        """The power of the scale that goes over to the values."""
        return _CENTRING * self.funnel.rate if self.funnel is not None else 0.0

    def function(self, compiled: Function) -> Function:
        """Return the log density in c, Jacobian included, with its gradient, from that in q."""
        if self.funnel is None:
            return compiled
        values, scale, rate = self.funnel.values, self.funnel.scale, self.rate
        count = values.stop - values.start

        def recentred(c: np.ndarray) -> tuple[float, np.ndarray]:
            factor = np.exp(-rate * c[scale])
            q = c.copy()
            q[values] *= factor
            value, gradient = compiled(q)
            gradient[scale] -= rate * (gradient[values] @ q[values] + count)
            gradient[values] *= factor
            return value - rate * count * c[scale], gradient

        return recentred

    def logp_and_gradient(self, c: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log density and gradient at c."""
        return self.function(self.density.logp_and_gradient)(c)

    def logp(self, c: np.ndarray) -> float:
        """Return the log density at c."""
        return self.logp_and_gradient(c)[0]

    def gradient(self, c: np.ndarray) -> np.ndarray:
        """Return the gradient at c."""
        return self.logp_and_gradient(c)[1]

    def hessian(self, c: np.ndarray) -> np.ndarray:
        """Return the Hessian at c; with a funnel by central differences of the exact gradient."""
        if self.funnel is None:
            return self.density.hessian(c)
        steps = _STEP * np.eye(self.size)
        rows = [(self.gradient(c + step) - self.gradient(c - step)) / (2 * _STEP) for step in steps]
        out = np.array(rows)
        return np.asarray(0.5 * (out + out.T))

    def compiled(self) -> Function:
        """Return the fastest value-and-gradient function."""
        return self.function(self.density.compiled())

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Return named parameters from c."""
        return self.density.expand(self.to_q(q))


class Chart:
    """Whitened coordinates u around a mode: c = mode + W u with W W' the inverse negative Hessian in c.

    Parameters
    ----------
    density
        The log density.
    mode
        A mode in q, from which the mode in c is climbed to.
    """

    def __init__(self, density: LogDensity, mode: np.ndarray) -> None:
        funnel = density.funnel if isinstance(density, Funnelled) else None
        self.recentred = Recentred(density, funnel)
        found = newton(self.recentred, self.recentred.from_q(mode))
        if not found.smallest_eigenvalue > 0:
            raise NumericalError(
                f"NUTS: expected a maximum to start around, got a point whose smallest eigenvalue is "
                f"{found.smallest_eigenvalue:.3g} → pass start=bm.fit(..., bm.EM()), or use fewer experts"
            )
        self.mode = found.q
        lower = np.linalg.cholesky(-found.hessian)
        self.matrix = np.ascontiguousarray(np.linalg.solve(lower.T, np.eye(density.size)))

    @property
    def size(self) -> int:
        """Length of the vector."""
        return len(self.mode)

    def to_q(self, u: np.ndarray) -> np.ndarray:
        """Return q from u, draws leading."""
        return self.recentred.to_q(self.mode + u @ self.matrix.T)

    def log_jacobian(self, q: np.ndarray) -> np.ndarray:
        """Return what the log density in u has more than the one in q, up to a constant (draws,)."""
        funnel = self.recentred.funnel
        if funnel is None:
            return np.zeros(q.shape[:-1])
        count = funnel.values.stop - funnel.values.start
        return np.asarray(-_CENTRING * funnel.rate * count * q[..., funnel.scale])

    def function(self, compiled: Function) -> Function:
        """Return the log density in u with its gradient, from that in q."""
        inner, mode, matrix = self.recentred.function(compiled), self.mode, self.matrix
        transposed = np.ascontiguousarray(matrix.T)

        def whitened(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = inner(mode + matrix @ u)
            return value, transposed @ gradient

        return whitened
