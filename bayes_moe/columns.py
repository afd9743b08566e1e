"""Turns whatever holds numbers (a frame's column, an array, a list) into float64, or says why it cannot.

Missing values come back as NaN for the caller to judge; infinities are refused here. pandas, polars and
pyarrow are recognised by what their objects can do, so none of them is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bayes_moe.errors import InputError, listed

FloatArray = npt.NDArray[np.float64]

_MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType"})
_NUMBER_TYPES = (int, float, np.bool_, np.integer, np.floating)
_ENCODE = "convert text to numbers, or pass names in a frame, whose text and categories are encoded as 0/1 columns"
_DATES = "pass numbers, such as days since a start date"
_KINDS = {
    "c": ("complex numbers", "pass the real and the imaginary part as two columns"),
    "M": ("dates", _DATES),
    "m": ("time differences", "pass numbers, such as the differences in days"),
    "U": ("text", _ENCODE),
    "S": ("bytes", _ENCODE),
    "T": ("text", _ENCODE),
    "V": ("records", "pass the fields as columns of a plain 2-D array"),
}


def is_missing(kind: type) -> bool:
    """Whether objects of this type mark a missing value."""
    return kind.__name__ in _MISSING_TYPES


def rows_text(mask: npt.NDArray[np.bool_]) -> str:
    """Name the rows where a mask holds, counted from 0.

    Examples
    --------
    >>> rows_text(np.array([False, True, True]))
    'rows 1, 2'
    """
    rows = np.flatnonzero(mask)
    return f"{'row' if rows.size == 1 else 'rows'} {listed(rows.tolist())}"


def as_array(source: Any, argument: str) -> npt.NDArray[Any]:
    """Read anything NumPy understands into an array, which may still alias the source.

    Raises
    ------
    InputError
        For sparse matrices, lazy frames, ragged lists and objects that are no array.
    """
    if hasattr(source, "toarray") and hasattr(source, "nnz"):
        raise InputError(f"{argument}: expected dense numbers, got a sparse matrix → pass {argument}.toarray()")
    refuse_lazy(source, argument)
    if isinstance(source, (str, bytes)):
        raise InputError(f"{argument}: expected an array of numbers, got {source!r} → pass the column itself")
    try:
        array = np.asarray(source)
        if array.dtype.kind in "US" and isinstance(source, (list, tuple)):
            array = np.asarray(source, dtype=object)  # so that only the entries that are text are named
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{argument}: expected rows of equal length, got a {type(source).__name__} that is no array "
            f"({error}) → pass a 2-D array or a frame"
        ) from error
    if array.ndim == 0:
        raise InputError(
            f"{argument}: expected an array or a frame, got {type(source).__name__} → pass one value per row"
        )
    return array


def refuse_lazy(source: Any, argument: str) -> None:
    """Raise :class:`InputError` for frames whose rows are not in memory."""
    verb = "collect" if hasattr(source, "collect") else "compute"
    if hasattr(source, "collect") or (hasattr(source, "compute") and hasattr(source, "columns")):
        raise InputError(
            f"{argument}: expected data in memory, got a lazy {type(source).__name__} → pass {argument}.{verb}()"
        )


def column_array(column: Any, argument: str, where: str = "") -> npt.NDArray[Any]:
    """Read one column, or an array of any shape, into an array whose dtype is not judged yet."""
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    if str(dtype) == "category" or str(dtype).startswith("dictionary"):
        raise InputError(
            f"{argument}: expected numbers, got categories{where} → encode them as 0/1 columns, or pass "
            f"their codes where the order has a meaning"
        )
    kind = getattr(dtype, "kind", None)
    if kind is not None and kind in "iufb" and not isinstance(dtype, np.dtype):  # pandas' nullable types
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return as_array(column, argument)


def to_floats(raw: npt.NDArray[Any], argument: str, where: str = "") -> FloatArray:
    """Copy an array of real numbers of any kind into C-ordered float64, missing values as NaN.

    Parameters
    ----------
    raw
        Booleans, integers, floats of any width and byte order, or Python objects that are such numbers.
    argument, where
        What the error says: the argument, and `` in column 'age'`` or nothing.

    Raises
    ------
    InputError
        For complex numbers, dates, text, ``Decimal``, ``Fraction`` and any other object.
    """
    kind = raw.dtype.kind
    if kind == "O":
        return _objects_to_floats(raw, argument, where)
    if kind in _KINDS:
        what, way_out = _KINDS[kind]
        first = f" {raw.flat[0]!s:.40}" if raw.size and kind != "V" else ""
        raise InputError(f"{argument}: expected real numbers, got {what}{first}{where} → {way_out}")
    with np.errstate(over="ignore", invalid="ignore"):  # a long double beyond float64 becomes inf, refused later
        return np.array(raw, dtype=np.float64, order="C", copy=True, subok=False)


def _objects_to_floats(raw: npt.NDArray[Any], argument: str, where: str) -> FloatArray:
    """Convert Python objects one by one; only real numbers and the usual marks of a missing value pass."""
    values = raw.ravel().tolist()
    bad = {t for t in {type(v) for v in values} if not _is_number(t) and not is_missing(t)}
    if bad:
        position = next(i for i, value in enumerate(values) if type(value) in bad)
        value = values[position]
        row = position // (raw.size // raw.shape[0])
        raise InputError(
            f"{argument}: expected real numbers, got {type(value).__name__} {value!r:.40}{where} (row "
            f"{row}) → {_way_out(value)}"
        )
    try:
        floats = [float(v) if _is_number(type(v)) else np.nan for v in values]
    except OverflowError as error:
        raise InputError(
            f"{argument}: expected numbers below 1.8e308, got a larger integer{where} → rescale it"
        ) from error
    return np.array(floats, dtype=np.float64).reshape(raw.shape)


def _is_number(kind: type) -> bool:
    return issubclass(kind, _NUMBER_TYPES)


def _way_out(value: object) -> str:
    if isinstance(value, (str, bytes)):
        return _ENCODE
    if isinstance(value, (list, tuple, np.ndarray)):
        return "pass rows of equal length"
    if hasattr(value, "year") or hasattr(value, "hour"):
        return _DATES
    return "convert it with float()"


def refuse_infinite(values: FloatArray, argument: str, where: str = "") -> None:
    """Raise :class:`InputError` naming the rows of a 1-D array that hold an infinity."""
    infinite = np.isinf(values)
    if infinite.any():
        raise InputError(
            f"{argument}: expected finite numbers, got {values[infinite][0]}{where} "
            f"({rows_text(infinite)}) → correct or leave out these rows"
        )
