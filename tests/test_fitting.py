"""The verbs: what `fit` and `build` refuse before anything compiles, what they notice, and what a fit answers."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from scipy.stats import norm

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.inference.em import EM
from tests.oracle import Oracle
from tests.cases import Case

N = 60
DATA = bm.datasets.two_lines(N, seed=3)
X, Y = DATA.X, DATA.y
TWO = bm.MixtureOfExperts(2)
QUICK = bm.EM(starts=2, seed=0)


def fit(model: Any = TWO, x: Any = X, y: Any = Y, engine: Any = QUICK, **options: Any) -> bm.Fit:
    return bm.fit(model, x, y, engine, **({"progress": False} | options))


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
    "S02 a family": (lambda: bm.MixtureOfExperts([bm.Expert(), bm.Normal()]), r"experts\[1\]: expected bm\.Expert, got Normal"),
    "S02 a string": (lambda: bm.Expert("normal"), r"Expert\.family: expected a family .* got 'normal' → "),
    "S02 a class": (lambda: bm.Expert(bm.Normal), r"Expert\.family: expected a family .* → pass an instance"),
    "S03 parameter": (lambda: bm.Expert(sigmma=bm.Linear()), r"got one for 'sigmma'; did you mean 'sigma'\? → "),
    "S03 predictor": (lambda: bm.Expert(mu=2), r"Expert\.mu: expected a predictor such as bm\.Linear\(\), got 2 → "),
    "gate": (lambda: bm.MixtureOfExperts(2, gate="softmax"), r"MixtureOfExperts\.gate: .* got 'softmax' → "),
    "features": (lambda: bm.MixtureOfExperts(2, features=bm.Linear()), r"MixtureOfExperts\.features: expected None"),
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
def nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where anything touches a density, a PyMC model or an engine."""

    def touched(*_: Any, **__: Any) -> Any:
        raise AssertionError("the input should have been refused before this")

    monkeypatch.setattr(Bound, "density", property(touched))
    monkeypatch.setattr(Bound, "pymc_model", touched)
    monkeypatch.setattr(EM, "run", touched)
    yield


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "D01": ({"y": changed(Y, [3, 7], np.nan)}, r"^y: .*missing values \(rows 3, 7\) → .*Missing\.DROP"),
    "D02": ({"x": changed(X, (5, 0), np.nan)}, r"^X: .*missing values in column 'x0' \(row 5\)"),
    "D03": ({"x": changed(X, (2, 0), np.inf)}, r"^X: expected finite numbers, got inf in column 'x0' \(row 2\)"),
    "D03 y": ({"y": changed(Y, 1, -np.inf)}, r"^y: expected finite numbers, got -inf \(row 1\)"),
    "D04": ({"y": np.ma.masked_less(Y, Y.min() + 1e-9)}, r"^y: .*missing"),
    "D05": ({"x": X[:0], "y": Y[:0]}, r"^X: expected at least 2 rows, got 0 rows"),
    "D06": ({"x": X[:3], "y": Y[:3]}, r"^X: expected at least 4 rows .*2 experts\), got 3"),
    "S01 K above n": ({"model": bm.MixtureOfExperts(100)}, r"^X: expected at least 200 rows .* got 60 → .*fewer experts"),
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
    "engine class": ({"engine": bm.EM}, r"^engine: expected bm\.EM\(\), .* → pass an instance"),
    "engine text": ({"engine": "em"}, r"^engine: .* got 'em' → "),
    "column name": (
        {"model": bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(columns=("dosse",)))] * 2), "x": pd.DataFrame({"dose": X[:, 0]})},
        r"^Linear\.columns: expected names of the table's columns \['dose'\], got 'dosse'; did you mean 'dose'\? → ",
    ),
    "column position": (
        {"model": bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Polynomial(2, columns=(4,))))},
        r"^Polynomial\.columns: expected positions from 0 to 0, got 4 → ",
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
        {"x": _local_line()[0], "y": _local_line()[1], "model": bm.nearly_flat(bm.MixtureOfExperts(2)), "engine": bm.EM(seed=0)},
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
    "D39": ({"x": np.column_stack([X, 3 - Y])}, "leakage", r"linear function of 'x1'"),
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


