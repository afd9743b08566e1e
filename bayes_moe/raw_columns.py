"""Columns of the user's frame as they are before a formula makes columns of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayes_moe.categories import Encoding, read_known, read_levels
from bayes_moe.columns import FloatArray, column_array, refuse_infinite, to_floats
from bayes_moe.errors import InputError, Notice, listed
from bayes_moe.scaling import refuse_huge


@dataclass(frozen=True, eq=False)
class RawColumn:
    """A column of the user's frame, at the rows the transformations were fitted on.

    Parameters
    ----------
    name
        Its name.
    values
        ``(n,)`` numbers, or positions in ``levels``.
    levels
        Levels of text or categories, in order; None for numbers.
    whole
        Whether the numbers are of an integer type.
    """

    name: str
    values: FloatArray
    levels: tuple[str, ...] | None
    whole: bool


def read_first(column: Any, name: str) -> tuple[RawColumn, Notice | None]:
    """Read a raw column of training."""
    where = f" in column {name!r}"
    found = read_levels(column, "data", where)
    if found is not None:
        values, levels, unused = found
        text = f"Column {name!r} has no rows of level {listed(map(repr, unused))}, left out."
        return RawColumn(name, values, levels, whole=False), Notice("unused_levels", text) if unused else None
    raw = column_array(column, "data", where)
    numbers = to_floats(raw, "data", where).ravel()
    refuse_infinite(numbers, "data", where)
    refuse_huge(numbers[:, None], "data", (name,))
    return RawColumn(name, numbers, None, whole=raw.dtype.kind in "iu"), None


def read_again(column: Any, training: RawColumn) -> FloatArray:
    """Read a raw column at new rows."""
    if training.levels is not None:
        return read_known(column, Encoding(training.name, training.levels), "X")
    where = f" in column {training.name!r}"
    numbers = to_floats(column_array(column, "X", where), "X", where).ravel()
    refuse_infinite(numbers, "X", where)
    if training.whole and not np.all(np.isnan(numbers) | (numbers == np.round(numbers))):
        raise InputError(f"X: expected whole numbers{where}, as in training, got fractions → round them")
    return numbers


def complete(column: RawColumn, rows: npt.NDArray[np.bool_]) -> RawColumn:
    """Return a column at the rows without missing values, with the levels they have."""
    values = column.values[rows]
    if column.levels is not None:
        present = np.unique(values).astype(int)
        values = np.searchsorted(present, values).astype(float)
        return RawColumn(column.name, values, tuple(column.levels[i] for i in present), column.whole)
    return RawColumn(column.name, values, None, column.whole)


def length(columns: Sequence[RawColumn]) -> int:
    """Return the number of rows; one where there is no column."""
    return len(columns[0].values) if columns else 1


def as_frame(columns: Sequence[RawColumn], values: Sequence[FloatArray], rows: int) -> pd.DataFrame:
    """Return raw columns as a pandas frame, whatever kind of frame they came from."""
    out: dict[str, Any] = {}
    for column, found in zip(columns, values, strict=True):
        if column.levels is not None:
            out[column.name] = pd.Categorical.from_codes(found.astype(int).tolist(), categories=list(column.levels))
        else:
            out[column.name] = found.astype(np.int64) if column.whole else found
    return pd.DataFrame(out, index=pd.RangeIndex(rows))
