"""Averages of fits: closed forms against single fits and against SciPy, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import integrate

import bayes_moe as bm
from bayes_moe.posterior import blend, quantiles
from bayes_moe.posterior.blend import Blend
from bayes_moe.posterior.saving_average import is_average, read_average
from bayes_moe.posterior.stacking import stacking_weights
from tests.fits import QUICK, TWO, X, Y, fit
from tests.posterior.doubles import GAMMA, Arrays, log_softmax, normal_arrays, oracle

SHARES = np.array([0.2, 0.5, 0.3])


@pytest.fixture(scope="module")
def members() -> dict[str, bm.Fit]:
    laplace = bm.Laplace(draws=50, seed=1, starts=4)
    models = {"one": bm.MixtureOfExperts(1), "two": TWO}
    return {name: fit(model, engine=QUICK) for name, model in models.items()} | {
        "draws": fit(bm.MixtureOfExperts(1), engine=laplace)
    }


@pytest.fixture(scope="module")
def three(members: dict[str, bm.Fit]) -> bm.FitAverage:
    return bm.average(members, weights=[2, 5, 3])


def normal_blend() -> tuple[Blend, list[Arrays]]:
    """Return an average of mixtures with different numbers of draws and experts."""
    arrays = [normal_arrays(*shape, seed=i) for i, shape in enumerate([(1, 4, 2), (70, 4, 1), (130, 4, 3)])]
    return Blend(tuple(each.mixture() for each in arrays), SHARES), arrays


def test_densities_and_distribution_functions_are_averaged(members: dict[str, bm.Fit], three: bm.FitAverage) -> None:
    for name in ("cdf", "log_density"):
        each = np.array([getattr(member, name)(X, Y).values for member in members.values()])
        each = np.exp(each) if name == "log_density" else each
        found = getattr(three, name)(X, Y).values
        np.testing.assert_allclose(np.exp(found) if name == "log_density" else found, SHARES @ each, rtol=1e-12)


def test_the_density_integrates_to_one_and_to_the_moments() -> None:
    m, _ = normal_blend()
    mean, variance = blend.predictive_moments(m)
    np.testing.assert_allclose(blend.predictive_mean(m), mean)
    row, ends = 2, (mean[2] - 15 * np.sqrt(variance[2]), mean[2] + 15 * np.sqrt(variance[2]))

    def integral(power: int, centre: float) -> float:
        def integrand(y: float) -> float:
            return float((y - centre) ** power * np.exp(blend.log_density(m, np.full(4, y))[row]))

        return float(integrate.quad(integrand, *ends, limit=400)[0])

    assert integral(0, 0.0) == pytest.approx(1.0, abs=1e-7)
    assert integral(1, 0.0) == pytest.approx(mean[row], abs=1e-6)
    assert integral(2, mean[row]) == pytest.approx(variance[row], rel=1e-6)


def test_the_variance_has_the_spread_between_fits(members: dict[str, bm.Fit], three: bm.FitAverage) -> None:
    means = np.array([member.predict(X).values for member in members.values()])
    within = SHARES @ np.array([member.variance(X).values for member in members.values()])
    between = SHARES @ (means - SHARES @ means) ** 2
    assert between.max() > 0.01
    np.testing.assert_allclose(three.variance(X).values, within + between, rtol=1e-9)


def test_quantiles_invert_the_averaged_distribution_function() -> None:
    m, arrays = normal_blend()
    levels = [1e-4, 0.05, 0.5, 0.9, 0.9999]
    found = quantiles.quantile(m, levels)
    for row in range(4):
        for level, x in zip(levels, found[row], strict=True):
            total = sum(share * oracle(each, row).cdf(x) for share, each in zip(SHARES, arrays, strict=True))
            assert total == pytest.approx(level, rel=1e-6, abs=1e-9)


def test_an_average_of_one_is_that_fit(members: dict[str, bm.Fit]) -> None:
    alone, draws = bm.average([members["draws"]]), members["draws"]
    for name in ("predict", "variance", "interval"):
        np.testing.assert_array_equal(getattr(alone, name)(X).values, getattr(draws, name)(X).values)
    np.testing.assert_array_equal(alone.quantile(X, [0.1, 0.7]).values, draws.quantile(X, [0.1, 0.7]).values)
    found, own = alone.loo(), draws.loo()
    assert (found.elpd, found.se, found.p) == pytest.approx((own.elpd, own.se, own.p), rel=1e-9)
    assert (found.n_data_points, found.warning) == (own.n_data_points, own.warning)


@pytest.mark.parametrize("weights", [None, np.arange(len(Y)) % 2])
def test_fits_of_other_rows_have_no_common_leave_one_out(weights: np.ndarray | None) -> None:
    """Their predictions may be averaged, but what is left out of one is not what is left out of the other."""
    model, engine = bm.MixtureOfExperts([bm.Expert()]), bm.Laplace(draws=50, seed=1)
    kept = slice(None) if weights is not None else slice(10, None)
    fits = [fit(model, engine=engine), bm.fit(model, X[kept], Y[kept], engine, weights=weights, progress=False)]
    both = bm.average(fits)
    assert both.predict(X).shape == Y.shape
    with pytest.raises(bm.InputError, match="got another y, other weights or other groups"):
        both.loo()


def test_a_fit_of_weight_zero_is_not_asked(members: dict[str, bm.Fit]) -> None:
    found = bm.average(members, weights=[0, 1, 0])
    np.testing.assert_array_equal(found.predict(X).values, members["two"].predict(X).values)


def test_samples_have_the_averages_moments(three: bm.FitAverage) -> None:
    drawn = three.sample(X[:5], 20_000, seed=1).values
    assert drawn.shape == (20_000, 5)
    error = np.sqrt(three.variance(X[:5]).values / 20_000)
    assert np.all(np.abs(drawn.mean(axis=0) - three.predict(X[:5]).values) < 4.5 * error)
    np.testing.assert_array_equal(three.sample(X[:2], 10, seed=4), three.sample(X[:2], 10, seed=4))
    assert three.sample(X[:2], seed=1).sizes["sample"] == 50


def test_labels_are_averaged_too() -> None:
    labels = np.where(np.median(Y) < Y, "high", "low")
    model = bm.MixtureOfExperts([bm.Expert(bm.Categorical())] * 2)
    fits = [fit(model, y=labels), fit(bm.MixtureOfExperts([bm.Expert(bm.Categorical())]), y=labels)]
    both = bm.average(fits)
    expected = 0.5 * (fits[0].predict_proba(X).values + fits[1].predict_proba(X).values)
    np.testing.assert_allclose(both.predict_proba(X).values, expected, rtol=1e-12)
    assert set(both.predict(X).values) == {"high", "low"}
    with pytest.raises(bm.SpecError, match="variance: expected a target that is a number"):
        both.variance(X)


def test_several_outputs(rng: np.random.Generator) -> None:
    y = pd.DataFrame({"a": Y, "b": rng.normal(size=len(Y))})
    fits = [fit(bm.MixtureOfExperts([bm.Expert(bm.MvNormal())] * k), y=y) for k in (1, 2)]
    both = bm.average(fits, weights=[1, 3])
    assert both.interval(X).dims == ("obs", "output", "bound")
    expected = 0.25 * fits[0].cdf(X, y).values + 0.75 * fits[1].cdf(X, y).values
    np.testing.assert_allclose(both.cdf(X, y).values, expected, rtol=1e-12)
    assert both.sample(X[:3], 40, seed=1).dims == ("sample", "obs", "output")


def test_what_belongs_to_one_fit_is_refused_by_name(three: bm.FitAverage) -> None:
    with pytest.raises(AttributeError, match=r"gate: expected one fit, .* \.fits\['one'\]\.gate"):
        three.gate(X)  # type: ignore[attr-defined]
    assert not hasattr(three, "nonsense")
    with pytest.raises(bm.NotFittedError, match="loo: expected posterior draws"):
        three.loo()


def test_it_says_what_it_is(three: bm.FitAverage) -> None:
    assert "Average of 3 fits, weighted as given" in repr(three)
    assert "0.500  two" in repr(three)
    assert "<td>0.500</td><td>two</td>" in three._repr_html_()


def test_it_comes_back_from_a_file(members: dict[str, bm.Fit], tmp_path: Path) -> None:
    both = bm.average({name: members[name] for name in ("one", "two")}, weights=[1, 4])
    both.save(tmp_path / "both.nc")
    again = bm.load(tmp_path / "both.nc")
    assert isinstance(again, bm.FitAverage)
    assert repr(again) == repr(both)
    for name in ("predict", "interval"):
        np.testing.assert_array_equal(getattr(again, name)(X).values, getattr(both, name)(X).values)


@pytest.mark.full
def test_many_fits_keep_their_order(members: dict[str, bm.Fit], tmp_path: Path) -> None:
    many = bm.average([members["one" if i % 3 else "two"] for i in range(12)], weights=range(1, 13))
    many.save(tmp_path / "many.nc")
    again = bm.load(tmp_path / "many.nc")
    assert repr(again) == repr(many)
    np.testing.assert_array_equal(again.predict(X).values, many.predict(X).values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(weights=[0.5, 0.5, 0.5]), "weights: expected numbers of at least 0 with sum 1"),
        (lambda told: told.update(weights=[0.5, "0.5", 0.0]), "weights: expected numbers of at least 0 with sum 1"),
        (lambda told: told.update(names=["one", "one", "two"]), "names: expected distinct texts"),
        (lambda told: told.update(names=["one"], weights=[1.0]), "expected 1 fits, as there are names, got 3"),
        (lambda told: told.update(weights=[1.0]), "expected as many weights as names"),
        (lambda told: told.pop("origin"), "expected .*'origin'.*, got other entries"),
    ],
)
def test_an_edited_file_is_refused(change: Any, message: str) -> None:
    told: dict[str, Any] = {
        "names": ["one", "two", "three"],
        "weights": [0.2, 0.5, 0.3],
        "origin": "as given",
        "report": "",
    }
    change(told)
    document = np.bytes_(json.dumps({"format": 1, "average": told}).encode())
    fits = {f"/fits/{i}": xr.Dataset() for i in range(3)}
    tree = xr.DataTree.from_dict({"/bayes_moe": xr.Dataset({"document": ((), document)}), **fits})
    assert is_average(tree)
    with pytest.raises(bm.SaveFileError, match=message):
        read_average(tree, Path("three.nc"))


@pytest.mark.parametrize(
    ("fits", "weights", "message"),
    [
        ([], None, "fits: expected fits, by name or in a list"),
        (["one"], None, r"fits\['fit 0'\]: expected a Fit, got str"),
        (None, [1, 2], "weights: expected 3 numbers of at least 0"),
        (None, [0, 0, 0], "weights: expected 3 numbers of at least 0"),
        (None, [1, -1, 1], "weights: expected 3 numbers of at least 0"),
    ],
)
def test_refused(members: dict[str, bm.Fit], fits: object, weights: object, message: str) -> None:
    with pytest.raises(bm.InputError, match=message):
        bm.average(members if fits is None else fits, weights)  # type: ignore[arg-type]


def test_fits_that_do_not_go_together_are_refused(members: dict[str, bm.Fit]) -> None:
    counts = np.arange(len(Y)) % 4
    poisson = fit(bm.MixtureOfExperts([bm.Expert(bm.Poisson())]), y=counts)
    with pytest.raises(bm.SpecError, match=r"fits\['b'\]: expected densities of y as 'a' has, got probabilities"):
        bm.average({"a": members["one"], "b": poisson})
    wide = fit(bm.MixtureOfExperts(1), x=np.column_stack([X, X**2]))
    with pytest.raises(bm.InputError, match="expected the columns of 'a'"):
        bm.average({"a": members["one"], "b": wide})


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("noise", [0.01, 0.3, 1.0])
def test_no_fit_would_gain_from_more_weight(noise: float, rng: np.random.Generator) -> None:
    """At the best weights, no derivative is above the number of rows (Karush, Kuhn and Tucker)."""
    values = rng.normal(size=(300, 1)) + noise * rng.normal(size=(300, 5)) - 400.0
    weights = stacking_weights(values)
    density = np.exp(values - values.max(axis=1, keepdims=True))
    slopes = (density / (density @ weights)[:, None]).sum(axis=0)
    assert slopes.max() <= 300 + 0.01
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() >= 0.0


def test_two_fits_are_weighted_as_a_line_search_would(rng: np.random.Generator) -> None:
    values = rng.normal(size=(80, 2))
    grid = np.linspace(0, 1, 100_001)
    density = np.exp(values)
    scores = sum(np.log(grid * one + (1 - grid) * other) for one, other in density)
    assert stacking_weights(values)[0] == pytest.approx(grid[np.argmax(scores)], abs=2e-4)


def test_fits_that_say_the_same_share_under_a_prior(rng: np.random.Generator) -> None:
    same = np.repeat(rng.normal(size=(50, 1)), 4, axis=1)
    np.testing.assert_allclose(stacking_weights(same, 1.1), 0.25)
    worse = same - np.array([0.0, 0.0, 0.0, 1.0])
    weights = stacking_weights(worse, 1.1)
    assert weights[3] < 0.01
    np.testing.assert_allclose(weights[:3], weights[0])


def test_a_family_that_is_not_normal_has_its_quantiles(rng: np.random.Generator) -> None:
    gate = log_softmax(rng.normal(size=(3, 2, 2)))
    gamma = Arrays(gate, {"shape": rng.uniform(1, 5, (3, 2, 2)), "scale": rng.uniform(0.5, 2, (3, 2, 2))})
    normal = normal_arrays(2, 2, 2, seed=4)
    m = Blend((gamma.mixture(GAMMA), normal.mixture()), np.array([0.6, 0.4]))
    found = quantiles.quantile(m, [0.3, 0.95])
    for level, x in zip((0.3, 0.95), found.T, strict=True):
        np.testing.assert_allclose(blend.cdf(m, x), level, atol=1e-9)
