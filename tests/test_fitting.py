"""The verbs: what `fit` and `build` refuse before anything compiles, what they notice, and what a fit answers."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.inference.em import EM
from tests.fits import TWO, N, X, Y, fit


def changed(array: np.ndarray, where: Any, value: Any) -> np.ndarray:
    out = array.copy()
    out[where] = value
    return out


# -- refused before anything compiles --------------------------------------------------------------------------

SPECIFICATIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "S01 none": (lambda: bm.MixtureOfExperts(0), r"MixtureOfExperts\.experts: expected 1 to 1000, got 0 → "),
    "S01 negative": (lambda: bm.MixtureOfExperts(-2), r"experts: .* got -2 → "),
    "S01 fraction": (lambda: bm.MixtureOfExperts(1.5), r"experts: expected a whole number .* got 1\.5 → "),
    "S01 text": (lambda: bm.MixtureOfExperts("3"), r"experts: .* got '3' → "),
    "S01 flag": (lambda: bm.MixtureOfExperts(True), r"experts: .* got True → "),
    "S01 a million": (lambda: bm.MixtureOfExperts(10**6), r"experts: expected 1 to 1000, got 1000000 → "),
    "S01 nan": (lambda: bm.MixtureOfExperts(float("nan")), r"experts: .* got nan → "),
    "S02 no experts": (lambda: bm.MixtureOfExperts([]), r"experts: .*, got 0 → "),
    "S02 a family": (
        lambda: bm.MixtureOfExperts([bm.Expert(), bm.Normal()]),
        r"experts\[1\]: expected bm\.Expert, got Normal",
    ),
    "S02 a string": (lambda: bm.Expert("normal"), r"Expert\.family: expected a family .* got 'normal' → "),
    "S02 a class": (lambda: bm.Expert(bm.Normal), r"Expert\.family: expected a family .* → pass an instance"),
    "S03 parameter": (lambda: bm.Expert(sigmma=bm.Linear()), r"got one for 'sigmma'; did you mean 'sigma'\? → "),
    "S03 predictor": (lambda: bm.Expert(mu=2), r"Expert\.mu: expected a predictor such as bm\.Linear\(\), got 2 → "),
    "gate": (lambda: bm.MixtureOfExperts(2, gate="softmax"), r"MixtureOfExperts\.gate: .* got 'softmax' → "),
    "features": (lambda: bm.MixtureOfExperts(2, features=bm.Linear()), r"features: expected bm\.MLP or None"),
    "shared gate": (lambda: bm.SoftmaxGate(bm.Linear(shared=True)), r"SoftmaxGate\.predictor: .* → .*EqualGate"),
    "gate off centre": (
        lambda: bm.SoftmaxGate(bm.Linear(slopes=bm.priors.Normal(1, 1))),
        r"SoftmaxGate\.predictor\.slopes: expected a prior with loc 0",
    ),
    "degree": (lambda: bm.Polynomial(0), r"Polynomial\.degree: expected an integer from 1 to 10, got 0 → "),
    "columns as text": (lambda: bm.Linear(columns="dose"), r"Linear\.columns: expected a tuple .* → write \('dose',\)"),
    "column twice": (lambda: bm.Linear(columns=("a", "a")), r"Linear\.columns: expected every column once"),
    "S05 scale": (lambda: bm.priors.Normal(0, 0), r"priors\.Normal\.scale: expected a finite number above 0, got 0 → "),
    "S05 flat": (lambda: bm.priors.Normal(0, np.inf), r"priors\.Normal\.scale: .* got inf → .*without a mode"),
    "S05 nan": (lambda: bm.priors.Normal(np.nan, 1), r"priors\.Normal\.loc: expected a finite number, got nan → "),
    "S05 spread": (lambda: bm.priors.LearnedScale(1, -1), r"priors\.LearnedScale\.spread: expected at least 0"),
    "S05 kind": (lambda: bm.Linear(slopes=1.0), r"Linear\.slopes: expected priors\.Normal or .* got 1\.0 → "),
}


@pytest.mark.parametrize("case", SPECIFICATIONS)
def test_specifications_are_refused(case: str) -> None:
    attempt, message = SPECIFICATIONS[case]
    with pytest.raises(bm.SpecError, match=message):
        attempt()


@pytest.fixture
def nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything touches a density, a PyMC model or an engine."""

    def touched(*_: Any, **__: Any) -> Any:
        raise AssertionError("the input should have been refused before this")

    monkeypatch.setattr(Bound, "density", property(touched))
    monkeypatch.setattr(Bound, "pymc_model", touched)
    monkeypatch.setattr(EM, "run", touched)


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "D01": ({"y": changed(Y, [3, 7], np.nan)}, r"^y: .*missing values \(rows 3, 7\) → .*Missing\.DROP"),
    "D02": ({"x": changed(X, (5, 0), np.nan)}, r"^X: .*missing values in column 'x0' \(row 5\)"),
    "D03": ({"x": changed(X, (2, 0), np.inf)}, r"^X: expected finite numbers, got inf in column 'x0' \(row 2\)"),
    "D03 y": ({"y": changed(Y, 1, -np.inf)}, r"^y: expected finite numbers, got -inf \(row 1\)"),
    "D04": ({"y": np.ma.masked_less(Y, Y.min() + 1e-9)}, r"^y: .*missing"),
    "D05": ({"x": X[:0], "y": Y[:0]}, r"^X: expected at least 2 rows, got 0 rows"),
    "D06": ({"x": X[:3], "y": Y[:3]}, r"^X: expected at least 4 rows .*2 experts\), got 3"),
    "S01 K above n": (
        {"model": bm.MixtureOfExperts(100)},
        r"^X: expected at least 200 rows .* got 60 → .*fewer experts",
    ),
    "D08": ({"y": Y[:-3]}, r"^y: expected 60 values, one per row of X, got 57"),
    "D09": ({"y": np.column_stack([Y, Y])}, r"^y: expected shape \(n,\) or \(n, 1\), got \(60, 2\)"),
    "D10": ({"x": X[:, 0], "y": Y[:7]}, r"^X: .*got 1-D of length 60 → X\.reshape"),
    "D11": ({"x": X[None]}, r"^X: expected 2 dimensions"),
    "D12": ({"y": np.full(N, 3.25)}, r"^y: expected values that vary, got 3\.25"),
    "D18": ({"y": Y * 1e-300}, r"^y: expected a range of .* → rescale"),
    "D30": ({"x": X + 1j}, r"^X: expected real numbers, got complex"),
    "D31": ({"x": X.astype(str)}, r"^X: expected real numbers, got text"),
    "D33": ({"x": pl.LazyFrame({"a": Y})}, r"^X: .*lazy LazyFrame"),
    "D35 negative": ({"weights": changed(np.ones(N), 2, -1)}, r"^weights: .*at least 0, got -1 \(row 2\)"),
    "D35 zero": ({"weights": np.zeros(N)}, r"^weights: expected a total"),
    "D35 length": ({"weights": np.ones(7)}, r"^weights: expected 60 values"),
    "D38": ({"x": pd.DataFrame({"dose": Y}), "y": "doze"}, r"^y: .*'doze'; did you mean 'dose'"),
    "gate_X rows": ({"gate_X": X[:7]}, r"^gate_X: expected 60 rows as in X, got 7"),
    "scaling": ({"scaling": bm.Scaling((0.0, 1.0), (1.0, 1.0), 0.0, 1.0)}, r"^scaling: expected 1 columns, got 2"),
    "missing": ({"missing": "drop"}, r"^missing: expected a Missing, got 'drop'"),
}


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.usefixtures("nothing_compiles")
def test_bad_data_are_refused_at_once(case: str) -> None:
    options, message = ERRORS[case]
    begin = time.perf_counter()
    with pytest.raises(bm.InputError, match=message) as caught:
        fit(**options)
    assert time.perf_counter() - begin < 1.0
    assert re.match(r"^[\w, ]+: expected .*got .*( → .+)?", str(caught.value)), "the error grammar"
    if not set(options) & {"missing"}:
        arguments = {"model": TWO, "x": X, "y": Y} | options
        with pytest.raises(bm.InputError, match=message):
            bm.build(arguments.pop("model"), arguments.pop("x"), arguments.pop("y"), **arguments)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": 3}, r"^model: expected a bm\.MixtureOfExperts, got int → e\.g\. bm\.MixtureOfExperts\(3\)"),
    "engine class": (
        {"engine": bm.EM},
        r"^engine: expected bm\.EM\(\), .*bm\.Training\(\) or bm\.VariationalEM\(\), got .* → pass an instance",
    ),
    "engine text": ({"engine": "em"}, r"^engine: .* got 'em' → "),
    "column name": (
        {
            "model": bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(columns=("dosse",)))] * 2),
            "x": pd.DataFrame({"dose": X[:, 0]}),
        },
        r"^Linear\.columns: expected names of the table's columns \['dose'\], got 'dosse'; did you mean 'dose'\? → ",
    ),
    "column position": (
        {"model": bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Polynomial(2, columns=(4,))))},
        r"^Polynomial\.columns: expected positions from 0 to 0, got 4 → ",
    ),
    "column name as a number": (
        {
            "model": bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(columns=(0,)))] * 2),
            "x": pd.DataFrame({1: X[:, 0], 0: X[:, 0] ** 2}),
        },
        r"^Linear\.columns: .* not the name of another column, got 0: .* called '1' → pass names as text, '0' or '1'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("nothing_compiles")
