"""Properties of every model beyond Normal experts: one table of models, one set of tests."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytest

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.graph.graded import PLAIN
from tests.cases import GENERAL as OTHERS
from tests.cases import Case, bound, some_points
from tests.family_cases import FAMILIES, SLOW_GRAPHS
from tests.oracle import Oracle

GENERAL: dict[str, Case] = FAMILIES | OTHERS
EVERY = [pytest.param(name, marks=pytest.mark.full) if name in SLOW_GRAPHS else name for name in GENERAL]
THIRD = [
    name if i % 3 == 0 and name not in SLOW_GRAPHS else pytest.param(name, marks=pytest.mark.full)
    for i, name in enumerate(GENERAL)
]
"""What all models do by the same lines of code: a third of them in the default tier."""


@cache
def here(name: str) -> Bound:
    return bound(GENERAL[name])


@cache
def quick_fit(name: str) -> bm.Fit:
    case = GENERAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        return bm.fit(case.model, case.X, case.y, bm.EM(starts=4, seed=1), progress=False, **case.options)


def points(name: str, count: int, seed: int) -> np.ndarray:
    """Return vectors around the priors' centres."""
    parameters = here(name).parameters
    return parameters.prior_loc + 0.4 * some_points(GENERAL[name], count, seed)


def differences(function: Any, q: np.ndarray, step: float = 1e-5) -> np.ndarray:
    steps = step * np.eye(len(q))
    return np.array([(function(q + e) - function(q - e)) / (2 * step) for e in steps])


