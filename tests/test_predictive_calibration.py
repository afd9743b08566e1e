"""Predictions on simulated truth: what a fit says of rows held out, or left out, is so as often as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayes_moe as bm
from bayes_moe.posterior.ranked import crps_of_numbers
from tests.fits import TWO, fit
from tests.posterior.doubles import Arrays, log_softmax

PROBS = (0.5, 0.8, 0.9, 0.95)
POISSON = bm.MixtureOfExperts([bm.Expert(bm.Poisson())] * 2)
pytestmark = pytest.mark.filterwarnings("ignore::bayes_moe.errors.FitWarning")


def uniformity(values: np.ndarray) -> float:
    """Return the p-value of uniform values, by dependent tests of the points of the ECDF (``pot_c``)."""
    return float(array_stats.uniformity_test(np.ravel(values))[0])


def covers(values: np.ndarray) -> None:
    """Check central intervals: y is in that of ``prob`` where its PIT is less than half of that from one half."""
    for prob in PROBS:
        error = np.sqrt(prob * (1 - prob) / values.size)
        assert np.mean(np.abs(2 * values - 1) <= prob) == pytest.approx(prob, abs=2.6 * error), prob


def test_rows_held_out_fall_where_point_fits_say() -> None:
    """And a test of 1200 values sees it where they do not."""
    values = []
    for seed in range(12):
        data = bm.datasets.two_lines(700, seed=seed)
        found = fit(TWO, data.X[:600], data.y[:600], bm.EM(starts=1, seed=seed))
        values.append(bm.scores.pit(found, data.X[600:], data.y[600:]).values)
    pooled = np.concatenate(values)
    assert uniformity(pooled) >= 1e-3
    covers(pooled)
    assert uniformity(0.5 + 0.85 * (pooled - 0.5)) < 1e-3


def test_rows_left_out_fall_where_draws_say() -> None:
    """Those of the training rows as if they were new would look too good, at 30 rows for a line."""
    left, inside = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(30, 4))
        y = x @ [1.0, -1.0, 0.5, 0.0] + rng.normal(size=30)
        found = fit(bm.MixtureOfExperts(1), x, y, bm.Laplace(draws=400, starts=1, seed=seed))
        left.append(bm.scores.loo_pit(found).values)
        inside.append(bm.scores.pit(found, x, y).values)
    assert uniformity(np.array(left)) >= 1e-3
    covers(np.array(left))
    assert np.mean(np.abs(2 * np.array(inside) - 1) <= 0.9) > 0.93


# --------------------------------------------------------------------------------------------------- the long tier


@pytest.mark.full
def test_predictions_are_calibrated_on_simulated_truth() -> None:
    """20 mixtures of three experts, 2000 rows each, scored on 250 more, beside the density that made them."""
    values, gaps, ours, best = [], [], 0.0, 0.0
    for seed in range(20):
        data = bm.datasets.true_moe(2250, seed=seed)
        new_x, new_y = data.X[2000:], data.y[2000:]
        engine = bm.NUTS(draws=250, seed=seed)  # a few hundred draws are enough here
        found = fit(bm.MixtureOfExperts(3), data.X[:2000], data.y[:2000], engine)
        values.append(bm.scores.pit(found, new_x, new_y).values)
        if seed == 0:
            inside = np.abs(2 * values[0] - 1) <= 0.9
            np.testing.assert_array_equal(bm.scores.coverage(found, new_x, new_y, 0.9), inside)
        gaps.append(data.truth.log_density(new_x, new_y) - bm.scores.log_score(found, new_x, new_y).values)
        ours += float(bm.scores.crps(found, new_x, new_y).sum())
        best += float(crps_of_numbers(_truth(data.truth, new_x), new_y).sum())
    assert uniformity(np.array(values)) >= 1e-3
    covers(np.array(values))
    assert np.mean(gaps) < 0.02
    assert ours / best < 1.05


def _truth(truth: Any, x: np.ndarray) -> Any:
    logits = truth.gate_intercept + x @ truth.gate_slopes.T
    mu, sigma = truth.expert_means(x), truth.expert_sigmas(x)
    return Arrays(log_softmax(logits[None]), {"mu": mu[None], "log_sigma": np.log(sigma[None])}).mixture()


@pytest.mark.full
def test_rows_left_out_of_mixtures_fall_where_draws_say() -> None:
    """LOO-PIT of NUTS's draws, 20 mixtures of two experts in 100 rows."""
    values = []
    for seed in range(20):
        data = bm.datasets.two_lines(100, seed=100 + seed)
        values.append(bm.scores.loo_pit(fit(TWO, data.X, data.y, bm.NUTS(draws=500, seed=seed))).values)
    assert uniformity(np.array(values)) >= 1e-3
    covers(np.array(values))


@pytest.mark.full
def test_counts_held_out_and_left_out_fall_where_draws_say() -> None:
    """Randomised PIT of 20 mixtures of two Poisson experts."""
    new, left = [], []
    for seed in range(20):
        rng = np.random.default_rng([7, seed])
        x = rng.uniform(-1, 1, (400, 1))
        first = rng.random(400) < 1 / (1 + np.exp(-2 * x[:, 0]))
        y = rng.poisson(np.exp(np.where(first, 0.3 + 0.5 * x[:, 0], 2.0 - 0.5 * x[:, 0])))
        found = fit(POISSON, x[:300], y[:300], bm.NUTS(draws=250, seed=seed))
        new.append(bm.scores.pit(found, x[300:], y[300:], seed=seed).values)
        left.append(bm.scores.loo_pit(found, seed=seed).values)
    for values in (np.array(new), np.array(left)):
        assert uniformity(values) >= 1e-3
        covers(values)


@pytest.mark.full
def test_weighing_draws_is_fitting_again_without_each_row() -> None:
    """LOO and LOO-PIT of 60 rows against 60 posteriors by NUTS, each without one row."""
    data = bm.datasets.two_lines(60, seed=8)
    found = fit(TWO, data.X, data.y, bm.NUTS(seed=3))
    loo, values = found.loo(), bm.scores.loo_pit(found)
    scores, below = np.empty(60), np.empty(60)
    for row in range(60):
        rest = np.arange(60) != row
        again = fit(TWO, data.X[rest], data.y[rest], bm.NUTS(seed=row), scaling=found.data.scaling)
        scores[row] = bm.scores.log_score(again, data.X[[row]], data.y[[row]]).item()
        below[row] = bm.scores.pit(again, data.X[[row]], data.y[[row]]).item()
    assert np.all(loo.pareto_k.values < loo.good_k)
    assert abs(loo.elpd - scores.sum()) <= min(1.0, 2 * float(loo.se))
    np.testing.assert_allclose(values.values, below, atol=0.05)
