"""Gates whose coefficients are normal, with one learned scale for all slopes.

The coefficients of their linear predictors are ``centre + a(t) B z_0`` (intercepts) and ``v_j(t) B z_j`` (slopes)
with standard normal z and a fixed matrix B: the zero-sum basis over the experts, one such basis for every node of a
tree, or a diagonal.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, sqrt
from typing import Any

import numpy as np

from ..errors import SpecError
from ..predictors.base import Basis, Predictor
from ..priors import LearnedScale, Normal
from .base import Block, BoundGate

DEFAULT_SCALE = LearnedScale(median=1.5, spread=1.0)

_LONGEST = 300.0  # log of a scale whose square is finite still


_ZERO_SUM = "gate coefficients sum to zero over the experts"


def check_predictor(owner: str, predictor: Predictor, reason: str = _ZERO_SUM) -> None:
    """Refuse what cannot be the linear predictors of a gate; ``reason`` says why priors have mean 0."""
    if not isinstance(predictor, Predictor):
        raise SpecError(f"{owner}.predictor: expected a predictor such as bm.Linear(), got {predictor!r} → pass one")
    if predictor.shared:
        raise SpecError(
            f"{owner}.predictor: expected coefficients per expert, got shared={predictor.shared!r} → "
            "equal weights are bm.EqualGate()"
        )
    for name, prior in (("intercept", predictor.intercept), ("slopes", predictor.slopes_prior)):
        if isinstance(prior, Normal) and prior.loc != 0:
            raise SpecError(
                f"{owner}.predictor.{name}: expected a prior with loc 0, because {reason}, got "
                f"loc={prior.loc} → set loc=0"
            )


@dataclass(frozen=True, eq=False)
class Spread:
    """Prior standard deviations of a gate's coefficients.

    Parameters
    ----------
    units
        Of every slope at t = 0.
    spread
        Of the log scale; 0 when it is fixed.
    scaled
        Whether the free variable t exists.
    fixed_intercept
        Of the intercepts, or None for ``sqrt(1 + s(t)²)/1.8``.
    total
        s at t = 0: of the whole linear predictor.
    """

    units: np.ndarray
    spread: float
    scaled: bool
    fixed_intercept: float | None
    total: float


def read_spread(predictor: Predictor, basis: Basis) -> Spread:
    """Return the standard deviations that the priors of a gate's predictor mean on its basis."""
    slopes = predictor.slopes_prior
    width = len(basis.names)
    learned = slopes is None or isinstance(slopes, LearnedScale)
    spread = 0.0
    if learned:
        scale = DEFAULT_SCALE if slopes is None else slopes
        units = scale.median * basis.shares()
        spread = scale.spread
    else:
        factor = np.ones(width) if slopes.standardised else basis.slope_units()
        units = slopes.scale * factor
    intercept = predictor.intercept
    return Spread(
        units=units,
        spread=spread,
        scaled=learned and width > 0,
        fixed_intercept=None if intercept is None else intercept.scale,
        total=DEFAULT_SCALE.median if width == 0 else float(np.sqrt(np.sum(units**2))),
    )