@pytest.mark.parametrize("name", GENERAL)
def test_value_is_the_oracles(name: str) -> None:
    density, oracle = here(name).density, Oracle(GENERAL[name])
    for q in points(name, 2, seed=1):
        expected = oracle.terms(here(name).parameters.named(q)).counted
        assert density.log_prior(q) == pytest.approx(expected.prior, rel=1e-9)
        rows, responsibilities = density.by_row(q)
        np.testing.assert_allclose(rows, expected.rows, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(responsibilities, expected.responsibilities(), rtol=1e-6, atol=1e-10)
        assert density.logp(q) == pytest.approx(expected.log_posterior, rel=1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_derivatives(name: str) -> None:
    density = here(name).density
    q = points(name, 1, seed=2)[0]
    slope = differences(density.logp, q)
    np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-5, atol=1e-5 * (1 + np.abs(slope).max()))
    curved = differences(density.gradient, q)
    np.testing.assert_allclose(density.hessian(q), curved, rtol=1e-4, atol=1e-5 * (1 + np.abs(curved).max()))
    np.testing.assert_allclose(density.e_step(q).gradient, density.gradient(q), rtol=1e-9, atol=1e-9)
    value, gradient = density.compiled()(q)
    assert value == pytest.approx(density.logp(q), rel=1e-12)
    np.testing.assert_allclose(gradient, density.gradient(q), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", GENERAL)
def test_pymc_model_is_the_same(name: str) -> None:
    """Log posterior and reported coefficients of the PyMC model are the density's."""
    model, density = here(name).pymc_model(), here(name).density
    reported = model.replace_rvs_by_values(model.deterministics)
    function = pytensor.function(model.value_vars, [model.logp(), *reported], mode=PLAIN, on_unused_input="ignore")
    q = points(name, 1, seed=3)[0]
    value, *found = function(*here(name).parameters.named(q).values())
    assert float(value) == pytest.approx(density.logp(q), rel=1e-10)
    expected = density.expand(q)
    assert {graph.name for graph in reported} == set(expected)
    for graph, values in zip(reported, found, strict=True):
        np.testing.assert_allclose(values, expected[graph.name], rtol=1e-9, atol=1e-10, err_msg=graph.name)
        assert tuple(len(model.coords[dim]) for dim in model.named_vars_to_dims.get(graph.name, ())) == values.shape


@pytest.mark.parametrize("name", EVERY)
def test_em_ends_at_a_mode(name: str) -> None:
    fit = quick_fit(name)
    density, mode = fit.bound.density, fit.outcome.mode
    assert mode is not None
    assert fit.outcome.facts["decrement"] <= 1e-6
    assert np.linalg.eigvalsh(density.hessian(mode)).max() < 0
    case = GENERAL[name]
    weights = 1.0 if case.weights is None else case.weights
    total = float((weights * fit.log_density(case.X, case.y)).sum())
    assert fit.log_likelihood == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_predictions_agree_with_samples(name: str) -> None:
    """Means, variances, distribution functions and class probabilities are those of draws, within their error."""
    fit, x = quick_fit(name), _some_rows(GENERAL[name].X)
    count = 20_000
    samples = fit.sample(x, draws=count, seed=2).values
    if fit.data.classes:
        chances = fit.predict_proba(x)
        for label, chance in zip(chances["class"].values, chances.values.T, strict=True):
            share = (samples == label).mean(axis=0)
            assert np.all(np.abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / count) + 1e-12)
        np.testing.assert_array_equal(fit.predict(x).values, chances["class"].values[chances.values.argmax(axis=1)])
        return
    error = samples.std(axis=0) / np.sqrt(count)
    mean, variance = fit.predict(x).values, fit.variance(x).values
    tails = samples.shape[0] * (samples - mean) ** 4
    assert np.all(np.abs(samples.mean(axis=0) - mean) < 5 * error)
    assert np.all(np.abs(samples.var(axis=0) - variance) < 5 * np.sqrt(tails.mean(axis=0)) / count)
    at = np.median(samples, axis=0)
    below = (samples <= at).mean(axis=0)
    chance = fit.cdf(x, at).values
    assert np.all(np.abs(below - chance) < 5 * np.sqrt(chance * (1 - chance) / count) + 1e-12)
    low, high = np.moveaxis(fit.interval(x, 0.8).values, -1, 0)
    assert np.all((samples >= low).mean(axis=0) > 0.9 - 0.02)
    assert np.all((samples <= high).mean(axis=0) > 0.9 - 0.02)


@pytest.mark.parametrize("name", THIRD)
def test_saved_and_loaded_it_predicts_the_same(name: str, tmp_path: Path) -> None:
    fit, x = quick_fit(name), _some_rows(GENERAL[name].X)
    fit.save(tmp_path / "fit.nc")
    back = bm.load(tmp_path / "fit.nc")
    assert back.model == fit.model
    np.testing.assert_array_equal(back.predict(x).values, fit.predict(x).values)
    np.testing.assert_array_equal(back.sample(x, draws=5, seed=3).values, fit.sample(x, draws=5, seed=3).values)


@pytest.mark.parametrize("name", THIRD)
def test_laplace_draws_predict(name: str) -> None:
    case = GENERAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        engine = bm.Laplace(draws=20, seed=1)
        fit = bm.fit(case.model, case.X, case.y, engine, start=quick_fit(name), progress=False, **case.options)
    values = fit.log_density(case.X, case.y).values
    each = fit.idata["log_likelihood"]["y"].values[0]
    weights = np.ones(len(values)) if case.weights is None else case.weights
    counted = weights > 0
    expected = np.log(np.mean(np.exp(each[:, counted] / weights[counted]), axis=0))
    np.testing.assert_allclose(values[counted], expected, rtol=1e-8, atol=1e-8)
    assert fit.responsibilities(case.X, case.y).sum("expert").values == pytest.approx(1.0)
    assert "mode" not in fit.summary().columns


@pytest.mark.full
@pytest.mark.parametrize("engine", [bm.NUTS(draws=60, tune=120, chains=2, seed=1), bm.ADVI(draws=50, seed=1)], ids=repr)
@pytest.mark.parametrize("name", GENERAL)
def test_samplers_give_draws_that_predict(name: str, engine: Any) -> None:
    """Short runs: that chains and guides move, not that they converge."""
    case = GENERAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        fit = bm.fit(case.model, case.X, case.y, engine, start=quick_fit(name), progress=False, **case.options)
    assert np.isfinite(fit.log_density(case.X, case.y).values).all()
    assert (np.ptp(fit.draws.flat, axis=0) > 0).all()
    assert fit.summary().shape[0] > 0
    assert np.isfinite(fit.loo().elpd) if case.weights is None else True


def _some_rows(x: Any) -> Any:
    return x.iloc[:3] if hasattr(x, "iloc") else x[:3]
