"""The softmax gate over a linear predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import exp
from typing import Any

import numpy as np

from ..errors import SpecError
from ..predictors import Linear
from ..predictors.base import Basis, Predictor
from ..priors import LearnedScale, Normal
from .base import BoundGate, Free, Gate, zero_sum_basis

DEFAULT_SCALE = LearnedScale(median=1.5, spread=1.0)


@dataclass(frozen=True)
class SoftmaxGate(Gate):
    r"""Softmax of zero-sum linear predictors.

    .. math:: \log g_k(x) = \eta_k(x) - \log\sum_j e^{\eta_j(x)}, \quad \sum_k \eta_k(x) = 0

    Slopes are :math:`s z_j/\sqrt p` with zero-sum standard normal z over the experts and one learned scale s,
    log s ~ Normal(log 1.5, 1): smooth gates by default, sharp ones when the data ask. Intercepts are zero-sum normal
    with standard deviation :math:`\sqrt{1+s^2}/1.8`. The prior is unchanged by renaming the experts.

    Parameters
    ----------
    predictor
        ``bm.Linear()`` (default), ``bm.Polynomial(d)`` or ``bm.Constant()`` for a plain mixture. Its priors may be
        ``priors.Normal(0, scale)`` (fixed) or ``priors.LearnedScale`` (slopes).

    Raises
    ------
    SpecError
        If the predictor is not one, is shared, or its priors have a mean other than 0.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.SoftmaxGate(bm.Linear(columns=("z",))).predictor.columns
    ('z',)
    """

    predictor: Predictor = field(default_factory=Linear)

    def __post_init__(self) -> None:
        if not isinstance(self.predictor, Predictor):
            raise SpecError(
                f"SoftmaxGate.predictor: expected a predictor such as bm.Linear(), got {self.predictor!r} → pass one"
            )
        if self.predictor.shared:
            raise SpecError(
                f"SoftmaxGate.predictor: expected coefficients per expert, got shared={self.predictor.shared!r} → "
                "equal weights are bm.EqualGate()"
            )
        for name, prior in (("intercept", self.predictor.intercept), ("slopes", self.predictor.slopes_prior)):
            if isinstance(prior, Normal) and prior.loc != 0:
                raise SpecError(
                    f"SoftmaxGate.predictor.{name}: expected a prior with loc 0, because gate coefficients sum to "
                    f"zero over the experts, got loc={prior.loc} → set loc=0"
                )

    def bind(self, experts: int, basis: Basis) -> BoundGate:
        slopes = self.predictor.slopes_prior
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
        intercept = self.predictor.intercept
        return BoundSoftmax(
            experts=experts,
            units=units,
            spread=spread,
            scaled=learned and width > 0,
            fixed_intercept=None if intercept is None else intercept.scale,
            total=DEFAULT_SCALE.median if width == 0 else float(np.sqrt(np.sum(units**2))),
        )


@dataclass(frozen=True, eq=False)
class BoundSoftmax(BoundGate):
    """Slopes ``v_j(t) z_j`` with ``v_j(t) = unit_j exp(spread t)`` and intercepts ``a(t) z_0``.

    Parameters
    ----------
    units
        Prior standard deviation of every slope at t = 0.
    spread
        Prior standard deviation of the log scale; 0 when it is fixed.
    scaled
        Whether the free variable t exists.
    fixed_intercept
        Standard deviation of the intercepts, or None for ``sqrt(1 + s(t)²)/1.8``.
    total
        s at t = 0: the standard deviation of the whole linear predictor.
    """

    experts: int
    units: np.ndarray
    spread: float
    scaled: bool
    fixed_intercept: float | None
    total: float

    @property
    def width(self) -> int:
        """Number of slopes per expert."""
        return len(self.units)

    @cached_property
    def free(self) -> tuple[Free, ...]:
        zero, one = np.zeros(()), np.ones(())
        out = [Free("gate_intercept_z", ("expert",), (self.experts,), zero, one, zero_sum=True)]
        if self.width:
            shape = (self.width, self.experts)
            out.append(Free("gate_slopes_z", ("gate_feature", "expert"), shape, zero, one, zero_sum=True))
        if self.scaled:
            out.append(Free("gate_scale_z", (), (), zero, one))
        return tuple(out)

    def coefficients(self, values: Sequence[Any], functions: Any) -> Any:
        t = values[-1] if self.scaled else 0.0
        growth = functions.exp(self.spread * t)
        if self.fixed_intercept is None:
            amplitude = functions.sqrt(1.0 + (self.total * growth) ** 2) / 1.8
        else:
            amplitude = self.fixed_intercept * growth**0
        columns = [(amplitude[..., None] * values[0])[..., None]]
        if len(values) > 1:  # there are slopes; in a graph, `units` has no length
            slopes = self.units[:, None] * growth[..., None, None] * values[1]
            columns.append(functions.moveaxis(slopes, -1, -2))
        return functions.concatenate(columns, axis=-1)

    def amplitudes(self, t: float) -> tuple[float, float, float, np.ndarray, np.ndarray, np.ndarray]:
        """Return intercept amplitude and slope amplitudes at t, each with its first two derivatives."""
        grown = self.units * np.exp(self.spread * t)
        slopes = (grown, self.spread * grown, self.spread**2 * grown)
        if self.fixed_intercept is not None:
            return (self.fixed_intercept, 0.0, 0.0, *slopes)
        s2 = (self.total * np.exp(self.spread * t)) ** 2
        root = np.sqrt(1.0 + s2)
        first = self.spread * s2 / root
        second = self.spread**2 * (s2 / root) * (1.0 + 1.0 / (1.0 + s2))
        return (root / 1.8, first / 1.8, second / 1.8, *slopes)

    def _split(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        inner = self.experts - 1
        intercept = q[:inner]
        slopes = q[inner : inner * (1 + self.width)].reshape(self.width, inner)
        return intercept, slopes, float(q[-1]) if self.scaled else 0.0

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        inner, basis = self.experts - 1, zero_sum_basis(self.experts)
        intercept, slopes, t = self._split(q)
        a, da, _, v, dv, _ = self.amplitudes(t)
        out = np.zeros((self.experts, 1 + self.width, len(q)))
        out[:, 0, :inner] = a * basis
        for j in range(self.width):
            out[:, 1 + j, inner * (1 + j) : inner * (2 + j)] = v[j] * basis
        if self.scaled:
            out[:, 0, -1] = da * (basis @ intercept)
            out[:, 1:, -1] = (basis @ slopes.T) * dv
        return out

    def pull_back(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        intercept, slopes, t = self._split(q)
        a, da, _, v, dv, _ = self.amplitudes(t)
        pulled = zero_sum_basis(self.experts).T @ gradient  # (K - 1, 1 + p)
        out = np.empty(len(q))
        inner = self.experts - 1
        out[:inner] = a * pulled[:, 0]
        out[inner : inner * (1 + self.width)] = (v[:, None] * pulled[:, 1:].T).ravel()
        if self.scaled:
            out[-1] = da * (pulled[:, 0] @ intercept) + np.sum(dv[:, None] * pulled[:, 1:].T * slopes)
        return out

    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        out = np.zeros((len(q), len(q)))
        if not self.scaled:
            return out
        inner, basis = self.experts - 1, zero_sum_basis(self.experts)
        intercept, slopes, t = self._split(q)
        _, da, dda, _, dv, ddv = self.amplitudes(t)
        pulled = basis.T @ gradient  # (K - 1, 1 + p)
        cross = np.concatenate([da * pulled[:, 0], (dv[:, None] * pulled[:, 1:].T).ravel()])
        out[:-1, -1] = cross
        out[-1, :-1] = cross
        out[-1, -1] = dda * (pulled[:, 0] @ intercept) + np.sum(ddv[:, None] * pulled[:, 1:].T * slopes)
        assert out.shape[0] == inner * (1 + self.width) + 1
        return out

    def moved(self, size: int) -> int:
        return size - 1 if self.scaled else size

    def settle(self, q: np.ndarray) -> np.ndarray:
        # coefficients do not tell z from its scale: along that curve only the prior changes
        if not self.scaled:
            return q
        intercept, slopes, t = self._split(q)
        a = self.amplitudes(t)[0]
        inner, outer = float(intercept @ intercept) * a**2, float(np.sum(slopes**2)) * exp(2 * self.spread * t)
        best = _least(lambda s: self._settling(s, inner, outer), t)
        out = q.copy()
        out[: len(intercept)] *= a / self.amplitudes(best)[0]
        out[len(intercept) : -1] *= exp(self.spread * (t - best))
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
