"""Rows left out, spikes, and what leave-one-out scores are too good by."""

from __future__ import annotations

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.automatic.power import ROOT, candidates, preferred
from bayes_moe.automatic.recipes import lines
from bayes_moe.automatic.validation import decided, folds, lead, log_density_left_out, rounding_of
from bayes_moe.inference.em import EM
from bayes_moe.smoothing import fit_smoother
from tests.cases import Case, bound

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 2))
Y = np.exp(0.3 * X[:, 0] + 0.1 * RNG.normal(size=60))


@pytest.mark.parametrize(("rows", "parts"), [(2, 2), (4, 4), (17, 5), (2000, 5)])
def test_folds_hold_every_row_once(rows: int, parts: int) -> None:
    found = folds(rows, 1)
    assert len(found) == parts
    assert sorted(np.concatenate(found)) == list(range(rows))
    assert all(len(block) for block in found)


def test_of_many_rows_two_fifths_are_left_out() -> None:
    assert [len(block) for block in folds(2500, 1)] == [500, 500]


def test_rows_left_out_are_scored_by_a_fit_that_has_not_seen_them() -> None:
    model = bm.MixtureOfExperts(1)
    whole = bound(Case(model, X, Y))
    block = np.arange(20)
    scores = log_density_left_out(whole, EM(starts=3, seed=1), block)
    rest = bm.fit(model, X[20:], Y[20:], bm.EM(seed=1), scaling=whole.data.scaling, progress=False)
    np.testing.assert_allclose(scores, rest.log_density(X[:20], Y[:20]), rtol=1e-4, atol=1e-4)
    other = bound(Case(model, X, np.where(np.arange(60) < 20, Y + 50.0, Y)))
    assert scores.mean() > log_density_left_out(other, EM(starts=3, seed=1), block).mean() + 5


def test_hyper_parameters_that_rows_decide_are_counted() -> None:
    x = RNG.normal(size=(120, 2))
    for y, least, most in (
        (np.sin(3 * x[:, 0]) + 0.1 * RNG.normal(size=120), 2.0, 8.0),
        (RNG.normal(size=120), 0.5, 5.5),
    ):
        z = (y - y.mean()) / y.std()
        smoother = fit_smoother(x, z)
        assert least < decided(smoother, z) < most < smoother.covariance.size


def test_the_step_of_rounded_values() -> None:
    y = np.round(RNG.normal(size=100) * 2) * 0.5
    assert rounding_of(y, None) == 0.5
    assert rounding_of(RNG.normal(size=100), None) == 0.0
    assert rounding_of(np.repeat([1.0, 4.0, 9.0], 20), bm.Power(0.5)) == pytest.approx(4.0 / 2.0)


def test_powers_are_tried_where_y_is_above_0() -> None:
    model = bm.MixtureOfExperts(1)
    assert list(candidates(bound(Case(model, X, Y - Y.max())).data)) == ["y itself"]
    found = candidates(bound(Case(model, X, Y)).data)
    assert list(found)[:2] == ["y itself", ROOT]
    assert all(power is None or 0.25 <= power.known <= 1.5 for power in found.values())


def test_the_square_root_is_left_for_a_clear_lead_only() -> None:
    root = RNG.normal(size=100)
    assert preferred({"y itself": root + 0.1 * RNG.normal(size=100), ROOT: root}) == ROOT
    assert preferred({"y itself": root + 0.5, ROOT: root}) == "y itself"
    assert preferred({"y itself": root}) == "y itself"
    # what leads the square root speaks for itself, not for another that does not lead it
    assert (
        preferred({"y itself": root + 0.1 * RNG.normal(size=100), ROOT: root, "the power": root + 0.5}) == "the power"
    )


def test_leads_are_paired() -> None:
    one = RNG.normal(size=50) * 100
    gain, error = lead(one + 1.0, one)
    assert gain == pytest.approx(1.0)
    assert error == pytest.approx(0.0, abs=1e-12)


def test_intervals_of_linear_experts_widen_far_from_the_rows() -> None:
    x = np.linspace(-1.0, 1.0, 60)[:, None]
    y = np.where(x[:, 0] < 0, -2.0, 3.0) * x[:, 0] + 0.1 * RNG.normal(size=60)
    recipe = lines(2, None)
    fit = bm.fit(recipe.model, x, y, recipe.engine, progress=False)
    near, far = np.diff(fit.interval(np.array([[0.9], [50.0]])).values, axis=1)[:, 0]
    assert far > 3 * near
