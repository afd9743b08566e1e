"""Tables and columns of every kind are read alike, as copies, by position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr

from bayes_moe.data import read_new, read_target
from tests.data_cases import FRAME, RNG, N, X, Y, read, values_like


@pytest.mark.parametrize("kind", ["?", "u1", "i2", "i8", "f2", "f4", "f8", "g", ">f8", ">i4", "<f4"])
def test_d29_numbers_of_every_dtype(kind: str) -> None:
    x = values_like(kind)
    y = values_like("i8")[:, 0].astype("u1")
    before = x.tobytes(), y.tobytes()
    data = read(x, y)
    for array in (data.table.values, data.y, data.weights):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert not array.flags.writeable
    np.testing.assert_array_equal(data.table.values, x.astype(float))
    assert (x.tobytes(), y.tobytes()) == before


@pytest.mark.parametrize("layout", ["plain", "read-only", "strided", "fortran", "memmap", "matrix"])
def test_d29_layouts_are_copied_never_aliased(layout: str, tmp_path: Any) -> None:
    x: Any = X.copy()
    if layout == "read-only":
        x.setflags(write=False)
    elif layout == "strided":
        x = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "fortran":
        x = np.asfortranarray(X)
    elif layout == "memmap":
        x = np.memmap(tmp_path / "x.bin", dtype=float, mode="w+", shape=X.shape)
        x[:] = X
    elif layout == "matrix":
        x = np.ma.MaskedArray(X)
    data = read(x, Y)
    assert type(data.table.values) is np.ndarray
    assert data.table.values.flags.c_contiguous
    assert not np.shares_memory(data.table.values, np.asarray(x))
    assert not np.shares_memory(data.y, Y)
    np.testing.assert_array_equal(data.table.values, X)
    assert read_target(Y, N) is not Y
    assert not np.shares_memory(read_new(x, data.table), np.asarray(x))


def arrow_table() -> Any:
    return pytest.importorskip("pyarrow").table({"age": X[:, 0], "dose": X[:, 1]})


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (lambda: FRAME, ("age", "dose")),
        (lambda: FRAME.convert_dtypes(), ("age", "dose")),
        (lambda: FRAME.astype(pd.SparseDtype("float")), ("age", "dose")),
        (lambda: pl.DataFrame({"age": X[:, 0], "dose": X[:, 1]}), ("age", "dose")),
        (arrow_table, ("age", "dose")),
        (lambda: xr.DataArray(X, dims=("row", "name"), coords={"name": ["age", "dose"]}), ("age", "dose")),
        (lambda: xr.DataArray(X, dims=("row", "name")), None),
        (lambda: xr.DataArray(X, dims=("row", "name"), coords={"name": [4, 2]}), None),
        (lambda: X.tolist(), None),
        (lambda: tuple(map(tuple, X)), None),
        (lambda: X, None),
    ],
    ids=[
        "pandas",
        "nullable",
        "sparse",
        "polars",
        "arrow",
        "xarray",
        "dims",
        "numbered",
        "lists",
        "tuples",
        "array",
    ],
)
def test_d33_tables_of_every_kind(source: Callable[[], Any], names: tuple[str, ...] | None) -> None:
    data = read(source())
    assert data.table.names == (names or ("x0", "x1"))
    assert data.table.named == (names is not None)
    np.testing.assert_array_equal(data.table.values, X)
    np.testing.assert_array_equal(read_new(source(), data.table), X)


def test_d32_odd_labels_are_handled_by_position() -> None:
    levels = FRAME.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), axis=1)
    assert read(levels).table.names == ("a_1", "b_2")
    assert read(pd.DataFrame(X)).table.names == ("0", "1")
    shuffled = FRAME.set_axis(RNG.integers(0, 5, N), axis=0)
    data = read(shuffled, pd.Series(Y, index=shuffled.index, name="height"))
    np.testing.assert_array_equal(data.y, Y)
    assert data.y_name == "height"
    assert read(shuffled, Y).y_name == "y"


def test_d09_d10_single_columns() -> None:
    for y in (Y[:, None], Y.tolist(), pd.DataFrame({"h": Y}), pl.Series("h", Y), xr.DataArray(Y, name="h")):
        np.testing.assert_array_equal(read(y=y).y, Y)
    assert read(y=pl.DataFrame({"h": Y})).y_name == "h"
    assert read(Y[::-1]).table.values.shape == (N, 1)
    assert read(FRAME["age"]).table.names == ("age",)
