"""The catalogue of bad inputs, row by row, and what holds for every data set that is accepted."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import xarray as xr

from bayes_moe.data import Data, Missing, Scaling, read_new, scaling_of
from bayes_moe.errors import InputError
from tests.data_cases import FRAME, LINE, RNG, N, X, Y, changed, codes, read, values_like

MASKED = np.ma.MaskedArray(X, mask=changed(np.zeros_like(X, dtype=bool), (6, 1), True))

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "D01": (
        lambda: read(y=changed(Y, [3, 7], np.nan)),
        r"y: .*missing values \(rows 3, 7\) → .*Missing\.DROP",
    ),
    "D02": (lambda: read(changed(X, (5, 1), np.nan)), r"X: .*missing values in column 'x1' \(row 5\)"),
    "D02-columns": (
        lambda: read(changed(X, 4, np.nan)),
        r"column 'x0' \(row 4, and more in columns x1\)",
    ),
    "D02-frame": (
        lambda: read(FRAME.drop(index=9).reindex(FRAME.index)),
        r"X: .*column 'age' \(row 9, and more",
    ),
    "D02-gate": (lambda: read(gate_X=changed(Y, 2, np.nan)), r"gate_X: .*column 'z0' \(row 2\)"),
    "D03-X": (
        lambda: read(changed(X, (2, 0), np.inf)),
        r"X: expected finite numbers, got inf in column 'x0' \(row 2\)",
    ),
    "D03-y": (
        lambda: read(y=changed(Y, [1, 8], -np.inf)),
        r"y: expected finite numbers, got -inf \(rows 1, 8\)",
    ),
    "D04-None": (lambda: read(y=changed(Y, 0, None, object)), r"y: .*missing values \(row 0\)"),
    "D04-NA": (
        lambda: read(y=pd.Series(Y, dtype="Float64").mask(FRAME.index.to_numpy() == 4)),
        r"y: .*missing values \(row 4\)",
    ),
    "D04-NA-object": (lambda: read(changed(X, (1, 1), pd.NA, object)), r"X: .*column 'x1' \(row 1\)"),
    "D04-NaT": (lambda: read(y=changed(Y, 2, pd.NaT, object)), r"y: .*missing values \(row 2\)"),
    "D04-masked": (lambda: read(MASKED), r"X: .*column 'x1' \(row 6\)"),
    "D04-masked-y": (lambda: read(y=np.ma.masked_less(Y, Y.min() + 1e-9)), r"y: .*missing"),
    "D04-null": (lambda: read(pl.DataFrame({"a": [None, *Y[1:]]})), r"X: .*column 'a' \(row 0\)"),
    "D05": (lambda: read(X[:0], Y[:0]), r"X: expected at least 2 rows, got 0 rows"),
    "D06-one": (lambda: read(X[:1], Y[:1], experts=1), r"X: expected at least 2 rows .* got 1"),
    "D06-few": (lambda: read(X[:5], Y[:5], experts=3), r"X: expected at least 6 rows .*3 experts\), got 5"),
    "D06-weights": (lambda: read(weights=np.arange(N) < 3), r"rows of positive weight .* got 3"),
    "D08": (lambda: read(X, Y[:-3]), r"y: expected 40 values, one per row of X, got 37"),
    "D08-gate": (lambda: read(gate_X=X[:7]), r"gate_X: expected 40 rows as in X, got 7"),
    "D09": (lambda: read(y=X), r"y: expected shape \(n,\) or \(n, 1\), got \(40, 2\)"),
    "D09-frame": (lambda: read(y=FRAME), r"y: expected one column, got a frame of 2"),
    "D09-row": (lambda: read(y=Y[None]), r"y: expected shape \(n,\) or \(n, 1\), got \(1, 40\)"),
    "D10": (lambda: read(X[:, 0], Y[:7]), r"X: .*got 1-D of length 40 → X\.reshape\(-1, 1\)"),
    "D11-3D": (lambda: read(X[None]), r"X: expected 2 dimensions, got shape \(1, 40, 2\)"),
    "D11-ragged": (
        lambda: read([[1.0, 2.0], [3.0]], [1, 2]),
        r"X: expected rows of equal length, got a list",
    ),
    "D11-object": (
        lambda: read(np.array([[1.0, 2.0], [3.0]], dtype=object), [1, 2]),
        r"X: .*got list \[1\.0, 2\.0\].*\(row 0\) → pass rows of equal length",
    ),
    "D11-scalar": (lambda: read(3.0), r"X: expected an array or a frame, got float"),
    "D11-dict": (lambda: read({"a": Y}), r"X: expected an array or a frame, got dict"),
    "D11-none": (lambda: read(None), r"X: expected a table, got None → .*np\.empty\(\(len\(y\), 0\)\)"),
    "D12": (lambda: read(y=np.full(N, 3.25)), r"y: expected values that vary, got 3\.25"),
    "D12-rounding": (lambda: read(y=0.1 + 1e-17 * Y), r"y: expected values that vary"),
    "D12-weights": (
        lambda: read(y=changed(np.ones(N), 3, 2.0), weights=np.arange(N) != 3),
        r"y: .*that vary",
    ),
    "D16-small": (lambda: read(FRAME * [1.0, 1e-200]), r"X: expected a range .* in column 'dose' → rescale"),
    "D16-large": (
        lambda: read(FRAME * [1e200, 1.0]),
        r"X: expected numbers within ±1e\+100.* in column 'age' \(rows",
    ),
    "D18-small": (lambda: read(y=Y * 1e-300), r"y: expected a range of at least 1e-100.* → rescale"),
    "D18-large": (lambda: read(y=Y * 1e300), r"y: expected numbers within ±1e\+100.*\(rows .* → rescale"),
    "D30-complex": (lambda: read(X + 1j), r"X: expected real numbers, got complex numbers .*in column 'x0'"),
    "D30-dates": (
        lambda: read(y=pd.date_range("2020", periods=N)),
        r"y: .*got dates 2020-01-01.* → .*days since",
    ),
    "D30-zone": (
        lambda: read(pd.DataFrame({"t": pd.date_range("2020", periods=N, tz="UTC")})),
        r"X: .*Timestamp.*column 't' \(row 0\) → .*days since",
    ),
    "D30-spans": (
        lambda: read(pd.DataFrame({"t": pd.to_timedelta(Y)})),
        r"X: .*time differences.*column 't'",
    ),
    "D30-time": (lambda: read(y=[dt.time(1)] * N), r"y: .*got time"),
    "D30-decimal": (
        lambda: read(y=[Decimal("1.5")] * N),
        r"y: .*got Decimal.*\(row 0\) → convert it with float",
    ),
    "D30-polars": (lambda: read(pl.DataFrame({"d": [Decimal("1.5")] * N})), r"X: .*Decimal.*column 'd'"),
    "D30-fraction": (lambda: read(y=[*Y[1:], Fraction(1, 3)]), r"y: .*got Fraction.*\(row 39\)"),
    "D30-huge": (lambda: read(y=[*map(int, values_like("i8")[1:, 0]), 10**400]), r"y: .*below 1\.8e308"),
    "D31-text": (lambda: read(FRAME.assign(dose="1,5")), r"X: .*'1,5' in column 'dose' \(row 0\) → .*encode"),
    "D31-mixed": (
        lambda: read(y=[*Y[1:], "a"]),
        r"y: expected real numbers, got str 'a' \(row 39\) → .*encode",
    ),
    "D31-array": (
        lambda: read(X.astype(str)),
        r"X: expected real numbers, got text .* in column 'x0' → .*encode",
    ),
    "D31-bytes": (lambda: read(X.astype("S")), r"X: expected real numbers, got bytes"),
    "D32-repeated": (
        lambda: read(FRAME.set_axis(["a", "a"], axis=1)),
        r"X: expected distinct column names, got 'a'",
    ),
    "D32-as-text": (
        lambda: read(FRAME.set_axis([1, "1"], axis=1)),
        r"X: expected distinct column names, got '1'",
    ),
    "D32-index": (
        lambda: read(FRAME, pd.Series(Y).sort_values()),
        r"y: expected the row labels of X, got \d+ for 0 \(row 0\) → align them, e\.g\. y\.loc\[X\.index\]",
    ),
    "D32-weights": (
        lambda: read(FRAME, weights=pd.Series(Y**2, index=FRAME.index + 1)),
        r"weights: .*row labels of X",
    ),
    "D32-gate": (lambda: read(FRAME, gate_X=pd.DataFrame({"z": Y}).iloc[::-1]), r"gate_X: .*row labels of X"),
    "D33-sparse": (
        lambda: read(scipy.sparse.csr_array(X)),
        r"X: .*got a sparse matrix → pass X\.toarray\(\)",
    ),
    "D33-lazy": (lambda: read(pl.LazyFrame({"a": Y})), r"X: .*lazy LazyFrame → pass X\.collect\(\)"),
    "D33-dataset": (lambda: read(xr.Dataset({"a": ("i", Y)})), r"X: .*Dataset → pass X\.to_dataframe\(\)"),
    "D33-records": (
        lambda: read(np.zeros(N, dtype=[("a", float)])),
        r"X: .*records with fields a → pass a frame",
    ),
    "D34-categories": (lambda: read(y=pd.Series(pd.Categorical([1, 2] * 20))), r"y: .*got categories"),
    "D35-negative": (
        lambda: read(weights=changed(np.ones(N), 2, -1)),
        r"weights: .*at least 0, got -1 \(row 2\)",
    ),
    "D35-missing": (
        lambda: read(weights=changed(np.ones(N), 2, np.nan)),
        r"weights: .*missing values \(row 2\)",
    ),
    "D35-infinite": (
        lambda: read(weights=changed(np.ones(N), 2, np.inf)),
        r"weights: .*finite numbers, got inf",
    ),
    "D35-zero": (lambda: read(weights=np.zeros(N)), r"weights: expected a total between .* got 0"),
    "D35-length": (lambda: read(weights=np.ones(7)), r"weights: expected 40 values, one per row of X, got 7"),
    "D35-tiny": (
        lambda: read(weights=np.full(N, 1e-300)),
        r"weights: expected a total .* → .*weights\.mean\(\)",
    ),
    "D35-huge": (lambda: read(weights=np.full(N, 1e300)), r"weights: expected a total .*, got 4e\+301"),
    "D35-overflow": (lambda: read(weights=np.full(N, 1e308)), r"weights: expected a total .*, got inf"),
    "D38": (lambda: read(FRAME, "doze"), r"y: .*got the text 'doze'; did you mean 'dose'\?"),
    "F13-nul": (lambda: read(FRAME.set_axis(["a\0", "b"], axis=1)), r"X: .*without NUL"),
    "gate-clash": (
        lambda: read(FRAME, gate_X=FRAME[["age"]]),
        r"gate_X: expected columns that X lacks, got 'age'",
    ),
    "missing-text": (
        lambda: read(missing="drop"),
        r"missing: expected a Missing, got 'drop' → .*Missing\.DROP",
    ),
    "all-missing": (
        lambda: read(y=np.full(N, np.nan), missing=Missing.DROP),
        r"X, y: expected rows without missing values, got none",
    ),
    "scaling-width": (
        lambda: read(scaling=Scaling((0.0,), (1.0,), 0.0, 1.0)),
        r"scaling: expected 2 columns, got 1",
    ),
    "scaling-zero": (lambda: Scaling((0.0,), (0.0,), 0.0, 1.0), r"scaling: expected positive finite scales"),
    "scaling-nan": (lambda: Scaling((np.nan,), (1.0,), 0.0, 1.0), r"scaling: expected finite centres"),
    "scaling-lengths": (lambda: Scaling((0.0, 1.0), (1.0,), 0.0, 1.0), r"scaling: expected one centre"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    attempt, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        attempt()
    assert re.match(r"^[\w, ]+: expected .*got .* → .+", str(caught.value)), "the error grammar"


BINARY = np.column_stack([np.arange(N) % 2, np.arange(N) // 20]).astype(float)

NOTICED: dict[str, tuple[Callable[[], Data], tuple[str, ...], str]] = {
    "plain": (lambda: read(), (), ""),
    "D01": (
        lambda: read(y=changed(Y, [3, 7], np.nan), missing=Missing.DROP),
        ("rows_dropped",),
        r"2 of 40 rows .*rows 3, 7",
    ),
    "D04-masked": (lambda: read(MASKED, missing=Missing.DROP), ("rows_dropped",), r"1 of 40 rows .*row 6"),
    "D06": (lambda: read(parameters=41), ("weak_data",), r"41 free parameters and X has 40 rows"),
    "D06-enough": (lambda: read(parameters=40), (), ""),
    "D06-function": (lambda: read(parameters=lambda names: 30 * len(names)), ("weak_data",), r"60 free"),
    "D06-weights": (lambda: read(weights=np.arange(N) < 20, parameters=21), ("weak_data",), r"has 20 rows"),
    "D07": (lambda: read(np.empty((N, 0))), (), ""),
    "D07-frame": (lambda: read(pd.DataFrame(index=range(N))), (), ""),
    "D13": (lambda: read(FRAME.assign(one=7.3)), ("constant_column",), r"'one' are constant"),
    "D13-rounding": (
        lambda: read(FRAME.assign(one=0.1 + 0.2 * (X[:, 0] * 0))),
        ("constant_column",),
        r"'one'",
    ),
    "D14-twice": (lambda: read(FRAME.assign(again=X[:, 0])), ("collinear",), r"'age', 'again'"),
    "D14-sum": (
        lambda: read(FRAME.assign(total=3 * X[:, 0] - X[:, 1], free=LINE)),
        ("collinear",),
        r"other: 'age', 'dose', 'total'\.",
    ),
    "D14-groups": (
        lambda: read(FRAME.assign(a=1 - X[:, 0], b=1e9 * X[:, 1], free=LINE)),
        ("collinear",),
        r"'age', 'a'; 'dose', 'b'\.",
    ),
    "D14-nearly": (lambda: read(FRAME.assign(again=X[:, 0] + 1e-4 * LINE)), (), ""),
    "D15": (lambda: read(RNG.normal(size=(N, 60))), ("p_exceeds_n",), r"40 rows and 60 columns"),
    "D16": (lambda: read(X * [1e-12, 1e12]), (), ""),
    "D19": (lambda: read(y=changed(Y, 11, 1e6)), ("extreme_value",), r"rows 11, up to .*Student-t"),
    "D19-dropped": (
        lambda: read(y=changed(changed(Y, 11, 1e6), 2, np.nan), missing=Missing.DROP),
        ("rows_dropped", "extreme_value"),
        r"extreme values in rows 11,",
    ),
    "D20": (
        lambda: read(y=changed(Y, slice(0, 20), 0.5)),
        ("tied_values",),
        r"50 % of the rows have y = 0\.5;",
    ),
    "D21": (lambda: read(np.repeat(X, 2, 0), np.repeat(Y, 2)), (), ""),
    "D22": (lambda: read(changed(X, (slice(0, 4), 0), LINE[:4]), changed(Y, slice(0, 4), LINE[:4])), (), ""),
    "D23": (lambda: read(X + 1e3 * (LINE > 0)[:, None]), (), ""),
    "D24": (lambda: read(BINARY), ("identifiability",), r"4 distinct rows, .*K·\(p\+1\) = 6 "),
    "D24-enough": (lambda: read(BINARY + [0, 0.1] * (np.arange(N) % 3)[:, None]), (), ""),
    "D24-regression": (lambda: read(BINARY[:, [0, 0]], experts=1), ("collinear",), r"'x0', 'x1'"),
    "D24-late": (lambda: read(np.maximum(np.arange(400) - 200.0, 0), RNG.normal(size=400)), (), ""),
    "D31": (
        lambda: read(FRAME.astype(object)),
        ("object_numbers", "object_numbers"),
        r"'age' holds Python objects",
    ),
    "D31-y": (lambda: read(y=Y.astype(object)), ("object_numbers",), r"y holds Python objects"),
    "D35-zeros": (lambda: read(weights=np.arange(N) % 3), (), ""),
    "D36": (lambda: read(weights=np.full(N, 0.5)), ("power_likelihood",), r"not whole numbers"),
    "D39": (lambda: read(FRAME.assign(copy=5 - 3e6 * Y)), ("leakage",), r"linear function of 'copy'"),
    "D39-gate": (lambda: read(gate_X=Y.astype(np.float32)), ("leakage",), r"'z0'"),
    "D39-nearly": (lambda: read(FRAME.assign(copy=Y + 1e-3 * LINE)), (), ""),
}


@pytest.mark.parametrize("case", NOTICED)
def test_noticed(case: str) -> None:
    attempt, expected, message = NOTICED[case]
    data = attempt()
    assert codes(data) == expected
    assert re.search(message, " ".join(notice.message for notice in data.notices))
    assert np.isfinite(data.table.values).all()
    assert np.isfinite(data.y).all()
    standardised = data.scaling.standardise_x(data.table.values)
    assert np.isfinite(standardised).all()
    assert np.isfinite(data.scaling.standardise_y(data.y)).all()


def test_d13_constant_columns_are_left_out() -> None:
    data = read(FRAME.assign(one=7.3))
    assert data.dropped == ("one",)
    assert data.scaling.x_constant == (False, False, True)
    assert data.scaling.x_scale[2] == 1.0
    assert codes(read(np.full((N, 1), 2.0))) == ("constant_column",)


def test_d01_dropped_rows_leave_everywhere() -> None:
    x = changed(X, (5, 0), np.nan)
    frame = pd.DataFrame(x, index=np.arange(N) + 100)
    gate = changed(Y, 9, np.nan) ** 2
    data = read(frame, changed(Y, 3, np.nan), gate_X=gate, weights=np.arange(N), missing=Missing.DROP)
    kept = np.delete(np.arange(N), [3, 5, 9])
    np.testing.assert_array_equal(data.rows, kept)
    np.testing.assert_array_equal(data.table.values, np.column_stack([X, Y**2])[kept])
    np.testing.assert_array_equal(data.y, Y[kept])
    np.testing.assert_array_equal(data.weights, kept)
    assert list(data.table.index) == list(kept + 100)


def test_gate_columns_are_appended() -> None:
    data = read(FRAME, gate_X=np.column_stack([Y**2, LINE]))
    assert data.table.names == ("age", "dose", "z0", "z1")
    assert data.gate_columns == ("z0", "z1")
    np.testing.assert_array_equal(data.table.values[:, 3], LINE)
    assert read().gate_columns == ()


def test_weights_and_digest() -> None:
    plain = read()
    assert (plain.weights == 1).all()
    assert not plain.weighted
    assert read(weights=np.ones(N)).weighted
    assert plain.digest == read(X * 2, weights=np.ones(N)).digest
    assert plain.digest == read(y=Y.astype(">f8")).digest
    assert plain.digest != read(weights=np.full(N, 2)).digest
    assert plain.digest != read(y=changed(Y, 0, Y[0] + 1e-9)).digest
    assert read(y=changed(Y, 0, 0.0)).digest == read(y=changed(Y, 0, -0.0)).digest


def test_a_given_scaling_is_used_as_it_is() -> None:
    scaling = Scaling((1.0, 2.0), (3.0, 1.0), 5.0, 6.0, (False, True))
    data = read(y=np.ones(N), scaling=scaling)
    assert scaling_of(data) is scaling
    assert data.dropped == ("x1",)
    assert codes(data) == ("constant_column", "tied_values")
    np.testing.assert_allclose(scaling.standardise_y([11.0]), [1.0])
    with pytest.raises(InputError, match=r"X: expected 2 columns, got shape \(40, 1\)"):
        scaling.standardise_x(X[:, :1])


def test_inputs_are_left_as_they_were() -> None:
    frame, y, weights = FRAME.copy(), pd.Series(Y), np.arange(N)
    read(frame, y, weights=weights, gate_X=pd.DataFrame({"z": LINE}))
    read_new(frame, read(frame).table)
    pd.testing.assert_frame_equal(frame, FRAME)
    pd.testing.assert_series_equal(y, pd.Series(Y))
    np.testing.assert_array_equal(weights, np.arange(N))


def test_large_data_are_screened_on_a_sample() -> None:
    n = 120_001
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3))
    x[:, 2] = x[:, 0]
    y = changed(rng.normal(size=n), rng.random(n) < 0.5, 1.0)
    assert codes(read(x, y)) == ("collinear", "tied_values")
    x[n - 2, 2] += 100.0  # between the rows of the sample: the whole decides
    assert codes(read(x, y)) == ("tied_values",)
    assert codes(read(x, 1 - x[:, 2])) == ("leakage", "extreme_value")
    assert codes(read(x[:, :2], 1 - x[:, 2])) == ("extreme_value",)
    assert codes(read((x[:, :1] > 0), y)) == ("tied_values", "identifiability")
