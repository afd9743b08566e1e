"""The tree of gates: what it refuses, the softmax as one of its kind, its symmetries, and that EM finds it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations as orders
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.binding.graph_density import FAST_START, GraphDensity
from bayes_moe.gates.branching import read_branches
from bayes_moe.gates.tree import BoundTree
from bayes_moe.posterior.draws import Draws, label_draws
from bayes_moe.posterior.matching import TreeOrder
from tests.cases import CASES, Case, bound, simulated, some_points

# -- shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("branches", "paths", "leaves"),
    [
        ((3,), ["root"], 3),
        ((2, 2), ["root", "root/0", "root/1"], 4),
        ((2, 3), ["root", "root/0", "root/1"], 6),
        (((1, 1), 3), ["root", "root/0", "root/1"], 5),
        (((1, 1), 1), ["root", "root/0"], 3),
        (((2, 2), 1), ["root", "root/0", "root/0/0", "root/0/1"], 5),
        (((1, (1, 1)), 2), ["root", "root/0", "root/0/1", "root/1"], 5),
        ((2,) * 9, None, 512),
    ],
)
def test_shapes(branches: Any, paths: list[str] | None, leaves: int) -> None:
    root = read_branches(branches)
    assert root.leaves == tuple(range(leaves))
    assert bm.TreeGate(branches).leaves == leaves
    if paths is not None:
        assert [node.path for node in root.nodes] == paths


DEEP: Any = (1, 1)
for _ in range(50):
    DEEP = (DEEP, 1)


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ((), r"at least two children of every node, got none: the node is empty, at root →"),
        ((1,), r"got one, at root →"),
        ((2, 1), r"got one, at root/0 →"),
        ((((),), 2), r"got one, at root/0 →"),
        (((), 2), r"got none: the node is empty, at root/0 →"),
        ((2, ((3,), 2)), r"got one, at root/1/0 →"),
        ((0, 2), r"at least 1 leaf, got 0 at root →"),
        (((1, 0), 2), r"at least 1 leaf, got 0 at root/0/1 →"),
        ((-2,), r"at least 1 leaf, got -2 at root →"),
        (((1, True), 2), r"whole numbers or tuples, got True at root/0/1 →"),
        ((2.0,), r"whole numbers or tuples, got 2.0 at root →"),
        (("2",), r"whole numbers or tuples, got '2' at root →"),
        (((1, [1, 1]), 2), r"whole numbers or tuples, got \[1, 1\] at root/0/1 →"),
        (4, r"tuple of counts or of tuples, got 4 → write \(4,\)"),
        ([2, 2], r"tuple of counts or of tuples, got \[2, 2\] →"),
        (None, r"tuple of counts or of tuples, got None →"),
        (DEEP, r"at most 16 levels, got more at root/0/0"),
        ((2,) * 50, r"at most 16 levels, got more at root/0/0"),
        ((10**9,), r"at most 1000 leaves"),
        ((40, 40), r"at most 1000 leaves"),
    ],
)
def test_trees_that_are_none_are_refused_by_path(branches: Any, message: str) -> None:
    with pytest.raises(bm.SpecError, match=r"^TreeGate\.branches: expected .*" + message):
        bm.TreeGate(branches)


def test_experts_are_the_leaves() -> None:
    with pytest.raises(bm.SpecError, match=r"expected 4 experts, one for each leaf of TreeGate\(.*, got 3 → pass 4"):
        bm.MixtureOfExperts(3, bm.TreeGate())
    model = bm.hierarchical_moe(((1, 1), 3), bm.Expert(sigma=bm.Linear()))
    assert len(model.experts) == 5
    assert set(model.experts) == {bm.Expert(sigma=bm.Linear())}
    assert model.gate == bm.TreeGate(((1, 1), 3))
    assert bm.hierarchical_moe() == bm.MixtureOfExperts(4, bm.TreeGate())


@pytest.mark.parametrize(
    "predictor", [None, bm.Linear(shared=True), bm.Linear(slopes=bm.priors.Normal(1.0)), bm.TreeGate()]
)
def test_predictors_of_a_gate(predictor: Any) -> None:
    with pytest.raises(bm.SpecError, match=r"^TreeGate\.predictor"):
        bm.TreeGate((2, 2), predictor)


# -- the density -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2])
def test_softmax_is_a_tree_of_one_node(columns: int) -> None:
    tree, plain = (
        bound(simulated(bm.MixtureOfExperts(3, gate), 71, columns=columns))
        for gate in (bm.TreeGate((3,)), bm.SoftmaxGate())
    )
    for q in np.random.default_rng(1).normal(size=(5, plain.parameters.size)):
        value, gradient = plain.density.logp_and_gradient(q)
        found, slope = tree.density.logp_and_gradient(q)
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-9 * (1 + np.abs(gradient).max()))
        for name, expected in plain.density.expand(q).items():
            np.testing.assert_allclose(tree.density.expand(q)[name], expected, rtol=1e-12)


@pytest.mark.parametrize("logit", [40.0, 800.0])
@pytest.mark.parametrize("name", ["tree", "unbalanced tree, gate_X"])
def test_extreme_gates_as_a_graph(name: str, logit: float) -> None:
    own = bound(CASES[name])
    compiled, gate = GraphDensity(own.pymc_model(), own.design, own.parameters, FAST_START), own.parameters.gate
    q = some_points(CASES[name], 1, seed=24)[0]
    eta = own.density.table @ own.parameters.coefficients(q)[: gate.predictors].T
    q[own.parameters.gate_start : -1] *= logit / max(np.ptp(eta[:, b.rows], axis=1).max() for b in gate.blocks)
    value, gradient = compiled.logp_and_gradient(q)
    expected, slope = own.density.logp_and_gradient(q)
    assert abs(value - expected) <= 1e-10 * (1.0 + abs(expected))
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(slope).max()))


# -- symmetries --------------------------------------------------------------------------------------------------------


def symmetries(model: bm.MixtureOfExperts) -> Iterator[tuple[int, ...]]:
    """Yield all renamings that keep experts and, for every two, the level of the node where their paths part."""
    root, experts = read_branches(model.gate.branches), range(len(model.experts))
    paths = [[node.path for node in root.nodes if leaf in node.leaves] for leaf in experts]
    apart = [[len(set(paths[i]) & set(paths[j])) for j in experts] for i in experts]
    for order in orders(experts):
        kept = all(apart[order[i]][order[j]] == apart[i][j] for i in experts for j in experts)
        if kept and all(model.experts[order[i]] == model.experts[i] for i in experts):
            yield order


def renamed(own: Bound, q: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Return q with expert j where expert ``order[j]`` was, and the gate's branches with them."""
    parameters, gate = own.parameters, own.parameters.gate
    assert isinstance(gate, BoundTree)
    out = q.copy()
    for term in parameters.terms:
        for index, expert in enumerate(term.experts):
            out[term.places[index]] = q[term.places[list(term.experts).index(order[expert])]]
    inner = q[parameters.gate_start :]
    moved = gate.row_order(np.array([order]))[0]
    level, sides = gate.places
    rows = gate.basis @ np.column_stack([inner[level], inner[sides].T])
    values = gate.basis.T @ rows[moved]
    out[parameters.gate_start + level] = values[:, 0]
    out[parameters.gate_start + sides] = values[:, 1:].T
    return out


