"""Powers of y: moments against SciPy's integrals, distribution functions, what is learned and what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import bayes_moe as bm
from bayes_moe.posterior.powers import Powered
from tests.fits import QUICK

RNG = np.random.default_rng(3)
X = RNG.normal(size=(80, 2))
Y = (3.0 + X[:, 0] + 0.3 * RNG.normal(size=80)) ** 2
SQUARE = bm.MixtureOfExperts(2, target=bm.Power(0.5))


def fit(model: bm.MixtureOfExperts, y: np.ndarray = Y, **options: Any) -> bm.Fit:
    return bm.fit(model, X, y, QUICK, progress=False, **options)


@pytest.fixture(scope="module")
def square() -> bm.Fit:
    return fit(SQUARE)


CASES: list[tuple[bm.Power, Any, dict[str, float]]] = [
    (bm.Power(0.5), bm.Normal(), {"mu": 4.0, "log_sigma": -1.0}),
    (bm.Power(0.5), bm.Normal(), {"mu": -1.5, "log_sigma": 0.5}),  # much of it lies below the least root
    (bm.Power(0.5), bm.Normal(), {"mu": 1e6, "log_sigma": 0.0}),
    (bm.Power(0.1), bm.Normal(), {"mu": 1.0, "log_sigma": 0.7}),
    (bm.Power(2.0), bm.Normal(), {"mu": 0.3, "log_sigma": -0.3}),
    (bm.Power(0), bm.SkewNormal(), {"mu": 0.3, "log_sigma": 0.5, "skew": -30.0}),
    (bm.Power(0.4), bm.SkewNormal(), {"mu": 2.0, "log_sigma": 0.0, "skew": 40.0}),
    (bm.Power(0.5), bm.StudentT(), {"mu": 3.0, "log_sigma": -0.5, "log_nu_minus_2": 1.2}),
    (bm.Power(1.0), bm.StudentT(), {"mu": 3.0, "log_sigma": 1.5, "log_nu_minus_2": 0.5}),
]


@pytest.mark.filterwarnings("ignore:The occurrence of roundoff:scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize(("power", "family", "at"), CASES)
def test_moments_are_the_integrals(power: bm.Power, family: Any, at: dict[str, float]) -> None:
    own = Powered(family, power)
    arrays = {name: np.array(value) for name, value in at.items()}
    mean, variance = float(own.mean(**arrays)), float(own.variance(**arrays))
    sigma = np.exp(at["log_sigma"])
    edges = at["mu"] + sigma * np.concatenate([-np.geomspace(1e3, 1e-3, 40), [0.0], np.geomspace(1e-3, 1e7, 60)])
    edges = edges if isinstance(family, bm.StudentT) else edges[edges < at["mu"] + 200.0 * sigma]
    edges = np.concatenate([[max(power.least, edges[0])], edges[edges > max(power.least, edges[0])]])

    def expected(function: Any) -> float:
        def integrand(z: float) -> float:
            return float(function(power.inverse(np.array(z))) * np.exp(family.log_density(np.array(z), **arrays)))

        inside = sum(integrate.quad(integrand, a, b, limit=200)[0] for a, b in pairwise(edges))
        return float(inside + function(0.0) * family.cdf(np.array(power.least), **arrays))

    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        assert mean == pytest.approx(expected(lambda y: y), rel=1e-5)
        assert variance == pytest.approx(expected(lambda y: (y - mean) ** 2), rel=1e-4)


def test_closed_forms() -> None:
    mu, log_sigma = np.array([3.0, 50.0]), np.array([-1.0, 0.3])
    root = Powered(bm.Normal(), bm.Power(0.5))  # y = (1 + z/2)^2, which has a closed form where no z lies below -2
    a, b = 1 + mu / 2, np.exp(log_sigma) / 2
    np.testing.assert_allclose(root.mean(mu=mu, log_sigma=log_sigma), a**2 + b**2, rtol=1e-10)
    np.testing.assert_allclose(root.variance(mu=mu, log_sigma=log_sigma), 4 * a**2 * b**2 + 2 * b**4, rtol=1e-8)
    log = Powered(bm.Normal(), bm.Power(0))
    np.testing.assert_allclose(
        log.mean(mu=mu, log_sigma=log_sigma), stats.lognorm(np.exp(log_sigma), 0, np.exp(mu)).mean()
    )


def test_moments_that_do_not_exist_are_infinite() -> None:
    at = {"mu": np.array(1.0), "log_sigma": np.array(0.0), "log_nu_minus_2": np.array(0.0)}  # nu = 3
    root = Powered(bm.StudentT(), bm.Power(0.5))
    assert np.isfinite(root.mean(**at))
    assert root.variance(**at) == np.inf
    assert Powered(bm.StudentT(), bm.Power(0)).mean(**at) == np.inf


def test_density_and_the_chance_of_zero_make_one(square: bm.Fit) -> None:
    far = np.array([[-4.0, 0.0]])  # where roots of y are predicted to lie around -1

    def density(root: float) -> float:  # in the root, where it is smooth
        return float(np.exp(square.log_density(far, [root**2]))[0]) * 2 * root

    zero = float(square.cdf(far, [0.0])[0])
    inside = integrate.quad(density, 0.0, 3.0, limit=200)[0] + integrate.quad(density, 3.0, 50.0, limit=200)[0]
    assert zero > 0.5
    assert zero + inside == pytest.approx(1.0, abs=1e-7)
    assert float(square.cdf(far, [-1e-9])[0]) == 0.0
    assert square.log_density(far, [0.0])[0] == -np.inf
    assert square.quantile(far, 0.3)[0] == 0.0
    assert (square.sample(far, 2000, seed=1) == 0.0).mean() == pytest.approx(zero, abs=0.05)


def test_quantiles_invert_the_distribution_function(square: bm.Fit) -> None:
    levels = [0.05, 0.5, 0.975]
    found = square.quantile(X, levels)
    for i, level in enumerate(levels):
        zero = square.cdf(X, np.zeros(80)).values
        np.testing.assert_allclose(square.cdf(X, found.values[:, i]), np.maximum(level, zero), atol=1e-9)


def test_a_power_is_a_fit_of_the_power(square: bm.Fit) -> None:
    """Fitted by hand to roots, the same mixture has the same density but for the slope of the root."""
    by_hand = fit(bm.MixtureOfExperts(2), 2 * (np.sqrt(Y) - 1))
    expected = by_hand.log_density(X, 2 * (np.sqrt(Y) - 1)) - 0.5 * np.log(Y)
    np.testing.assert_allclose(square.log_density(X, Y), expected, atol=1e-6)
    assert square.log_likelihood == pytest.approx(float(square.log_density(X, Y).sum()), rel=1e-9)
    assert bm.MixtureOfExperts(2, target=bm.Power(1)) != bm.MixtureOfExperts(2)
    same = fit(bm.MixtureOfExperts(2, target=bm.Power(1)))
    np.testing.assert_allclose(same.log_density(X, Y), fit(bm.MixtureOfExperts(2)).log_density(X, Y), atol=1e-6)


def test_the_unit_of_y_does_not_matter(square: bm.Fit) -> None:
    other = fit(SQUARE, 1000.0 * Y)
    np.testing.assert_allclose(other.predict(X), 1000.0 * square.predict(X), rtol=1e-6)
    learned = bm.MixtureOfExperts(1, target=bm.Power())
    assert fit(learned).data.scaling.y_power == fit(learned, 1000.0 * Y).data.scaling.y_power


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_powers_are_learned(power: float) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 2))
    z = 10.0 * (power > 0) + x @ [1.0, -1.5] + 0.4 * rng.normal(size=300)
    y = np.exp(z) if power == 0 else z ** (1 / power)
    found = bm.fit(bm.MixtureOfExperts(1, target=bm.Power()), x, y, QUICK, progress=False).data.scaling.y_power
    assert found is not None
    assert found.power == pytest.approx(power, abs=0.15)


def test_a_y_that_varies_little_stays_as_it_is() -> None:
    found = fit(bm.MixtureOfExperts(1, target=bm.Power()), 1e6 + X[:, 0] + 0.1 * RNG.normal(size=80))
    assert found.data.scaling.y_power == bm.Power(1.0)


def test_averages_of_fits_of_other_powers(square: bm.Fit) -> None:
    plain = fit(bm.MixtureOfExperts(2))
    both = bm.average({"root": square, "plain": plain}, weights=[0.5, 0.5])
    density = np.log(0.5 * np.exp(square.log_density(X, Y)) + 0.5 * np.exp(plain.log_density(X, Y)))
    np.testing.assert_allclose(both.log_density(X, Y), density, rtol=1e-10)
    np.testing.assert_allclose(both.cdf(X[:9], both.quantile(X[:9], 0.3).values), 0.3, atol=1e-8)
    alike = bm.average({"a": square, "b": square})
    np.testing.assert_allclose(alike.quantile(X[:9], 0.3), square.quantile(X[:9], 0.3), rtol=1e-8)


def test_far_from_the_data_predictions_are_finite(square: bm.Fit) -> None:
    far = np.array([[1e3, 0.0], [-1e3, 5.0], [0.0, 1e6]])
    for values in (square.predict(far), square.variance(far), square.interval(far, 0.95), square.expert_means(far)):
        assert np.isfinite(values).all()
        assert (values >= 0).all()


def test_crps_is_that_of_samples(square: bm.Fit) -> None:
    draws = square.sample(X[:5], 4000, seed=1).values
    apart = np.abs(draws - square.sample(X[:5], 4000, seed=2).values).mean(axis=0)
    expected = np.abs(draws - Y[:5]).mean(axis=0) - 0.5 * apart
    np.testing.assert_allclose(bm.scores.crps(square, X[:5], Y[:5]), expected, rtol=0.1, atol=0.02)


def test_a_scaling_brings_the_power_it_was_measured_with(square: bm.Fit) -> None:
    learned = bm.MixtureOfExperts(2, target=bm.Power())
    again = fit(learned, scaling=square.data.scaling)
    np.testing.assert_allclose(again.log_density(X, Y), square.log_density(X, Y), atol=1e-6)
    with pytest.raises(bm.InputError, match=r"scaling: expected the model's target=Power\(power=0\.3\), got y_power"):
        fit(bm.MixtureOfExperts(2, target=bm.Power(0.3)), scaling=square.data.scaling)
    with pytest.raises(bm.InputError, match="got y_power=None"):
        fit(SQUARE, scaling=fit(bm.MixtureOfExperts(2)).data.scaling)


def test_variants_of_a_model_keep_its_target() -> None:
    assert bm.nearly_flat(SQUARE).target == bm.Power(0.5)
    assert bm.select(SQUARE, X, Y, experts=[1], engine=QUICK, progress=False).best.model.target == bm.Power(0.5)
    assert eval(repr(bm.MixtureOfExperts(1, target=bm.Power(0.5))), vars(bm)) == bm.MixtureOfExperts(
        1, target=bm.Power(0.5)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bm.Power(-1), r"Power\.power: expected None, 0 or a number from 0\.05 to 2, got -1"),
        (lambda: bm.Power(True), "got True"),
        (lambda: bm.Power(np.nan), "got nan"),
        (lambda: bm.MixtureOfExperts(2, target=0.5), r"target: expected bm\.Power or None, got 0\.5"),
        (
            lambda: bm.MixtureOfExperts([bm.Expert(bm.Gamma())], target=bm.Power()),
            r"experts\[0\]: expected bm\.Normal\(\), .* got Gamma\(\)",
        ),
        (lambda: bm.MixtureOfExperts([bm.Expert(), bm.Expert(bm.Uniform())], target=bm.Power()), r"got Uniform\(\)"),
    ],
)
def test_what_is_no_power_is_refused(make: Any, message: str) -> None:
    with pytest.raises(bm.SpecError, match=message):
        make()


def test_y_must_be_above_0() -> None:
    y = Y.copy()
    y[[7, 9]] = 0.0, -2.0
    with pytest.raises(
        bm.InputError, match=r"y: expected numbers above 0 for target=Power\(power=0\.5\), got 0 .*7, 9"
    ):
        fit(SQUARE, y)
    weights = np.ones(80)
    weights[[7, 9]] = 0.0  # rows that do not count may hold anything
    assert np.isfinite(fit(SQUARE, y, weights=weights).log_likelihood)
