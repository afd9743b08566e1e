"""Limited-memory quasi-Newton ascent of a deterministic function with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .progress import Advance

_MEMORY = 30
_ARMIJO = 1e-4
_SHORTEST = 1e-10

ValueAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where an ascent ended.

    Parameters
    ----------
    x
        The point.
    history
        Value at the start and after every step; never falls.
    decrement
        ``g' B g`` with the quasi-Newton inverse curvature B: twice the gain the local quadratic still promises.
    converged, interrupted
        Whether the decrement came below the tolerance; whether Ctrl-C ended it.
    """

    x: np.ndarray
    history: np.ndarray
    decrement: float
    converged: bool
    interrupted: bool


def ascend(
    function: ValueAndGradient,
    start: np.ndarray,
    *,
    curvature: np.ndarray,
    steps: int,
    tol: float,
    advance: Advance,
) -> Ascent:
    """Climb by L-BFGS with a backtracking line search; the value never falls.

    Parameters
    ----------
    function
        Value and gradient; a value that is not finite counts as too low.
    start
        Where to begin; finite there.
    curvature
        Rough curvature of the negative function in each element.
    steps
        Steps at most.
    tol
        Stop when the decrement is at or below this.
    advance
        Called after every step with the number of steps and a note.

    References
    ----------
    Nocedal and Wright (2006), Numerical Optimization, chapter 7.
    """
    x = start
    history: list[float] = []
    decrement, converged, interrupted = np.inf, False, False
    memory: list[tuple[np.ndarray, np.ndarray]] = []
    try:
        value, gradient = function(x)
        history.append(value)
        while True:
            direction = _direction(gradient, memory, curvature)
            decrement = float(gradient @ direction)
            converged = bool(decrement <= tol)
            if converged or len(history) > steps:
                break
            moved = _line_search(function, x, value, direction, decrement)
            if moved is None:
                if not memory:
                    break
                memory = []
                continue
            new_x, value, new_gradient = moved
            memory = _remember(memory, new_x - x, gradient - new_gradient)
            x, gradient = new_x, new_gradient
            history.append(value)
            advance(len(history) - 1, f"{value:.3f}")
    except KeyboardInterrupt:
        interrupted = True
    return Ascent(x, np.array(history), decrement, converged, interrupted)


def _direction(gradient: np.ndarray, memory: list[tuple[np.ndarray, np.ndarray]], curvature: np.ndarray) -> np.ndarray:
    """Return the quasi-Newton step by the two-loop recursion."""
    out = gradient.copy()
    factors = []
    for step, change in reversed(memory):
        factor = (step @ out) / (step @ change)
        factors.append(factor)
        out -= factor * change
    out /= curvature
    if memory:
        step, change = memory[-1]
        out *= (step @ change) / (change @ (change / curvature))
    for (step, change), factor in zip(memory, reversed(factors), strict=True):
        out += step * (factor - (change @ out) / (step @ change))
    return out


def _line_search(
    function: ValueAndGradient, x: np.ndarray, value: float, direction: np.ndarray, slope: float
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """Return the first point along ``direction`` that gains enough, its value and gradient, or None."""
    length = min(1.0, 1.0 / float(np.abs(direction).max()))
    while length > _SHORTEST:
        new_x = x + length * direction
        new_value, new_gradient = function(new_x)
        if np.isfinite(new_value) and np.all(np.isfinite(new_gradient)):
            gain = new_value - value
            if gain >= _ARMIJO * length * slope:
                return new_x, new_value, new_gradient
            # the parabola through both values and the slope has its top here
            top = 0.5 * slope * length / (slope * length - gain)
            length *= float(np.clip(top, 0.1, 0.5))
        else:
            length *= 0.1
    return None


def _remember(
    memory: list[tuple[np.ndarray, np.ndarray]], step: np.ndarray, change: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the memory with one more pair, unless the function bends the wrong way along it."""
    if not step @ change > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
        return memory
    return [*memory, (step, change)][-_MEMORY:]