TREES = {
    "balanced": (bm.hierarchical_moe((2, 2)), 8),
    "wide": (bm.hierarchical_moe((2, 3)), 72),
    "one node": (bm.hierarchical_moe((4,)), 24),
    "unbalanced": (bm.hierarchical_moe(((1, 1), 3)), 12),
    "crossed": (bm.hierarchical_moe(((1, (1, 1)), (2, 1))), 8),
    "five alike": (bm.hierarchical_moe((5,)), 120),
    "unlike": (
        bm.MixtureOfExperts([bm.Expert(), bm.Expert(), bm.Expert(sigma=bm.Linear())] * 2, bm.TreeGate((2, 3))),
        8,
    ),
    "none": (bm.MixtureOfExperts([bm.Expert(), bm.Expert(sigma=bm.Linear())], bm.TreeGate((2,))), 1),
}


@pytest.mark.parametrize("name", TREES)
def test_renamings_change_nothing(name: str) -> None:
    model, count = TREES[name]
    own = bound(simulated(model, 72, rows=30, columns=2))
    found = list(symmetries(model))
    assert len(found) == count
    q = np.random.default_rng(2).normal(size=own.parameters.size)
    rows, responsibilities = own.density.by_row(q)
    for order in found[:30]:
        moved = renamed(own, q, order)
        assert own.density.logp(moved) == pytest.approx(own.density.logp(q), rel=1e-12)
        rows_moved, r = own.density.by_row(moved)
        np.testing.assert_allclose(rows_moved, rows, rtol=1e-10)
        np.testing.assert_allclose(r, responsibilities[:, order], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", TREES)
def test_matching_is_the_best_of_all(name: str) -> None:
    model, count = TREES[name]
    root = read_branches(model.gate.branches)
    kinds = [next(k for k, (_, places) in enumerate(model.blocks) if i in places) for i in root.leaves]
    order = TreeOrder(root, kinds)
    assert order.trivial == (count == 1)
    every = np.array(list(symmetries(model)))
    costs = np.random.default_rng(3).normal(size=(40, len(kinds), len(kinds)))
    totals = costs[:, np.arange(len(kinds)), every].sum(axis=2)
    np.testing.assert_array_equal(order.best(costs), every[totals.argmin(axis=1)])
    if count > 1:
        ranked = np.sort(totals, axis=1)
        np.testing.assert_allclose(order.margin(costs, order.best(costs)), ranked[:, 1] - ranked[:, 0], atol=1e-12)


@pytest.mark.parametrize("name", ["balanced", "wide", "unbalanced", "crossed", "unlike"])
def test_planted_renamings_are_found(name: str) -> None:
    """Draws around a point, each under a random renaming: all come back, experts and branches alike."""
    model, _ = TREES[name]
    own = bound(simulated(model, 73, rows=120, columns=2))
    rng = np.random.default_rng(4)
    mode = own.density.fit_labels(rng.dirichlet(np.full(len(model.experts), 0.05), size=120))
    every = list(symmetries(model))
    plain = mode + 0.02 * rng.normal(size=(60, own.parameters.size))
    planted = [every[i] for i in rng.integers(len(every), size=60)]
    q = np.array([renamed(own, one, order) for one, order in zip(plain, planted, strict=True)])
    labels = label_draws(own, q, mode)
    undone = np.array([np.array(order)[found] for order, found in zip(planted, labels.permutations, strict=True)])
    np.testing.assert_array_equal(undone, np.tile(np.arange(len(model.experts)), (60, 1)))
    back, expected = Draws(own, q[None], labels.permutations), Draws(own, plain[None], undone)
    np.testing.assert_allclose(back.coefficients, expected.coefficients, atol=1e-10)
    for key, values in expected.user().items():
        np.testing.assert_allclose(back.user()[key], values, rtol=1e-8, atol=1e-8)


# -- a known tree ------------------------------------------------------------------------------------------------------


def planted(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return data of a known tree of two times two: X, y and the leaf of every row."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-3.0, 3.0, size=(rows, 2))

    def right(logit: np.ndarray) -> np.ndarray:
        return rng.random(rows) < 1.0 / (1.0 + np.exp(-logit))

    lower = np.where(right(3.0 * (x[:, 1] - 0.5)), 1, 0), np.where(right(2.0 * (x[:, 0] + x[:, 1] - 1.5)), 3, 2)
    leaf = np.where(right(3.0 * x[:, 0]), lower[1], lower[0])
    lines = np.array([[0.0, 1.0, 0.0], [3.0, -1.0, 0.5], [-2.0, 0.0, 1.0], [6.0, 0.5, -0.5]])[leaf]
    y = lines[:, 0] + np.sum(lines[:, 1:] * x, axis=1) + np.array([0.3, 0.4, 0.2, 0.5])[leaf] * rng.normal(size=rows)
    return x, y, leaf


@pytest.fixture(scope="module")
def fitted() -> bm.Fit:
    x, y, _ = planted(500)
    return bm.fit(bm.hierarchical_moe(), x, y, bm.EM(seed=1, starts=6), progress=False)


def test_a_known_tree_is_found(fitted: bm.Fit) -> None:
    x, y, leaf = planted(500)
    assert fitted.status.converged
    guess = fitted.responsibilities(x, y).values.argmax(axis=1)
    # which leaf is which expert: the tree's own symmetries are all there is to choose
    hits = [np.mean(np.array(order)[guess] == leaf) for order in symmetries(fitted.model)]
    assert max(hits) > 0.93
    softmax = bm.fit(bm.MixtureOfExperts(4), x, y, bm.EM(seed=1, starts=6), progress=False)
    assert fitted.bic < softmax.bic
    slopes = fitted.idata["posterior"]["gate_slopes"].sel(gate_branch="root/1").values.ravel()
    assert abs(2.0 * slopes[0]) == pytest.approx(3.0, abs=0.7)
    assert abs(slopes[1]) < 0.3


def test_what_is_reported(fitted: bm.Fit) -> None:
    posterior = fitted.idata["posterior"]
    assert posterior["gate_slopes"].dims == ("chain", "draw", "gate_branch", "gate_feature")
    names = ["root/0", "root/1", "root/0/0", "root/0/1", "root/1/0", "root/1/1"]
    assert posterior["gate_branch"].values.tolist() == names
    assert {f"gate_slopes[{name}, x1]" for name in names} <= set(fitted.summary().index)
    assert {"gate_intercept_z[0, 0]", "gate_slopes_z[0, 0, 0]", "gate_scale_z"} <= set(fitted.prior_summary().index)
    # the log odds of the root's children, in the user's units, are what the coefficients say
    x, _, _ = planted(500)
    gate = fitted.gate(x[:7]).values
    odds = np.log(gate[:, 2:].sum(axis=1) / gate[:, :2].sum(axis=1))
    intercept, slopes = posterior["gate_intercept"].values[0, 0], posterior["gate_slopes"].values[0, 0]
    np.testing.assert_allclose(odds, intercept[1] - intercept[0] + x[:7] @ (slopes[1] - slopes[0]), rtol=1e-8)


def test_laplace_and_a_file(fitted: bm.Fit, tmp_path: Any) -> None:
    x, y, _ = planted(500)
    fit = bm.fit(fitted.model, x, y, bm.Laplace(seed=1, draws=200), start=fitted, progress=False)
    fit.save(tmp_path / "fit.nc")
    back = bm.load(tmp_path / "fit.nc")
    for verb in ("predict", "variance", "gate", "expert_means"):
        np.testing.assert_array_equal(getattr(back, verb)(x[:9]).values, getattr(fit, verb)(x[:9]).values)
    assert fit.predict(x).values == pytest.approx(fitted.predict(x).values, abs=0.5)
    middle = fit.quantile(x[:5], 0.5).values
    np.testing.assert_allclose(fit.cdf(x[:5], middle).values, 0.5, atol=1e-6)
    assert fit.labels.agreement > 0.95
    assert not fit.labels.ambiguous


# -- the M-step and the starts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unbalanced tree, gate_X", "constant tree", "sticks", "sticks, fixed priors"])
def test_newtons_steps_end_at_the_maximum(name: str) -> None:
    """Under fixed responsibilities the steps, node by node, end where SciPy finds nothing better."""
    density = bound(CASES[name]).density
    given = np.random.default_rng(9).dirichlet(np.full(density.experts, 0.7), size=len(density.weights))
    gate = np.arange(density.parameters.gate_start, density.size)
    q = density.parameters.prior_loc.copy()
    for _ in range(60):
        moved = density.m_step(density._sums(q, given))
        q[gate] = moved[gate]

    def negative(values: np.ndarray) -> float:
        at = q.copy()
        at[gate] = values
        return -density.expected(at, given)

    found = minimize(negative, q[gate], method="BFGS")
    assert negative(q[gate]) <= found.fun + 1e-7
    far = minimize(negative, 0.5 * np.random.default_rng(10).normal(size=len(gate)), method="BFGS")
    assert negative(q[gate]) <= far.fun + 1e-6


def test_starts_are_put_in_order() -> None:
    """Clusters under wrong names are fitted as those under the right ones, up to the tree's symmetries."""
    x, _, leaf = planted(300)
    own = bound(Case(bm.hierarchical_moe(), x, planted(300)[1]))
    share = 0.94 * np.eye(4)[leaf] + 0.015
    values = [own.density.logp(own.density.fit_labels(share[:, list(order)])) for order in orders(range(4))]
    assert np.ptp(values) < 1.0
    unlike = bound(
        Case(bm.MixtureOfExperts([bm.Expert(), bm.Expert(sigma=bm.Linear())] * 2, bm.TreeGate()), x, x[:, 0])
    )
    assert not unlike.density.alike
