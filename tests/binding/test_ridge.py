"""Ridge regression with learned precisions against textbook formulas, SciPy's optimiser and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm

from bayes_moe.binding.ridge import SPREAD, RidgePrior, climb_evidence, effective, posterior
from tests.tiers import seeds

GROUP = np.array([-1, 0, 0, 0, 1, 1, 1, 1, -1])
SIGMA = 0.4


def problem(seed: int, rows: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray, RidgePrior]:
    """Return a design, a target, row weights and a prior with two learned groups, the second one noise."""
    rng = np.random.default_rng(seed)
    phi = np.column_stack([np.ones(rows), rng.normal(size=(rows, 8))])
    y = phi[:, :4] @ [0.5, 2.0, -1.0, 1.5] + SIGMA * rng.normal(size=rows)
    loc, scale = np.zeros(9), np.full(9, np.nan)
    loc[[0, 8]], scale[[0, 8]] = [0.3, -0.2], [2.5, 0.5]
    prior = RidgePrior(loc, np.where(GROUP < 0, scale**-2.0, np.nan), GROUP, np.log([3.0, 4.0]))
    return phi, y, rng.uniform(0.2, 2.0, rows), prior


def sums(phi: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mass = weights / SIGMA**2
    return phi.T @ (mass[:, None] * phi), phi.T @ (mass * y)


def log_evidence(phi: np.ndarray, y: np.ndarray, weights: np.ndarray, prior: RidgePrior, logs: np.ndarray) -> float:
    """Return log p(y | precisions) + log p(precisions), as the density of y itself."""
    covariance = phi @ np.diag(1.0 / prior.precision(logs)) @ phi.T + np.diag(SIGMA**2 / weights)
    value = multivariate_normal(phi @ prior.loc, covariance).logpdf(y)
    return float(value + norm(prior.centre, SPREAD).logpdf(logs).sum())


def test_the_posterior_is_the_conjugate_one() -> None:
    phi, y, weights, prior = problem(1)
    logs = np.array([0.7, 3.0])
    found = posterior(prior, *sums(phi, y, weights), logs)
    precision = np.diag(prior.precision(logs))
    square, product = sums(phi, y, weights)
    covariance = np.linalg.inv(square + precision)
    np.testing.assert_allclose(found.root @ found.root.T, covariance, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found.mean, covariance @ (product + precision @ prior.loc), rtol=1e-9)
    gap = found.mean - prior.loc
    log_dets = np.linalg.slogdet(precision)[1] + np.linalg.slogdet(covariance)[1]
    divergence = 0.5 * (np.trace(precision @ covariance) + gap @ precision @ gap - len(gap) - log_dets)
    assert found.divergence == pytest.approx(divergence, rel=1e-10)


def test_the_evidence_is_the_density_of_the_target() -> None:
    phi, y, weights, prior = problem(2)
    here, there = np.array([0.7, 3.0]), np.array([-1.0, 5.0])
    ours = [posterior(prior, *sums(phi, y, weights), logs).evidence for logs in (here, there)]
    theirs = [log_evidence(phi, y, weights, prior, logs) for logs in (here, there)]
    assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], rel=1e-9)


@pytest.mark.parametrize("seed", seeds(1, 30))
def test_the_evidence_is_climbed_to_its_maximum(seed: int) -> None:
    phi, y, weights, prior = problem(seed, rows=20)
    found = posterior(prior, *sums(phi, y, weights), prior.centre)
    for _ in range(10):
        before, found = found, climb_evidence(prior, *sums(phi, y, weights), found.logs)
        assert found.evidence >= before.evidence
    best = minimize(lambda logs: -log_evidence(phi, y, weights, prior, logs), prior.centre, tol=1e-10)
    at_end = log_evidence(phi, y, weights, prior, found.logs)
    assert at_end >= -best.fun - 1e-6
    np.testing.assert_allclose(found.logs, best.x, atol=0.01)
    assert found.logs[1] > found.logs[0] + 1.0  # the group that is noise
    decided = effective(prior, found.root, found.logs)
    assert 2.5 < decided[0] < 3.0
    assert 0.0 < decided[1] < 2.5


def test_columns_beyond_rows_are_finite() -> None:
    rng = np.random.default_rng(3)
    phi, y = rng.normal(size=(10, 60)), rng.normal(size=10)
    prior = RidgePrior(np.zeros(60), np.ones(60), np.zeros(60, dtype=int), np.log([60.0]))
    found = climb_evidence(prior, phi.T @ phi * 1e8, phi.T @ y * 1e8, prior.centre)
    assert np.isfinite(found.root).all()
    assert np.isfinite([found.evidence, found.divergence]).all()
    np.testing.assert_allclose(phi @ found.mean, y, atol=1e-4)


def test_without_rows_the_prior_remains() -> None:
    prior = RidgePrior(np.zeros(3), np.ones(3), np.array([-1, 0, 0]), np.log([2.0]))
    found = climb_evidence(prior, np.zeros((3, 3)), np.zeros(3), prior.centre + 5.0)
    np.testing.assert_allclose(found.logs, prior.centre, atol=1e-6)
    assert found.divergence == pytest.approx(0.0, abs=1e-12)


def test_given_its_precisions_scikit_learn_agrees() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(4)
    phi = rng.normal(size=(40, 6))
    y = phi @ rng.normal(size=6) + 0.3 * rng.normal(size=40)
    theirs = linear.ARDRegression(fit_intercept=False, threshold_lambda=1e12).fit(phi, y)
    prior = RidgePrior(np.zeros(6), np.ones(6), np.arange(6), np.zeros(6))
    found = posterior(prior, theirs.alpha_ * phi.T @ phi, theirs.alpha_ * phi.T @ y, np.log(theirs.lambda_))
    np.testing.assert_allclose(found.root @ found.root.T, theirs.sigma_, rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(found.mean, theirs.coef_, rtol=1e-3, atol=1e-4)
