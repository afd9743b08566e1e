"""The PIT of training rows that were left out: against quadrature without each row, and fits without each group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

import bayes_moe as bm
from bayes_moe.posterior.mixtures import pointwise_log_density
from tests.fits import X, Y, fit

PLAIN = bm.Scaling((0.0,), (1.0,), 0.0, 1.0)
ONE = bm.MixtureOfExperts(1)
ENGINES = {"NUTS": bm.NUTS(seed=1), "Laplace": bm.Laplace(draws=4000, seed=1), "ADVI": bm.ADVI(draws=4000, seed=1)}
pytestmark = pytest.mark.filterwarnings("ignore::bayes_moe.errors.FitWarning")


@pytest.fixture(scope="module")
def laplace() -> bm.Fit:
    return fit(ONE, engine=ENGINES["Laplace"])


def line_without_each_row(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return P(Y_i <= y_i | the other rows) of one line under the default priors, by quadrature over log sigma.

    Given sigma all rows are jointly Normal, and a row given the others has variance 1 / P_ii and lies (P y)_i / P_ii
    from its mean, with P the inverse of their covariance.
    """
    design = np.column_stack([np.ones_like(x), x])
    logs, below = [], []
    for log_sigma in np.linspace(-4, 3, 701):
        precision = np.linalg.inv(design @ design.T * 2.5**2 + np.exp(2 * log_sigma) * np.eye(len(y)))
        sd = np.diag(precision) ** -0.5
        gap = precision @ y * sd**2
        joint = 0.5 * np.linalg.slogdet(precision)[1] - 0.5 * y @ precision @ y
        logs.append(stats.norm.logpdf(log_sigma, np.log(0.5), 0.75) + joint - stats.norm.logpdf(gap, scale=sd))
        below.append(stats.norm.cdf(gap / sd))
    shares = np.exp(np.array(logs) - np.max(logs, axis=0))
    return np.asarray((shares * np.array(below)).sum(axis=0) / shares.sum(axis=0))


@pytest.mark.parametrize("name", ENGINES)
def test_a_line_without_each_row_by_quadrature(name: str) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=48)
    y = 0.3 + x + rng.standard_t(4, size=48)
    found = bm.scores.loo_pit(fit(ONE, x[:, None], y, ENGINES[name], scaling=PLAIN))
    good = found["pareto_k"].values < found.attrs["good_k"]
    assert good.mean() > 0.8  # ADVI is too narrow, and knows it
    np.testing.assert_allclose(found.values[good], line_without_each_row(x, y)[good], atol=0.025)


def test_counts_without_each_row_by_quadrature() -> None:
    """They lie between P(Y < y) and P(Y <= y), and are somewhere in between by chance."""
    y = np.random.default_rng(2).poisson(2.0, 30).astype(float)
    prior = bm.priors.Normal(0.5, 1.0)
    model = bm.MixtureOfExperts([bm.Expert(bm.Poisson(), mu=bm.Constant(intercept=prior))])
    found = fit(model, np.arange(30.0)[:, None], y, ENGINES["Laplace"])
    values = bm.scores.loo_pit(found, seed=4).values
    grid = np.linspace(-3, 4, 2001)
    logs = stats.norm.logpdf(grid, 0.5, 1.0) + stats.poisson.logpmf(y[:, None], np.exp(grid)).sum(axis=0)
    for row, count in enumerate(y):
        rest = logs - stats.poisson.logpmf(count, np.exp(grid))
        shares = np.exp(rest - rest.max()) / np.exp(rest - rest.max()).sum()
        below, at = (shares @ stats.poisson.cdf(k, np.exp(grid)) for k in (count - 1, count))
        assert below - 0.02 < values[row] < at + 0.02
    np.testing.assert_array_equal(values, bm.scores.loo_pit(found, seed=4).values)
    assert not np.array_equal(values, bm.scores.loo_pit(found, seed=5).values)
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_its_weights_are_those_of_loo(laplace: bm.Fit) -> None:
    """The log of the weighted densities is what LOO says of every row, by either kind of draws."""
    from bayes_moe.posterior.scores import loo_log_weights

    for found in (laplace, fit(ONE, engine=bm.NUTS(draws=200, seed=2))):
        loo = found.loo()
        log_weights = loo_log_weights(found.draws, found.outcome, found.idata, loo)
        values = found.idata["log_likelihood"].to_dataset()["y"].values.reshape(len(log_weights), -1)
        np.testing.assert_allclose(np.logaddexp.reduce(log_weights + values, axis=0), loo.elpd_i.values, atol=1e-10)
        np.testing.assert_array_equal(bm.scores.loo_pit(found)["pareto_k"].values, loo.pareto_k.values)


