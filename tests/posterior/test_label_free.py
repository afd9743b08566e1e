"""Summaries without labels: against loops, the same under any renaming, refused where too large."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.errors import InputError
from bayes_moe.fitting import assemble
from bayes_moe.posterior.draws import Labels
from bayes_moe.posterior.label_free import LARGEST_ROWS, checked_rows, training_shares
from tests.fits import N, X, Y, fit


@pytest.fixture(scope="module")
def three() -> bm.Fit:
    """Three experts for two lines: more than are needed, so that labels and divisions vary."""
    return fit(bm.MixtureOfExperts(3), engine=bm.EM(starts=4, seed=1))


@pytest.fixture(scope="module")
def drawn(three: bm.Fit) -> bm.Fit:
    rng = np.random.default_rng(3)
    q = three.outcome.draws[0, 0] + 0.1 * rng.standard_normal((1, 40, three.outcome.draws.shape[-1]))
    return assemble(three.bound, bm.Laplace(seed=1), replace(three.outcome, draws=q, point=False))


def by_draw(found: bm.Fit) -> np.ndarray:
    """Return responsibilities (S, n, K) of every draw by the density of EM, raw labels."""
    return np.array([found.bound.density.responsibilities(q) for q in found.outcome.draws[0]])


def renamed(found: bm.Fit) -> bm.Fit:
    """Return the fit with every draw's experts under other names."""
    rng = np.random.default_rng(9)
    other = np.array([rng.permutation(row) for row in found.labels.permutations])
    return replace(found, labels=Labels(other, 0.3, 1.0, ambiguous=True))


def test_co_assignment_by_loops(drawn: bm.Fit) -> None:
    shares, found = by_draw(drawn), drawn.co_assignment()
    assert found.shape == (N, N)
    for i, j in itertools.combinations(range(0, N, 7), 2):
        assert float(found[i, j]) == pytest.approx(np.mean([one[i] @ one[j] for one in shares]), abs=1e-10)
    np.testing.assert_array_equal(np.diag(found), 1.0)
    np.testing.assert_allclose(found, found.T.values, atol=1e-12)


def test_some_rows_are_a_part_of_all(drawn: bm.Fit) -> None:
    rows = [5, 3, 40]
    part = drawn.co_assignment(rows=rows)
    np.testing.assert_allclose(part, drawn.co_assignment().values[np.ix_(rows, rows)], atol=1e-12)
    np.testing.assert_array_equal(part["obs"], drawn.data.rows[rows])


def test_nothing_depends_on_names(drawn: bm.Fit) -> None:
    other = renamed(drawn)
    np.testing.assert_allclose(other.co_assignment(), drawn.co_assignment(), atol=1e-12)
    np.testing.assert_array_equal(other.experts_used(), drawn.experts_used())
    here, there = drawn.partition(X), other.partition(X)
    assert here.attrs["rand_index"] == pytest.approx(there.attrs["rand_index"])
    np.testing.assert_array_equal(np.equal.outer(here.values, here.values), np.equal.outer(there.values, there.values))


def test_experts_used_by_loops(drawn: bm.Fit) -> None:
    counts = [int(sum(one[:, k].sum() >= 0.5 for k in range(3))) for one in by_draw(drawn)]
    expected = [np.mean(np.array(counts) == used) for used in (1, 2, 3)]
    np.testing.assert_allclose(drawn.experts_used(), expected)
    assert drawn.experts_used()["experts_used"].values.tolist() == [1, 2, 3]


def test_an_expert_without_rows_is_not_used() -> None:
    """A third expert far away from all data, planted."""
    found = fit(bm.MixtureOfExperts(3), engine=bm.EM(starts=4, seed=1))
    point = dict(found.point)
    point["mu_intercept_z"] = point["mu_intercept_z"] + np.array([0.0, 0.0, 1e3])
    q = np.concatenate([np.ravel(point[name]) for name in found.bound.parameters.slices])
    planted = assemble(found.bound, found.engine, replace(found.outcome, draws=q[None, None], mode=q))
    assert planted.experts_used().values.tolist() == [0.0, 1.0, 0.0]


def test_the_division_is_the_one_nearest_to_all_others(drawn: bm.Fit) -> None:
    """Brute force over pairs of rows and pairs of draws."""
    mixture = drawn.draws.mixture(np.asarray(drawn.data.table.values))
    log_gate, _ = mixture.components(slice(0, N), slice(0, 40))
    parts = np.asarray(log_gate).argmax(axis=2)
    together = np.array([np.equal.outer(part, part)[np.triu_indices(N, 1)] for part in parts])
    rand = np.array([[np.mean(a == b) for b in together] for a in together])
    best = (rand.sum(axis=1) - 1) / 39
    found = drawn.partition(X)
    assert found.attrs["rand_index"] == pytest.approx(best.max())
    np.testing.assert_array_equal(
        np.equal.outer(found.values, found.values)[np.triu_indices(N, 1)], together[best.argmax()]
    )


def test_a_point_fit_has_them_all(three: bm.Fit) -> None:
    assert three.co_assignment().shape == (N, N)
    assert float(three.experts_used().sum()) == 1.0
    found = three.partition(X)
    np.testing.assert_array_equal(found, three.gate(X).argmax("expert"))
    assert found.attrs["rand_index"] == 1.0
    assert three.partition(X[:0]).shape == (0,)


def test_rows_of_a_group_are_together() -> None:
    groups = np.arange(N) // 3
    model = bm.MixtureOfExperts(2, gate=bm.SoftmaxGate(bm.Constant()))
    found = fit(model, groups=groups)
    together = found.co_assignment().values
    assert np.all(together[np.equal.outer(groups, groups)] == 1.0)
    shares = next(training_shares(found.draws, np.arange(N)))[0]
    np.testing.assert_allclose(shares, found.responsibilities(), atol=1e-10)
    assert together[0, 3] == pytest.approx(shares[0] @ shares[3])


def test_too_many_rows_are_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"rows: expected at most 3000 rows.*rows=range\(0, 9000, 9\)"):
        checked_rows(None, 3 * LARGEST_ROWS)
    assert len(checked_rows(range(0, 9000, 9), 9000)) == 1000


@pytest.mark.parametrize("rows", [[], [-1], [N], [0.5], "all", [[1, 2]], range(LARGEST_ROWS + 1)])
def test_rows_that_are_none_are_refused(three: bm.Fit, rows: Any) -> None:
    with pytest.raises(InputError, match="rows: expected"):
        three.co_assignment(rows=rows)
    assert Y.shape == (N,)
