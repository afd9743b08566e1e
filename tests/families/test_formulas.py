"""The special functions of the formulas, against SciPy's and against limits."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

import bayes_moe as bm
from bayes_moe.families.formulas import arrays, gamma_rest, log_phi, log_rising
from tests.families.graphs import compiled

F = arrays()


def test_log_phi() -> None:
    x = -np.logspace(-3, 150, 2000)
    np.testing.assert_allclose(log_phi(F, x), special.log_ndtr(x), rtol=2e-15)
    x = np.linspace(0.0, 50.0, 500)
    np.testing.assert_allclose(log_phi(F, x), special.log_ndtr(x), rtol=0, atol=5e-16)


def test_gamma_rest() -> None:
    z = np.logspace(-12, 6, 3000)
    expected = z * np.log(z) - z - special.gammaln(z)
    size = 1.0 + np.abs(z * np.log(z)) + np.abs(np.log(z))
    assert np.all(np.abs(gamma_rest(F, np.log(z)) - expected) < 1e-14 * size)
    edge = np.log(10.0) + np.array([-1e-12, 0.0, 1e-12])
    assert np.ptp(gamma_rest(F, edge)) < 1e-11


def test_log_rising_tends_to_its_limits() -> None:
    y = np.array([1.0, 2.0, 50.0, 1e6])
    np.testing.assert_allclose(log_rising(F, np.array(200.0), y), 0.0, atol=1e-14 * 300 * 1e6)
    exact = np.array([0.0, np.log(3.0), np.log(3.0 * 4 / 2 / 2)])  # r = 1/2: (r)(r + 1)... / r^y
    np.testing.assert_allclose(log_rising(F, np.log(0.5), np.array([1.0, 2.0])), exact[:2], atol=1e-14)


def test_negative_binomial_tends_to_poisson() -> None:
    rng = np.random.default_rng(3)
    log_mu = rng.uniform(-3.0, 9.0, 300)
    y = stats.poisson(np.exp(log_mu)).rvs(random_state=rng).astype(float)
    poisson = compiled(bm.Poisson())(y, {"log_mu": log_mu})
    for log_dispersion in (-35.0, -100.0, -300.0):
        given = {"log_mu": log_mu, "log_dispersion": np.full(300, log_dispersion)}
        value = compiled(bm.NegativeBinomial())(y, given)
        rounding = 1e-13 * (y + 1.0) * (1.0 + 0.01 * abs(log_dispersion))
        allowed = rounding + 2.0 * np.exp(log_dispersion) * (np.exp(2.0 * log_mu) + y**2)
        assert np.all(np.abs(value.density - poisson.density) < allowed)
        assert np.all(np.abs(value.gradient[0] - poisson.gradient[0]) < allowed)
        assert np.all(np.abs(value.hessian[0, 0] - poisson.hessian[0, 0]) < allowed)
        assert np.all(np.abs(value.gradient[1]) < allowed)
        np.testing.assert_allclose(bm.NegativeBinomial().cdf(y, **given), bm.Poisson().cdf(y, log_mu=log_mu), rtol=1e-7)


def test_negative_binomial_of_slight_dispersion() -> None:
    """The leading term of the difference from Poisson: alpha ((y - mu)^2 - y) / 2."""
    y, log_mu, alpha = np.arange(60.0), np.full(60, np.log(20.0)), 1e-7
    given = {"log_mu": log_mu, "log_dispersion": np.full(60, np.log(alpha))}
    excess = bm.NegativeBinomial().log_density(y, **given) - bm.Poisson().log_density(y, log_mu=log_mu)
    np.testing.assert_allclose(excess, 0.5 * alpha * ((y - 20.0) ** 2 - y), rtol=1e-3, atol=1e-11)
    slope = compiled(bm.NegativeBinomial())(y, given).gradient[1]
    np.testing.assert_allclose(slope, 0.5 * alpha * ((y - 20.0) ** 2 - y), rtol=1e-3, atol=1e-11)


def test_student_t_tends_to_normal() -> None:
    y = np.linspace(-6.0, 6.0, 50)
    place = {"mu": np.zeros(50), "log_sigma": np.zeros(50)}
    normal = compiled(bm.Normal())(y, place)
    for log_nu in (40.0, 300.0):
        given = place | {"log_nu_minus_2": np.full(50, log_nu)}
        value = compiled(bm.StudentT())(y, given)
        np.testing.assert_allclose(value.density, normal.density, atol=1e-10)
        np.testing.assert_allclose(value.gradient[:2], normal.gradient, atol=1e-10)
        np.testing.assert_allclose(value.hessian[:2, :2], normal.hessian, atol=1e-10)
        np.testing.assert_allclose(bm.StudentT().cdf(y, **given), bm.Normal().cdf(y, **place), rtol=1e-8)


def test_skew_normal_far_into_the_tail() -> None:
    """At z = -40 and skew 5 the density is that of the normal times Phi(-200)."""
    z, skew = np.array([-40.0, -1e4, -1e8]), np.full(3, 5.0)
    value = compiled(bm.SkewNormal())(z, {"mu": np.zeros(3), "log_sigma": np.zeros(3), "skew": skew})
    expected = np.log(2.0) + stats.norm.logpdf(z) + special.log_ndtr(5.0 * z)
    np.testing.assert_allclose(value.density, expected, rtol=1e-14)
    # d/dx log Phi(x) = -x + 1/|x| + O(|x|^-3), and its derivative tends to -1
    np.testing.assert_allclose(value.gradient[0], z + 5.0 * (5.0 * z - 1 / np.abs(5.0 * z)), rtol=1e-6)
    np.testing.assert_allclose(value.hessian[0, 0], -26.0, rtol=2e-4)


def test_gamma_of_large_shape_is_normal() -> None:
    """Mean 1 and shape a: standard deviation a^(-1/2)."""
    z = np.linspace(-3.0, 3.0, 20)
    given = {"log_mu": np.zeros(20), "log_shape": np.full(20, np.log(1e12))}
    density = bm.Gamma().log_density(1.0 + 1e-6 * z, **given)
    np.testing.assert_allclose(density, stats.norm.logpdf(z) + np.log(1e6), atol=2e-3)


def test_weibull_variance_at_large_shapes() -> None:
    """It tends to pi^2 / (6 a^2)."""
    log_shape = np.log(np.array([49.0, 51.0, 1e4, 1e8]))
    variance = bm.Weibull().variance(log_scale=np.zeros(4), log_shape=log_shape)
    np.testing.assert_allclose(variance[2:] * np.exp(2.0 * log_shape[2:]), np.pi**2 / 6, rtol=3e-4)
    np.testing.assert_allclose(variance[:2], stats.weibull_min(np.exp(log_shape[:2])).var(), rtol=1e-10)
    assert np.isinf(bm.Weibull().variance(log_scale=np.array(0.0), log_shape=np.array(-30.0)))
