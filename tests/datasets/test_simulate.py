"""The simulators draw from the densities they hand out, and those are densities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from bayes_moe.datasets import NormalMixture, Simulation, heteroscedastic, true_moe, two_lines
from bayes_moe.errors import InputError

SIMULATORS: dict[str, Callable[..., Simulation]] = {
    "two_lines": two_lines,
    "heteroscedastic": heteroscedastic,
    "true_moe": true_moe,
}


@pytest.fixture(params=SIMULATORS)
def simulate(request: pytest.FixtureRequest) -> Callable[..., Simulation]:
    return SIMULATORS[request.param]


def by_hand(truth: NormalMixture, x: np.ndarray, y: float) -> float:
    """p(y | x) in probability space, one expert at a time, by SciPy's normal density."""
    odds = np.exp([truth.gate_intercept[k] + truth.gate_slopes[k] @ x for k in range(truth.experts)])
    total = 0.0
    for k in range(truth.experts):
        mean = truth.mu_intercept[k] + truth.mu_slopes[k] @ x
        sd = np.exp(truth.sigma_intercept[k] + truth.sigma_slopes[k] @ x)
        total += odds[k] / odds.sum() * stats.norm.pdf(y, mean, sd)
    return total


def test_log_density_is_the_sum_over_experts(simulate: Callable[..., Simulation]) -> None:
    data = simulate(40, seed=3)
    expected = [np.log(by_hand(data.truth, x, y)) for x, y in zip(data.X, data.y, strict=True)]
    np.testing.assert_allclose(data.log_density(data.X, data.y), expected, rtol=1e-12)


def test_density_integrates_to_one_with_the_stated_mean(simulate: Callable[..., Simulation]) -> None:
    data = simulate(3, seed=4)
    for x in data.X:
        row = x[None, :]
        means, sd = data.truth.expert_means(row)[0], data.truth.expert_sigmas(row)[0]
        span = {
            "a": (means - 12 * sd).min(),
            "b": (means + 12 * sd).max(),
            "points": sorted(means),
            "limit": 400,
        }
        density = lambda y, row=row: np.exp(data.log_density(row, [y])[0])  # noqa: E731
        assert quad(density, **span)[0] == pytest.approx(1, abs=1e-8)
        mean = quad(lambda y, density=density: y * density(y), **span)[0]
        assert mean == pytest.approx(data.truth.mean(row)[0], abs=1e-7)


def test_rows_follow_the_density(simulate: Callable[..., Simulation]) -> None:
    """The probability integral transform of y given x is uniform, with SciPy's cdf."""
    data = simulate(4000, seed=5)
    gate, means, sd = (part(data.X) for part in (data.truth.gate, data.truth.expert_means, data.truth.expert_sigmas))
    pit = (gate * stats.norm.cdf(data.y[:, None], means, sd)).sum(axis=1)
    assert stats.kstest(pit, "uniform").pvalue > 1e-3


def test_labels_follow_the_gate_and_make_the_rows(simulate: Callable[..., Simulation]) -> None:
    data = simulate(4000, seed=6)
    experts = np.arange(data.truth.experts)
    shares = (data.labels[:, None] == experts).mean(axis=0)
    gate = data.truth.gate(data.X)
    error = np.sqrt((gate * (1 - gate)).sum(axis=0)) / len(gate)
    assert np.all(np.abs(shares - gate.mean(axis=0)) <= 4 * error + 1e-12), f"{shares} against {gate.mean(axis=0)}"
    rows = np.arange(len(data.y))
    z = (data.y - data.truth.expert_means(data.X)[rows, data.labels]) / data.truth.expert_sigmas(data.X)[
        rows, data.labels
    ]
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_responsibilities_are_bayes_rule(simulate: Callable[..., Simulation]) -> None:
    data = simulate(50, seed=7)
    found = data.truth.responsibilities(data.X, data.y)
    joint = data.truth.gate(data.X) * stats.norm.pdf(
        data.y[:, None], data.truth.expert_means(data.X), data.truth.expert_sigmas(data.X)
    )
    np.testing.assert_allclose(found, joint / joint.sum(axis=1, keepdims=True), rtol=1e-10)


def test_gate_coefficients_sum_to_zero(simulate: Callable[..., Simulation]) -> None:
    truth = simulate(1, seed=8).truth
    np.testing.assert_allclose(truth.gate_intercept.sum(), 0, atol=1e-12)
    np.testing.assert_allclose(truth.gate_slopes.sum(axis=0), 0, atol=1e-12)


def test_same_seed_same_rows_and_a_longer_sample_begins_with_the_shorter(
    simulate: Callable[..., Simulation],
) -> None:
    short, again, longer, other = (
        simulate(20, seed=9),
        simulate(20, seed=9),
        simulate(50, seed=9),
        simulate(20, seed=10),
    )
    for name in ("X", "y", "labels"):
        np.testing.assert_array_equal(getattr(short, name), getattr(again, name))
        np.testing.assert_array_equal(getattr(short, name), getattr(longer, name)[:20])
    np.testing.assert_array_equal(short.truth.mu_slopes, longer.truth.mu_slopes)
    assert not np.array_equal(short.y, other.y)


def test_a_generator_is_a_seed(simulate: Callable[..., Simulation]) -> None:
    np.testing.assert_array_equal(simulate(5, seed=np.random.default_rng(1)).y, simulate(5, seed=1).y)


def test_far_rows_have_finite_log_density() -> None:
    """Log space throughout: at 1000 standard deviations the density underflows and its log does not."""
    data = two_lines(1, seed=0)
    far = data.log_density([[5.0]], [800.0])
    assert np.isfinite(far[0])
    assert far[0] < -1e5


@pytest.mark.parametrize(("features", "experts"), [(1, 1), (3, 2), (5, 6)])
def test_true_moe_has_the_sizes_asked_for(features: int, experts: int) -> None:
    data = true_moe(30, features=features, experts=experts, seed=2)
    assert data.X.shape == (30, features)
    assert data.truth.gate(data.X).shape == (30, experts)
    assert len(data.feature_names) == features
    assert data.labels.max() < experts


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, "3"])
def test_refuses_a_row_count_that_is_none(simulate: Callable[..., Simulation], bad: object) -> None:
    with pytest.raises(InputError, match="n: expected a whole number of at least 1"):
        simulate(bad, seed=1)


@pytest.mark.parametrize("name", ["features", "experts"])
def test_true_moe_refuses_empty_sizes(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a whole number"):
        true_moe(10, **{name: 0}, seed=1)


def test_log_density_refuses_other_shapes() -> None:
    data = true_moe(10, features=2, seed=1)
    with pytest.raises(InputError, match=r"X: expected shape \(n, 2\), got \(10, 1\)"):
        data.log_density(data.X[:, :1], data.y)
    with pytest.raises(InputError, match=r"y: expected shape \(10,\), got \(9,\)"):
        data.log_density(data.X, data.y[:9])
