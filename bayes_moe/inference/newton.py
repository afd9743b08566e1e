"""A trust-region Newton method on an exact Hessian, and the certificate of a maximum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..log_density import LogDensity

_LARGEST_RADIUS = 1e3
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Certificate:
    """What the gradient and the Hessian say about a point.

    Parameters
    ----------
    q, log_density
        The point and its log density.
    gradient_norm
        Largest element of the gradient.
    decrement
        ``g' H⁻¹ g``: twice the gain that the local quadratic still promises; scale-free.
    smallest_eigenvalue
        Of the negative Hessian.
    hessian
        The Hessian, there or one last Newton step away, which is less than 1e-3 posterior standard deviations.
    iterations
        Newton iterations taken.
    """

    q: np.ndarray
    log_density: float
    gradient_norm: float
    decrement: float
    smallest_eigenvalue: float
    hessian: np.ndarray
    iterations: int

    @property
    def maximum(self) -> bool:
        """Whether the point is a strict local maximum to rounding."""
        return self.smallest_eigenvalue > 0 and 0 <= self.decrement <= 1e-6


def certify(density: LogDensity, q: np.ndarray, iterations: int = 0) -> Certificate:
    """Return the certificate of a point."""
    value, gradient = density.logp_and_gradient(q)
    hessian = density.hessian(q)
    return _certificates([(q, value, gradient)], hessian, iterations)[0]


def _certificates(
    points: Sequence[tuple[np.ndarray, float, np.ndarray]], hessian: np.ndarray, iterations: int
) -> list[Certificate]:
    """Return the certificates of points (q, value, gradient) that have a Hessian in common."""
    finite = bool(np.isfinite(hessian).all())
    values, vectors = np.linalg.eigh(-hessian) if finite else (np.empty(0), np.empty((0, 0)))
    smallest = -np.inf if not finite else float(values[0]) if len(values) else np.inf
    out = []
    for q, value, gradient in points:
        norm = float(np.abs(gradient).max(initial=0.0))
        decrement = float(np.sum((vectors.T @ gradient) ** 2 / values)) if smallest > 0 else np.inf
        out.append(Certificate(q, value, norm, decrement, smallest, hessian, iterations))
    return out


def newton(
    density: LogDensity,
    start: np.ndarray,
    *,
    max_iter: int = 100,
    tol: float = 1e-10,
    settle: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Certificate:
    """Climb to a local maximum; the log density never goes down.

    Every step maximises the local quadratic within a ball, in coordinates scaled by the curvature: Newton's step
    where it can be trusted, a step along the gradient where it cannot, away from saddles along negative curvature.

    Parameters
    ----------
    density
        The log density.
    start
        Where to begin; finite there.
    max_iter
        Iterations at most.
    tol
        Stop when the Newton decrement is below this at a maximum.
    settle
        Applied to every proposal; must not lower the log density. It takes steps along curved valleys.

    References
    ----------
    Nocedal and Wright (2006), Numerical Optimization, chapter 4.
    """
    q = np.array(start, dtype=float)
    value, gradient = density.logp_and_gradient(q)
    radius = 1.0
    hessian = density.hessian(q)
    for iteration in range(max_iter):
        if not np.isfinite(hessian).all():
            break
        scale = np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-8))
        values, vectors = np.linalg.eigh(-hessian / np.outer(scale, scale))
        along = vectors.T @ (gradient / scale)
        if values[0] > 0 and np.sum(along**2 / values) <= tol:
            last = q + (vectors @ (along / values)) / scale
            return _closer(density, (q, value, gradient), hessian, last, iteration)
        moved = False
        while radius > 1e-12:
            inside = _ball_step(values, along, radius)
            promised = float(along @ inside - 0.5 * np.sum(values * inside**2))
            proposal = q + (vectors @ inside) / scale
            if promised <= _ROUNDING * (1 + abs(value)):
                return _closer(density, (q, value, gradient), hessian, proposal, iteration)
            proposal = proposal if settle is None else settle(proposal)
            new_value, new_gradient = density.logp_and_gradient(proposal)
            ratio = (new_value - value) / promised if np.isfinite(new_value) else -1.0
            length = float(np.linalg.norm(inside))
            if ratio > 0.75 and length > 0.8 * radius:
                radius = min(2.0 * radius, _LARGEST_RADIUS)
            elif not ratio > 0.25:
                radius = 0.25 * length
            if ratio > 1e-4:
                q, value, gradient = proposal, new_value, new_gradient
                hessian = density.hessian(q)
                moved = True
                break
        if not moved:
            break
    return _certificates([(q, value, gradient)], hessian, max_iter)[0]


def _closer(
    density: LogDensity,
    point: tuple[np.ndarray, float, np.ndarray],
    hessian: np.ndarray,
    proposal: np.ndarray,
    iterations: int,
) -> Certificate:
    """Return the certificate of a last step if it comes closer to the maximum.

    The gain is lost in rounding there, but the step still squares the distance; too short a step for another Hessian.
    """
    found, last = _certificates([point, (proposal, *density.logp_and_gradient(proposal))], hessian, iterations)
    floor = found.log_density - _ROUNDING * (1 + abs(found.log_density))
    return last if last.log_density >= floor and last.decrement < found.decrement else found


def _ball_step(values: np.ndarray, along: np.ndarray, radius: float) -> np.ndarray:
    """Maximise ``along·s - ½ Σ values s²`` over ``|s| <= radius`` in the eigenbasis."""
    if values[0] > 0:
        full = along / values
        if np.linalg.norm(full) <= radius:
            return np.asarray(full)
    low = max(0.0, -float(values[0]))
    tiny = 1e-14 * max(1.0, float(np.abs(values).max()))
    high = low + float(np.linalg.norm(along)) / radius + tiny
    for _ in range(80):
        middle = 0.5 * (low + high)
        if np.linalg.norm(along / (values + middle + tiny)) > radius:
            low = middle
        else:
            high = middle
    step = along / (values + high + tiny)
    short = radius**2 - float(step @ step)
    if values[0] < 0 and short > 0.01 * radius**2:
        # the hard case: the gradient has no part along the most negative curvature
        step[0] += np.copysign(np.sqrt(short), step[0])
    return np.asarray(step)
