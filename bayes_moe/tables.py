"""Reads a table (array, list of rows, pandas, polars or pyarrow frame, xarray) or one column of it.

Rows are positions: the labels of a pandas index only serve to notice two arguments that are not aligned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayes_moe.categories import Encoding, read_known, read_levels, settle_levels
from bayes_moe.columns import (
    FloatArray,
    column_array,
    refuse_infinite,
    refuse_lazy,
    rows_text,
    to_floats,
)
from bayes_moe.errors import InputError, Notice, listed


@dataclass(frozen=True, eq=False)
class Table:
    """A checked table of covariates.

    Parameters
    ----------
    values
        ``(n, p)`` float64, C-ordered, finite and read-only; never the memory of what the user passed.
    names
        Column names as text. Arrays have none, so theirs are ``x0``, ``x1``, ... (``gate_X``: ``z0``, ...).
    named
        Whether the names came from the user; then prediction matches columns by name.
    index
        Row index of a pandas frame, or None.
    encodings
        What the columns of text or categories became: 0/1 columns that stand where the column stood.
    """

    values: FloatArray
    names: tuple[str, ...]
    named: bool
    index: object | None = None
    encodings: tuple[Encoding, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Name of the user's column that every column came from."""
        origin = {name: encoding.column for encoding in self.encodings for name in encoding.names}
        return tuple(origin.get(name, name) for name in self.names)


@dataclass(frozen=True, eq=False)
class Column:
    """One column as read: float64 values with NaN where missing, a name or None, a pandas index or None."""

    values: FloatArray
    name: str | None
    index: object | None
    notices: tuple[Notice, ...] = ()

    def refuse_missing(self, argument: str, way_out: str) -> None:
        """Raise :class:`InputError` naming the rows that miss a value."""
        missing = np.isnan(self.values)
        if missing.any():
            raise InputError(
                f"{argument}: expected a value in every row, got missing values ({rows_text(missing)}) → {way_out}"
            )


@dataclass(frozen=True, eq=False)
class Reading:
    """A table as read, one column for each of the user's: like :class:`Table`, but NaN stands where a value is missing.

    ``flat`` tells that the source was 1-D, so that its only column was inferred. Columns of text or categories hold
    the positions of their levels in ``encodings``; ``unused`` are the levels that were declared and no row has.
    """

    values: FloatArray
    names: tuple[str, ...]
    named: bool
    index: object | None
    notices: tuple[Notice, ...] = ()
    flat: bool = False
    encodings: tuple[Encoding, ...] = ()
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def incomplete(self) -> npt.NDArray[np.bool_]:
        """Return the rows that miss a value, ``(n,)`` booleans."""
        return np.isnan(self.values).any(axis=1)

    def refuse_missing(self, argument: str, way_out: str) -> None:
        """Raise :class:`InputError` naming the first column and rows that miss a value."""
        missing = np.isnan(self.values)
        if not missing.any():
            return
        columns = np.flatnonzero(missing.any(axis=0))
        more = f", and more in columns {listed(self.names[j] for j in columns[1:])}" if columns.size > 1 else ""
        raise InputError(
            f"{argument}: expected a value in every row, got missing values in column "
            f"{self.names[columns[0]]!r} ({rows_text(missing[:, columns[0]])}{more}) → {way_out}"
        )


def read_table(
    source: Any, argument: str, *, prefix: str, known: tuple[Encoding, ...] | None = None, without: str | None = None
) -> Reading:
    """Read a table; a 1-D source is one column.

    Columns of text or categories in a frame are read by their levels, arrays as numbers alone.

    Parameters
    ----------
    source
        Array-like of shape ``(n, p)`` or ``(n,)``, or a frame.
    argument
        Its name in messages.
    prefix
        Start of the made-up names of an array's columns.
    known
        The encodings of training, for rows to predict at; None: find them here.
    without
        Name of a column of a frame that is no covariate.

    Raises
    ------
    InputError
        When it is no table, names repeat, a column holds no real numbers, a value is infinite, or a level is not one
        of training's.

    Examples
    --------
    >>> read_table([[1, 2], [3, 4]], "X", prefix="x").names
    ('x0', 'x1')
    """
    refuse_lazy(source, argument)
    columns = _frame_columns(source, argument)
    if columns is None:
        return _read_array(source, argument, prefix)
    if without is not None:
        columns = [(name, column) for name, column in columns if _text(name) != without]
    names = _checked_names([name for name, _ in columns], argument)
    values = np.empty((len(source), len(columns)))
    notices: list[Notice] = []
    encodings, unused = {encoding.column: encoding for encoding in known or ()}, {}
    for j, (name, (_, column)) in enumerate(zip(names, columns, strict=True)):
        where = f" in column {name!r}"
        found = read_levels(column, argument, where) if known is None else None
        if found is not None:
            values[:, j], levels, unused[name] = found
            encodings[name] = Encoding(name, levels)
        elif name in encodings:
            values[:, j] = read_known(column, encodings[name], argument)
        else:
            raw = column_array(column, argument, where)
            values[:, j] = to_floats(raw, argument, where)
            notices += _object_notice(raw, argument, where)
    _refuse_infinite_table(values, names, argument)
    own = tuple(encodings[name] for name in names if name in encodings)
    return Reading(
        values, names, named=True, index=row_index(source), notices=tuple(notices), encodings=own, unused=unused
    )


