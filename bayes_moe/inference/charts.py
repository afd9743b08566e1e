"""Coordinates in which a sampler sees a rounder density.

Two changes of variables, one after the other. Where a learned log scale t multiplies other values z, as in
``b = exp(r t) z``, the posterior is a curved ridge in z when the data speak about b, and one in b when they do not.
A datum of precision λ about b leaves z with precision ``1 + λ exp(2 r t)``: then ``c = sqrt(1 + λ exp(2 r t)) z`` has
one spread for every t, z where the scale is small and b where it is large. Where the data bound b from one side alone,
as they do the slopes of a steep gate, ``c = exp(p r t) z`` lies between the two for every t. Which of them a value
needs, and how far to go, is read from how the conditional spread of z falls along t (partial non-centring:
Papaspiliopoulos, Roberts and Sköld 2007; Gorinova, Moore and Hoffman 2020). Then curvature whitens the rest.
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
_LEAST = 0.01  # of a share that is told from none


@runtime_checkable
class Funnelled(LogDensity, Protocol):
    """A density that knows of a funnel among its values."""

    @property
    def funnel(self) -> Funnel | None:
        """The funnel, or None."""
        ...


@dataclass(frozen=True, eq=False)
class Centring:
    """How far the values of a funnel go over from z to b: ``c = sqrt(base + told exp(2 rate t)) z``.

    Parameters
    ----------
    told
        (values,) λ.
    base
        (values,) 1, or 0 where c is exp(rate t) z.
    rate
        (values,) r, or p r where base is 0.
    """

    told: np.ndarray
    base: np.ndarray
    rate: np.ndarray

    @staticmethod
    def halfway(funnel: Funnel | None) -> Centring:
        """Return the centring of exp(r t / 2) z for all values."""
        count = 0 if funnel is None else funnel.values.stop - funnel.values.start
        rate = 0.0 if funnel is None else 0.5 * funnel.rate
        return Centring(np.ones(count), np.zeros(count), np.full(count, rate))

    def stretch(self, t: np.ndarray | float) -> np.ndarray:
        """Return c / z at log scales t, the values on a last axis."""
        return np.asarray(np.sqrt(self.base + self.told * np.exp(2.0 * self.rate * np.asarray(t)[..., None])))

    def slope(self, t: float) -> np.ndarray:
        """Return the derivative of log(c / z) in t (values,)."""
        return np.asarray(self.rate * (1.0 - self.base / self.stretch(t) ** 2))


@dataclass(frozen=True, eq=False)
class Recentred:
    """A log density in partly centred values c of the same length as q.

    Parameters
    ----------
    density
        The log density in q.
    funnel
        The funnel to straighten, or None to leave q as it is.
    centring
        How far to go from z to b.
    """

    density: LogDensity
    funnel: Funnel | None
    centring: Centring

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.density.size

    def to_q(self, c: np.ndarray) -> np.ndarray:
        """Return q from c, draws leading."""
        if self.funnel is None:
            return c
        q = c.copy()
        q[..., self.funnel.values] /= self.centring.stretch(c[..., self.funnel.scale])
        return q

    def from_q(self, q: np.ndarray) -> np.ndarray:
        """Return c from q, draws leading."""
        if self.funnel is None:
            return q
        c = q.copy()
        c[..., self.funnel.values] *= self.centring.stretch(q[..., self.funnel.scale])
        return c

    def function(self, compiled: Function) -> Function:
        """Return the log density in c, Jacobian included, with its gradient, from that in q."""
        if self.funnel is None:
            return compiled
        values, scale = self.funnel.values, self.funnel.scale

        def recentred(c: np.ndarray) -> tuple[float, np.ndarray]:
            stretch, slope = self.centring.stretch(c[scale]), self.centring.slope(c[scale])
            q = c.copy()
            q[values] /= stretch
            value, gradient = compiled(q)
            gradient[scale] -= slope @ (gradient[values] * q[values] + 1.0)
            gradient[values] /= stretch
            return value - float(np.sum(np.log(stretch))), gradient

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
        return np.asarray(-np.log(self.recentred.centring.stretch(q[..., funnel.scale])).sum(axis=-1))

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
    recentred = Recentred(density, funnel, Centring.halfway(funnel))
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
    the rest has its own mode, slope in t and precision. How the spread of z falls as t grows, from one standard
    deviation of t below to one above, tells how far to go over to b.
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
    centring = _centring((below, top, above), inside, funnel.rate)
    stretch, rates = np.ones(size - 1), np.zeros(size - 1)
    stretch[inside], rates[inside] = centring.stretch(top.at), centring.slope(top.at)
    slope = stretch * (top.slope + rates * top.rest)
    lower = np.linalg.cholesky(top.precision / np.outer(stretch, stretch))
    centre, matrix = np.empty(size), np.zeros((size, size))
    centre[rest], centre[scale] = stretch * top.rest, top.at
    matrix[np.ix_(rest, rest)] = np.linalg.solve(lower.T, np.eye(size - 1))
    matrix[rest, scale], matrix[scale, scale] = sd * slope, sd
    return Chart(Recentred(density, funnel, centring), centre, matrix)


def _centring(nodes: tuple[Node, Node, Node], inside: np.ndarray, rate: float) -> Centring:
    """Return how far to go over, from the conditional spread of every value at three scales, one step apart.

    Of a precision ``1 + λ exp(2 r t)`` the share S that comes from b has log odds that grow by 2 r with t, and r S is
    how fast the spread falls. Values of which half of that growth or more is seen have a λ, the others one power
    together.
    """
    below, top, above = nodes
    covariances = [np.linalg.inv(node.precision)[np.ix_(inside, inside)] for node in nodes]
    first, middle, last = (0.5 * np.log(np.diag(covariance)) for covariance in covariances)
    shares = np.array([(first - middle) / (top.at - below.at), (middle - last) / (above.at - top.at)]) / rate
    shares = np.clip(shares, _LEAST, 1.0 - _LEAST)
    odds = np.log(shares / (1.0 - shares))
    datum = odds[1] - odds[0] > 0.5 * rate * (above.at - below.at)
    told = np.where(datum, np.exp(odds.mean(axis=0) - 2.0 * rate * top.at), 1.0)
    others = np.ix_(~datum, ~datum)
    low, high = (np.linalg.slogdet(covariance[others])[1] for covariance in (covariances[0], covariances[2]))
    shrinking = (low - high) / (2 * max(1, int(np.sum(~datum))) * (above.at - below.at))
    power = float(np.clip(shrinking, 0.0, rate))
    return Centring(told, datum.astype(float), np.where(datum, rate, power))