def test_without_a_mode_there_is_a_warning() -> None:
    """A fit that has not converged says so as a warning too."""
    with pytest.warns(bm.FitWarning, match=r"^Interrupted: ") as caught, _interrupted_after(1):
        result = fit(engine=bm.EM(starts=6, seed=0))
    assert caught[0].filename == __file__.replace(".pyc", ".py") or "test_fitting" in caught[0].filename
    assert not result.status.converged
    assert result.status.sentence.startswith("Interrupted: what was finished is here, nothing more.")
    assert result.idata["fit"].attrs["converged"] == 0
    assert np.isfinite(result.predict(X)).all()


class _interrupted_after:  # noqa: N801 - reads as a statement
    """Let Ctrl-C meet EM's next run to the end after ``count`` of them."""

    def __init__(self, count: int) -> None:
        self.count, self.patch = count, pytest.MonkeyPatch()

    def __enter__(self) -> None:
        finish, done = EM._finish, [0]

        def counted(engine: EM, *arguments: Any) -> Any:
            if done[0] == self.count:
                raise KeyboardInterrupt
            done[0] += 1
            return finish(engine, *arguments)

        self.patch.setattr(EM, "_finish", counted)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def test_an_interrupt_before_anything_leaves_nothing() -> None:
    with _interrupted_after(0), pytest.raises(bm.InterruptedFit, match="call fit again"):
        fit()
    assert fit().status.converged


# -- start -----------------------------------------------------------------------------------------------------

POINT = fit().point

STARTS: dict[str, tuple[Any, str]] = {
    "no mapping": (3.0, r"^start: expected a Fit or a mapping like fit\.point, got float → "),
    "unknown name": (POINT | {"mu_slope_z": 1.0}, r"^start: expected names \[.*, got 'mu_slope_z'; did you mean 'mu_slopes_z'"),
    "missing name": (
        {name: value for name, value in POINT.items() if name != "log_sigma_z"},
        r"^start\['log_sigma_z'\]: expected an entry, got none → ",
    ),
    "shape": (POINT | {"log_sigma_z": np.zeros(3)}, r"^start\['log_sigma_z'\]: expected shape \(2,\), got \(3,\) → "),
    "nan": (POINT | {"log_sigma_z": [0.0, np.nan]}, r"^start\['log_sigma_z'\]: expected finite numbers"),
    "text": (POINT | {"log_sigma_z": ["a", "b"]}, r"^start\['log_sigma_z'\]: expected "),
    "nowhere": (POINT | {"mu_intercept_z": [1e200, 1e200]}, r"^start: expected a finite log density there"),
}


@pytest.mark.parametrize("case", STARTS)
def test_s15_starts_are_checked(case: str) -> None:
    start, message = STARTS[case]
    with pytest.raises(bm.InputError, match=message):
        fit(start=start)


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


# -- what a fit answers ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def framed() -> bm.Fit:
    """A fit with named columns, gate columns and weights."""
    frame = pd.DataFrame({"dose": X[:, 0], "age": np.cos(X[:, 0])})
    gate = pd.DataFrame({"place": X[:, 0] ** 2})
    return fit(x=frame, gate_X=gate, weights=1.0 + np.arange(N) % 2)


