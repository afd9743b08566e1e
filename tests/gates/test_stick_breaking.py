"""The stick-breaking gate: equal weights in the middle of its prior, an order that is kept and found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.binding.graph_density import FAST_START, GraphDensity
from bayes_moe.gates.stick_breaking import BoundSticks
from bayes_moe.posterior.draws import Draws, label_draws
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
    guess = fit.responsibilities(x, y).values.argmax(axis=1)
    assert max(np.mean(np.array(order)[guess] == expert) for order in ([0, 1, 2], [0, 2, 1])) > 0.95
    slopes = fit.idata["posterior"]["gate_slopes"]
    assert slopes.dims == ("chain", "draw", "gate_stick", "gate_feature")
    assert slopes.sel(gate_stick=0, gate_feature="x0").item() == pytest.approx(4.0, abs=1.5)
    assert abs(slopes.sel(gate_stick=0, gate_feature="x1").item()) < 1.0
    draws = bm.fit(model, x, y, bm.Laplace(seed=1, draws=100), start=fit, progress=False)
    draws.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bm.load(tmp_path / "fit.nc").gate(x).values, draws.gate(x).values)


def exchanged(own: Bound, q: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return q with two experts in each other's place, and the last choice turned round."""
    out, order = q.copy(), np.arange(len(own.model.experts))
    order[[first, second]] = second, first
    for term in own.parameters.terms:
        out[term.places] = q[term.places[order]]
    rows, slopes = own.parameters.gate.places
    out[own.parameters.gate_start + np.append(slopes[:, -1], rows[-1])] *= -1.0
    return out


def test_only_the_last_two_may_change_places() -> None:
    own = bound(simulated(bm.MixtureOfExperts(4, bm.StickBreakingGate()), 82, rows=120, columns=2))
    rng = np.random.default_rng(8)
    mode = own.density.fit_labels(rng.dirichlet(np.full(4, 0.05), size=120))
    plain = mode + 0.02 * rng.normal(size=(40, len(mode)))
    turned = rng.random(40) < 0.5
    q = np.array([exchanged(own, one, 2, 3) if turn else one for one, turn in zip(plain, turned, strict=True)])
    for one, other in zip(q[:6], plain, strict=False):
        assert own.density.logp(one) == pytest.approx(own.density.logp(other), rel=1e-12)
    assert abs(own.density.logp(exchanged(own, mode, 0, 1)) - own.density.logp(mode)) > 0.05
    labels = label_draws(own, q, mode)
    np.testing.assert_array_equal(labels.permutations, np.where(turned[:, None], [0, 1, 3, 2], [0, 1, 2, 3]))
    same = np.tile(np.arange(4), (40, 1))
    back, expected = Draws(own, q[None], labels.permutations), Draws(own, plain[None], same)
    np.testing.assert_allclose(back.coefficients, expected.coefficients, atol=1e-10)
    for key, values in expected.user().items():
        np.testing.assert_allclose(back.user()[key], values, rtol=1e-8, atol=1e-8)
    # the first two keep their places, whatever the draws say
    away = np.array([exchanged(own, mode, 0, 1)] * 3)
    assert (label_draws(own, away, mode).permutations[:, :2] == [0, 1]).all()


@pytest.mark.parametrize("predictor", [None, bm.Linear(shared=True), bm.Linear(intercept=bm.priors.Normal(1.0))])
def test_predictors_of_a_gate(predictor: Any) -> None:
    with pytest.raises(bm.SpecError, match=r"^StickBreakingGate\.predictor"):
        bm.StickBreakingGate(predictor)
