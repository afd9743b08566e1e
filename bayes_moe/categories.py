"""Columns of text or categories as 0/1 columns: one for every level but the first, the base.

A table is read with the codes of its levels; which levels there are is settled when the rows that count are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bayes_moe.columns import FloatArray, is_missing, rows_text
from bayes_moe.errors import InputError, Notice, listed, nearest

_MANY = 0.2  # levels per row above which a column is more a name than a covariate


@dataclass(frozen=True)
class Encoding:
    """How a column of text or categories became 0/1 columns.

    Parameters
    ----------
    column
        Its name in the user's frame.
    levels
        Its levels as text, in order: sorted, or the categories' own order. The first is the base.

    Examples
    --------
    >>> Encoding("site", ("a", "b", "c")).names
    ('site[b]', 'site[c]')
    """

    column: str
    levels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the 0/1 columns; a single level stands for itself, as a constant column."""
        return tuple(f"{self.column}[{level}]" for level in self.levels[1:] or self.levels)

    def indicators(self, codes: FloatArray) -> FloatArray:
        """Return the 0/1 columns (n, levels - 1) from positions in ``levels``."""
        numbers = np.arange(len(self.levels))[min(1, len(self.levels) - 1) :]
        return np.asarray(codes[:, None] == numbers, dtype=np.float64)


def read_levels(column: Any, argument: str, where: str) -> tuple[FloatArray, tuple[str, ...], tuple[str, ...]] | None:
    """Read a column of text or categories: codes with NaN where missing, levels in order, and declared but unused ones.

    Returns None for any other column, for one without values, and for text that is nothing but numbers, which is
    better refused than taken for names.

    Raises
    ------
    InputError
        When two categories read the same as text, or one holds a NUL character.
    """
    texts = as_texts(column, only_text=True)
    if texts is None:
        return None
    seen = {text for text in texts if text is not None}
    declared = _declared(column)
    if not seen or (declared is None and all(map(_is_number, seen))):
        return None
    order = sorted(seen) if declared is None else [text for text in declared if text in seen]
    if any("\0" in text for text in seen):
        raise InputError(f"{argument}: expected levels without NUL characters, got one{where} → rename it")
    if declared is not None and len(set(declared)) < len(declared):
        raise InputError(f"{argument}: expected categories that differ as text, got {declared}{where} → rename them")
    unused = () if declared is None else tuple(text for text in declared if text not in seen)
    return _codes(texts, order), tuple(order), unused


def read_known(column: Any, encoding: Encoding, argument: str) -> FloatArray:
    """Read a column whose levels are known: positions in them, NaN where missing.

    Raises
    ------
    InputError
        Naming the level that training had not, and its rows.
    """
    texts = as_texts(column, only_text=False)
    known = {*encoding.levels, None}
    unseen = [text for text in dict.fromkeys(texts or ()) if text not in known]
    if texts is None or unseen:
        first = str(unseen[0]) if unseen else f"a {type(column).__name__}"
        rows = rows_text(np.array([text == first for text in texts or ()], dtype=bool))
        raise InputError(
            f"{argument}: expected levels of column {encoding.column!r} as in training "
            f"({listed(map(repr, encoding.levels))}), got {first!r} ({rows}){nearest(first, encoding.levels)} → "
            "correct the level, leave out these rows, or fit with rows of that level"
        )
    return _codes(texts, encoding.levels)


def as_texts(column: Any, *, only_text: bool) -> list[str | None] | None:
    """Return the entries of a column as text, None where missing; with ``only_text`` None for columns of other things.

    Examples
    --------
    >>> as_texts(["b", None, "a"], only_text=True)
    ['b', None, 'a']
    >>> as_texts([1, 2], only_text=True) is None
    True
    """
    plain = only_text and not _is_categorical(column)
    array = None if hasattr(column, "to_pylist") and not plain else np.asarray(column)
    if array is not None and (array.ndim != 1 or (plain and array.dtype.kind not in "OUT")):
        return None
    values = column.to_pylist() if array is None else array.tolist()
    kinds = {type(value) for value in values}
    if plain:
        floats = any(issubclass(kind, float) for kind in kinds)
        text = any(issubclass(kind, str) for kind in kinds)
        others = [k for k in kinds if not issubclass(k, str | float) and not is_missing(k)]
        if not text or others or (floats and any(isinstance(v, float) and v == v for v in values)):
            return None
    return [
        None if is_missing(type(value)) or (isinstance(value, float) and value != value) else str(value)
        for value in values
    ]