@dataclass(frozen=True, eq=False)
class BoundScaled(BoundGate):
    """Slopes ``v_j(t) B z_j`` with ``v_j(t) = unit_j exp(spread t)`` and intercepts ``centre + a(t) B z_0``.

    Parameters
    ----------
    experts
        Number of experts K.
    units, spread, scaled, fixed_intercept, total
        As in `Spread`.
    """

    experts: int
    units: np.ndarray
    spread: float
    scaled: bool
    fixed_intercept: float | None
    total: float

    @property
    @abstractmethod
    def basis(self) -> np.ndarray:
        """The matrix B (G, r) from free values to the intercepts, or the slopes of one column."""

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions in q of z_0 (r,) and of z_j (p, r)."""
        rank = self.basis.shape[1]
        return np.arange(rank), rank + np.arange(self.width * rank).reshape(self.width, rank)

    @property
    def width(self) -> int:
        """Number of slopes per linear predictor."""
        return len(self.units)

    @property
    def rate(self) -> float | None:
        return self.spread if self.scaled else None

    @abstractmethod
    def levels(self, values: Sequence[Any], functions: Any) -> list[Any]:
        """Return B z_0 (..., G) and, where there are slopes, B z_j (..., p, G), from constrained free variables."""

    def coefficients(self, values: Sequence[Any], functions: Any) -> Any:
        t = values[-1] if self.scaled else 0.0
        growth = functions.exp(self.spread * t)
        if self.fixed_intercept is None:
            amplitude = functions.sqrt(1.0 + (self.total * growth) ** 2) / 1.8
        else:
            amplitude = self.fixed_intercept * growth**0
        intercepts, *others = self.levels(values, functions)
        columns = [self.centred(amplitude[..., None] * intercepts)[..., None]]
        if others:  # there are slopes; in a graph, `units` has no length
            slopes = self.units[:, None] * growth[..., None, None] * others[0]
            columns.append(functions.moveaxis(slopes, -1, -2))
        return functions.concatenate(columns, axis=-1)

    def centred(self, intercepts: Any) -> Any:
        """Return the intercepts (..., G) with what they are without any deviation."""
        return intercepts

    def amplitudes(self, t: float) -> tuple[float, float, float, np.ndarray, np.ndarray, np.ndarray]:
        """Return intercept amplitude and slope amplitudes at t, each with its first two derivatives."""
        growth = exp(min(self.spread * t, _LONGEST))
        grown = self.units * growth
        slopes = (grown, self.spread * grown, self.spread**2 * grown)
        if self.fixed_intercept is not None:
            return (self.fixed_intercept, 0.0, 0.0, *slopes)
        s2 = (self.total * growth) * (self.total * growth)
        root = sqrt(1.0 + s2)
        first = self.spread * s2 / root
        second = self.spread**2 * (s2 / root) * (1.0 + 1.0 / (1.0 + s2))
        return (root / 1.8, first / 1.8, second / 1.8, *slopes)

    def at(self, q: np.ndarray) -> np.ndarray:
        basis, (intercept, slopes, t) = self.basis, self._split(q)
        a, _, _, v, _, _ = self.amplitudes(t)
        out = np.empty((len(basis), 1 + self.width))
        out[:, 0] = self.centred(a * (basis @ intercept))
        out[:, 1:] = (basis @ slopes.T) * v
        return out

    def _split(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        level, sides = self.places
        return q[level], q[sides], float(q[-1]) if self.scaled else 0.0

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        basis, (level, sides) = self.basis, self.places
        intercept, slopes, t = self._split(q)
        a, da, _, v, dv, _ = self.amplitudes(t)
        factors = np.empty(len(q))
        factors[level], factors[sides] = a, v[:, None]
        factors[sides.size + level.size :] = 0.0
        out = self._unscaled * factors
        if self.scaled:
            out[:, 0, -1] = da * (basis @ intercept)
            out[:, 1:, -1] = (basis @ slopes.T) * dv
        return out

    @cached_property
    def _unscaled(self) -> np.ndarray:
        """The derivatives (G, 1 + p, size) where all amplitudes are 1."""
        level, sides = self.places
        out = np.zeros((len(self.basis), 1 + self.width, level.size + sides.size + int(self.scaled)))
        out[:, 0, level] = self.basis
        out[:, np.arange(1, 1 + self.width)[:, None], sides] = self.basis[:, None, :]
        return out

    def pull_back(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        level, sides = self.places
        intercept, slopes, t = self._split(q)
        a, da, _, v, _, _ = self.amplitudes(t)
        pulled = gradient.T @ self.basis  # (1 + p, r)
        moved = v[:, None] * pulled[1:]
        out = np.empty(len(q))
        out[level], out[sides] = a * pulled[0], moved
        if self.scaled:
            out[-1] = da * (pulled[0] @ intercept) + self.spread * np.vdot(moved, slopes)
        return out

    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        out = np.zeros((len(q), len(q)))
        if not self.scaled:
            return out
        level, sides = self.places
        intercept, slopes, t = self._split(q)
        _, da, dda, _, dv, ddv = self.amplitudes(t)
        pulled = self.basis.T @ gradient  # (r, 1 + p)
        out[level, -1] = da * pulled[:, 0]
        out[sides, -1] = dv[:, None] * pulled[:, 1:].T
        out[-1] = out[:, -1]
        out[-1, -1] = dda * (pulled[:, 0] @ intercept) + np.sum(ddv[:, None] * pulled[:, 1:].T * slopes)
        return out

    def moved(self, size: int) -> int:
        return size - 1 if self.scaled else size

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        level, sides = self.places
        return (Block(np.arange(self.predictors), np.concatenate([level, sides.ravel()])),)

    def settle(self, q: np.ndarray) -> np.ndarray:
        # coefficients do not tell z from its scale: along that curve only the prior changes
        if not self.scaled:
            return q
        level, sides = self.places
        intercept, slopes, t = self._split(q)
        a = self.amplitudes(t)[0]
        inner, outer = float(intercept @ intercept) * a**2, float(np.sum(slopes**2)) * exp(2 * self.spread * t)
        best = _least(lambda s: self._settling(s, inner, outer), t)
        out = q.copy()
        out[level] *= a / self.amplitudes(best)[0]
        out[sides] *= exp(self.spread * (t - best))
        out[-1] = best
        return out

    def _settling(self, t: float, inner: float, outer: float) -> tuple[float, float, float]:
        """Return half the squared norm of the values that give the coefficients at scale t, and two derivatives."""
        spread = self.spread
        shrunk = outer * exp(-2.0 * spread * t)
        if self.fixed_intercept is not None:
            level, change, bend = inner / self.fixed_intercept**2, 0.0, 0.0
        else:
            s2 = (self.total * exp(spread * t)) ** 2
            share = s2 / (1.0 + s2)
            level = inner * 3.24 / (1.0 + s2)
            change = -level * spread * share
            bend = level * 2.0 * spread**2 * share * (2.0 * share - 1.0)
        slope = change - spread * shrunk + t
        return 0.5 * (level + shrunk + t * t), slope, bend + 2.0 * spread**2 * shrunk + 1.0

    def described(self, values: Mapping[str, Any], functions: Any = np) -> dict[str, Any]:
        if not self.scaled:
            return {}
        return {"gate_scale": self.total * functions.exp(self.spread * values["gate_scale_z"])}


def _least(function: Callable[[float], tuple[float, float, float]], start: float) -> float:
    """Return where a function (value, two derivatives) has a local minimum no higher than at ``start``.

    Newton's steps, and halving where they leave the bracket of a change of sign of the derivative.
    """
    value, slope, bend = function(start)
    at, low, high = start, float("-inf"), float("inf")
    for _ in range(60):
        low, high = (at, high) if slope < 0 else (low, at)
        step = -slope / bend if 0 < bend < float("inf") else (1.0 if slope < 0 else -1.0)
        if abs(step) < 1e-12 * (1.0 + abs(at)) or high - low < 1e-12 * (1.0 + abs(at)):
            break
        guess = at + min(max(step, -2.0), 2.0)
        at = guess if low < guess < high else 0.5 * (low + high)
        reached, slope, bend = function(at)
    else:
        reached = function(at)[0]
    return at if at == start or reached <= value else start
