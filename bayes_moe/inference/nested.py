"""Laplace's approximation along one scale parameter.

Where a learned scale s multiplies other values z, as in ``b = s z``, the data speak about b: the posterior of
(log s, z) is a curved ridge, and a Gaussian at its mode leaves it. Given the scale, the rest is as Gaussian as it
gets. So the scale is taken on a grid: at each node the rest has its own mode and curvature, and their Laplace
evidences are the marginal density of the scale (Tierney and Kadane 1986; Rue, Martino and Chopin 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..log_density import LogDensity
from .newton import newton

_LOG_2PI = float(np.log(2.0 * np.pi))
_SPACING = 0.6
_DROP = 9.0
_MOST_NODES = 40
_CELLS = 64


@runtime_checkable
class Scaled(LogDensity, Protocol):
    """A density that knows which of its values is a log scale of others."""

    @property
    def scale(self) -> int | None:
        """Position in q of the log scale, or None."""
        ...


@dataclass(frozen=True, eq=False)
class Node:
    """The rest given one value of the scale.

    Parameters
    ----------
    at
        The value t of the log scale.
    rest
        (d - 1,) the mode of the other values given t.
    slope
        (d - 1,) its derivative in t.
    precision
        (d - 1, d - 1) negative Hessian there.
    log_marginal
        Log of the Laplace evidence of the rest: log p(y, t).
    """

    at: float
    rest: np.ndarray
    slope: np.ndarray
    precision: np.ndarray
    log_marginal: float


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws from an approximation.

    Parameters
    ----------
    q
        (n, d) draws.
    log_q
        (n,) log density of the approximation there.
    log_evidence
        Its estimate of the log evidence log p(y).
    """

    q: np.ndarray
    log_q: np.ndarray
    log_evidence: float


def nested_draws(
    density: LogDensity, position: int, mode: np.ndarray, spread: float, count: int, rng: np.random.Generator
) -> Drawn | None:
    """Return draws, or None where the marginal of the scale has no top.

    Parameters
    ----------
    density
        The log posterior.
    position
        Position of the log scale in q.
    mode
        (d,) the joint mode.
    spread
        Standard deviation of the log scale by the curvature at the joint mode.
    count
        Number of draws.
    rng
        Where randomness comes from.
    """
    # scipy: a third of a second that `import bayes_moe` does not pay
    from scipy.interpolate import CubicSpline
    from scipy.linalg import solve_triangular

    nodes = _nodes(density, position, mode, spread)
    if len(nodes) < 4:
        return None
    at = np.array([node.at for node in nodes])
    edges = np.linspace(at[0], at[-1], _CELLS * (len(at) - 1) + 1)
    width = edges[1] - edges[0]
    log_marginal = CubicSpline(at, [node.log_marginal for node in nodes])(0.5 * (edges[1:] + edges[:-1]))
    log_evidence = float(np.logaddexp.reduce(log_marginal) + np.log(width))
    chance = np.exp(log_marginal + np.log(width) - log_evidence)
    cells = rng.choice(len(chance), size=count, p=chance / chance.sum())
    scales = edges[cells] + width * rng.random(count)
    normal = rng.standard_normal((count, len(mode) - 1))
    q, log_q = np.empty((count, len(mode))), log_marginal[cells] - log_evidence
    for i, t in enumerate(scales):
        j = cells[i] // _CELLS
        rest, precision = _between(nodes[j], nodes[j + 1], float(t))
        factor = np.linalg.cholesky(precision)
        rest += solve_triangular(factor, normal[i], lower=True, trans="T")
        q[i] = np.insert(rest, position, t)
        log_q[i] += np.sum(np.log(np.diag(factor))) - 0.5 * (normal[i] @ normal[i] + len(rest) * _LOG_2PI)
    return Drawn(q, log_q, log_evidence)


def scale_top(
    density: LogDensity, position: int, mode: np.ndarray, spread: float
) -> tuple[Node, Node, Node, float] | None:
    """Return the nodes one standard deviation below, at and above the top of the scale's marginal, and that deviation.

    Parameters are those of `nested_draws`; None where the marginal has no top or the rest has no mode beside it.
    """
    centre = _node(density, position, float(mode[position]), np.delete(mode, position))
    top = None if centre is None else _top(density, position, centre, spread)
    if top is None:
        return None
    below, above = (next(_walk(density, position, top[0], side * top[1]), None) for side in (-1, 1))
    return None if below is None or above is None else (below, top[0], above, top[1])


