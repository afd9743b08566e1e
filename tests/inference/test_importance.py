"""Smoothed importance weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayes_moe.inference.importance import psis_khat, smooth, weigh
from tests.inference.densities import Interrupting, correlated


def test_weights_turn_the_approximation_into_the_target() -> None:
    q = np.random.default_rng(1).normal(0.4, 1.3, 20_000)
    logs = stats.norm.logpdf(q) - stats.norm.logpdf(q, 0.4, 1.3) + 55.0
    smoothed = smooth(logs)
    weights = np.exp(smoothed.log_weights)
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ q == pytest.approx(0.0, abs=0.03)
    assert weights @ q**2 == pytest.approx(1.0, abs=0.04)
    assert smoothed.k_hat == psis_khat(logs) < 0.5
    # in the order of the draws
    assert np.corrcoef(smoothed.log_weights, logs)[0, 1] > 0.999


def test_a_narrow_approximation_is_told_from_a_wide_one() -> None:
    rng = np.random.default_rng(33)
    for scale, unreliable in ((0.4, True), (1.2, False)):
        q = scale * rng.standard_normal(4000)
        assert (psis_khat(stats.norm.logpdf(q) - stats.norm.logpdf(q, scale=scale)) > 0.7) is unreliable


def test_what_cannot_be_estimated_counts_as_unreliable() -> None:
    logs = np.random.default_rng(36).standard_normal(1000)
    for bad in (logs[:24], np.full(1000, -np.inf), np.append(logs, np.nan), np.append(logs, np.inf), np.zeros(0)):
        smoothed = smooth(bad)
        assert smoothed.k_hat == np.inf
        assert smoothed.log_weights.shape == bad.shape
        assert not bad.size or np.exp(smoothed.log_weights).sum() == pytest.approx(1.0)
    assert np.isfinite(psis_khat(np.append(logs, -np.inf)))


def test_an_exact_approximation_has_equal_weights() -> None:
    smoothed = smooth(np.full(1000, -321.5))
    assert smoothed.k_hat == 0.0
    assert smoothed.log_weights == pytest.approx(np.full(1000, -np.log(1000)))


def test_weighing_keeps_what_was_finished() -> None:
    density, q = correlated(3, seed=1), np.random.default_rng(1).standard_normal((50, 3))
    whole = weigh(density, q, np.arange(50.0))
    assert whole.complete
    assert whole.log_p == pytest.approx(np.array([density.logp(row) for row in q]))
    cut = weigh(Interrupting(density, call=21), q, np.arange(50.0))
    assert not cut.complete
    assert len(cut.q) == len(cut.log_p) == len(cut.log_q) == 20
    assert np.array_equal(cut.log_ratios, whole.log_ratios[:20])
