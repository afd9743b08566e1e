"""Looks over checked training data for what will make a fit weak or misleading, and says so in notices.

Nothing here changes or refuses data. Above 100 000 rows the checks that sort or compare rows look at evenly
spaced rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayes_moe.columns import FloatArray
from bayes_moe.errors import Notice, listed

_MOST_ROWS = 100_000
_MOST_COLUMNS = 200  # the correlation matrix of more columns costs more than the notice is worth
_SAMPLE = 20_000
_EXTREME = 50.0  # distance from the median, in spreads of the central 90 % of y
_TIED = 0.2  # share of the rows with one and the same y
_DEPENDENT = 1e-12  # eigenvalue of a correlation matrix (unit diagonal) that is rounding error
_IDENTICAL = 1e-10  # 1 - |correlation| of a column that holds y


@dataclass(frozen=True, eq=False)
class Screened:
    """What the checks look at: rows of positive weight and the columns that vary.

    ``rows`` are their positions in what the user passed; ``y`` is None where it is no one continuous number; the last
    ``gate`` columns are the gate's own, which no expert uses.
    """

    values: FloatArray
    names: tuple[str, ...]
    y: FloatArray | None
    rows: npt.NDArray[np.intp]
    experts: int
    gate: int = 0


def screen(data: Screened) -> tuple[Notice, ...]:
    """Return the notices of every check, in a fixed order."""
    checks = (p_exceeds_n, collinear, leakage, extreme_value, tied_values, identifiability)
    found = (check(data) for check in checks)
    return tuple(notice for notice in found if notice is not None)


def weak_data(rows: int, parameters: int) -> Notice | None:
    """Find fewer rows than free parameters."""
    if rows >= parameters:
        return None
    return Notice(
        "weak_data",
        f"The model has {parameters} free parameters and X has {rows} rows, so the priors decide part of the "
        f"answer; use fewer experts or simpler predictors.",
    )


def p_exceeds_n(data: Screened) -> Notice | None:
    """Find more coefficients per expert than rows."""
    n, p = data.values.shape
    if p + 1 <= n:
        return None
    return Notice(
        "p_exceeds_n",
        f"X has {n} rows and {p} columns: with the intercept, one expert alone has more coefficients than "
        f"there "
        f"are rows, so its priors decide part of the answer.",
    )


def collinear(data: Screened) -> Notice | None:
    """Find columns of one predictor that are linear combinations of each other, group by group."""
    own = data.values.shape[1] - data.gate
    groups = dependent_columns(data.values[:, :own])
    groups += [[own + j for j in group] for group in dependent_columns(data.values[:, own:])]
    return dependent("Columns of X", [[data.names[j] for j in group] for group in groups]) if groups else None


def dependent(what: str, groups: Sequence[Sequence[str]]) -> Notice:
    """Return the notice about groups of columns that depend on each other."""
    names = "; ".join(listed([repr(name) for name in group], limit=10) for group in groups)
    return Notice(
        "collinear",
        f"{what} depend linearly on each other: {names}. Predictions stay sound, single coefficients are settled by "
        "their priors; leave out one column of each group to interpret them.",
    )


def dependent_columns(values: FloatArray) -> list[list[int]]:
    """Return groups of columns that are linear combinations of each other and a constant."""
    n, p = values.shape
    if p < 2 or p > _MOST_COLUMNS or p + 1 > n:
        return []
    step = _step(n, _SAMPLE)
    groups = _dependent_groups(values[::step])
    if groups and step > 1:  # rows left out may break the dependence
        groups = _dependent_groups(values)
    return groups


def leakage(data: Screened) -> Notice | None:
    """Find columns that are y itself in other units."""
    n, p = data.values.shape
    if p == 0 or n < 3 or data.y is None:
        return None
    step = _step(n, _SAMPLE)
    suspects = np.flatnonzero(_holds_y(data.values[::step], data.y[::step]))
    if step > 1 and suspects.size:
        suspects = suspects[_holds_y(data.values[:, suspects], data.y)]
    if not suspects.size:
        return None
    return Notice(
        "leakage",
        f"y is an exact linear function of {listed(repr(data.names[j]) for j in suspects)}; leave the "
        f"column out "
        f"unless it is known when predicting.",
    )


def extreme_value(data: Screened) -> Notice | None:
    """Find rows of y far outside its central 90 %."""
    if data.y is None or data.y.size < 10:  # too few rows to say what is usual
        return None
    n = data.y.size
    tail = max(1, n // 20)
    ordered = np.partition(data.y, (tail, n // 2, n - 1 - tail))
    spread = (ordered[n - 1 - tail] - ordered[tail]) / 3.29
    distance = np.abs(data.y - ordered[n // 2])
    far = distance > _EXTREME * spread
    if spread == 0 or not far.any():
        return None
    return Notice(
        "extreme_value",
        f"y has extreme values in rows {listed(data.rows[far].tolist())}, up to "
        f"{distance.max() / spread:.3g} "
        f"spreads from the median; check these rows, or use a family with heavier tails such as Student-t.",
    )


def tied_values(data: Screened) -> Notice | None:
    """Find one value of y in a large share of the rows."""
    if data.y is None:
        return None
    y = data.y[:: _step(data.y.size, _MOST_ROWS)]
    values, counts = np.unique(y, return_counts=True)
    most = int(counts.argmax())
    share = counts[most] / y.size
    if share < _TIED or counts[most] < max(5, data.values.shape[1] + 2):
        return None
    return Notice(
        "tied_values",
        f"{100 * share:.0f} % of the rows have y = {values[most]:.6g}; an expert may collapse onto this "
        f"value, "
        f"so a continuous family may be wrong for y.",
    )


def identifiability(data: Screened) -> Notice | None:
    """Find fewer distinct rows of X than coefficients of the experts' lines."""
    n, p = data.values.shape
    needed = data.experts * (p + 1)
    if p == 0 or data.experts == 1:
        return None
    sample = data.values[:: _step(n, _MOST_ROWS)]
    if len(np.unique(sample[: 20 * needed], axis=0)) >= needed:
        return None
    distinct = len(np.unique(sample, axis=0))
    if distinct >= min(needed, n):
        return None
    return Notice(
        "identifiability",
        f"X has {distinct} distinct rows, but {data.experts} experts with {p} columns need "
        f"K·(p+1) = {needed} to be told apart; trust predictions, not coefficients, or use fewer experts.",
    )