def test_wrong_models_and_engines_are_refused_at_once(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(bm.SpecError, match=message):
        fit(**options)


TYPOS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "fit": (lambda: bm.fit(TWO, X, Y, weigths=np.ones(N)), "weigths", "weights"),
    "gate_X": (lambda: bm.fit(TWO, X, Y, gate_x=X), "gate_x", "gate_X"),
    "EM": (lambda: bm.EM(start=3), "start", "starts"),
    "MixtureOfExperts": (lambda: bm.MixtureOfExperts(expert=3), "expert", "experts"),
    "Linear": (lambda: bm.Linear(column=("a",)), "column", "columns"),
    "build": (lambda: bm.build(TWO, X, Y, weight=np.ones(N)), "weight", "weights"),
}


@pytest.mark.parametrize("case", TYPOS)
@pytest.mark.usefixtures("nothing_compiles")
def test_s03_unknown_keywords(case: str) -> None:
    """Python refuses them; from 3.13 on it also names the closest."""
    attempt, typed, meant = TYPOS[case]
    hint = f". Did you mean '{meant}'?" if sys.version_info >= (3, 13) else ""
    with pytest.raises(TypeError, match=re.escape(f"unexpected keyword argument '{typed}'{hint}")):
        attempt()


@pytest.mark.parametrize("seed", [1.5, -1, "1", 2**64, True])
def test_s14_seeds(seed: Any) -> None:
    with pytest.raises(bm.SpecError, match=r"^EM\.seed: expected None, an integer from 0 to "):
        fit(engine=bm.EM(seed=seed))


