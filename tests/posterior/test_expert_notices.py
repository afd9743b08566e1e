"""Experts without rows, copies, normal tails and steep gates: planted, found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.fitting import assemble
from tests.fits import QUICK, TWO, X, Y, fit


def planted(found: bm.Fit, change: dict[str, np.ndarray], *, draws: int = 1) -> bm.Fit:
    """Return a fit whose draws lie around a changed point."""
    point = dict(found.point) | change
    q = np.concatenate([np.ravel(point[name]) for name in found.bound.parameters.slices])
    rng = np.random.default_rng(2)
    spread = 0.01 if draws > 1 else 0.0
    around = q + spread * rng.standard_normal((1, draws, len(q)))
    outcome = replace(found.outcome, draws=around, mode=q, point=draws == 1, notices=())
    return assemble(found.bound, found.engine if draws == 1 else bm.Laplace(seed=1), outcome)


@pytest.fixture(scope="module")
def two() -> bm.Fit:
    return fit()


@pytest.mark.parametrize(("nu", "said"), [(12.0, False), (29.0, False), (31.0, True), (1e4, True)])
def test_normal_tails(nu: float, said: bool) -> None:
    model = bm.MixtureOfExperts([bm.Expert(), bm.Expert(bm.StudentT()), bm.Expert(bm.StudentT())])
    found = fit(model)
    name = next(n for n in found.point if n.startswith("log_nu_minus_2"))
    values = np.array([np.log(3.0), np.log(nu - 2.0)]).reshape(found.point[name].shape)
    messages = [n.message for n in planted(found, {name: values}).status.notices if n.code == "normal_tails"]
    assert bool(messages) == said
    if said:
        assert "ν of experts [2]" in messages[0]


def test_copies_in_the_draws(two: bm.Fit) -> None:
    assert "duplicate_experts" not in planted(two, {}, draws=50).status.codes
    same = {
        name: np.repeat(two.point[name][:1], 2, axis=0) for name in ("mu_intercept_z", "mu_slopes_z", "log_sigma_z")
    }
    found = planted(two, same, draws=50)
    (message,) = [n.message for n in found.status.notices if n.code == "duplicate_experts"]
    assert "Experts 0 and 1 are copies" in message
    apart = same | {"log_sigma_z": same["log_sigma_z"] + np.array([0.0, 0.3])}
    assert "duplicate_experts" not in planted(two, apart, draws=50).status.codes


@pytest.mark.parametrize("gate", [bm.SoftmaxGate(), bm.SoftmaxGate(bm.Constant())], ids=["linear", "constant"])
def test_an_expert_without_rows(gate: bm.SoftmaxGate) -> None:
    found = bm.fit(bm.MixtureOfExperts(2, gate), X, Y, QUICK, progress=False)
    name = next(n for n in found.point if n.startswith("gate_intercept"))
    assert "unused_experts" not in found.status.codes
    assert "unused_experts" in planted(found, {name: np.full_like(found.point[name], 40.0)}).status.codes


def test_a_gate_that_is_a_step(two: bm.Fit) -> None:
    name = next(n for n in two.point if n.startswith("gate_slopes"))
    steep = planted(two, {name: np.full_like(two.point[name], 40.0)})
    assert "gate_separation" in steep.status.codes
    assert "gate_separation" not in two.status.codes


def test_ambiguous_labels_offer_what_needs_none(two: bm.Fit) -> None:
    same = {
        name: np.repeat(two.point[name][:1], 2, axis=0) for name in ("mu_intercept_z", "mu_slopes_z", "log_sigma_z")
    }
    gate = {name: np.zeros_like(values) for name, values in two.point.items() if name.startswith("gate_")}
    found = planted(two, same | gate, draws=50)
    (message,) = [n.message for n in found.status.notices if n.code == "labels_ambiguous"]
    for method in ("fit.partition(X)", "fit.co_assignment()", "fit.experts_used()", "fit.loo()"):
        assert method in message


def test_rows_of_weight_0_hold_no_experts() -> None:
    more, weights = np.r_[X, X[:40].repeat(10, axis=0)], np.r_[np.ones(len(Y)), np.zeros(400)]
    scaling = fit().data.scaling
    found = bm.fit(TWO, more, np.r_[Y, np.zeros(400)], QUICK, weights=weights, scaling=scaling, progress=False)
    said = []
    for intercept in np.linspace(1.0, 8.0, 15):
        gate = {"gate_intercept_z_zerosum__": np.array([intercept]), "gate_slopes_z_zerosum__": np.zeros((1, 1))}
        codes = [planted(one, gate).status.codes for one in (fit(), found)]
        assert codes[0] == codes[1]
        said.append("unused_experts" in codes[0])
    assert any(said)
    assert not all(said)