def expanded(
    values: FloatArray, names: tuple[str, ...], encodings: tuple[Encoding, ...]
) -> tuple[FloatArray, list[str]]:
    """Put 0/1 columns in the place of codes of levels; return all columns and their names."""
    of = {encoding.column: encoding for encoding in encodings}
    if not of:
        return values, list(names)
    blocks = [of[n].indicators(values[:, j]) if n in of else values[:, [j]] for j, n in enumerate(names)]
    spelled = [name for n in names for name in (of[n].names if n in of else (n,))]
    return np.ascontiguousarray(np.hstack(blocks)), spelled


def encoded(
    reading: Reading, values: FloatArray, counted: npt.NDArray[np.bool_], argument: str
) -> tuple[FloatArray, tuple[str, ...], tuple[Encoding, ...], list[Notice]]:
    """Return training columns with 0/1 columns for levels, their names, the encodings and notices.

    Parameters
    ----------
    reading
        The table as read.
    values
        Its rows that stay, without missing values.
    counted
        Which of them have positive weight; levels of the others are left out.
    argument
        Name of the table in messages.
    """
    if not reading.encodings:
        return values, reading.names, (), []
    values, settled, notices = values.copy(), [], []
    for encoding in reading.encodings:
        j = reading.names.index(encoding.column)
        values[:, j], own, found = settle_levels(
            values[:, j], encoding, counted, reading.unused.get(encoding.column, ())
        )
        settled.append(own)
        notices += found
    out, names = expanded(values, reading.names, tuple(settled))
    return out, _checked_names(names, argument), tuple(settled), notices


def read_column(source: Any, argument: str) -> Column:
    """Read one column: 1-D, or 2-D with a single column.

    Raises
    ------
    InputError
        When there is more than one column, it holds no real numbers, or a value is infinite.
    """
    refuse_lazy(source, argument)
    frame = _frame_columns(source, argument)
    name, column = getattr(source, "name", None), source
    if frame is not None:
        if len(frame) != 1:
            raise InputError(f"{argument}: expected one column, got a frame of {len(frame)} → pass one of them")
        name, column = frame[0]
    raw = column_array(column, argument)
    if raw.ndim > 2 or (raw.ndim == 2 and raw.shape[1] != 1):
        raise InputError(
            f"{argument}: expected shape (n,) or (n, 1), got {raw.shape} → pass one column, one value per row"
        )
    values = _unmasked(to_floats(raw, argument), source).ravel()
    refuse_infinite(values, argument)
    text = name if isinstance(name, str) and name else None
    return Column(values, text, row_index(source), tuple(_object_notice(raw, argument, "")))


def column_names(source: Any) -> tuple[str, ...]:
    """Return the column names of a frame as text; none for anything else."""
    return tuple(_text(name) for name, _ in _frame_columns(source, "X") or ())


def pick_column(source: Any, name: str) -> Any:
    """Return one column of a frame, by its name as text."""
    return next(column for found, column in _frame_columns(source, "X") or () if _text(found) == name)


def row_index(source: Any) -> object | None:
    """Return the row index of a pandas object, None for anything else."""
    index: object = getattr(source, "index", None)
    return index if hasattr(index, "equals") else None


def refuse_misaligned(first: Any, second: Any, names: tuple[str, str]) -> None:
    """Raise :class:`InputError` when two pandas indexes of equal length label their rows differently.

    Rows are matched by position, so rows that carry other labels are most likely other rows.
    """
    if first is None or second is None or len(first) == 0 or first.equals(second):
        return
    labels, others = first.tolist(), second.tolist()
    row = next((i for i, label in enumerate(labels) if label != others[i]), 0)
    raise InputError(
        f"{names[1]}: expected the row labels of {names[0]}, got {others[row]!r} for {labels[row]!r} (row "
        f"{row}) → align them, e.g. {names[1]}.loc[{names[0]}.index], or pass arrays to match rows by "
        f"position"
    )