def as_labels(column: Any) -> list[int | str | None] | None:
    """Return the entries of a column as whole numbers or text, None where missing; None for what is no column.

    Examples
    --------
    >>> as_labels([3.0, "b", ("c", 1), None])
    [3, 'b', "('c', 1)", None]
    """
    if hasattr(column, "to_pylist"):
        values = column.to_pylist()
    elif isinstance(column, list | tuple):
        values = list(column)
    else:
        array = np.asarray(column)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            return None
        values = array.tolist()
    return [_label(value) for value in values]


def _label(value: Any) -> int | str | None:
    if is_missing(type(value)) or (isinstance(value, float | np.floating) and value != value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, int | np.integer) or (isinstance(value, float | np.floating) and float(value).is_integer()):
        return int(value)
    return str(value)


def settle_levels(
    codes: FloatArray, encoding: Encoding, counted: npt.NDArray[np.bool_], unused: Sequence[str]
) -> tuple[FloatArray, Encoding, list[Notice]]:
    """Keep the levels that rows that count have; return new codes (NaN for the others), their encoding and notices.

    ``unused`` are declared levels that no row has.
    """
    present = np.unique(codes[counted]).astype(int)
    levels = tuple(encoding.levels[code] for code in present)
    lost = [*unused, *(level for level in encoding.levels if level not in levels)]
    positions = np.full(len(encoding.levels), np.nan)
    positions[present] = np.arange(len(present))
    notices = []
    if lost:
        text = (
            f"Column {encoding.column!r} has no rows of level {listed(map(repr, lost))}, left out of its 0/1 columns."
        )
        notices.append(Notice("unused_levels", text))
    if len(levels) > _MANY * counted.sum():
        notices.append(
            Notice(
                "many_levels",
                f"Column {encoding.column!r} has {len(levels)} levels in {int(counted.sum())} rows: priors decide most "
                "of its coefficients. If it names who or what a row is about, pass it as groups.",
            )
        )
    return positions[codes.astype(int)], Encoding(encoding.column, levels), notices


def _codes(texts: Sequence[str | None], order: Sequence[str]) -> FloatArray:
    position: dict[str | None, float] = {text: float(i) for i, text in enumerate(order)}
    position[None] = np.nan
    return np.array([position[text] for text in texts], dtype=np.float64)


def _is_categorical(column: Any) -> bool:
    dtype = str(getattr(column, "dtype", getattr(column, "type", None)))
    return dtype.startswith(("category", "dictionary", "Categorical", "Enum"))


def _declared(column: Any) -> list[str] | None:
    """Return the categories of a column as text in their own order; None where it has none, or none in an order."""
    if not _is_categorical(column):
        return None
    if hasattr(column, "cat") and hasattr(column.cat, "categories"):  # pandas
        return [str(category) for category in column.cat.categories.tolist()]
    if str(column.dtype if hasattr(column, "dtype") else column.type).startswith("Enum"):
        return [str(category) for category in column.dtype.categories]
    if getattr(getattr(column, "type", None), "ordered", False):
        chunks = column.unify_dictionaries().chunks if hasattr(column, "unify_dictionaries") else [column]
        return [str(category) for category in chunks[0].dictionary.to_pylist()] if chunks else []
    # polars' Categorical and arrow's dictionaries number the levels as they come, which is no order
    return sorted({text for text in as_texts(column, only_text=True) or () if text is not None})


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text.replace(",", "."))))
    except ValueError:
        return False