# -- accepted, with what there is to say -----------------------------------------------------------------------

ACCEPTED: dict[str, dict[str, Any]] = {
    "integers": {"x": np.arange(N) % 13, "y": (7 * np.arange(N)) % 31},
    "uint8": {"x": (np.arange(N) % 13).astype(np.uint8)[:, None]},
    "bool": {"x": X > 5},
    "float16": {"x": X.astype(np.float16), "y": Y.astype(np.float16)},
    "big-endian": {"x": X.astype(">f8"), "y": Y.astype(">f4")},
    "Fortran order": {"x": np.asfortranarray(np.column_stack([X, X**2]))},
    "not contiguous": {"x": np.repeat(X, 2, axis=0)[::2], "y": np.repeat(Y, 2)[::2]},
    "column of y": {"y": Y[:, None]},
    "lists": {"x": X.tolist(), "y": Y.tolist()},
    "pandas": {"x": pd.DataFrame(X, columns=["dose"]), "y": pd.Series(Y, name="reply")},
    "polars": {"x": pl.DataFrame({"dose": X[:, 0]}), "y": pl.Series("reply", Y)},
    "xarray": {"x": xr.DataArray(X, dims=("row", "column")), "y": xr.DataArray(Y, dims="row")},
    "D07 no columns": {"x": np.empty((N, 0))},
    "D35 zeros": {"weights": np.arange(N) % 3},
    "K = 1": {"model": bm.MixtureOfExperts(1)},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_d29_and_friends_are_fitted(case: str) -> None:
    result = fit(**ACCEPTED[case])
    assert result.status.converged
    assert np.isfinite(result.log_posterior)
    assert set(result.status.codes) <= {"identifiability", "gate_separation"}
    x = ACCEPTED[case].get("x", X)
    assert np.isfinite(result.predict(x)).all()


def test_d29_the_kind_of_number_does_not_matter() -> None:
    plain = fit()
    for x, y in ((X.astype(">f8"), Y.astype(">f8")), (np.asfortranarray(X), Y[::-1][::-1]), (X.tolist(), Y.tolist())):
        assert fit(x=x, y=y).log_posterior == plain.log_posterior
    locked = X.copy()
    locked.setflags(write=False)
    assert fit(x=locked).log_posterior == plain.log_posterior


def _local_line() -> tuple[np.ndarray, np.ndarray]:
    x, y = X.copy(), Y.copy()
    x[:5, 0] = np.linspace(14.0, 15.0, 5)
    y[:5] = 40.0 + 2.0 * x[:5, 0]
    return x, y


def _steps() -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(0, 10, N)
    return x, np.where(x < 5, 2.0 * x, 30.0 - x) + 0.1 * np.random.default_rng(1).normal(size=N)


NOTICED: dict[str, tuple[dict[str, Any], str, str]] = {
    "D01": ({"y": changed(Y, [3, 7], np.nan), "missing": bm.Missing.DROP}, "rows_dropped", r"2 of 60 rows"),
    "D06": ({"x": X[:8], "y": Y[:8]}, "weak_data", r"9 free parameters and X has 8 rows"),
    "D13": ({"x": np.column_stack([X, np.full(N, 2.0)])}, "constant_column", r"'x1' are constant"),
    "D14": ({"x": np.column_stack([X, X])}, "collinear", r"'x0', 'x1'"),
    "D15": (
        {"x": np.random.default_rng(2).normal(size=(12, 14)), "y": Y[:12], "model": bm.MixtureOfExperts(1)},
        "p_exceeds_n",
        r"12 rows and 14 columns",
    ),
    "D19": ({"y": changed(Y, 11, 1e6)}, "extreme_value", r"rows 11"),
    "D20": ({"y": changed(Y, slice(0, 30), 0.5)}, "tied_values", r"50 % of the rows have y = 0\.5"),
    "D22": (
        {
            "x": _local_line()[0],
            "y": _local_line()[1],
            "model": bm.nearly_flat(bm.MixtureOfExperts(2)),
            "engine": bm.EM(seed=0),
        },
        "collapsed_",
        r"collapsed expert|vanishing sigma",
    ),
    "D23": (
        {"x": _steps()[0], "y": _steps()[1], "model": bm.nearly_flat(TWO)},
        "gate_separation",
        r"The gate is almost a step: .* per sd of a column",
    ),
    "D24": ({"x": (X > 5).astype(float), "model": bm.MixtureOfExperts(3)}, "identifiability", r"2 distinct rows"),
    "D36": ({"weights": np.full(N, 0.5)}, "power_likelihood", r"not whole numbers"),
    "D39": ({"x": np.column_stack([X, 3 - Y + 1e-6 * np.cos(1e3 * Y)])}, "leakage", r"linear function of 'x1'"),
}


@pytest.mark.parametrize("case", NOTICED)
def test_notices_reach_the_status(case: str) -> None:
    options, code, message = NOTICED[case]
    result = fit(**options)
    found = [notice for notice in result.status.notices if notice.code.startswith(code)]
    assert found, result.status.codes
    assert re.search(message, found[0].message)
    assert str(found[0]) in str(result.status)
    assert str(found[0]) in result.idata["fit"].attrs["notices"]
    assert np.isfinite(result.predict(result.data.table.values)).all()


@pytest.mark.filterwarnings("ignore::bayes_moe.FitWarning")
@pytest.mark.parametrize("count", [20, 300, 1000])
@pytest.mark.parametrize("experts", [1, 2])
def test_d39_an_exact_line_ends_in_words(experts: int, count: int) -> None:
    """Where y is a line without noise, sigma may have nowhere to stop: notices that name the column, no error."""
    x = np.linspace(-3, 5, count)
    result = fit(bm.MixtureOfExperts(experts), x, 2.0 * x + 1.0)
    assert "leakage" in result.status.codes
    assert result.status.converged is ("not_stationary" not in result.status.codes)
    np.testing.assert_allclose(result.predict([0.0, 5.0]), [1.0, 11.0], atol=0.2)


def test_d21_duplicated_rows_are_weights_of_two() -> None:
    twice = fit(x=np.tile(X, (2, 1)), y=np.tile(Y, 2))
    double = fit(weights=np.full(N, 2))
    assert twice.log_posterior == pytest.approx(double.log_posterior, rel=1e-10)
    np.testing.assert_allclose(twice.predict(X), double.predict(X), atol=1e-7)
    assert twice.status.codes == ()


def test_d16_d17_scales_and_offsets() -> None:
    plain = fit()
    for a, b, c in ((1e12, 1.0, 0.0), (1e-12, 1.0, 0.0), (1.0, 1.0, 1e9)):
        other = fit(x=a * X, y=c + b * Y)
        np.testing.assert_allclose(other.predict(a * X) - c, plain.predict(X), rtol=1e-6, atol=1e-6)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets Ctrl-C meet EM's next run to the end after so many of them."""
    finish, done = EM._finish, [0]

    def arm(count: int) -> None:
        def counted(engine: EM, *arguments: Any) -> Any:
            if done[0] == count:
                raise KeyboardInterrupt
            done[0] += 1
            return finish(engine, *arguments)

        monkeypatch.setattr(EM, "_finish", counted)

    return arm


def test_an_interrupted_fit_says_so(interrupt_after: Callable[[int], None]) -> None:
    """A fit that has not converged also warns, where the user called."""
    interrupt_after(1)
    with pytest.warns(bm.FitWarning, match=r"^Interrupted: ") as caught:
        result = fit(engine=bm.EM(starts=6, seed=0))
    assert caught[0].filename.endswith("fits.py")
    assert not result.status.converged
    assert result.status.sentence.startswith("Interrupted: what was finished is here, nothing more.")
    assert result.idata["fit"].attrs["converged"] == 0
    assert np.isfinite(result.predict(X)).all()


def test_an_interrupt_before_anything_leaves_nothing(
    interrupt_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(0)
    with pytest.raises(bm.InterruptedFit, match="call fit again"):
        fit()
    monkeypatch.undo()
    assert fit().status.converged


# -- start -----------------------------------------------------------------------------------------------------

Point = dict[str, Any]

STARTS: dict[str, tuple[Callable[[Point], Any], str]] = {
    "no mapping": (lambda _: 3.0, r"^start: expected a Fit or a mapping like fit\.point, got float → "),
    "unknown name": (
        lambda point: point | {"mu_slope_z": 1.0},
        r"^start: expected names \[.*, got 'mu_slope_z'; did you mean 'mu_slopes_z'",
    ),
    "missing name": (
        lambda point: {name: value for name, value in point.items() if name != "log_sigma_z"},
        r"^start\['log_sigma_z'\]: expected an entry, got none → ",
    ),
    "shape": (
        lambda point: point | {"log_sigma_z": np.zeros(3)},
        r"^start\['log_sigma_z'\]: expected shape \(2,\), got \(3,\) → ",
    ),
    "nan": (
        lambda point: point | {"log_sigma_z": [0.0, np.nan]},
        r"^start\['log_sigma_z'\]: expected finite numbers",
    ),
    "text": (lambda point: point | {"log_sigma_z": ["a", "b"]}, r"^start\['log_sigma_z'\]: expected numbers, got "),
    "nowhere": (
        lambda point: point | {"mu_intercept_z": [1e200, 1e200]},
        r"^start: expected a finite log density there",
    ),
}


@pytest.mark.parametrize("case", STARTS)
def test_s15_starts_are_checked(case: str) -> None:
    start, message = STARTS[case]
    with pytest.raises(bm.InputError, match=message):
        fit(start=start(fit().point))


def test_a_start_is_used() -> None:
    best = fit(engine=bm.EM(seed=0))
    for start in (best, best.point):
        again = fit(start=start)
        assert again.log_posterior == pytest.approx(best.log_posterior, abs=1e-9)
        assert again.outcome.facts["long_runs"] == 1
    swapped = {name: value[::-1] if name.startswith(("mu", "log")) else -value for name, value in best.point.items()}
    swapped["gate_scale_z"] = best.point["gate_scale_z"]
    other = fit(start=swapped)
    assert other.log_posterior == pytest.approx(best.log_posterior, abs=1e-9)
    np.testing.assert_allclose(other.gate(X)[:, ::-1], best.gate(X), atol=1e-7)


# -- around it -------------------------------------------------------------------------------------------------


def test_s23_an_open_pymc_model_is_left_alone() -> None:
    import pymc as pm

    with pm.Model() as outer:
        pm.Normal("mine")
        fit()
        inner = bm.build(TWO, X, Y)
    assert [variable.name for variable in outer.free_RVs] == ["mine"]
    assert "mine" not in inner.named_vars


def test_a_given_scaling_is_used() -> None:
    """Its priors mean something else, so the mode moves a little; the data's own scaling changes nothing."""
    own = fit()
    scaling = bm.Scaling((4.0,), (2.0,), 3.0, 1.5)
    result = fit(scaling=scaling)
    assert result.bound.design.scaling is scaling
    assert result.log_posterior != own.log_posterior
    np.testing.assert_allclose(result.predict(X), own.predict(X), atol=0.5)
    again = fit(scaling=own.bound.design.scaling)
    assert again.log_posterior == own.log_posterior
