r"""The frozen affine maps between the user's units and the standardised scale.

.. math:: \tilde x_{ij} = (x_{ij} - c_j) / s_j, \qquad \tilde y_i = (y_i - c_y) / s_y

Centres are weighted means and scales weighted standard deviations (divisor: the sum of weights), so that a
weight of 2 is a repeated row and a weight of 0 no row. A column with two distinct values is centred and coded
by the distance between them: 0/1 columns keep their unit, and every other coding gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from bayes_moe.columns import FloatArray, rows_text
from bayes_moe.errors import InputError
from bayes_moe.transforms import Power

_LARGEST = 1e100  # squares and their sums over any number of rows stay within float64
_SMALLEST_SHARE = 1e-12  # of the largest y: what lies below does not pull the unit down further
_ROUNDING = 4 * np.finfo(np.float64).eps  # values closer than this, relative to their size, are one value


class TargetScale(Enum):
    """How y is standardised."""

    AFFINE = "centred at its mean, in units of its standard deviation"
    STRETCHED = "in units of its geometric mean"
    PLAIN = "as it is"


@dataclass(frozen=True)
class Scaling:
    """Centres and scales of the columns and of y, in the user's units.

    Parameters
    ----------
    x_center, x_scale
        One number per column.
    y_center, y_scale
        Centre and scale of y; one per output where there are several.
    x_constant
        Which columns are constant; their scale is 1. Empty: none.
    y_power
        The power of y that is standardised in place of y: centre and scale are its own.

    Raises
    ------
    InputError
        When lengths differ or a scale is not positive and finite.

    Examples
    --------
    >>> scaling = Scaling((10.0,), (2.0,), 0.0, 1.0)
    >>> scaling.standardise_x([[10.0], [14.0]])
    array([[0.], [2.]])
    """

    x_center: tuple[float, ...]
    x_scale: tuple[float, ...]
    y_center: float | tuple[float, ...]
    y_scale: float | tuple[float, ...]
    x_constant: tuple[bool, ...] = ()
    y_power: Power | None = None

    def __post_init__(self) -> None:
        """Check the numbers once, so that nothing divides by zero later."""
        if len(self.x_center) != len(self.x_scale) or len(self.x_constant) not in (0, len(self.x_scale)):
            raise InputError(
                f"scaling: expected one centre, scale and mark per column, got {len(self.x_center)}, "
                f"{len(self.x_scale)} and {len(self.x_constant)} → take them from one data set"
            )
        if np.shape(self.y_center) != np.shape(self.y_scale):
            raise InputError("scaling: expected a centre and a scale for every output, got other numbers of them")
        if self.y_power is not None and (self.y_power.power is None or np.ndim(self.y_center)):
            raise InputError(
                f"scaling: expected a known power of one output, got y_power={self.y_power!r} → e.g. bm.Power(0.5)"
            )
        if not np.isfinite((*self.x_center, *np.atleast_1d(self.y_center))).all():
            raise InputError("scaling: expected finite centres, got NaN or infinity → centre at a finite number")
        scales = (*self.x_scale, *np.atleast_1d(self.y_scale).tolist())
        if not all(0 < scale < np.inf for scale in scales):
            raise InputError(f"scaling: expected positive finite scales, got {scales} → use 1 to leave a unit alone")

    def standardise_x(self, values: npt.ArrayLike) -> FloatArray:
        """Map ``(n, p)`` covariates in user units to the standardised scale."""
        x = np.asarray(values, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.x_center):
            raise InputError(
                f"X: expected {len(self.x_center)} columns, got shape {x.shape} → pass the columns the scaling knows"
            )
        standardised: FloatArray = (x - np.array(self.x_center)) / np.array(self.x_scale)
        return standardised

    def standardise_y(self, y: npt.ArrayLike) -> FloatArray:
        """Map y in user units to the standardised scale; any shape, outputs last where there are several."""
        values = np.asarray(y, dtype=np.float64)
        values = values if self.y_power is None else self.y_power.forward(values)
        standardised: FloatArray = (values - np.asarray(self.y_center)) / self.y_scale
        return standardised

    @property
    def outputs(self) -> tuple[int, ...]:
        """Lengths of the axis of outputs: none for a y of one number a row."""
        return np.shape(self.y_center)

    def unit(self, output: int = 0) -> tuple[float, float]:
        """Return centre and scale of one output."""
        return float(np.atleast_1d(self.y_center)[output]), float(np.atleast_1d(self.y_scale)[output])

    def log_units(self, y: FloatArray) -> FloatArray:
        """Return the log of the volume of a unit of standardised y in the user's units (n,), at y (n, ...)."""
        found: FloatArray = np.full(len(y), float(np.sum(np.log(self.y_scale))))
        return found if self.y_power is None else found - self.y_power.log_slope(y)


