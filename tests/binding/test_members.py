"""Rows that share one latent label: the density of groups, its derivatives, and EM on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytest

import bayes_moe as bm
from bayes_moe.binding import general
from bayes_moe.binding.bind import Bound, bind, target_of
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.binding.members import Members, make_members
from bayes_moe.data import read_training
from bayes_moe.graph.graded import PLAIN
from tests.cases import Case, bound, table
from tests.oracle import Oracle, over_labels

RNG = np.random.default_rng(5)
ROWS = 12
LABELS = np.array(["b", "a", "c", "a", "d", "b", "b", "a", "d", "e", "b", "a"])
PLACE = {"a": 0.0, "b": 3.0, "c": 1.0, "d": -2.0, "e": 1.5}
X, Y = table(3, ROWS, 1)
Z = np.array([PLACE[label] for label in LABELS])
BOTH = np.column_stack([X, Z])
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 3.0, 1.0, 0.7, 1.0, 1.0, 0.0])
BY_PLACE = bm.SoftmaxGate(bm.Linear(columns=(1,)))


def model(count: int = 2, gate: Any = BY_PLACE, **predictors: Any) -> bm.MixtureOfExperts:
    return bm.MixtureOfExperts([bm.Expert(**{"mu": bm.Linear(columns=(0,))} | predictors)] * count, gate)


CASES = {
    "gate of the group": Case(model(), BOTH, Y),
    "three experts": Case(model(3), BOTH, Y),
    "weighted": Case(model(), BOTH, Y, WEIGHTS),
    "constant gate": Case(model(3, bm.SoftmaxGate(bm.Constant())), BOTH, Y, WEIGHTS),
    "equal gate, sigma of x": Case(model(2, bm.EqualGate(), sigma=bm.Linear(columns=(0,))), BOTH, Y),
    "one sigma": Case(model(2, sigma=bm.Constant(shared=True)), BOTH, Y),
}


def grouped(case: Case, groups: Any = LABELS) -> Bound:
    data = read_training(
        case.X, case.y, weights=case.weights, groups=groups, experts=len(case.model.experts), parameters=0,
        target=target_of(case.model),
    )  # fmt: skip
    return bind(case.model, data)


def points(density: GeneralDensity, count: int = 3) -> np.ndarray:
    return density.parameters.prior_loc + 0.5 * RNG.normal(size=(count, density.size))


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_the_sum_over_labels(name: str) -> None:
    case = CASES[name]
    here, oracle = grouped(case), Oracle(case)
    for q in points(here.density):
        named = here.parameters.named(q)
        assert here.density.logp(q) == pytest.approx(over_labels(oracle.terms(named), LABELS), rel=1e-10)
        own = here.density.log_likelihood(q) + here.density.log_prior(q)
        assert here.density.logp(q) == pytest.approx(own, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    density = grouped(CASES[name]).density
    q = points(density, 1)[0]
    whole = density.logp_and_gradient(q)
    monkeypatch.setattr(general, "_CHUNK", 4)  # groups of four rows and of one, never cut
    pieces = density.logp_and_gradient(q)
    np.testing.assert_allclose(pieces[0], whole[0], rtol=1e-12)
    np.testing.assert_allclose(pieces[1], whole[1], rtol=1e-9, atol=1e-12)
    for q in points(density, 2):
        steps = 1e-5 * np.eye(density.size)
        slope = [(density.logp(q + e) - density.logp(q - e)) / 2e-5 for e in steps]
        np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-5, atol=1e-5)
        curved = [(density.gradient(q + e) - density.gradient(q - e)) / 2e-5 for e in steps]
        np.testing.assert_allclose(density.hessian(q), curved, rtol=1e-4, atol=1e-4)


TRIALS = RNG.integers(3, 9, ROWS)
OTHERS = {
    "trials, unlike experts": (
        [bm.Expert(bm.Binomial(trials="n"), p=bm.Linear(columns=("x",))), bm.Expert(bm.Binomial(trials="n"))],
        RNG.binomial(TRIALS, 0.4).astype(float),
    ),
    "two families": ([bm.Expert(bm.Normal(), mu=bm.Linear(columns=("x",))), bm.Expert(bm.StudentT())] * 2, Y),
}


@pytest.mark.parametrize(
    "name", ["trials, unlike experts", pytest.param("two families", marks=pytest.mark.full)]
)  # PyTensor takes its time for the derivatives of a t density
def test_other_families(name: str) -> None:
    experts, y = OTHERS[name]
    frame = pd.DataFrame({"x": X[:, 0], "z": Z, "n": TRIALS})
    gate = bm.SoftmaxGate(bm.Linear(columns=("z",)))
    here = grouped(Case(bm.MixtureOfExperts(experts, gate), frame, y, WEIGHTS))
    density = here.density
    q = points(density, 1)[0]
    steps = 1e-5 * np.eye(density.size)
    slope = [(density.logp(q + e) - density.logp(q - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-5, atol=1e-5)
    curved = [(density.gradient(q + e) - density.gradient(q - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(density.hessian(q), curved, rtol=1e-4, atol=1e-4)
    built = here.pymc_model()
    logp = built.compile_fn(built.logp(), mode=PLAIN)
    assert float(logp(density.parameters.named(q))) == pytest.approx(density.logp(q), rel=1e-10)
    with built:
        drawn = pm.draw(built["y"], 20, random_seed=1, mode=PLAIN)
    assert np.all(np.isfinite(drawn))
    assert name == "two families" or np.all((drawn >= 0) & (drawn <= TRIALS))


def test_several_outputs_share_a_label() -> None:
    model = bm.MixtureOfExperts([bm.Expert(bm.MvNormal())] * 2, bm.SoftmaxGate(bm.Constant()))
    here = grouped(Case(model, X, np.column_stack([Y, X[:, 0] + RNG.normal(size=ROWS)])))
    q = points(here.density, 1)[0]
    steps = 1e-5 * np.eye(here.density.size)
    slope = [(here.density.logp(q + e) - here.density.logp(q - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(here.density.gradient(q), slope, rtol=1e-5, atol=1e-5)
    built = here.pymc_model()
    logp = built.compile_fn(built.logp(), mode=PLAIN)
    assert float(logp(here.parameters.named(q))) == pytest.approx(here.density.logp(q), rel=1e-10)
    with built:
        assert pm.draw(built["y"], 3, random_seed=1, mode=PLAIN).shape == (3, ROWS, 2)


@pytest.mark.parametrize("name", ["gate of the group", "weighted"])
def test_groups_of_one_row_are_rows(name: str) -> None:
    """But for weights: they count a row's density alone here, and there the row with its label."""
    case = replace(CASES[name], weights=None if name == "gate of the group" else (WEIGHTS > 0).astype(float))
    plain, single = bound(case).density, grouped(case, np.arange(ROWS)).density
    assert isinstance(single, GeneralDensity)
    q = points(single, 1)[0]
    np.testing.assert_allclose(single.logp(q), plain.logp(q), rtol=1e-12)
    np.testing.assert_allclose(single.hessian(q), plain.hessian(q), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(single.responsibilities(q), plain.responsibilities(q), atol=1e-12)
    np.testing.assert_allclose(single.row_log_density(q), plain.row_log_density(q), rtol=1e-12)


def test_a_weight_is_a_row_again_in_its_group() -> None:
    case = CASES["gate of the group"]
    weights = np.array([1.0, 3.0] * 6)
    repeated = np.repeat(np.arange(ROWS), weights.astype(int))
    once = grouped(replace(case, weights=weights))
    again = grouped(Case(case.model, BOTH[repeated], Y[repeated]), LABELS[repeated])
    for q in points(once.density):
        np.testing.assert_allclose(once.density.logp(q), again.density.logp(q), rtol=1e-12)
        np.testing.assert_allclose(once.density.gradient(q), again.density.gradient(q), rtol=1e-9, atol=1e-9)


def test_the_order_of_rows_is_nothing() -> None:
    case, order = CASES["weighted"], RNG.permutation(ROWS)
    shuffled = Case(case.model, BOTH[order], Y[order], WEIGHTS[order])
    here, there = grouped(case), grouped(shuffled, LABELS[order])
    q = points(here.density, 1)[0]
    np.testing.assert_allclose(here.density.logp(q), there.density.logp(q), rtol=1e-12)
    ours, theirs = (np.zeros((ROWS, 2)) for _ in range(2))
    ours[here.counted] = here.density.responsibilities(q)
    theirs[order[there.counted]] = there.density.responsibilities(q)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    for label in "abd":
        rows = np.flatnonzero((label == LABELS) & (WEIGHTS > 0))
        np.testing.assert_array_equal(ours[rows], ours[rows[[0]]].repeat(len(rows), axis=0))


def test_expected_complete_log_posterior_has_the_same_gradient() -> None:
    """Fisher's identity, by differences of the M-step's objective under the responsibilities at q."""
    density = grouped(CASES["weighted"]).density
    q = points(density, 1)[0]
    r = density.responsibilities(q)
    steps = 1e-5 * np.eye(density.size)
    slope = [(density.expected(q + e, r) - density.expected(q - e, r)) / 2e-5 for e in steps]
    np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(density.e_step(q).gradient, density.gradient(q), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["three experts", "weighted", "equal gate, sigma of x"])
def test_em_climbs_to_a_certified_mode(name: str) -> None:
    outcome = bm.EM(seed=1, starts=8).run(grouped(CASES[name]).density)
    assert outcome.status.converged
    assert outcome.facts["decrement"] <= 1e-6


def test_members() -> None:
    members = make_members(np.array([0, 0, 0, 2, 3, 3]))
    np.testing.assert_array_equal(members.sizes, [3, 1, 2])
    found = list(members.parts(3))
    assert [(rows.start, rows.stop) for rows, _ in found] == [(0, 3), (3, 6)]
    np.testing.assert_array_equal(found[1][1].starts, [0, 1])
    assert [(rows.start, rows.stop) for rows, _ in members.parts(1)] == [(0, 3), (3, 4), (4, 6)]
    assert len(list(members.parts(100))) == 1
    votes = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.6, 0.4]])
    common = members.common(votes)
    np.testing.assert_allclose(common[0], np.array([0.162, 0.008]) / 0.17)
    np.testing.assert_array_equal(common[:3], common[[0, 0, 0]])
    np.testing.assert_allclose(common[3:], votes[3:])