def _frame_columns(source: Any, argument: str) -> list[tuple[object, Any]] | None:
    """Return (name, column) pairs of a frame, None for anything that is not a frame."""
    if isinstance(source, xr.Dataset):
        raise InputError(f"{argument}: expected a table, got an xarray Dataset → pass {argument}.to_dataframe()")
    if isinstance(source, xr.DataArray) or not hasattr(source, "columns"):
        return None
    if hasattr(source, "iloc"):  # pandas, where names may repeat
        return [(name, source.iloc[:, j]) for j, name in enumerate(source.columns)]
    if hasattr(source, "column_names"):  # pyarrow, whose .columns holds the columns themselves
        return list(zip(source.column_names, source.columns, strict=True))
    return [(name, source[name]) for name in source.columns]


def _read_array(source: Any, argument: str, prefix: str) -> Reading:
    raw = column_array(source, argument)
    if raw.dtype.names is not None:
        raise InputError(
            f"{argument}: expected a 2-D array, got records with fields {listed(raw.dtype.names)} → pass a frame"
        )
    if raw.ndim > 2:
        raise InputError(f"{argument}: expected 2 dimensions, got shape {raw.shape} → pass (rows, columns)")
    user_names = _array_names(source, raw.ndim)
    flat = raw.ndim == 1
    if flat:
        raw = raw[:, None]
    names = user_names if user_names is not None else [f"{prefix}{j}" for j in range(raw.shape[1])]
    checked = _checked_names(names, argument)
    values, notices = _array_floats(raw, checked, argument)
    values = _unmasked(values, source)
    _refuse_infinite_table(values, checked, argument)
    named = user_names is not None
    return Reading(values, checked, named, row_index(source), tuple(notices), flat)


def _array_names(source: Any, ndim: int) -> list[object] | None:
    """Return the names an array carries: of a series, or the text coordinates of a DataArray's columns."""
    if ndim == 1:
        name = getattr(source, "name", None)
        return [name] if isinstance(name, str) and name else None
    if isinstance(source, xr.DataArray) and source.dims[1] in source.coords:
        labels = source.coords[source.dims[1]].to_numpy().tolist()
        return labels if labels and all(isinstance(label, str) for label in labels) else None
    return None


def _array_floats(raw: npt.NDArray[Any], names: tuple[str, ...], argument: str) -> tuple[FloatArray, list[Notice]]:
    """Convert a 2-D array, column by column where its dtype alone does not vouch for every column."""
    if raw.dtype.kind in "biuf":
        return to_floats(raw, argument), []
    values = np.empty(raw.shape)
    notices: list[Notice] = []
    for j, name in enumerate(names):
        where = f" in column {name!r}"
        values[:, j] = to_floats(raw[:, j], argument, where)
        notices += _object_notice(raw[:, j], argument, where)
    return values, notices


def _unmasked(values: FloatArray, source: Any) -> FloatArray:
    """Put NaN where a masked array is masked; ``values`` is our own copy."""
    if isinstance(source, np.ma.MaskedArray):
        values[np.ma.getmaskarray(source).reshape(values.shape)] = np.nan
    return values


def _object_notice(raw: npt.NDArray[Any], argument: str, where: str) -> list[Notice]:
    if raw.dtype.kind != "O" or raw.size == 0:
        return []
    return [Notice("object_numbers", f"{argument}{where} holds Python objects, which were read as numbers.")]


def _text(name: object) -> str:
    return "_".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _checked_names(names: Sequence[object], argument: str) -> tuple[str, ...]:
    """Names as text: exact, distinct, and such that a file can hold them."""
    texts = tuple(map(_text, names))
    repeated = {text: None for text in texts if texts.count(text) > 1} if len(set(texts)) < len(texts) else {}
    if repeated:
        raise InputError(
            f"{argument}: expected distinct column names, got {listed(map(repr, repeated))} more than once "
            f"→ rename or leave out the repeated columns"
        )
    if any("\0" in text for text in texts):
        raise InputError(f"{argument}: expected column names without NUL characters, got one → rename the column")
    return texts


def _refuse_infinite_table(values: FloatArray, names: tuple[str, ...], argument: str) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    for j in np.flatnonzero(~finite.all(axis=0)):
        refuse_infinite(values[:, j], argument, f" in column {names[j]!r}")
