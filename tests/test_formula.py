"""Formulas: columns of a frame at training, the same ones at prediction and from a file; nothing else is evaluated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.interpolate import BSpline

import bayes_moe as bm
from bayes_moe.expressions import columns_in
from bayes_moe.formula import Formula, read_formula

RNG = np.random.default_rng(8)
N = 90
FRAME = pd.DataFrame(
    {
        "x": RNG.normal(size=N),
        "u": RNG.uniform(size=N),
        "site": RNG.choice(["a", "b", "c"], N),
        "year": RNG.integers(2001, 2004, N),
        "my dose": RNG.uniform(1.0, 2.0, N),
        "z": RNG.normal(size=N),
        "id": np.arange(N) // 3,
    }
)
FRAME["y"] = np.exp(0.2 * np.where(RNG.random(N) < 0.5, 1 + FRAME.x, -1 - FRAME.x) + 0.1 * RNG.normal(size=N))
TEXT = "np.log(y) ~ x + bs(u, df=5) + C(site) + center(z) + log(`my dose`) | z + x"
QUICK = bm.EM(starts=4, seed=1)
FIT = bm.fit(bm.MixtureOfExperts(2), data=FRAME, formula=TEXT, engine=QUICK, progress=False)


def spline(u: np.ndarray) -> np.ndarray:
    """Cubic B-splines with knots at the thirds of the training u, the first column left out."""
    low, high = FRAME.u.min(), FRAME.u.max()
    knots = np.r_[[low] * 4, np.quantile(FRAME.u, [1 / 3, 2 / 3]), [high] * 4]
    return np.asarray(BSpline.design_matrix(u, knots, 3).toarray()[:, 1:])


def by_hand(frame: pd.DataFrame) -> np.ndarray:
    return np.column_stack(
        [
            frame.x,
            spline(frame.u.to_numpy()),
            frame.site == "b",
            frame.site == "c",
            frame.z - FRAME.z.mean(),
            np.log(frame["my dose"]),
            frame.z,
            frame.x,
        ]
    ).astype(float)


def test_the_columns_are_those_of_the_formula() -> None:
    table = FIT.data.table
    assert table.names == (
        "x", "bs(u, df=5)[1]", "bs(u, df=5)[2]", "bs(u, df=5)[3]", "bs(u, df=5)[4]", "bs(u, df=5)[5]",
        "C(site)[T.b]", "C(site)[T.c]", "center(z)", "log(`my dose`)", "z", "gate(x)",
    )  # fmt: skip
    assert FIT.data.gate_columns == ("z", "gate(x)")
    np.testing.assert_allclose(table.values, by_hand(FRAME), atol=1e-12)
    np.testing.assert_allclose(FIT.data.y, np.log(FRAME.y))
    assert FIT.data.y_name == "np.log(y)"
    posterior = FIT.idata["posterior"]
    assert posterior["mu_feature"].values.tolist() == list(table.names[:-2])
    assert posterior["gate_feature"].values.tolist() == ["z", "gate(x)"]


def test_new_rows_have_the_knots_means_and_levels_of_training() -> None:
    new = FRAME.iloc[[5, 40, 41]].drop(columns="y")
    assert FIT.data.formula is not None
    np.testing.assert_allclose(FIT.data.formula.table(new), by_hand(new), atol=1e-12)
    np.testing.assert_array_equal(FIT.predict(new), FIT.predict(FRAME)[[5, 40, 41]])
    np.testing.assert_array_equal(FIT.predict(pl.from_pandas(new)), FIT.predict(new))
    np.testing.assert_array_equal(FIT.predict(np.asarray(FIT.data.table.values)), FIT.predict(FRAME))
    assert FIT.log_density(FRAME, np.log(FRAME.y)).sum().item() == pytest.approx(FIT.log_likelihood, rel=1e-9)


def test_a_formula_is_the_fit_of_its_columns() -> None:
    plain = bm.fit(
        bm.MixtureOfExperts(2), by_hand(FRAME)[:, :-2], np.log(FRAME.y), QUICK, gate_X=by_hand(FRAME)[:, -2:],
        progress=False,
    )  # fmt: skip
    assert plain.log_posterior == pytest.approx(FIT.log_posterior, rel=1e-8)


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("y ~ 1", ()),
        ("y ~ x", ("x",)),
        ("y ~ site", ("site[T.b]", "site[T.c]")),
        ("y ~ x*z", ("x", "z", "x:z")),
        ("y ~ (x + z)**2 - z", ("x", "x:z")),
        ("y ~ I(x**2) + np.sqrt(u) + sqrt(u)", ("I(x ** 2)", "np.sqrt(u)", "sqrt(u)")),
        ("y ~ C(year)", ("C(year)[T.2002]", "C(year)[T.2003]")),
        ("y ~ C(site, contr.sum)", ("C(site, contr.sum)[S.a]", "C(site, contr.sum)[S.b]")),
        ("y ~ poly(x, 2) + scale(z)", ("poly(x, 2)[1]", "poly(x, 2)[2]", "scale(z)")),
        ("y ~ cr(u, df=3)", ("cr(u, df=3)[1]", "cr(u, df=3)[2]", "cr(u, df=3)[3]")),
        ("y ~ `my dose`", ("my dose",)),
        ("y ~ {x + z}", ("x + z",)),
        ("y ~ I(x > 0)", ("I(x > 0)",)),
        ("y ~ exp(x):exp(z):sqrt(u)", ("exp(x):exp(z):sqrt(u)",)),
    ],
)
def test_what_a_formula_may_say(formula: str, names: tuple[str, ...]) -> None:
    made = read_formula(formula, FRAME)
    assert tuple(made.table.columns) == names
    np.testing.assert_allclose(made.formula.table(FRAME[::7]), made.table[::7], atol=1e-12)


def test_a_dot_is_every_other_column() -> None:
    made = read_formula("y ~ .", FRAME[["x", "y", "z"]])
    assert tuple(made.table.columns) == ("x", "z")


REFUSED: dict[str, tuple[Any, str]] = {
    "column": ("y ~ x + zz", r"formula: expected names of the data's columns 'x', 'u', .*, got 'zz'; did you mean 'z'"),
    "column inside": ("y ~ log(uu)", r"got 'uu'; did you mean 'u'"),
    "response": ("yy ~ x", r"got 'yy'; did you mean 'y'"),
    "no response": ("~ x", r"formula: expected a response"),
    "product of responses": ("y:x ~ z", r"formula: expected responses by themselves, got y:x"),
    "two responses of one": ("y + x ~ z", r"y: expected"),
    "no intercept": ("y ~ 0 + x", r"formula: expected terms beside an intercept, got 'y ~ 0 \+ x'"),
    "no intercept in the gate": ("y ~ x | z - 1", r"formula: expected terms beside an intercept"),
    "gate of nothing": ("y ~ x | 1", r"formula: expected terms of the gate after \|"),
    "two bars": ("y ~ x | z | u", r"formula: expected at most one \| before the gate's terms, got 2"),
    "two offsets": (
        "y ~ x + offset(z) + offset(u)",
        r"formula: expected one offset, by itself, got offset\(z\), offset",
    ),
    "offset times": ("y ~ x:offset(z)", r"formula: expected one offset, by itself"),
    "offset and term": ("y ~ z + offset(z)", r"formula: expected 'z' as an offset or as a term, got both"),
    "offset in the gate": ("y ~ x | z + offset(u)", r"formula: expected no offset after \|"),
    "offset of nothing": ("y ~ x + offset(zz)", r"got 'zz'; did you mean 'z'"),
    "syntax": ("y ~ (x", r"formula: expected 'y ~ x1 \+ x2 \| z', got 'y ~ \(x'"),
    "text": (3, r"formula: expected text such as 'y ~ x', got int"),
    "function": ("y ~ foo(x)", r"formula: expected functions among bs, .*, got 'foo'"),
    "order of rows": ("y ~ lag(x)", r"got 'lag'; did you mean 'log'"),
    "import": ("y ~ I(__import__('os'))", r"formula: expected functions among .*, got '__import__'"),
    "attribute": ("y ~ I(x.values)", r"formula: expected functions such as np\.log, .*, got 'x\.values'"),
    "deep": ("y ~ np.linalg.inv(x)", r"got 'np\.linalg\.inv'"),
    "numpy": ("y ~ np.load(x)", r"got 'np\.load'; did you mean"),
    "lambda": ("y ~ I((lambda: 1)())", r"formula: expected functions among"),
    "comprehension": ("y ~ {[v for v in x]}", r"formula: expected functions of columns, got '\[v for v in x\]'"),
    "subscript": ("y ~ {x[0]}", r"formula: expected functions of columns, got 'x\[0\]'"),
    "constants": ("y ~ I(x + 9**9)", r"formula: expected columns, got '9 \*\* 9'"),
    "power": ("y ~ I(x**99)", r"formula: expected a power of at most 20"),
    "width": ("y ~ bs(x, df=100000)", r"formula: expected at most 100 columns of a basis, got 100000"),
    "interactions": (
        "y ~ bs(x):bs(u):poly(z, 2)",
        r"formula: expected at most 20000 columns of a term, got up to 1000000",
    ),
    "logarithm": ("y ~ log(x)", r"data: expected finite terms, got .* for 'log\(x\)' \(rows \d"),
    "log of y": ("np.log(x) ~ u", r"y: expected a value in every row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    formula, message = REFUSED[case]
    with pytest.raises(bm.InputError, match=message):
        bm.fit(bm.MixtureOfExperts(2), data=FRAME, formula=formula, progress=False)


def test_arguments_that_do_not_go_together() -> None:
    model = bm.MixtureOfExperts(2)
    for options, message in (
        ({"X": FRAME, "data": FRAME, "formula": "y ~ x"}, "X: expected None beside data and formula"),
        ({"gate_X": FRAME, "data": FRAME, "formula": "y ~ x"}, "gate_X: expected None beside data"),
        ({"data": FRAME}, "formula: expected data and formula together"),
        ({"formula": "y ~ x"}, "data: expected data and formula together"),
        ({"data": FRAME.to_numpy(), "formula": "y ~ x"}, "data: expected a frame with named columns, got ndarray"),
        ({"X": FRAME[["x"]]}, "y: expected the values of y, got None"),
    ):
        with pytest.raises(bm.InputError, match=message):
            bm.fit(model, **options)


NEW_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "column": (lambda: FRAME.drop(columns="x"), r"X: expected the columns of the formula .*, got none named 'x'"),
    "level": (lambda: FRAME.assign(site="q"), r"X: expected levels of column 'site' as in training .*, got 'q'"),
    "missing": (lambda: FRAME.assign(z=np.nan), r"X: .*missing values in column 'z'"),
    "range": (lambda: FRAME.assign(u=3.0), r"formula: expected terms that can be computed in every row, got .*bounds"),
    "undefined": (lambda: FRAME.assign(**{"my dose": 0.0}), r"X: expected finite terms, got -inf for 'log"),
    "text": (lambda: FRAME.assign(x="a"), r"X: expected real numbers"),
}


@pytest.mark.parametrize("case", NEW_REFUSED)
def test_new_rows_refused(case: str) -> None:
    made, message = NEW_REFUSED[case]
    with pytest.raises(bm.InputError, match=message):
        FIT.predict(made())
    with pytest.raises(bm.InputError, match="gate_X: expected None"):
        FIT.predict(FRAME, gate_X=FRAME[["z"]])


def test_new_levels_of_numbers_are_refused() -> None:
    formula = read_formula("y ~ C(year)", FRAME).formula
    with pytest.raises(bm.InputError, match=r"expected levels as in training, got others .*1999"):
        formula.table(FRAME.assign(year=1999))
    with pytest.raises(bm.InputError, match="expected whole numbers in column 'year'"):
        formula.table(FRAME.assign(year=2001.5))


def test_rows_that_miss_a_value() -> None:
    """They decide no mean, no knot and no level."""
    holes = FRAME.assign(x=np.where(FRAME.x > 1.5, np.nan, FRAME.x), y=np.where(FRAME.z > 1.5, np.nan, FRAME.y))
    model, text = bm.MixtureOfExperts(1), "y ~ scale(x) + bs(u, df=4)"
    with pytest.raises(bm.InputError, match=r"data: expected a value in every row, got missing values in column 'x'"):
        bm.fit(model, data=holes, formula=text)
    fit = bm.fit(model, data=holes, formula=text, missing=bm.Missing.DROP, engine=QUICK, progress=False)
    whole = holes.dropna()
    other = bm.fit(model, data=whole, formula=text, engine=QUICK, progress=False)
    assert "rows_dropped" in fit.status.codes
    np.testing.assert_array_equal(fit.data.rows, whole.index)
    np.testing.assert_allclose(fit.data.table.values, other.data.table.values)
    np.testing.assert_allclose(fit.predict(FRAME[20:30]), other.predict(FRAME[20:30]))


def test_columns_that_the_model_names_come_along() -> None:
    frame = FRAME.assign(days=RNG.uniform(1, 9, N), y=RNG.poisson(3.0, N))
    model = bm.MixtureOfExperts([bm.Expert(bm.Poisson(exposure="days"))])
    fit = bm.fit(model, data=frame, formula="y ~ x", engine=QUICK, progress=False)
    assert fit.data.table.names == ("x", "days")
    plain = bm.fit(model, frame[["x", "days"]], frame.y, QUICK, progress=False)
    np.testing.assert_allclose(fit.predict(frame[:5]), plain.predict(frame[["x", "days"]][:5]))
    with pytest.raises(bm.InputError, match="got none named 'days'"):
        fit.predict(FRAME)
    with pytest.raises(bm.SpecError, match="expected the name of a column of X"):
        bm.fit(model, data=frame.drop(columns="days"), formula="y ~ x")


@pytest.mark.parametrize("said", ["log(days)", "days"])
def test_an_offset_is_added_as_it_is(said: str) -> None:
    frame = FRAME.assign(days=RNG.uniform(1, 9, N), y=RNG.poisson(3.0, N))
    frame["added"] = np.log(frame.days) if said == "log(days)" else frame.days
    named = bm.MixtureOfExperts([bm.Expert(bm.Poisson(), mu=bm.Linear(offset="added"))])
    plain = bm.fit(named, frame[["x", "added"]], frame.y, QUICK, progress=False)
    model = bm.MixtureOfExperts([bm.Expert(bm.Poisson())])
    fit = bm.fit(model, data=frame, formula=f"y ~ x + offset({said})", engine=QUICK, progress=False)
    assert fit.data.table.names == ("x", said)
    assert fit.model.experts[0].predictors["mu"].offset == said
    assert fit.log_posterior == pytest.approx(plain.log_posterior, rel=1e-10)
    np.testing.assert_allclose(fit.predict(frame[:9]), plain.predict(frame[["x", "added"]][:9]))
    carried = bm.fit(named, data=frame, formula="y ~ x", engine=QUICK, progress=False)
    np.testing.assert_allclose(carried.predict(frame[:9]), plain.predict(frame[["x", "added"]][:9]))
    with pytest.raises(bm.SpecError, match="expected a predictor without offset beside one in the formula"):
        bm.fit(named, data=frame, formula="y ~ x + offset(u)")


def test_several_responses_are_outputs() -> None:
    frame = FRAME.assign(w=RNG.normal(size=N))
    model = bm.MixtureOfExperts([bm.Expert(bm.MvNormal())])
    fit = bm.fit(model, data=frame, formula="np.log(y) + w ~ x", engine=QUICK, progress=False)
    assert fit.data.outputs == ("np.log(y)", "w")
    y = np.column_stack([np.log(frame.y), frame.w])
    np.testing.assert_array_equal(fit.data.y, y)
    plain = bm.fit(model, frame[["x"]], y, QUICK, progress=False)
    np.testing.assert_allclose(fit.predict(frame), plain.predict(frame[["x"]]))


def test_labels_are_a_response() -> None:
    model = bm.MixtureOfExperts([bm.Expert(bm.Categorical())])
    fit = bm.fit(model, data=FRAME, formula="site ~ x", engine=QUICK, progress=False)
    assert fit.data.classes == ("a", "b", "c")


def test_groups_and_weights_beside_a_formula() -> None:
    model = bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Constant()))
    weights = RNG.choice([0.5, 1.0, 2.0], N)
    fit = bm.fit(model, data=FRAME, formula="y ~ x", groups="id", weights=weights, engine=QUICK, progress=False)
    plain = bm.fit(model, FRAME[["x"]], FRAME.y, QUICK, groups=FRAME.id, weights=weights, progress=False)
    assert fit.log_posterior == pytest.approx(plain.log_posterior, rel=1e-10)
    known = plain.predict(FRAME[["x"]], groups=FRAME.id)
    np.testing.assert_allclose(fit.predict(FRAME, groups="id"), known)
    np.testing.assert_allclose(fit.predict(FRAME), plain.predict(FRAME[["x"]]))
    with pytest.raises(bm.InputError, match="groups: expected the name of a column of X"):
        bm.fit(model, data=FRAME, formula="y ~ x", groups="ids")


def test_a_saved_fit_predicts_from_the_raw_frame(tmp_path: Path) -> None:
    FIT.save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc")
    assert again.data.formula is not None
    assert again.data.formula.text == TEXT
    new = FRAME[::-1].astype({"site": "category"})
    np.testing.assert_array_equal(again.predict(new), FIT.predict(FRAME[::-1]))
    with pytest.raises(bm.InputError, match="got 'q'"):
        again.predict(FRAME.assign(site="q"))


@pytest.mark.parametrize(
    "factor", ["__import__('pathlib').Path('{place}').touch()", "np.save('{place}', x)", "exec('1')", "x.__class__"]
)
def test_a_file_can_ask_for_nothing_else(factor: str, tmp_path: Path) -> None:
    """What a formula of a file says is read as it is where a user writes it, before anything is evaluated."""
    marker = tmp_path / "marker"
    formula = FIT.data.formula
    assert formula is not None
    with pytest.raises(bm.InputError, match="formula: expected"):
        Formula("y ~ x", ((factor.format(place=marker),),), None, (), formula.columns)
    with pytest.raises(bm.InputError, match="formula: expected"):
        replace(formula, gate_terms=((factor.format(place=marker),),))
    assert not list(tmp_path.iterdir())


def test_a_file_whose_formula_is_another_is_refused(tmp_path: Path) -> None:
    formula = FIT.data.formula
    assert formula is not None
    other = replace(formula, terms=(("x",), ("z",)))
    data = replace(FIT.data, formula=other)
    with pytest.raises(bm.SaveFileError, match=r"data\.formula: expected the columns"):
        replace(FIT, bound=replace(FIT.bound, data=data)).save(tmp_path / "fit.nc")


def test_the_pymc_model_of_a_formula() -> None:
    built = bm.build(bm.MixtureOfExperts(2), data=FRAME, formula="y ~ x | z")
    assert built.coords["column"] == ("x", "z")


def test_expressions_say_which_columns_they_read() -> None:
    assert columns_in("a", ["a"]) == ("a",)
    assert columns_in("C(a, contr.treatment('b'))", ["a"]) == ("a",)
    assert columns_in("bs(`odd name`, knots=[1, -2])", ["odd name"]) == ("odd name",)
    assert columns_in("a * log(b) - a", ["a", "b"]) == ("a", "b")
    with pytest.raises(bm.InputError, match="expected terms of at most"):
        columns_in("a + " * 500 + "a", ["a"])


def test_formulaic_is_imported_where_there_is_a_formula() -> None:
    code = "import sys, bayes_moe; sys.exit('formulaic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
