"""Properties of every model beyond Normal experts: one table of models, one set of tests."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytest

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.graph.graded import PLAIN
from bayes_moe.posterior.mixtures import log_density
from tests.cases import GENERAL as OTHERS
from tests.cases import Case, bound, some_points
from tests.family_cases import FAMILIES, SLOW_GRAPHS
from tests.network_cases import GROUPED, NETWORKS
from tests.oracle import Oracle

GENERAL: dict[str, Case] = FAMILIES | OTHERS | NETWORKS | GROUPED
EVERY = [pytest.param(name, marks=pytest.mark.full) if name in SLOW_GRAPHS else name for name in GENERAL]
THIRD = [
    name if i % 3 == 0 and name not in SLOW_GRAPHS else pytest.param(name, marks=pytest.mark.full)
    for i, name in enumerate(FAMILIES | OTHERS)
]
"""What all models do by the same lines of code: a third of them in the default tier."""
_FEW = {"network", "network in a tree, weighted", "a network for every expert", "networks in regions"}
_FEW |= {"groups, columns of the gate, weighted", "groups of counts, one slope"}
FEWER = [
    pytest.param(name, marks=pytest.mark.full) if name in {*SLOW_GRAPHS, *NETWORKS, *GROUPED} - _FEW else name
    for name in GENERAL
]
"""All of them but slow graphs; of networks and groups a few."""
THIRD += [name if name in _FEW else pytest.param(name, marks=pytest.mark.full) for name in NETWORKS | GROUPED]


@cache
def here(name: str) -> Bound:
    return bound(GENERAL[name])


@cache
def quick_fit(name: str) -> bm.Fit:
    """Return a fit by EM; networks have been trained for a few epochs before."""
    case = GENERAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        start = None
        if case.model.learned:
            engine = bm.Training(epochs=8, held_out=0.0, batch=12, seed=1)
            start = bm.fit(case.model, case.X, case.y, engine, progress=False, **case.options)
        engine = bm.EM(starts=4, seed=1)
        return bm.fit(case.model, case.X, case.y, engine, start=start, progress=False, **case.options)


def points(name: str, count: int, seed: int) -> np.ndarray:
    """Return vectors around the priors' centres."""
    parameters = here(name).parameters
    return parameters.prior_loc + 0.4 * some_points(GENERAL[name], count, seed)


def places(name: str, count: int, seed: int) -> Iterator[tuple[Bound, np.ndarray, dict[str, np.ndarray]]]:
    """Yield models, vectors and all values by name; networks have other weights every time."""
    rng = np.random.default_rng(seed)
    for q in points(name, count, seed):
        own, weights = here(name), {}
        if own.features is not None:
            own = own.learned(own.features.prior_scale * rng.normal(size=own.features.size))
            assert own.features is not None
            weights = own.features.named()
        yield own, q, weights | own.parameters.named(q)


def network_prior(own: Bound) -> float:
    return 0.0 if own.features is None else own.features.log_prior()


def differences(function: Any, q: np.ndarray, step: float = 1e-5) -> np.ndarray:
    steps = step * np.eye(len(q))
    return np.array([(function(q + e) - function(q - e)) / (2 * step) for e in steps])


