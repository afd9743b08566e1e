"""Columns of text and categories become 0/1 columns, and the same ones at prediction (D34)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import bayes_moe as bm
from bayes_moe.data import read_new
from tests.data_cases import LINE, N, X, Y, codes, read

SITES = np.array(["b", "a", "c", "a"] * (N // 4), dtype=object)
FRAME = pd.DataFrame({"age": X[:, 0], "site": SITES, "dose": X[:, 1]})
EXPECTED = np.column_stack([X[:, 0], SITES == "b", SITES == "c", X[:, 1]]).astype(float)
NAMES = ("age", "site[b]", "site[c]", "dose")


def arrow(dictionary: bool = False) -> Any:
    pa = pytest.importorskip("pyarrow")
    site = pa.array(SITES.tolist())
    return pa.table({"age": X[:, 0], "site": site.dictionary_encode() if dictionary else site, "dose": X[:, 1]})


KINDS: dict[str, Callable[[], Any]] = {
    "pandas text": lambda: FRAME,
    "pandas object": lambda: FRAME.astype({"site": object}),
    "pandas string": lambda: FRAME.astype({"site": "string"}),
    "pandas category": lambda: FRAME.astype({"site": "category"}),
    "polars": lambda: pl.from_pandas(FRAME),
    "polars categorical": lambda: pl.from_pandas(FRAME).with_columns(pl.col("site").cast(pl.Categorical)),
    "polars enum": lambda: pl.from_pandas(FRAME).with_columns(pl.col("site").cast(pl.Enum(["a", "b", "c"]))),
    "arrow": arrow,
    "arrow dictionary": lambda: arrow(dictionary=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_levels_become_columns_in_every_kind_of_frame(kind: str) -> None:
    data = read(KINDS[kind]())
    assert data.table.names == NAMES
    assert data.table.sources == ("age", "site", "site", "dose")
    np.testing.assert_array_equal(data.table.values, EXPECTED)
    new = FRAME[["dose", "site", "age"]].iloc[[3, 0]]  # one level is not there, the order is another
    np.testing.assert_array_equal(read_new(new, data.table), EXPECTED[[3, 0]])
    np.testing.assert_array_equal(read_new(KINDS[kind](), data.table), EXPECTED)
    np.testing.assert_array_equal(read_new(EXPECTED, data.table), EXPECTED)
    np.testing.assert_array_equal(read_new(pd.DataFrame(EXPECTED, columns=NAMES), data.table), EXPECTED)
    assert read_new(FRAME[:0], data.table).shape == (0, 4)


def test_categories_keep_their_order_and_numbers_may_be_names() -> None:
    ordered = pd.Categorical(SITES, categories=["c", "b", "a"], ordered=True)
    assert read(FRAME.assign(site=ordered)).table.names == ("age", "site[b]", "site[a]", "dose")
    numbers = FRAME.assign(site=pd.Categorical(np.arange(N) % 3 + 1))
    table = read(numbers).table
    assert table.names[1:3] == ("site[2]", "site[3]")
    np.testing.assert_array_equal(read_new(numbers.assign(site=np.arange(N) % 3 + 1), table), table.values)
    enum = pl.DataFrame({"site": SITES}).with_columns(pl.col("site").cast(pl.Enum(["c", "a", "b"])))
    assert read(enum).table.names == ("site[a]", "site[b]")
    pa = pytest.importorskip("pyarrow")
    codes_of = pa.array([0, 1, 2, 1] * (N // 4), pa.int8())
    dictionary = pa.DictionaryArray.from_arrays(codes_of, pa.array(["c", "b", "a"]), ordered=True)
    assert read(pa.table({"site": dictionary})).table.names == ("site[b]", "site[a]")


def test_booleans_are_numbers() -> None:
    flags = FRAME.assign(site=SITES == "b")
    data = read(flags)
    assert data.table.names == ("age", "site", "dose")
    np.testing.assert_array_equal(data.table.values[:, 1], SITES == "b")
    np.testing.assert_array_equal(read_new(flags, data.table), data.table.values)


def test_d34_unused_levels_are_left_out() -> None:
    declared = pd.Categorical(SITES, categories=["a", "z", "b", "c"])
    data = read(FRAME.assign(site=declared))
    assert data.table.names == NAMES
    assert codes(data) == ("unused_levels",)
    assert "'site' has no rows of level 'z'" in data.notices[0].message
    weights = np.where(SITES == "a", 0.0, 1.0)  # the base itself does not count: the next level takes its place
    data = read(FRAME, weights=weights)
    assert data.table.names == ("age", "site[c]", "dose")
    assert codes(data) == ("unused_levels",)
    holes = FRAME.assign(age=np.where(SITES == "c", np.nan, X[:, 0]))
    data = read(holes, missing=bm.Missing.DROP)
    assert data.table.names == ("age", "site[b]", "dose")
    assert codes(data) == ("rows_dropped", "unused_levels")


def test_d34_one_level_is_a_constant() -> None:
    data = read(FRAME.assign(site="a"))
    assert data.dropped == ("site[a]",)
    assert codes(data) == ("constant_column",)
    with pytest.raises(bm.InputError, match="got 'b'"):
        read_new(FRAME, data.table)


def test_d34_many_levels_are_noticed() -> None:
    names = [f"person {i // 3}" for i in range(N)]
    data = read(pd.DataFrame({"who": names}))
    assert "many_levels" in codes(data)
    assert "pass it as groups" in str(data.notices)


def test_d34_odd_names_are_kept() -> None:
    odd = np.array(["nan", "", "None", "ä/b"] * (N // 4), dtype=object)
    data = read(pd.DataFrame({"site": odd}))
    assert data.table.names == ("site[None]", "site[nan]", "site[ä/b]")
    np.testing.assert_array_equal(data.table.values, odd[:, None] == np.array([["None", "nan", "ä/b"]]))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "missing": (
        lambda: read(FRAME.assign(site=np.where(LINE < -0.9, None, SITES))),
        r"X: expected a value in every row, got missing values in column 'site' \(rows 0, 1\)",
    ),
    "missing category": (
        lambda: read(FRAME.assign(site=pd.Categorical(np.where(SITES == "c", None, SITES)))),
        r"X: .*missing values in column 'site' \(rows 2, 6, ",
    ),
    "unseen": (
        lambda: read_new(FRAME.assign(site=np.where(LINE > 0.9, "cc", SITES)), read(FRAME).table),
        r"X: .*levels of column 'site' as in training \('a', 'b', 'c'\), got 'cc' \(rows 38, 39\); .*'c'\? → correct",
    ),
    "new missing": (
        lambda: read_new(FRAME.assign(site=np.where(LINE > 0.9, None, SITES)), read(FRAME).table),
        r"X: .*missing values in column 'site' \(rows 38, 39\)",
    ),
    "renamed": (
        lambda: read_new(FRAME.rename(columns={"site": "sites"}), read(FRAME).table),
        r"real numbers, got str 'b' in column 'sites'",
    ),
    "left out": (lambda: read_new(FRAME[["age", "dose"]], read(FRAME).table), r"X: .*none named 'site'"),
    "one name": (
        lambda: read(FRAME.assign(**{"site[b]": LINE})),
        r"X: expected distinct column names, got 'site\[b\]' more than once",
    ),
    "same text": (
        lambda: read(FRAME.assign(site=pd.Categorical([1, "1"] * (N // 2)))),
        r"X: expected categories that differ as text",
    ),
    "mixed": (
        lambda: read(FRAME.assign(site=["a", 1] * (N // 2))),
        r"X: expected real numbers, got str 'a' in column 'site'",
    ),
    "NUL": (lambda: read(FRAME.assign(site=["a\0", "b"] * (N // 2))), r"X: .*without NUL"),
    "array": (lambda: read(FRAME.to_numpy()), r"X: expected real numbers, got str 'b' in column 'x1'"),
    "target": (lambda: read(y=FRAME["site"]), r"y: expected real numbers"),
    "name": (
        lambda: bm.fit(bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Linear(columns=("sites",)))), FRAME, Y),
        r"expected names of the table's columns \['age', 'site', 'dose'\], got 'sites'; did you mean 'site'",
    ),
    "position": (
        lambda: bm.fit(bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Linear(columns=(3,)))), FRAME, Y),
        r"expected positions from 0 to 2, got 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    attempt, message = REFUSED[case]
    with pytest.raises((bm.InputError, bm.SpecError), match=message):
        attempt()


def test_a_gates_own_table_may_hold_levels() -> None:
    gate = FRAME[["site"]]
    data = read(X, gate_X=gate)
    assert data.gate_columns == ("site[b]", "site[c]")
    expected = np.column_stack([X, SITES == "b", SITES == "c"])
    again = read_new(X, data.table, gate_X=gate, gate_columns=data.gate_columns)
    np.testing.assert_array_equal(again, expected)
    with pytest.raises(bm.InputError, match="gate_X: expected levels of column 'site'"):
        read_new(X, data.table, gate_X=gate.assign(site="q"), gate_columns=data.gate_columns)
    with pytest.raises(bm.InputError, match="gate_X: expected columns"):
        read_new(X, data.table, gate_columns=data.gate_columns)


@pytest.mark.parametrize("column", ["site", 1])
def test_a_column_named_in_a_predictor_is_all_its_levels(column: str | int, tmp_path: Path) -> None:
    """The fit equals the one with 0/1 columns made by hand, at training rows and from the saved file."""
    model = bm.MixtureOfExperts(
        [bm.Expert(mu=bm.Linear(columns=("age", column)))] * 2, bm.SoftmaxGate(bm.Linear(columns=("dose",)))
    )
    by_hand = bm.MixtureOfExperts(
        [bm.Expert(mu=bm.Linear(columns=(0, 1, 2)))] * 2, bm.SoftmaxGate(bm.Linear(columns=(3,)))
    )
    engine = bm.EM(starts=6, seed=1)
    y = 2.0 * X[:, 0] + 3.0 * (SITES == "c") + 0.3 * Y
    model = (
        model
        if column == "site"
        else bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(columns=(0, 1)))] * 2, bm.SoftmaxGate(bm.Linear(columns=(2,))))
    )
    fit = bm.fit(model, FRAME, y, engine, progress=False)
    plain = bm.fit(by_hand, EXPECTED, y, engine, progress=False)
    assert fit.idata["posterior"]["mu_feature"].values.tolist() == ["age", "site[b]", "site[c]"]
    assert fit.idata["posterior"]["gate_feature"].values.tolist() == ["dose"]
    np.testing.assert_array_equal(fit.predict(FRAME), plain.predict(EXPECTED))
    fit.save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc")
    assert again.data.table.encodings == fit.data.table.encodings
    shuffled = FRAME[["site", "dose", "age"]].astype({"site": "category"})
    np.testing.assert_array_equal(again.predict(shuffled), fit.predict(FRAME))
    with pytest.raises(bm.InputError, match="got 'q'"):
        again.predict(FRAME.assign(site="q"))


def test_the_pymc_model_names_the_columns() -> None:
    assert bm.build(bm.MixtureOfExperts(2), FRAME, Y).coords["column"] == NAMES
