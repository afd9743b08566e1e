"""What every column of X does to predictions, whatever the labels of experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..data import Data
from ..errors import InputError
from ..families import Support
from . import blend
from .blend import Blend
from .draws import Draws
from .mixtures import MixtureDraws
from .quantiles import check_prob

_ROWS = 200
_NUMBERS = (Support.REAL, Support.POSITIVE, Support.UNIT, Support.COUNT)


class Predicted(Protocol):
    """What is asked of a fit."""

    @property
    def data(self) -> Data:
        """The checked training data."""

    @property
    def support(self) -> Support:
        """Where y lives."""

    @property
    def draws(self) -> Draws:
        """The relabelled draws."""


class Effect(NamedTuple):
    """Mean and standard deviation of y, averaged over rows of X, with one column at one place and at another."""

    column: str
    low: float | str
    high: float | str
    mean_at_low: float
    mean_at_high: float
    sd_at_low: float
    sd_at_high: float


def effects_of(weighed: Sequence[tuple[Predicted, float]], prob: float) -> list[Effect]:
    """Return what moves predictions: see `Predictive.effects`.

    Raises
    ------
    InputError
        If ``prob`` is none, or y no number, or there are groups or a formula.
    """
    data = weighed[0][0].data
    check_prob(prob)
    if weighed[0][0].support not in _NUMBERS or data.outputs:
        raise InputError("effects: expected y to be one number, got labels or several → compare predictions at rows")
    if data.groups is not None:
        raise InputError("effects: expected a fit without groups, got groups → compare predictions at rows of a group")
    if data.formula is not None:
        raise InputError(
            "effects: expected columns of X, got those of a formula, which move together → compare predictions at rows"
        )
    counted = data.weights > 0
    table, weights = np.asarray(data.own.values)[counted], data.weights[counted]
    rows, counts = _some_rows(table, weights)
    out = []
    for column, low, high, ends in _ends(data, table, weights, rows, prob):
        at = [_moments(weighed, moved, counts) for moved in ends]
        out.append(Effect(column, low, high, at[0][0], at[1][0], at[0][1], at[1][1]))
    return out


def _some_rows(table: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows with their total weights, or `_ROWS` picked in proportion to these.

    Rows are sorted first, so that a row of weight 2 and the row twice, wherever it stands, are the same.
    """
    rows, place = np.unique(table, axis=0, return_inverse=True)
    totals = np.bincount(place.ravel(), weights=weights)
    if len(rows) <= _ROWS:
        return rows, totals
    ends = np.cumsum(totals)
    marks = (np.arange(_ROWS) + 0.5) * (ends[-1] / _ROWS)
    picked, counts = np.unique(np.searchsorted(ends, marks, side="right"), return_counts=True)
    return rows[picked], counts


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: npt.ArrayLike) -> np.ndarray:
    """Return ``np.quantile`` of values repeated as often as their weights say.

    Fractions of a value fill places with their neighbours; weights of a mean below 1 are scaled to 1.
    """
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(weights[order])
    ends = ends * max(1.0, len(values) / ends[-1])
    at = (ends[-1] - 1.0) * np.asarray(levels)
    below, above = (
        values[order][np.minimum(np.searchsorted(ends, place, side="right"), len(values) - 1)]
        for place in (np.floor(at), np.floor(at) + 1.0)
    )
    return np.asarray(below + (above - below) * (at - np.floor(at)))


def _ends(
    data: Data, table: np.ndarray, weights: np.ndarray, values: np.ndarray, prob: float
) -> Iterator[tuple[str, float | str, float | str, list[np.ndarray]]]:
    """Yield every column with two places of it, and the rows ``values`` with the column there."""
    of = {encoding.column: encoding for encoding in data.own.encodings}
    for source in dict.fromkeys(data.own.sources):
        here = [j for j, own in enumerate(data.own.sources) if own == source]
        if source not in of:
            if source in data.dropped:
                continue
            low, high = _weighted_quantiles(table[:, here[0]], weights, [(1 - prob) / 2, (1 + prob) / 2])
            yield source, float(low), float(high), [_placed(values, here, [end]) for end in (low, high)]
            continue
        first, *others = of[source].levels
        none = np.zeros(len(here))
        for j, level in enumerate(others):
            one = none.copy()
            one[j] = 1.0
            yield source, first, level, [_placed(values, here, end) for end in (none, one)]


def _placed(values: np.ndarray, here: Sequence[int], end: npt.ArrayLike) -> np.ndarray:
    out = values.copy()
    out[:, list(here)] = end
    return out


def _moments(weighed: Sequence[tuple[Predicted, float]], rows: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    mixture = Blend(tuple(_mixture(fit, rows) for fit, _ in weighed), np.array([weight for _, weight in weighed]))
    mean, variance = blend.predictive_moments(mixture)
    return float(np.average(mean, weights=counts)), float(np.average(np.sqrt(variance), weights=counts))


def _mixture(fit: Predicted, rows: np.ndarray) -> MixtureDraws:
    mean = fit.data.mean
    return fit.draws.mixture(rows if mean is None else mean.extended(rows))
