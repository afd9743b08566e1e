"""The kernel smoother against refits, finite differences and another package."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from bayes_moe.errors import InputError
from bayes_moe.smoothing import Covariance, Smoother, fit_smoother, log_evidence
from bayes_moe.smoothing.smoother import few, weighted


def rows(n: int, p: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, n, p])
    x = rng.normal(size=(n, p))
    y = np.sin(2 * x[:, 0]) + 0.5 * x[:, -1] + 0.1 * rng.normal(size=n)
    return x, (y - y.mean()) / y.std()


def some_theta(covariance: Covariance, seed: int) -> np.ndarray:
    return covariance.prior_location + 0.4 * np.random.default_rng(seed).normal(size=covariance.size)


def smoother(x: np.ndarray, y: np.ndarray, theta: np.ndarray, covariance: Covariance) -> Smoother:
    blank = Smoother(x, np.zeros(len(y)), theta, covariance.additive, covariance.linear)
    return weighted(blank, y)


KINDS = [Covariance(3, additive, linear) for additive, linear in product((False, True), repeat=2)]


@pytest.mark.parametrize("covariance", KINDS, ids=repr)
def test_evidence_is_the_multivariate_normal_density_and_its_gradient_is_that_of_differences(covariance):
    x, y = rows(25, 3)
    theta = some_theta(covariance, 2)
    value, gradient = log_evidence(covariance, theta, x, y)
    matrix = covariance.matrix(theta, x, x) + np.exp(2 * theta[-1]) * np.eye(25)
    prior = multivariate_normal(covariance.prior_location, np.diag(covariance.prior_scale**2)).logpdf(theta)
    assert np.isclose(value, multivariate_normal(np.zeros(25), matrix).logpdf(y) + prior, rtol=1e-6)
    differences = approx_fprime(theta, lambda t: log_evidence(covariance, t, x, y)[0], 1e-6)
    np.testing.assert_allclose(gradient, differences, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("covariance", KINDS, ids=repr)
def test_leave_one_out_moments_are_those_of_refits(covariance):
    x, y = rows(30, 3)
    theta = some_theta(covariance, 3)
    found = smoother(x, y, theta, covariance).leave_one_out(y)
    for i in range(30):
        rest = np.arange(30) != i
        refit = smoother(x[rest], y[rest], theta, covariance).moments(x[i : i + 1])
        np.testing.assert_allclose([found.mean[i], found.variance[i]], np.ravel(refit), rtol=1e-5, atol=1e-7)


def test_variances_are_the_diagonal():
    for covariance in KINDS:
        x, theta = rows(20, 3)[0], some_theta(covariance, 4)
        np.testing.assert_allclose(covariance.variances(theta, x), np.diag(covariance.matrix(theta, x, x)))


def test_the_joint_kernel_is_that_of_scikit_learn():
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = gaussian_process.kernels
    x, y = rows(40, 2)
    covariance = Covariance(2, additive=False, linear=False)
    theta = np.log([1.3, 0.7, 2.1, 0.2])
    kernel = 1.3**2 * kernels.Matern([0.7, 2.1], nu=2.5) + kernels.WhiteKernel(0.2**2)
    other = gaussian_process.GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(x, y)
    new = rows(15, 2, seed=9)[0]
    mean, deviation = other.predict(new, return_std=True)
    found = smoother(x, y, theta, covariance).moments(new)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.sqrt(found.variance), deviation, rtol=1e-6)
    prior = multivariate_normal(covariance.prior_location, np.diag(covariance.prior_scale**2)).logpdf(theta)
    assert np.isclose(log_evidence(covariance, theta, x, y)[0] - prior, other.log_marginal_likelihood(), rtol=1e-6)


def test_a_fit_is_a_maximum_and_predicts():
    x, y = rows(80, 2)
    found = fit_smoother(x, y)
    top, gradient = log_evidence(found.covariance, found.log_parameters, x, y)
    assert np.abs(gradient).max() < 0.5
    assert all(log_evidence(found.covariance, some_theta(found.covariance, s), x, y)[0] < top for s in range(5))
    loo = found.leave_one_out(y)
    assert np.mean((y - loo.mean) ** 2) < 0.15
    assert 0.5 < np.mean((y - loo.mean) ** 2 / loo.variance) < 1.5


def test_far_away_constant_and_repeated_rows_stay_finite():
    x, y = rows(30, 2)
    odd = np.column_stack([np.repeat(x[:15], 2, axis=0), np.zeros(30)])
    found = fit_smoother(odd, y)
    moments = found.moments(np.array([[1e6, -1e6, 3.0], [0.0, 0.0, 0.0]]))
    assert np.all(np.isfinite(moments))
    assert np.all(moments.variance > 0)
    assert moments.variance[0] > moments.variance[1]
    assert np.all(np.isfinite(found.leave_one_out(y)))


def test_columns_that_say_nothing_give_the_mean_of_y():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(100, 4)), rng.normal(size=100)
    y = (y - y.mean()) / y.std()
    loo = fit_smoother(x, y).leave_one_out(y)
    score = np.mean(-0.5 * np.log(2 * np.pi * loo.variance) - 0.5 * (y - loo.mean) ** 2 / loo.variance)
    assert score > -0.5 * np.log(2 * np.pi) - 0.5 - 0.06


def test_without_columns_there_is_a_level_alone():
    y = rows(20, 1)[1]
    moments = fit_smoother(np.zeros((20, 0)), y).moments(np.zeros((2, 0)))
    assert np.all(np.isfinite(moments))


def test_too_many_rows_are_refused_before_any_work():
    with pytest.raises(InputError, match="at most 20000 rows"):
        fit_smoother(np.zeros((20_001, 1)), np.zeros(20_001))


def test_rows_in_several_blocks_have_the_same_evidence_and_gradient():
    covariance = Covariance(2)
    x, y = rows(150, 2)
    theta = some_theta(covariance, 5)
    value, gradient = log_evidence(covariance, theta, x, y)
    matrix = covariance.matrix(theta, x, x) + np.exp(2 * theta[-1]) * np.eye(150)
    prior = multivariate_normal(covariance.prior_location, np.diag(covariance.prior_scale**2)).logpdf(theta)
    assert np.isclose(value, multivariate_normal(np.zeros(150), matrix).logpdf(y) + prior, rtol=1e-8)
    differences = approx_fprime(theta, lambda t: log_evidence(covariance, t, x, y)[0], 1e-6)
    np.testing.assert_allclose(gradient, differences, rtol=2e-4, atol=1e-3)


def test_the_noise_is_held_above_that_of_rounding():
    x, y = rows(60, 2)
    assert np.exp(fit_smoother(x, y, least_noise=0.5).log_parameters[-1]) == pytest.approx(0.5)


def test_few_of_many_rows_have_their_neighbours():
    x = rows(3000, 2)[0]
    chosen = few(x)
    apart = np.sqrt(((x[chosen][:, None] - x[chosen][None]) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    nearest = np.median(apart.min(axis=1))
    assert 250 < len(chosen) <= 1000
    assert nearest < 0.5 * np.median(np.partition(apart, 5, axis=1)[:, 5])
    assert np.array_equal(chosen, few(x))
