"""Uniform experts: noise that has no pattern, for rows that belong to no other expert."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log
from typing import Any

import numpy as np

from ..errors import InputError, SpecError
from .base import Closure, Family, Parameter, Support
from .checks import refuse
from .draws import common_shape
from .formulas import Functions, graphs, on_arrays

_MARGIN = 0.05  # of the range of y, on both sides


@dataclass(frozen=True)
class Uniform(Family):
    r"""Uniform density between fixed bounds, without parameters: an expert for outliers.

    .. math:: \log f(y) = -\log(b - a), \quad a \le y \le b

    Parameters
    ----------
    low, high
        Bounds in units of y; None: the smallest and largest y, each moved outwards by 5 % of the range.

    Raises
    ------
    SpecError
        If a bound is not a finite number, or ``low`` is not below ``high``.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Uniform(0.0, 4.0).log_density(np.array([1.0, 5.0]))
    array([-1.3863,    -inf])
    >>> bm.Uniform(low=0.0).meet(np.array([1.0, 3.0]), np.ones(2))
    Uniform(low=0.0, high=3.1)
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            given = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
            if value is not None and not given:
                raise SpecError(f"Uniform.{name}: expected a finite number or None, got {value!r} → pass a number")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise SpecError(f"Uniform: expected low below high, got {self.low!r} and {self.high!r} → swap or mend them")

    @property
    def support(self) -> Support:
        return Support.REAL

    @property
    def closure(self) -> Closure:
        return Closure.AFFINE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return ()

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Uniform:
        y = np.asarray(y, dtype=float)
        counted = y[np.asarray(weights) > 0]
        smallest, largest = float(counted.min()), float(counted.max())
        margin = _MARGIN * (largest - smallest)
        low = smallest - margin if self.low is None else self.low
        high = largest + margin if self.high is None else self.high
        if not low < high:
            raise InputError(
                f"y: expected values that vary for bm.Uniform(), got {smallest:g} to {largest:g} → give both bounds: "
                "bm.Uniform(low, high)"
            )
        way_out = "widen the bounds, or leave them out to take them from y"
        refuse(~((y >= low) & (y <= high)), y, "Uniform()", f"numbers from {low:g} to {high:g}", way_out)
        return Uniform(low, high)

    def standardised(self, center: float, scale: float) -> Uniform:
        low, high = self._known()
        return Uniform((low - center) / scale, (high - center) / scale)

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, *self._known())

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return on_arrays(_log_density, y, *self._known())

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        low, high = self._known()
        return np.asarray(0.5 * (low + high))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        low, high = self._known()
        return np.asarray((high - low) ** 2 / 12.0)

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        low, high = self._known()
        return np.clip((np.asarray(y) - low) / (high - low), 0.0, 1.0)

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        """Return draws in the shape of whatever is passed, one where nothing is: there are no parameters."""
        return np.asarray(rng.uniform(*self._known(), size=common_shape(*predicted.values())))

    def _known(self) -> tuple[float, float]:
        if self.low is None or self.high is None:
            raise SpecError("Uniform: expected known bounds, got None → call meet(y, weights), or name them")
        return self.low, self.high


def _log_density(f: Functions, y: Any, low: Any, high: Any) -> Any:
    return f.where((y >= low) & (y <= high), np.float64(-log(high - low)), -np.inf)
