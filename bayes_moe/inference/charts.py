"""Coordinates in which a sampler sees a rounder density.

Two changes of variables, one after the other. Where a learned log scale t multiplies other values z, as in
``b = exp(r t) z``, the posterior is a curved ridge in z when the data speak about b, and one in b when they do not;
between, ``c = exp(p r t) z``, it is straight (partial non-centring: Papaspiliopoulos, Roberts and Sköld 2007). How far
to go is read from the conditional spread of z given t. Then curvature whitens the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import NumericalError
from ..log_density import Funnel, LogDensity
from .nested import Node, scale_top
from .newton import newton

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]

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
    """A log density in partly centred values c of the same length as q.

    Parameters
    ----------
    density
        The log density in q.
    funnel
        The funnel to straighten, or None to leave q as it is.
    power
        How far to go from z (0) to b (1).
    """

    density: LogDensity
    funnel: Funnel | None
    power: float = 0.5

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
        return self.power * self.funnel.rate if self.funnel is not None else 0.0

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


@dataclass(frozen=True, eq=False)
class Chart:
    """Whitened coordinates u: c = centre + W u, and q from c.

    Parameters
    ----------
    recentred
        The density in c.
    centre
        (d,) where u is 0.
    matrix
        (d, d) W.
    """

    recentred: Recentred
    centre: np.ndarray
    matrix: np.ndarray

    @property
    def size(self) -> int:
        """Length of the vector."""
        return len(self.centre)

    def to_q(self, u: np.ndarray) -> np.ndarray:
        """Return q from u, draws leading."""
        return self.recentred.to_q(self.centre + u @ self.matrix.T)

    def log_jacobian(self, q: np.ndarray) -> np.ndarray:
        """Return what the log density in u has more than the one in q, up to a constant (draws,)."""
        funnel = self.recentred.funnel
        if funnel is None:
            return np.zeros(q.shape[:-1])
        count = funnel.values.stop - funnel.values.start
        return np.asarray(-self.recentred.rate * count * q[..., funnel.scale])

    def function(self, compiled: Function) -> Function:
        """Return the log density in u with its gradient, from that in q."""
        inner, centre, matrix = self.recentred.function(compiled), self.centre, self.matrix
        transposed = np.ascontiguousarray(matrix.T)

        def whitened(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = inner(centre + matrix @ u)
            return value, transposed @ gradient

        return whitened


def make_chart(density: LogDensity, mode: np.ndarray) -> Chart:
    """Return a chart of a density around a mode in q.

    Raises
    ------
    NumericalError
        If the point is no maximum.
    """
    funnel = density.funnel if isinstance(density, Funnelled) else None
    along = None if funnel is None else _along_scale(density, mode, funnel)
    return along or _at_mode(density, mode, funnel)


def _at_mode(density: LogDensity, mode: np.ndarray, funnel: Funnel | None) -> Chart:
    """Return the chart whose centre is the mode and whose W W' is the inverse negative Hessian there."""
    recentred = Recentred(density, funnel)
    found = newton(recentred, recentred.from_q(mode))
    if not found.smallest_eigenvalue > 0:
        raise NumericalError(
            f"NUTS: expected a maximum to start around, got a point whose smallest eigenvalue is "
            f"{found.smallest_eigenvalue:.3g} → pass start=bm.fit(..., bm.EM()), or use fewer experts"
        )
    lower = np.linalg.cholesky(-found.hessian)
    return Chart(recentred, found.q, np.linalg.solve(lower.T, np.eye(density.size)))


def _along_scale(density: LogDensity, mode: np.ndarray, funnel: Funnel) -> Chart | None:
    """Return the chart that follows the funnel's scale, or None where its marginal has no top.

    The centre is where the Laplace marginal of the scale t has its top: the joint mode of a funnel lies far out. There
    the rest has its own mode, slope in t and precision. How the spread of z shrinks as t grows, between one standard
    deviation of t to both sides, is the power by which z goes over to c, so that c has one spread for every t.
    """
    size, scale = density.size, funnel.scale
    try:
        lower = np.linalg.cholesky(-density.hessian(mode))
    except np.linalg.LinAlgError:
        return None
    spread = float(np.linalg.norm(np.linalg.solve(lower, np.eye(size)[scale])))
    found = scale_top(density, scale, mode, spread)
    if found is None:
        return None
    below, top, above, sd = found
    values = np.arange(size)[funnel.values]
    rest = np.delete(np.arange(size), scale)
    inside = np.isin(rest, values)
    shrinking = -(_log_spread(above, inside) - _log_spread(below, inside)) / (above.at - below.at)
    power = float(np.clip(shrinking / funnel.rate, 0.0, 1.0))
    rate = power * funnel.rate
    stretch = np.where(inside, np.exp(rate * top.at), 1.0)
    slope = stretch * (top.slope + np.where(inside, rate * top.rest, 0.0))
    lower = np.linalg.cholesky(top.precision / np.outer(stretch, stretch))
    centre, matrix = np.empty(size), np.zeros((size, size))
    centre[rest], centre[scale] = stretch * top.rest, top.at
    matrix[np.ix_(rest, rest)] = np.linalg.solve(lower.T, np.eye(size - 1))
    matrix[rest, scale], matrix[scale, scale] = sd * slope, sd
    return Chart(Recentred(density, funnel, power), centre, matrix)


def _log_spread(node: Node, inside: np.ndarray) -> float:
    """Return the mean log standard deviation of the values inside the funnel, given the scale."""
    covariance = np.linalg.inv(node.precision)[np.ix_(inside, inside)]
    return float(np.linalg.slogdet(covariance)[1] / (2 * inside.sum()))