def _step(n: int, most: int) -> int:
    return -(-n // most)


def _centered(values: FloatArray) -> FloatArray:
    """Centre columns and give them length 1 (0 where constant)."""
    deviations = values - values.mean(axis=0)
    largest = np.abs(deviations).max(axis=0)
    deviations /= np.where(largest > 0, largest, 1.0)
    norms = np.sqrt(np.einsum("ij,ij->j", deviations, deviations))
    deviations /= np.where(norms > 0, norms, 1.0)
    return deviations


def _holds_y(values: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
    correlations = _centered(y[:, None])[:, 0] @ _centered(values)
    return np.asarray(np.abs(correlations) > 1 - _IDENTICAL)


def _dependent_groups(values: FloatArray) -> list[list[int]]:
    """Group dependent columns: the blocks of the projector on the null space of the correlations."""
    unit = _centered(values)
    eigenvalues, vectors = np.linalg.eigh(unit.T @ unit)
    null = vectors[:, eigenvalues < _DEPENDENT]
    linked = np.abs(null @ null.T) > 1e-6
    while ((wider := linked @ linked) > linked).any():  # whatever is linked to the same column is one group
        linked = wider
    groups = [np.flatnonzero(row).tolist() for row in np.unique(linked, axis=0)[::-1]]
    return [group for group in groups if len(group) > 1]
