"""The stick-breaking gate: equal weights in the middle of its prior, experts that keep their places, a known order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.binding.graph_density import FAST_START, GraphDensity
from bayes_moe.gates.stick_breaking import BoundSticks
from bayes_moe.posterior.draws import label_draws
from tests.cases import CASES, bound, simulated, some_points


@pytest.mark.parametrize("experts", [1, 2, 5])
def test_the_middle_of_the_prior_is_equal_weights(experts: int) -> None:
    own = bound(simulated(bm.MixtureOfExperts(experts, bm.StickBreakingGate()), 81))
    coefficients = own.parameters.coefficients(own.parameters.prior_loc)[: experts - 1]
    weights = np.exp(own.parameters.gate.log_weights(own.density.table @ coefficients.T))
    np.testing.assert_allclose(weights, 1.0 / experts, rtol=1e-12)


def test_weights_by_hand() -> None:
    gate = bm.StickBreakingGate(bm.Constant()).bind(3, bm.Constant().basis(None, None, None))
    assert isinstance(gate, BoundSticks)
    first, second = 0.3, 0.6
    eta = np.array([[np.log(first / (1 - first)), np.log(second / (1 - second))]])
    np.testing.assert_allclose(np.exp(gate.log_weights(eta)), [[0.3, 0.7 * 0.6, 0.7 * 0.4]])


@pytest.mark.parametrize("logit", [40.0, 800.0, -800.0])
def test_extreme_gates_as_a_graph(logit: float) -> None:
    own = bound(CASES["sticks"])
    compiled = GraphDensity(own.pymc_model(), own.design, own.parameters, FAST_START)
    q = some_points(CASES["sticks"], 1, seed=24)[0]
    eta = own.density.table @ own.parameters.coefficients(q)[:2].T
    q[own.parameters.gate_start : -1] *= logit / np.abs(eta).max()
    value, gradient = compiled.logp_and_gradient(q)
    expected, slope = own.density.logp_and_gradient(q)
    assert abs(value - expected) <= 1e-10 * (1.0 + abs(expected))
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(slope).max()))


def sliced(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return data whose experts take turns: X, y and the expert of every row."""
    rng = np.random.default_rng(6)
    x = rng.uniform(-3.0, 3.0, size=(rows, 2))
    first = rng.random(rows) < 1.0 / (1.0 + np.exp(-4.0 * (x[:, 0] - 1.0)))
    second = rng.random(rows) < 1.0 / (1.0 + np.exp(-4.0 * x[:, 1]))
    expert = np.where(first, 0, np.where(second, 1, 2))
    y = np.array([4.0, -3.0, 0.0])[expert] + np.array([1.0, 0.5, -1.0])[expert] * x[:, 0] + 0.3 * rng.normal(size=rows)
    return x, y, expert


def test_a_known_order_is_found_and_kept(tmp_path: Any) -> None:
    x, y, expert = sliced(400)
    model = bm.MixtureOfExperts(3, bm.StickBreakingGate())
    fit = bm.fit(model, x, y, bm.EM(seed=1, starts=8), progress=False)
    assert fit.status.converged
    assert np.mean(fit.responsibilities(x, y).values.argmax(axis=1) == expert) > 0.95
    slopes = fit.idata["posterior"]["gate_slopes"]
    assert slopes.dims == ("chain", "draw", "gate_stick", "gate_feature")
    assert slopes.sel(gate_stick=0, gate_feature="x0").item() == pytest.approx(4.0, abs=1.5)
    assert abs(slopes.sel(gate_stick=0, gate_feature="x1").item()) < 1.0
    # experts do not change places, whatever the draws say
    own = fit.bound
    away = np.tile(fit.outcome.mode, (5, 1))
    for term in own.parameters.terms:
        away[:, term.places] = away[:, term.places[::-1]]
    assert (label_draws(own, away, fit.outcome.mode).permutations == np.arange(3)).all()
    draws = bm.fit(model, x, y, bm.Laplace(seed=1, draws=100), start=fit, progress=False)
    draws.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bm.load(tmp_path / "fit.nc").gate(x).values, draws.gate(x).values)


@pytest.mark.parametrize("predictor", [None, bm.Linear(shared=True), bm.Linear(intercept=bm.priors.Normal(1.0))])
def test_predictors_of_a_gate(predictor: Any) -> None:
    with pytest.raises(bm.SpecError, match=r"^StickBreakingGate\.predictor"):
        bm.StickBreakingGate(predictor)