def measure(
    values: FloatArray,
    y: FloatArray,
    weights: FloatArray,
    names: tuple[str, ...],
    target: Sequence[TargetScale] = (TargetScale.AFFINE,),
    power: Power | None = None,
) -> Scaling:
    """Measure the scaling of ``(n, p)`` covariates and ``(n,)`` or ``(n, outputs)`` y; rows of weight 0 do not count.

    ``target`` says how every output is standardised; one stands for all. With ``power`` a power of y, which is above 0,
    is standardised in its place; it is learned here unless it is known.

    Raises
    ------
    InputError
        When y is constant, or when the range of y or of a column is too small to be squared.
    """
    counted = weights > 0
    if not counted.all():
        values, y, weights = values[counted], y[counted], weights[counted]
    low, high = values.min(axis=0), values.max(axis=0)
    constant = _constant(low, high)
    center, deviation = _moments(values, weights)
    two_valued = ((values == low) | (values == high)).all(axis=0)
    scale = np.where(constant, 1.0, np.where(two_valued, high - low, deviation))
    tiny = np.flatnonzero((high - low < 1 / _LARGEST) & ~constant)
    if tiny.size:
        raise InputError(
            f"X: expected a range of at least {1 / _LARGEST:g}, got {(high - low)[tiny[0]]:.3g} in column "
            f"{names[tiny[0]]!r} → rescale the column to another unit"
        )
    y_center: float | tuple[float, ...]
    y_scale: float | tuple[float, ...]
    if power is not None:
        _measure_y(y, weights, target[0], "y")  # refuses a y that no power of it can mend
        power = power.met(((values - center) / scale)[:, ~constant], y, weights)
        y = power.forward(y)
    if y.ndim == 1:
        y_center, y_scale = _measure_y(y, weights, target[0], "y")
    else:
        count = y.shape[1]
        each = tuple(target) * count if len(target) == 1 else tuple(target)
        units = [_measure_y(y[:, i], weights, each[i], f"y, column {i}") for i in range(count)]
        y_center, y_scale = tuple(center for center, _ in units), tuple(scale for _, scale in units)
    return Scaling(tuple(center.tolist()), tuple(scale.tolist()), y_center, y_scale, tuple(constant.tolist()), power)


def checked(given: Scaling | None, names: tuple[str, ...], power: Power | None) -> Scaling | None:
    """Return a given scaling, or None where none is.

    Raises
    ------
    InputError
        If it does not fit the columns or the power of y that a model asks for.
    """
    if given is None:
        return None
    got = given.y_power
    if (power is None) != (got is None) or (power is not None and power.power is not None and power != got):
        raise InputError(
            f"scaling: expected the model's target={power!r}, got y_power={got!r} → take the scaling of a fit of this "
            "model"
        )
    if len(given.x_center) != len(names):
        raise InputError(
            f"scaling: expected {len(names)} columns, got {len(given.x_center)} → use that of these columns"
        )
    return given


def refuse_huge(values: FloatArray, argument: str, names: tuple[str, ...]) -> None:
    """Raise :class:`InputError` naming the column and rows of numbers whose squares leave float64.

    ``values`` is ``(n, p)`` and may miss values (NaN).
    """
    huge = (values > _LARGEST) | (values < -_LARGEST)
    for j in np.flatnonzero(huge.any(axis=0)):
        where = f" in column {names[j]!r}" if argument != names[j] else ""
        raise InputError(
            f"{argument}: expected numbers within ±{_LARGEST:g}, got {values[huge[:, j], j][0]:.3g}{where} "
            f"({rows_text(huge[:, j])}) → rescale to another unit"
        )


def _measure_y(y: FloatArray, weights: FloatArray, target: TargetScale, name: str) -> tuple[float, float]:
    if target is TargetScale.PLAIN:
        return 0.0, 1.0
    low, high = y.min(), y.max()
    if _constant(low, high):
        raise InputError(f"{name}: expected values that vary, got {low:.6g} in every row → there is nothing to model")
    if high - low < 1 / _LARGEST:
        raise InputError(
            f"{name}: expected a range of at least {1 / _LARGEST:g}, got {high - low:.3g} → rescale y to another unit"
        )
    if target is TargetScale.STRETCHED:
        # families refuse what is not positive in their own words; here it must only not break the measuring
        logs = np.log(np.maximum(y, high * _SMALLEST_SHARE if high > 0 else 1.0))
        return 0.0, float(np.exp(weights @ logs / weights.sum()))
    center, deviation = _moments(y[:, None], weights)
    return float(center[0]), float(deviation[0])


def _constant(low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether a range is nothing but the rounding of one number."""
    low, high = np.asarray(low), np.asarray(high)
    return np.asarray(high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high)))


def _moments(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and standard deviation by column; the mean is corrected once, against cancellation."""
    total = weights.sum()
    rough = weights @ values / total
    deviations = values - rough
    correction = weights @ deviations / total
    deviations -= correction
    return rough + correction, np.sqrt(weights @ np.square(deviations, out=deviations) / total)