def rows(count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    x = np.linspace(1, 9, count)
    return pd.DataFrame({"dose": x, "age": np.cos(x)}), pd.DataFrame({"place": x**2})


@pytest.mark.parametrize("count", [0, 1, 2, N, 500])
def test_predictions_have_the_rows_of_their_x(framed: bm.Fit, count: int) -> None:
    x, gate = rows(count)
    y = np.linspace(0, 5, count)
    answers = {
        "predict": framed.predict(x, gate_X=gate),
        "hard": framed.predict(x, gate_X=gate, hard=True),
        "variance": framed.variance(x, gate_X=gate),
        "log_density": framed.log_density(x, y, gate_X=gate),
        "cdf": framed.cdf(x, y, gate_X=gate),
        "one quantile": framed.quantile(x, 0.3, gate_X=gate),
    }
    for name, answer in answers.items():
        assert answer.dims == ("obs",), name
        assert answer.shape == (count,), name
        assert np.isfinite(answer).all(), name
    for answer in (
        framed.gate(x, gate_X=gate),
        framed.expert_means(x, gate_X=gate),
        framed.responsibilities(x, y, gate_X=gate),
    ):
        assert answer.dims == ("obs", "expert")
        assert answer.shape == (count, 2)
    quantiles = framed.quantile(x, [0.1, 0.9], gate_X=gate)
    assert quantiles.dims == ("obs", "quantile")
    assert quantiles.shape == (count, 2)
    assert quantiles["quantile"].values.tolist() == [0.1, 0.9]
    interval = framed.interval(x, 0.8, gate_X=gate)
    assert interval.dims == ("obs", "bound")
    np.testing.assert_allclose(interval, quantiles, atol=1e-9)
    draws = framed.sample(x, 7, seed=1, gate_X=gate)
    assert draws.dims == ("sample", "obs")
    assert draws.shape == (7, count)


def test_s17_columns_by_name(framed: bm.Fit) -> None:
    x, gate = rows(9)
    expected = framed.predict(x, gate_X=gate)
    xr.testing.assert_equal(framed.predict(x[["age", "dose"]], gate_X=gate), expected)
    xr.testing.assert_equal(framed.predict(pl.from_pandas(x), gate_X=pl.from_pandas(gate)), expected)
    xr.testing.assert_equal(framed.predict(pd.concat([gate, x], axis=1)), expected)
    with pytest.raises(bm.InputError, match=r"^X: expected the training columns, got none named 'dose'"):
        framed.predict(x[["age"]], gate_X=gate)
    with pytest.raises(bm.InputError, match=r"^X: .*got also 'weight' → leave it out"):
        framed.predict(x.assign(weight=1.0), gate_X=gate)
    with pytest.raises(bm.InputError, match=r"^gate_X: expected columns 'place' for the gate, got None"):
        framed.predict(x)
    with pytest.raises(bm.InputError, match=r"^y: expected 9 values, one per row of X, got 8"):
        framed.log_density(x, np.zeros(8), gate_X=gate)
    with pytest.raises(bm.InputError, match=r"^X: .*'low' in column 'dose'"):
        framed.predict(x.assign(dose="low"), gate_X=gate)


def test_predictions_are_those_of_the_oracle(framed: bm.Fit) -> None:
    """Gate, density, mean and variance at the training rows, from the independent density's terms."""
    frame = pd.DataFrame({"dose": X[:, 0], "age": np.cos(X[:, 0])})
    gate = pd.DataFrame({"place": X[:, 0] ** 2})
    terms = Oracle(Case(TWO, frame, Y, 1.0 + np.arange(N) % 2, gate.to_numpy())).terms(framed.point)
    np.testing.assert_allclose(framed.gate(frame, gate_X=gate), np.exp(terms.gate), atol=1e-10)
    np.testing.assert_allclose(framed.log_density(frame, Y, gate_X=gate), terms.rows, rtol=1e-9)
    np.testing.assert_allclose(framed.responsibilities(frame, Y, gate_X=gate), terms.responsibilities(), atol=1e-9)
    means = framed.expert_means(frame, gate_X=gate).values
    sigma = framed.idata["posterior"]["sigma"].values[0, 0]
    np.testing.assert_allclose(norm.logpdf(Y[:, None], means, sigma), terms.experts, rtol=1e-8, atol=1e-8)
    share = np.exp(terms.gate)
    mean = (share * means).sum(axis=1)
    np.testing.assert_allclose(framed.predict(frame, gate_X=gate), mean, rtol=1e-10)
    variance = (share * (sigma**2 + means**2)).sum(axis=1) - mean**2
    np.testing.assert_allclose(framed.variance(frame, gate_X=gate), variance, rtol=1e-8)
    below = (share * norm.cdf(Y[:, None], means, sigma)).sum(axis=1)
    np.testing.assert_allclose(framed.cdf(frame, Y, gate_X=gate), below, atol=1e-10)


def test_coefficients_are_in_the_users_units(framed: bm.Fit) -> None:
    """Raw columns times reported coefficients give the experts' means and the gate."""
    posterior = framed.idata["posterior"].to_dataset().isel(chain=0, draw=0)
    assert posterior["mu_feature"].values.tolist() == ["dose", "age"]
    assert posterior["gate_feature"].values.tolist() == ["place"]
    x, gate = rows(7)
    mu = posterior["mu_intercept"].values + x.to_numpy() @ posterior["mu_slopes"].values.T
    np.testing.assert_allclose(framed.expert_means(x, gate_X=gate), mu, rtol=1e-9)
    logits = posterior["gate_intercept"].values + gate.to_numpy() @ posterior["gate_slopes"].values.T
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(framed.gate(x, gate_X=gate), share / share.sum(axis=1, keepdims=True), rtol=1e-9)


def test_the_point_feeds_the_density_and_pymcs_names(framed: bm.Fit) -> None:
    bound = framed.bound
    q = np.concatenate([np.ravel(framed.point[name]) for name in bound.parameters.slices])
    np.testing.assert_array_equal(q, framed.outcome.mode)
    assert framed.log_posterior == bound.density.logp(q)
    assert framed.log_posterior == pytest.approx(framed.log_likelihood + bound.density.log_prior(q), rel=1e-12)
    model = bm.build(TWO, X, Y)
    assert [variable.name for variable in model.value_vars] == list(fit().point)


def test_bic_and_icl_by_hand(framed: bm.Fit) -> None:
    """Two lines on two columns, two sigmas and a gate of intercept and one slope: 6 + 2 + 2 coefficients."""
    bound = framed.bound
    case = Case(TWO, bound.data.table.values[:, :2], Y, bound.data.weights, bound.data.table.values[:, 2:])
    terms = Oracle(case).terms(framed.point)
    bic = -2.0 * terms.log_likelihood + 10 * np.log(bound.data.weights.sum())
    assert framed.log_likelihood == pytest.approx(terms.log_likelihood, rel=1e-10)
    assert framed.bic == pytest.approx(bic, rel=1e-10)
    r = terms.responsibilities()
    entropy = -np.sum(bound.data.weights[:, None] * np.where(r > 0, r * np.log(np.where(r > 0, r, 1.0)), 0.0))
    assert entropy > 0.01
    assert framed.icl == pytest.approx(bic + 2.0 * entropy, rel=1e-9)


PARAMETERS = {
    "one": (bm.MixtureOfExperts(1), 3),
    "two": (TWO, 6 + 2),
    "plain mixture of three": (bm.MixtureOfExperts(3, bm.SoftmaxGate(bm.Constant())), 9 + 2),
    "equal weights, one sigma": (
        bm.MixtureOfExperts([bm.Expert(sigma=bm.Constant(shared=True))] * 3, bm.EqualGate()),
        6 + 1,
    ),
    "curves": (bm.MixtureOfExperts([bm.Expert(mu=bm.Polynomial(2), sigma=bm.Linear())] * 2), 6 + 4 + 2),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_bic_counts_what_the_likelihood_sees(name: str) -> None:
    model, count = PARAMETERS[name]
    result = fit(model)
    assert result.bic == pytest.approx(-2 * result.log_likelihood + count * np.log(N), rel=1e-12)


def test_plain_facts_of_a_point_fit() -> None:
    result = fit()
    assert result.idata["posterior"].sizes["draw"] == 1
    assert result.model is TWO
    assert result.engine is QUICK
    assert len(result.idata["fit"]["start_log_posterior"]) == 2
    np.testing.assert_allclose(result.idata["log_likelihood"]["y"].values[0, 0], result.log_density(X, Y), rtol=1e-10)
    assert result.idata["log_likelihood"]["y"].values.sum() == pytest.approx(result.log_likelihood, rel=1e-10)
    np.testing.assert_array_equal(result.idata["observed_data"]["y"], Y)
    assert "Fit of 2 experts by EM to 60 rows x 1 columns" in repr(result)
    assert result.summary().loc["sigma[0]", "mode"] > 0


def test_s16_what_a_point_fit_cannot_say() -> None:
    with pytest.raises(bm.NotFittedError, match=r"^loo: expected posterior draws, got a point fit.* → fit with bm\.NUTS"):
        fit().loo()


def test_s16_what_draws_cannot_say() -> None:
    result = fit(engine=bm.Laplace(draws=30, seed=1, starts=2))
    for name in ("bic", "icl", "log_likelihood", "log_posterior"):
        with pytest.raises(bm.NotFittedError, match=rf"^{name}: expected a point fit, got draws from Laplace → use engine=bm\.EM"):
            getattr(result, name)
    assert result.predict(X).shape == (N,)
    assert result.sample(X, seed=1).shape == (30, N)


def test_fractional_weights_cannot_be_left_out() -> None:
    result = fit(engine=bm.Laplace(draws=30, seed=1, starts=2), weights=np.full(N, 1.5))
    with pytest.raises(bm.NotFittedError, match=r"^loo: expected whole-number weights, got fractions → "):
        result.loo()


@pytest.mark.parametrize("draws", [0, -1, 2.5, True, "3"])
def test_samples_are_counted(draws: Any) -> None:
    with pytest.raises(bm.InputError, match=r"^draws: expected a whole number above 0 or None, got "):
        fit().sample(X, draws)


@pytest.mark.parametrize("prob", [0, 1, -0.1, 1.5, np.nan])
def test_probabilities_are_probabilities(prob: float) -> None:
    result = fit()
    with pytest.raises(bm.InputError, match=r"^prob"):
        result.interval(X, prob)
    with pytest.raises(bm.InputError, match=r"^prob"):
        result.summary(prob=prob)


def test_a_fit_holds_copies() -> None:
    """S20: what the user does to the arrays afterwards does not reach the fit."""
    x, y = X.copy(), Y.copy()
    result = fit(x=x, y=y)
    before = result.log_posterior, result.predict(X).values.copy()
    x[:], y[:] = 0.0, 0.0
    assert result.bound.density.logp(result.outcome.mode) == before[0]
    np.testing.assert_array_equal(result.predict(X), before[1])
    np.testing.assert_array_equal(result.idata["observed_data"]["y"], Y)


def test_s23_an_open_pymc_model_is_left_alone() -> None:
    import pymc as pm

    with pm.Model() as outer:
        pm.Normal("mine")
        fit()
        inner = bm.build(TWO, X, Y)
    assert [variable.name for variable in outer.free_RVs] == ["mine"]
    assert "mine" not in inner.named_vars


def test_a_given_scaling_is_used() -> None:
    scaling = bm.Scaling((4.0,), (2.0,), 3.0, 1.5)
    result = fit(scaling=scaling)
    assert result.bound.design.scaling is scaling
    case = Case(TWO, X, Y)
    own = fit()
    assert result.log_posterior != own.log_posterior
    assert replace(case, y=Y).y is Y
    np.testing.assert_allclose(result.predict(X), own.predict(X), atol=0.5)