def _between(left: Node, right: Node, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mode and precision of the rest between two nodes: a cubic with the right slopes, and a line."""
    h = right.at - left.at
    x = (t - left.at) / h
    rest = (1 + 2 * x) * (1 - x) ** 2 * left.rest + x**2 * (3 - 2 * x) * right.rest
    rest += h * x * (1 - x) * ((1 - x) * left.slope - x * right.slope)
    return rest, (1 - x) * left.precision + x * right.precision


def _nodes(density: LogDensity, position: int, mode: np.ndarray, spread: float) -> list[Node]:
    """Return equally spaced nodes over the bulk of the scale's marginal, in order."""
    centre = _node(density, position, float(mode[position]), np.delete(mode, position))
    top = None if centre is None else _top(density, position, centre, spread)
    if top is None:
        return []
    middle, step = top[0], _SPACING * top[1]
    best = middle.log_marginal
    sides = []
    for h in (-step, step):
        side: list[Node] = []
        for node in _walk(density, position, middle, h):
            side.append(node)
            best = max(best, node.log_marginal)
            if node.log_marginal < best - _DROP or len(side) >= _MOST_NODES:
                break
        sides.append(side)
    return [*reversed(sides[0]), middle, *sides[1]]


def _walk(density: LogDensity, position: int, node: Node, step: float) -> Iterator[Node]:
    """Yield neighbours of a node, as far as the rest keeps its mode."""
    while True:
        following = _node(density, position, node.at + step, node.rest + step * node.slope)
        if following is None:
            return
        yield following
        node = following


def _top(density: LogDensity, position: int, centre: Node, spread: float) -> tuple[Node, float] | None:
    """Return the node near the marginal's top, and the marginal's standard deviation there."""
    step = 0.5 * float(np.clip(spread, 0.05, 2.0))
    left = next(_walk(density, position, centre, -step), None)
    right = next(_walk(density, position, centre, step), None)
    for _ in range(_MOST_NODES):
        if left is None or right is None:
            return None
        if left.log_marginal > centre.log_marginal:
            right, centre = centre, left
            left = next(_walk(density, position, centre, -step), None)
        elif right.log_marginal > centre.log_marginal:
            left, centre = centre, right
            right = next(_walk(density, position, centre, step), None)
        else:
            bend = (2.0 * centre.log_marginal - left.log_marginal - right.log_marginal) / step**2
            return centre, float(np.clip(1.0 / np.sqrt(max(bend, 1e-8)), 0.2 * step, 4.0 * step))
    return None


def _node(density: LogDensity, position: int, t: float, guess: np.ndarray) -> Node | None:
    """Return the node at t, searched from a guess of the rest; None where it has no mode."""
    found = newton(_Given(density, position, t), guess)
    if not found.maximum:
        return None
    hessian = density.hessian(np.insert(found.q, position, t))
    precision = np.delete(np.delete(-hessian, position, 0), position, 1)
    try:
        factor = np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        return None
    from scipy.linalg import cho_solve  # scipy: a third of a second that `import bayes_moe` does not pay

    slope = cho_solve((factor, True), np.delete(hessian[position], position))
    evidence = found.log_density + 0.5 * len(guess) * _LOG_2PI - float(np.sum(np.log(np.diag(factor))))
    return Node(t, found.q, np.asarray(slope), precision, evidence)


@dataclass(frozen=True, eq=False)
class _Given:
    """The density of the rest given the scale."""

    density: LogDensity
    position: int
    t: float

    @property
    def size(self) -> int:
        return self.density.size - 1

    def _whole(self, rest: np.ndarray) -> np.ndarray:
        return np.insert(rest, self.position, self.t)

    def logp(self, q: np.ndarray) -> float:
        return self.density.logp(self._whole(q))

    def gradient(self, q: np.ndarray) -> np.ndarray:
        return self.logp_and_gradient(q)[1]

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.density.logp_and_gradient(self._whole(q))
        return value, np.delete(gradient, self.position)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        hessian = self.density.hessian(self._whole(q))
        return np.delete(np.delete(hessian, self.position, 0), self.position, 1)

    def compiled(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        return self.logp_and_gradient

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        return self.density.expand(np.insert(q, self.position, self.t, axis=-1))