def test_an_average_has_the_average_of_its_fits(laplace: bm.Fit) -> None:
    other = fit(ONE, engine=bm.Laplace(draws=500, seed=9))
    both = bm.scores.loo_pit(bm.average([laplace, other], [3, 1]))
    each = [bm.scores.loo_pit(one) for one in (laplace, other)]
    np.testing.assert_allclose(both.values, 0.75 * each[0].values + 0.25 * each[1].values)
    np.testing.assert_array_equal(both["pareto_k"], np.maximum(each[0]["pareto_k"], each[1]["pareto_k"]))
    elsewhere = fit(ONE, y=Y + 1.0, engine=bm.Laplace(draws=100, seed=1))
    with pytest.raises(bm.InputError, match="expected the target of 'fit 0'"):
        bm.scores.loo_pit(bm.average([laplace, elsewhere]))


def test_rows_of_no_weight_are_left_out() -> None:
    weights = np.ones(len(Y))
    weights[[2, 7]] = 0.0
    found = bm.scores.loo_pit(fit(ONE, engine=bm.Laplace(draws=2000, seed=1), weights=weights))
    kept = np.flatnonzero(weights)
    np.testing.assert_array_equal(found["obs"], kept)
    alone = bm.scores.loo_pit(fit(ONE, X[kept], Y[kept], bm.Laplace(draws=2000, seed=1)))
    np.testing.assert_allclose(found.values, alone.values, atol=0.03)


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
def test_loo_knows_no_rows_of_no_weight(grouped: bool) -> None:
    """It is that of the fit without them, whatever stands in them, and what ArviZ says of the tree too."""
    rng = np.random.default_rng(7)
    kept = rng.permutation(np.repeat([True, False], [len(Y), 100]))
    x, y, codes = rng.normal(size=(160, 1)), rng.normal(size=160), np.arange(160) + 1000
    x[kept], y[kept], codes[kept] = X, Y, np.arange(len(Y)) // 3
    y[~kept] *= 50.0
    groups: Any = codes if grouped else None
    gate = bm.EqualGate() if grouped else bm.SoftmaxGate()
    each, without = [], []
    for experts in (1, 2):
        model, engine = bm.MixtureOfExperts(experts, gate), bm.Laplace(draws=400, seed=experts)
        each.append(fit(model, x, y, engine, weights=kept.astype(float), groups=groups))
        without.append(fit(model, X, Y, engine, groups=groups[kept] if grouped else None))
    pairs = list(zip([*each, bm.average(each)], [*without, bm.average(without)], strict=True))
    for found, alone in [(some.loo(), rest.loo()) for some, rest in pairs]:
        assert found.n_data_points == alone.n_data_points == (20 if grouped else 60)
        assert (found.elpd, found.se, found.p) == pytest.approx((alone.elpd, alone.se, alone.p), rel=1e-6)
        assert (found.warning, found.good_k) == (alone.warning, alone.good_k)
        np.testing.assert_allclose(found.pareto_k.values, alone.pareto_k.values, atol=1e-5)
        np.testing.assert_allclose(found.elpd_i.values, alone.elpd_i.values, rtol=1e-6)
    stored = each[0].idata["log_likelihood"]["y"]
    assert stored.sizes[stored.dims[-1]] == (20 if grouped else 60)
    counted = np.unique(codes[kept]) if grouped else np.flatnonzero(kept)
    np.testing.assert_array_equal(stored[stored.dims[-1]], counted)
    np.testing.assert_array_equal(bm.scores.loo_pit(each[1])["obs"], np.flatnonzero(kept)[np.argsort(codes[kept])])
    np.testing.assert_allclose(bm.scores.loo_pit(each[1]), bm.scores.loo_pit(without[1]), atol=1e-6)
    tables = [bm.compare({"one": one, "two": two}) for one, two in (each, without)]
    np.testing.assert_allclose(tables[0]["dse"], tables[1]["dse"], rtol=1e-6)


def test_copies_of_a_row_are_left_out_together_by_weight_alone() -> None:
    """By weight 3 a row is one observation, three copies together; repeated, each is left out alone."""
    weights, engine = np.where(np.arange(len(Y)) % 2, 3.0, 1.0), bm.Laplace(draws=2000, seed=1)
    weighted = fit(ONE, engine=engine, weights=weights)
    repeated = fit(ONE, np.repeat(X, weights.astype(int), axis=0), np.repeat(Y, weights.astype(int)), engine)
    found, other = weighted.loo(), repeated.loo()
    assert (found.n_data_points, other.n_data_points) == (60, 120)
    assert found.se == pytest.approx(np.sqrt(60 * found.elpd_i.values.var(ddof=1)), rel=1e-12)
    row = int(np.argsort(np.where(weights == 3.0, found.elpd_i.values, np.inf))[5])
    rest = np.delete(np.arange(60), row)
    scaling = weighted.data.scaling
    without = fit(ONE, X[rest], Y[rest], engine, weights=weights[rest], scaling=scaling)
    by_draw = pointwise_log_density(without.mixture(X[[row]]), Y[[row]])[:, 0]
    exact = np.log(np.mean(np.exp(3.0 * by_draw)))
    assert found.elpd_i.values[row] == pytest.approx(exact, abs=0.03)
    known = other.elpd_i.values[np.repeat(np.arange(60), weights.astype(int)) == row].sum()
    assert known > exact + 0.05
    assert other.elpd > found.elpd


