"""Rows to predict at are matched to the training columns, or refused by name (S17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import bayes_moe as bm
from bayes_moe.data import Table, read_new, read_target
from bayes_moe.errors import InputError
from tests.data_cases import FRAME, LINE, N, X, Y, changed, read

TRAINED = read(FRAME).table
PLAIN = read().table
SCORES = ("log_score", "crps", "pit", "coverage", "table")

S17_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "missing": (
        lambda: read_new(FRAME.rename(columns={"dose": "doze"}), TRAINED),
        r"X: expected the training columns, got none named 'dose'; did you mean 'doze'\? → add or rename it",
    ),
    "extra": (
        lambda: read_new(FRAME.assign(y=Y), TRAINED),
        r"X: .*columns only, got also 'y' → leave it out",
    ),
    "width": (lambda: read_new(X[:, :1], PLAIN), r"X: expected 2 columns as in training \(x0, x1\), got 1"),
    "width-named": (lambda: read_new(X[:, :1], TRAINED), r"X: expected 2 columns .*\(age, dose\), got 1"),
    "flat": (
        lambda: read_new(X[0], PLAIN),
        r"X: expected 2 columns, got 1-D of length 2 → X\.reshape\(1, -1\)",
    ),
    "row-series": (lambda: read_new(FRAME.iloc[0], TRAINED), r"X: expected 2 columns, got 1-D of length 2"),
    "series": (lambda: read_new(FRAME["dose"], read(FRAME[["age"]]).table), r"X: .*none named 'age'"),
    "nan": (
        lambda: read_new(changed(X, (1, 0), np.nan), TRAINED),
        r"X: .*missing values in column 'x0' \(row 1\)",
    ),
    "inf": (lambda: read_new(changed(X, (1, 0), np.inf), PLAIN), r"X: .*got inf in column 'x0' \(row 1\)"),
    "huge": (lambda: read_new(changed(X, (1, 1), 1e200), PLAIN), r"X: .*1e\+200 in column 'x1' \(row 1\)"),
    "text": (lambda: read_new(FRAME.assign(dose="low"), TRAINED), r"X: .*'low' in column 'dose' \(row 0\)"),
    "3-D": (lambda: read_new(X[None], PLAIN), r"X: expected 2 dimensions"),
    "gate-unknown": (lambda: read_new(X, PLAIN, gate_X=X), r"gate_X: expected None"),
    "gate-none": (
        lambda: read_new(X, read(gate_X=LINE).table, gate_columns=("z0",)),
        r"gate_X: expected columns 'z0' for the gate, got None",
    ),
    "gate-rows": (
        lambda: read_new(X, read(gate_X=LINE).table, gate_X=LINE[:3], gate_columns=("z0",)),
        r"gate_X: expected 40 rows as in X, got 3",
    ),
    "gate-labels": (
        lambda: read_new(FRAME, read(FRAME, gate_X=LINE).table, gate_X=pd.Series(LINE)[::-1], gate_columns=("z0",)),
        r"gate_X: expected the row labels of X, got 39 for 0 \(row 0\)",
    ),
    "gate-name": (
        lambda: read_new(
            X,
            read(gate_X=pd.DataFrame({"t": LINE})).table,
            gate_X=pd.DataFrame({"u": LINE}),
            gate_columns=("t",),
        ),
        r"gate_X: .*none named 't'",
    ),
    "y-length": (lambda: read_target(Y, 3), r"y: expected 3 values, one per row of X, got 40"),
    "y-nan": (lambda: read_target(changed(Y, 2, np.nan), N), r"y: .*missing values \(row 2\)"),
    "y-inf": (lambda: read_target(changed(Y, 2, np.inf), N), r"y: .*got inf \(row 2\)"),
    "y-huge": (lambda: read_target(changed(Y, 2, 1e200), N), r"y: .*1e\+200 \(row 2\)"),
    "y-rows": (
        lambda: read_target(pd.Series(Y)[::-1], N, index=FRAME.index),
        r"y: expected the row labels of X, got 39 for 0 \(row 0\) → align them, e\.g\. y\.loc\[X\.index\]",
    ),
    "y-labels": (
        lambda: read_target(pd.Series(["b", "a"], [5, 7]), 2, ("a", "b"), index=pd.Index([5, 6])),
        r"y: expected the row labels of X, got 7 for 6 \(row 1\)",
    ),
    "y-outputs": (
        lambda: read_target(FRAME[1:], N - 1, (), ("age", "dose"), FRAME.index[:-1]),
        r"y: expected the row labels of X, got 1 for 0 \(row 0\)",
    ),
    "y-shape": (lambda: read_target(X, N), r"y: expected shape \(n,\) or \(n, 1\), got \(40, 2\)"),
}


@pytest.mark.parametrize("case", S17_REFUSED)
def test_s17_refused(case: str) -> None:
    attempt, message = S17_REFUSED[case]
    with pytest.raises(InputError, match=message):
        attempt()


def test_s17_columns_are_matched_by_name() -> None:
    three = FRAME.assign(line=LINE)
    cycled = read_new(three[["line", "age", "dose"]], read(three).table)
    np.testing.assert_array_equal(cycled, three)
    np.testing.assert_array_equal(read_new(FRAME[["dose", "age"]], TRAINED), X)
    np.testing.assert_array_equal(read_new(pl.from_numpy(X[:, ::-1], ["dose", "age"]), TRAINED), X)
    np.testing.assert_array_equal(read_new(X, TRAINED), X)
    np.testing.assert_array_equal(read_new(FRAME, PLAIN), X)
    np.testing.assert_array_equal(read_new(pd.DataFrame(X, columns=["x1", "x0"]), PLAIN), X[:, ::-1])


def test_s17_gate_columns() -> None:
    gate = pd.DataFrame({"t": LINE, "u": Y**2})
    training = read(FRAME, gate_X=gate)
    expected = np.column_stack([X, gate])
    columns = {"gate_columns": training.gate_columns}
    apart = read_new(FRAME[["dose", "age"]], training.table, gate_X=gate[["u", "t"]], **columns)
    together = read_new(pd.concat([gate, FRAME], axis=1), training.table, **columns)
    np.testing.assert_array_equal(apart, expected)
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(read_new(expected, training.table, **columns), expected)
    plain = read(gate_X=LINE)
    new = read_new(X, plain.table, gate_X=pd.DataFrame({"t": LINE}), gate_columns=plain.gate_columns)
    np.testing.assert_array_equal(new[:, 2], LINE)


@pytest.mark.parametrize(
    "nothing", [X[:0], FRAME[:0], pd.DataFrame(columns=["dose", "age"]), pl.DataFrame(FRAME[:0]), []]
)
def test_s17_no_rows(nothing: Any) -> None:
    assert read_new(nothing, TRAINED).shape == (0, 2)
    assert read_target([], 0).shape == (0,)


@pytest.mark.parametrize("score", ["log_density", "cdf", "responsibilities", *SCORES])
def test_y_of_other_rows_is_refused(score: str) -> None:
    """By the rule of training: rows that both name must have one name."""
    frame = pd.DataFrame({"t": LINE})
    y = pd.Series(2.0 * LINE + np.random.default_rng(1).normal(size=N))
    fit = bm.fit(bm.MixtureOfExperts(1), frame, y, bm.EM(starts=1, seed=1), progress=False)
    of = getattr(fit, score, None) or (lambda *rows: getattr(bm.scores, score)(fit, *rows))
    expected = np.asarray(of(frame, y))
    for rows, values in [
        (frame[::-1], y[::-1]),
        (frame[::-1], y[::-1].to_numpy()),
        (frame[::-1].to_numpy(), y[::-1]),
        (frame[::-1].reset_index(drop=True), y[::-1].reset_index(drop=True)),
    ]:
        found = np.asarray(of(rows, values))
        np.testing.assert_allclose(found if score == "table" else found[::-1], expected, rtol=1e-9)
    message = r"y: expected the row labels of X, got 39 for 0 \(row 0\) → align them"
    with pytest.raises(InputError, match=message):
        of(frame, y[::-1])
    with pytest.raises(InputError, match=message):
        bm.fit(bm.MixtureOfExperts(1), frame, y[::-1], bm.EM(seed=1), progress=False)
    nothing = pd.Series([], dtype=float, index=pd.DatetimeIndex([]))
    assert np.asarray(fit.log_density(frame[:0], nothing)).shape == (0,)


def test_s17_one_dimension_is_one_column() -> None:
    table = Table(X[:, :1], ("x0",), named=False)
    np.testing.assert_array_equal(read_new([1, 2, 3], table), [[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(read_new(FRAME["age"], read(FRAME[["age"]]).table), X[:, :1])