@pytest.mark.parametrize("name", GENERAL)
def test_value_is_the_oracles(name: str) -> None:
    oracle = Oracle(GENERAL[name])
    for own, q, point in places(name, 2, seed=1):
        density, expected = own.density, oracle.terms(point).counted
        assert density.log_prior(q) + network_prior(own) == pytest.approx(expected.prior, rel=1e-9)
        rows, responsibilities = density.by_row(q)
        order = np.searchsorted(np.sort(own.counted), own.counted)  # rows of a group stand together
        np.testing.assert_allclose(rows, expected.rows[order], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(responsibilities, expected.responsibilities()[order], rtol=1e-6, atol=1e-10)
        assert density.logp(q) + network_prior(own) == pytest.approx(expected.log_posterior, rel=1e-8)


@pytest.mark.parametrize("name", [name for name, case in GENERAL.items() if case.model.learned])
def test_networks_and_output_layers_have_one_density(name: str) -> None:
    """Over the weights of the networks too, of all rows and of some, or some groups, at a time."""
    oracle = Oracle(GENERAL[name])
    ((own, q, point),) = places(name, 1, seed=4)
    density = own.network_density
    vector = density.joined(own.features.weights, q)
    value, gradient = density.logp_and_gradient(vector)
    expected = oracle.terms(point).counted
    assert value == pytest.approx(expected.log_posterior, rel=1e-9)
    slope = differences(lambda at: density.logp_and_gradient(at)[0], vector)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5 * (1 + np.abs(slope).max()))
    some, rest = np.split(np.random.default_rng(1).permutation(len(density.weights)), [len(density.weights) // 3])
    (first, here_), (second, there) = (density.rows_gradient(vector, rows) for rows in (some, rest))
    z = (vector - density.prior_loc) / density.prior_scale
    prior = density.prior_slope(z) / density.prior_scale
    np.testing.assert_allclose(here_ + there + prior, gradient, rtol=1e-8, atol=1e-8 * (1 + np.abs(slope).max()))
    assert first + second + expected.prior == pytest.approx(value, rel=1e-9)
    order, members = np.searchsorted(np.sort(own.counted), own.counted), own.members
    if members is None:
        joint = (expected.rows + expected.covariates)[some]
    else:
        joint = expected.rows[order[members.starts]] + expected.covariates[order[members.starts]] / density.weights
        joint = joint[some]
    np.testing.assert_allclose(density.rows_log_density(vector, some), joint, rtol=1e-8, atol=1e-8)


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


@pytest.mark.parametrize("name", FEWER)
def test_pymc_model_is_the_same(name: str) -> None:
    """Log posterior and reported coefficients of the PyMC model are the density's."""
    ((own, q, point),) = places(name, 1, seed=3)
    model, density = own.pymc_model(), own.density
    reported = model.replace_rvs_by_values(model.deterministics)
    function = pytensor.function(model.value_vars, [model.logp(), *reported], mode=PLAIN, on_unused_input="ignore")
    assert [variable.name for variable in model.value_vars] == list(point)
    value, *found = function(*point.values())
    assert float(value) == pytest.approx(density.logp(q) + network_prior(own), rel=1e-10)
    expected = density.expand(q)
    assert {graph.name for graph in reported} == set(expected)
    for graph, values in zip(reported, found, strict=True):
        np.testing.assert_allclose(values, expected[graph.name], rtol=1e-9, atol=1e-10, err_msg=graph.name)
        assert tuple(len(model.coords[dim]) for dim in model.named_vars_to_dims.get(graph.name, ())) == values.shape


@pytest.mark.parametrize("name", FEWER)
def test_em_ends_at_a_mode(name: str) -> None:
    fit = quick_fit(name)
    density, mode = fit.bound.density, fit.outcome.mode
    assert mode is not None
    assert fit.outcome.facts["decrement"] <= 1e-6
    assert np.linalg.eigvalsh(density.hessian(mode)).max() < 0
    case = GENERAL[name]
    terms = Oracle(case).terms(fit.point).counted
    assert fit.log_likelihood == pytest.approx(terms.log_likelihood, rel=1e-9)
    assert fit.log_posterior == pytest.approx(terms.log_posterior, rel=1e-9)
    weights = 1.0 if case.weights is None else case.weights
    if case.groups is None and case.model.mean is None:  # at new rows a mean is not that of rows left out
        total = float((weights * fit.log_density(case.X, case.y, gate_X=case.gate_X)).sum())
        assert fit.log_likelihood == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("name", FEWER)
def test_predictions_agree_with_samples(name: str) -> None:
    """Means, variances, distribution functions and class probabilities are those of draws, within their error."""
    fit, (x, more) = quick_fit(name), _some_rows(name)
    count = 20_000
    samples = fit.sample(x, draws=count, seed=2, **more).values
    if fit.data.classes:
        chances = fit.predict_proba(x, **more)
        for label, chance in zip(chances["class"].values, chances.values.T, strict=True):
            share = (samples == label).mean(axis=0)
            assert np.all(np.abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / count) + 1e-12)
        np.testing.assert_array_equal(
            fit.predict(x, **more).values, chances["class"].values[chances.values.argmax(axis=1)]
        )
        return
    error = samples.std(axis=0) / np.sqrt(count)
    mean, variance = fit.predict(x, **more).values, fit.variance(x, **more).values
    tails = samples.shape[0] * (samples - mean) ** 4
    assert np.all(np.abs(samples.mean(axis=0) - mean) < 5 * error)
    assert np.all(np.abs(samples.var(axis=0) - variance) < 5 * np.sqrt(tails.mean(axis=0)) / count)
    at = np.median(samples, axis=0)
    below = (samples <= at).mean(axis=0)
    chance = fit.cdf(x, at, **more).values
    assert np.all(np.abs(below - chance) < 5 * np.sqrt(chance * (1 - chance) / count) + 1e-12)
    low, high = np.moveaxis(fit.interval(x, 0.8, **more).values, -1, 0)
    assert np.all((samples >= low).mean(axis=0) > 0.9 - 0.02)
    assert np.all((samples <= high).mean(axis=0) > 0.9 - 0.02)


@pytest.mark.parametrize("name", THIRD)
def test_saved_and_loaded_it_predicts_the_same(name: str, tmp_path: Path) -> None:
    fit, (x, more) = quick_fit(name), _some_rows(name)
    fit.save(tmp_path / "fit.nc")
    back = bm.load(tmp_path / "fit.nc")
    assert back.model == fit.model
    np.testing.assert_array_equal(back.predict(x, **more).values, fit.predict(x, **more).values)
    draws = (each.sample(x, draws=5, seed=3, **more).values for each in (back, fit))
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("name", THIRD)
def test_laplace_draws_predict(name: str) -> None:
    case = GENERAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        engine = bm.Laplace(draws=20, seed=1)
        fit = bm.fit(case.model, case.X, case.y, engine, start=quick_fit(name), progress=False, **case.options)
    # a shared mean has its leave-one-out values at training rows, which rows passed to `log_density` have not
    training = fit.draws.mixture(np.asarray(fit.bound.data.table.values))
    new = case.model.mean is None
    values = fit.log_density(case.X, case.y, gate_X=case.gate_X).values if new else log_density(training, case.y)
    each = fit.idata["log_likelihood"]["y"].values[0]
    if case.groups is None:
        weights = np.ones(len(values)) if case.weights is None else case.weights
        counted = weights > 0
        expected = np.log(np.mean(np.exp(each / weights[counted]), axis=0))
        np.testing.assert_allclose(values[counted], expected, rtol=1e-8, atol=1e-8)
    else:
        assert each.shape == (20, len(set(case.groups.tolist())))
        weights = {} if fit.bound.features is None else fit.bound.features.named()
        draw = weights | fit.bound.parameters.named(fit.outcome.draws[0, 7])
        assert each[7].sum() == pytest.approx(Oracle(case).terms(draw).counted.log_likelihood, rel=1e-8)
    assert fit.responsibilities(case.X, case.y, gate_X=case.gate_X).sum("expert").values == pytest.approx(1.0)
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
    assert np.isfinite(fit.log_density(case.X, case.y, gate_X=case.gate_X).values).all()
    assert (np.ptp(fit.draws.flat, axis=0) > 0).all()
    assert fit.summary().shape[0] > 0
    assert np.isfinite(fit.loo().elpd) if case.weights is None else True


def _some_rows(name: str) -> tuple[Any, dict[str, Any]]:
    """Return some rows of X, and what belongs to them."""
    case = GENERAL[name]
    more = {"gate_X": case.gate_X, "groups": case.groups}
    x = case.X.iloc[:3] if hasattr(case.X, "iloc") else case.X[:3]
    return x, {word: values[:3] for word, values in more.items() if values is not None}