def test_loo_of_files_with_rows_of_no_weight_is_that_of_the_others() -> None:
    """Early files hold the log likelihood of all rows."""
    weights = np.ones(len(Y))
    weights[[2, 7]] = 0.0
    found = fit(ONE, engine=bm.Laplace(draws=100, seed=1), weights=weights)
    early = found.idata.copy()
    early["log_likelihood"] = xr.DataTree(found.idata["log_likelihood"].to_dataset().reindex(obs=range(len(Y))))
    early["log_likelihood"]["y"].values[..., [2, 7]] = 0.0
    read = replace(found, idata=early).loo()
    np.testing.assert_array_equal(read.elpd_i, found.loo().elpd_i)
    assert read.n_data_points == len(Y) - 2


def test_every_output_has_its_own(rng: np.random.Generator) -> None:
    y = pd.DataFrame({"a": Y, "b": rng.normal(size=len(Y))})
    model = bm.MixtureOfExperts([bm.Expert(bm.MvNormal())])
    found = bm.scores.loo_pit(fit(model, y=y, engine=bm.Laplace(draws=500, seed=1)))
    assert found.dims == ("obs", "output")
    assert list(found["output"].values) == ["a", "b"]
    assert np.all((found > 0) & (found < 1))


def test_what_has_no_rows_to_leave_out_is_refused() -> None:
    with pytest.raises(bm.NotFittedError, match=r"loo_pit: expected posterior draws.*bm.scores.pit on held-out rows"):
        bm.scores.loo_pit(fit(ONE))
    powers = fit(ONE, engine=bm.Laplace(draws=100, seed=1), weights=np.full(len(Y), 0.5))
    with pytest.raises(bm.NotFittedError, match=r"loo_pit: expected whole-number weights.*hold rows out"):
        bm.scores.loo_pit(powers)
    with pytest.raises(bm.SpecError, match="fit: expected a fit, got int"):
        bm.scores.loo_pit(3)  # type: ignore[arg-type]
    labels = fit(bm.MixtureOfExperts([bm.Expert(bm.Categorical())]), y=np.where(np.median(Y) < Y, "high", "low"))
    with pytest.raises(bm.SpecError, match="loo_pit: expected a target that is a number"):
        bm.scores.loo_pit(labels)


def test_calibration_is_drawn_of_rows_left_out(laplace: bm.Fit) -> None:
    left, right = bm.plots.calibration(laplace, figure=Figure()).axes
    values = bm.scores.loo_pit(laplace).values
    (curve,) = (line for line in left.lines if line.get_label() == "share of rows")
    np.testing.assert_allclose(
        curve.get_ydata(), stats.ecdf(values).cdf.evaluate(curve.get_xdata()) - curve.get_xdata()
    )
    assert left.get_xlabel() == "level u (training rows, each left out)"
    for some in ({"X": X}, {"y": Y}, {"gate_X": X}):
        with pytest.raises(bm.InputError, match="expected rows and their y, got one without the other"):
            bm.plots.calibration(laplace, **some)
    assert right.get_xlabel()


@pytest.mark.full
def test_groups_are_left_out_together() -> None:
    """Against NUTS without each group."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(12), 4)
    x = rng.normal(size=(48, 1))
    y = np.where(groups % 2 == 0, 1 + x[:, 0], -1 - x[:, 0]) + 0.6 * rng.normal(size=48)
    model = bm.MixtureOfExperts(2, gate=bm.SoftmaxGate(bm.Constant()))
    found = fit(model, x, y, bm.NUTS(seed=3), groups=groups)
    values = bm.scores.loo_pit(found)
    exact = np.empty(len(y))
    for one in range(12):
        here, rest = groups == one, groups != one
        again = fit(model, x[rest], y[rest], bm.NUTS(seed=one), scaling=found.data.scaling, groups=groups[rest])
        exact[here] = again.cdf(x[here], y[here]).values
    good = values["pareto_k"].values < 0.7
    assert good.mean() > 0.6
    np.testing.assert_allclose(values.values[good], exact[good], atol=0.05)