def test_a_few_groups_stand_for_all() -> None:
    codes = np.repeat(np.arange(50), 4)
    members = make_members(codes)
    rows, few = members.thinned(RNG.choice(200, 40, replace=False))
    assert isinstance(few, Members)
    assert len(rows) == few.rows
    assert 40 <= few.rows <= 44
    np.testing.assert_array_equal(few.sizes, 4)
    assert few.counts @ few.sizes == pytest.approx(200)
    density = grouped(CASES["gate of the group"]).density
    assert isinstance(density, GeneralDensity)
    thin = density.thinned(np.arange(ROWS))
    q = points(density, 1)[0]
    np.testing.assert_allclose(thin.logp(q), density.logp(q), rtol=1e-12)
    half = density.thinned(np.arange(5))
    assert len(half.scene().target) == len(half.responsibilities(q)) < ROWS
    steps = 1e-5 * np.eye(density.size)
    curved = [(half.gradient(q + e) - half.gradient(q - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(half.hessian(q), curved, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["three experts", "weighted"])
def test_the_pymc_model_is_the_same_posterior(name: str) -> None:
    here = grouped(CASES[name])
    built = here.pymc_model()
    logp = built.compile_fn(built.logp(), mode=PLAIN)
    for q in points(here.density):
        assert float(logp(here.parameters.named(q))) == pytest.approx(here.density.logp(q), rel=1e-10)


def test_pymc_draws_one_label_for_each_group() -> None:
    narrow = bm.Constant(intercept=bm.priors.Normal(0.0, 0.01))
    far = bm.MixtureOfExperts(
        [bm.Expert(mu=bm.Constant(intercept=bm.priors.Normal(m, 0.01)), sigma=narrow) for m in (-50.0, 50.0)],
        bm.SoftmaxGate(bm.Constant()),
    )
    built = grouped(Case(far, BOTH, np.where(Z > 0, 50.0, -50.0) + RNG.normal(size=ROWS))).pymc_model()
    with built:
        y = pm.draw(built["y"], 200, random_seed=1, mode=PLAIN)
    above = y > 0
    for label in "abd":
        mine = above[:, label == LABELS]
        assert np.all(mine == mine[:, :1])
    assert 0.2 < above[:, 0].mean() < 0.8
    assert not np.all(above[:, 0] == above[:, 1])
