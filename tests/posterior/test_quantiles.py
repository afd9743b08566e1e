"""Quantiles of averaged mixtures, against root finding on a distribution function written with loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

import bayes_moe as bm
from bayes_moe.errors import InputError
from bayes_moe.posterior import mixtures, quantiles
from bayes_moe.posterior.quantiles import interval, quantile
from tests.fits import X, fit
from tests.posterior.doubles import (
    CAUCHY,
    GAMMA,
    Arrays,
    Floats,
    LyingNormal,
    NormalOracle,
    NormalOrLaplace,
    normal_arrays,
    oracle,
    two_normals,
)

LEVELS = [0.001, 0.05, 0.3, 0.5, 0.77, 0.95, 0.9999]


def root(truth: NormalOracle, level: float) -> float:
    reach = 60 * math.sqrt(truth.variance()) + 1
    low, high = truth.mean() - reach, truth.mean() + reach
    return float(optimize.brentq(lambda y: truth.cdf(y) - level, low, high, xtol=1e-14, rtol=1e-14))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 20, 3), (10, 6, 4), (130, 5, 3), (2000, 1, 2)])
def test_quantiles_are_the_roots_of_the_averaged_cdf(shape: tuple[int, int, int]) -> None:
    arrays = normal_arrays(*shape, seed=21)
    found = quantile(arrays.mixture(), LEVELS)
    for row in range(shape[1]):
        truth = oracle(arrays, row)
        for j, level in enumerate(LEVELS):
            assert truth.cdf(found[row, j]) == pytest.approx(level, abs=1e-10)
            assert found[row, j] == pytest.approx(root(truth, level), abs=1e-9)


@given(
    seed=st.integers(0, 10_000),
    spread=st.floats(0.0, 1e3),
    log_scale=st.floats(-8.0, 3.0),
    level=st.floats(1e-6, 1 - 1e-6),
)
def test_any_mixture_any_level(seed: int, spread: float, log_scale: float, level: float) -> None:
    arrays = normal_arrays(3, 2, 3, seed=seed, spread=spread)
    arrays.parameters["log_sigma"] += log_scale
    found = quantile(arrays.mixture(), level)
    for row in range(2):
        truth, x = oracle(arrays, row), float(found[row, 0])
        rounding = truth.density(x) * math.ulp(x) * 4
        assert abs(truth.cdf(x) - level) <= 1e-10 + rounding


GAPS = [
    pytest.param(0.5, (0.0, 100.0), (1.0, 1.0), id="wide gap"),
    pytest.param(0.5, (0.0, 100.0), (1e-3, 1e-3), id="very wide gap"),
    pytest.param(0.9, (0.0, 1e6), (1.0, 1e-4), id="unequal"),
    pytest.param(0.05, (-1e5, 0.0), (1e-3, 10.0), id="unequal, other way"),
]


@pytest.mark.parametrize(("weight", "mu", "sigma"), GAPS)
@pytest.mark.parametrize("beside", [0.0, 1e-13, -1e-13, 1e-9, -1e-9, 1e-6, -1e-6, 1e-3, -1e-3])
def test_levels_in_and_beside_a_gap_between_modes(
    weight: float, mu: tuple[float, float], sigma: tuple[float, float], beside: float
) -> None:
    arrays = two_normals(weight, mu, sigma)
    level = weight + beside
    x = quantile(arrays.mixture(), [level])[0, 0]
    # The upper mode's floats are coarse: one step there may change the cdf by more than 1e-10.
    rounding = oracle(arrays, 0).density(x) * math.ulp(x) * 2
    assert abs(oracle(arrays, 0).cdf(x) - level) <= 1e-10 + rounding
    if beside >= 1e-9:
        assert x > mu[1] - 10 * sigma[1]
    if beside <= -1e-9:
        assert x < mu[0] + 10 * sigma[0]


@pytest.mark.parametrize(("weight", "mu", "sigma"), GAPS)
def test_the_edges_of_a_gap(weight: float, mu: tuple[float, float], sigma: tuple[float, float]) -> None:
    # The density falls by any factor within one step here: a last unchecked step could go anywhere.
    arrays = two_normals(weight, mu, sigma)
    beside = np.logspace(-13, -6, 300)
    levels = weight + np.concatenate([-beside, beside])
    truth = oracle(arrays, 0)
    for x, level in zip(quantile(arrays.mixture(), levels)[0], levels, strict=True):
        assert abs(truth.cdf(x) - level) <= 1e-10 + truth.density(x) * math.ulp(x) * 2


def test_a_step_is_found_to_the_last_float() -> None:
    # Sigma is far below the spacing of floats at 100: F is 0 below, 1/4 there and 1/2 above.
    m = two_normals(0.5, (100.0, 200.0), (1e-30, 1.0)).mixture()
    above = np.nextafter(100.0, np.inf)
    np.testing.assert_array_equal(quantile(m, [0.1, 0.3, 0.49])[0], [100.0, above, above])
    assert quantile(m, [0.75])[0, 0] == pytest.approx(200.0, abs=1e-9)


def test_no_spread_at_all() -> None:
    m = two_normals(0.5, (3.0, 3.0), (1e-200, 1e-200)).mixture()
    np.testing.assert_allclose(quantile(m, [0.01, 0.5, 0.99]), 3.0, rtol=1e-15)


@pytest.mark.parametrize("level", [1e-300, 1e-30, 1e-12, 1e-5])
def test_the_lower_tail_is_relative(level: float) -> None:
    arrays = two_normals(0.5, (0.0, 1.0), (1.0, 3.0))
    x = quantile(arrays.mixture(), [level])[0, 0]
    assert oracle(arrays, 0).cdf(x) == pytest.approx(level, rel=1e-8)


def test_the_upper_tail_as_far_as_rounding_allows() -> None:
    m = two_normals(0.5, (0.0, 0.0), (1.0, 1.0)).mixture()
    for beyond in (1e-5, 1e-9, 1e-12):
        x = quantile(m, [1.0 - beyond])[0, 0]
        assert x == pytest.approx(stats.norm.ppf(1.0 - beyond), rel=1e-4)


def test_a_family_without_moments() -> None:
    location, scale = np.array([[[-1e3, 2.0]]]), np.array([[[1.0, 0.01]]])
    arrays = Arrays(np.log([[[0.3, 0.7]]]), {"shape": location, "scale": scale})
    levels = np.array([1e-6, 0.1, 0.3, 0.5, 0.9, 1 - 1e-6])
    found = quantile(arrays.mixture(CAUCHY), levels)[0]
    truth = 0.3 * stats.cauchy.cdf(found, -1e3, 1.0) + 0.7 * stats.cauchy.cdf(found, 2.0, 0.01)
    np.testing.assert_allclose(truth, levels, atol=1e-10)


def test_a_support_that_ends_and_quantiles_of_every_size() -> None:
    shape = np.array([[[0.01, 5.0]]])
    arrays = Arrays(np.log([[[0.5, 0.5]]]), {"shape": shape, "scale": np.ones((1, 1, 2))})
    levels = np.array([0.01, 0.1, 0.4, 0.5, 0.9])
    found = quantile(arrays.mixture(GAMMA), levels)[0]
    assert (found > 0).all()
    assert found[0] < 1e-100
    truth = 0.5 * stats.gamma.cdf(found, 0.01) + 0.5 * stats.gamma.cdf(found, 5.0)
    np.testing.assert_allclose(truth, levels, atol=1e-10)


def test_a_variance_that_lies_costs_time_and_not_truth() -> None:
    arrays = normal_arrays(1, 3, 1, seed=22)
    found = quantile(arrays.mixture(LyingNormal()), [0.01, 0.5, 0.99])
    np.testing.assert_allclose(found, quantile(arrays.mixture(), [0.01, 0.5, 0.99]), atol=1e-9)


def test_never_decreasing_in_the_level_and_in_the_order_asked() -> None:
    m = normal_arrays(3, 50, 4, seed=23, spread=50.0).mixture()
    levels = np.linspace(1e-9, 1 - 1e-9, 101)
    found = quantile(m, levels)
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_array_equal(quantile(m, levels[::-1]), found[:, ::-1])


def test_never_decreasing_where_levels_are_closer_than_the_tolerance() -> None:
    m = two_normals(0.9, (0.0, 1e4), (1.0, 1.0)).mixture()
    found = quantile(m, 0.9 + np.linspace(-2e-10, 2e-10, 41))[0]
    assert (np.diff(found) >= 0).all()


def test_averaged_quantiles_would_be_another_thing() -> None:
    # Two draws with means ∓3: the 5 % point of the average is near −4.3; the draws' own average to −1.64.
    mu = np.array([-3.0, 3.0]).reshape(2, 1, 1)
    m = Arrays(np.zeros((2, 1, 1)), {"mu": mu, "log_sigma": np.zeros((2, 1, 1))}).mixture()
    assert quantile(m, 0.05)[0, 0] == pytest.approx(-3 + stats.norm.ppf(0.1), abs=1e-6)


@pytest.mark.parametrize("chunk_elements", [1, 10, 100, 999, 5000])
def test_chunks_change_nothing(chunk_elements: int) -> None:
    arrays = normal_arrays(100, 5, 3, seed=24)
    whole = quantile(arrays.mixture(), LEVELS)
    arrays.asked.clear()
    cut = quantile(arrays.mixture(chunk_elements=chunk_elements), LEVELS)
    assert max(arrays.asked) <= max(chunk_elements, 3)
    np.testing.assert_allclose(cut, whole, rtol=1e-12, atol=1e-12)


def test_draws_thinned_twice_while_none_fit_in_memory() -> None:
    arrays = normal_arrays(1100, 1, 2, seed=32)
    whole = quantile(arrays.mixture(), [0.1, 0.6])
    cut = quantile(arrays.mixture(chunk_elements=100), [0.1, 0.6])
    np.testing.assert_allclose(cut, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pieces", [1, 40, 1000])
def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    arrays = normal_arrays(70, 4, 3, seed=25)
    whole = quantile(arrays.mixture(), LEVELS)
    monkeypatch.setattr(mixtures, "PIECE_ELEMENTS", pieces)
    monkeypatch.setattr(quantiles, "PIECE_ELEMENTS", pieces)
    np.testing.assert_allclose(quantile(arrays.mixture(), LEVELS), whole, rtol=1e-12, atol=1e-12)


def test_components_are_asked_for_once_while_they_fit() -> None:
    arrays = normal_arrays(100, 10, 3, seed=26)
    quantile(arrays.mixture(chunk_elements=900), LEVELS)
    assert sum(arrays.asked) == arrays.log_gate.size


def gamma_and_cauchy(location: float) -> Arrays:
    shape, scale = np.array([[[location, 5.0]]]), np.ones((1, 1, 2))
    return Arrays(np.log([[[0.5, 0.5]]]), {"shape": shape, "scale": scale})


COSTS = [
    pytest.param(normal_arrays(1, 300, 3, seed=27).mixture(), [0.05, 0.5, 0.95], 5.2, id="one draw"),
    pytest.param(normal_arrays(2000, 10, 3, seed=27).mixture(), [0.05, 0.5, 0.95], 3.7, id="many draws"),
    pytest.param(normal_arrays(1, 20, 3, seed=27).mixture(), [1 - 1e-12], 9.5, id="upper tail"),
    pytest.param(two_normals(0.9, (0.0, 1e6), (1.0, 1e-4)).mixture(), [0.9 + 1e-6], 45.0, id="gap"),
    pytest.param(gamma_and_cauchy(0.01).mixture(GAMMA), [0.01, 0.1, 0.4], 45.0, id="quantiles near 0"),
    pytest.param(gamma_and_cauchy(-1e3).mixture(CAUCHY), [0.01, 0.1, 0.5, 0.9], 20.0, id="no moments"),
    pytest.param(gamma_and_cauchy(1e100).mixture(CAUCHY), [0.1, 0.9], 42.0, id="no moments, far away"),
]


@pytest.mark.parametrize(("m", "levels", "most"), COSTS)
def test_evaluations_per_root_stay_few(
    monkeypatch: pytest.MonkeyPatch, m: mixtures.MixtureDraws, levels: list[float], most: float
) -> None:
    work = 0
    evaluate = quantiles._of_part

    def counted(part: mixtures.MixtureDraws, row: Any, x: Floats) -> tuple[Floats, Floats]:
        nonlocal work
        work += part.draws * row.size
        return evaluate(part, row, x)

    monkeypatch.setattr(quantiles, "_of_part", counted)
    quantile(m, levels)
    assert work / (m.draws * m.rows * len(levels)) <= most


def counts(draws: int, seed: int, largest: float) -> Arrays:
    rng = np.random.default_rng(seed)
    gate = rng.normal(size=(draws, 6, 3))
    rates = np.exp(rng.uniform(-3.0, np.log(largest), size=(1, 6, 3)) + rng.normal(0, 0.1, size=(draws, 6, 3)))
    return Arrays(gate - np.logaddexp.reduce(gate, axis=2, keepdims=True), {"log_mu": np.log(rates)})


@pytest.mark.parametrize(("draws", "largest"), [(1, 4.0), (1, 1e6), (90, 30.0), (90, 1e4)])
def test_quantiles_of_counts_are_the_first_that_reach_the_level(
    monkeypatch: pytest.MonkeyPatch, draws: int, largest: float
) -> None:
    arrays, levels = counts(draws, draws, largest), [1e-4, 0.05, 0.5, 0.9, 0.999]
    work = []
    evaluate = quantiles._of_part

    def counted(part: mixtures.MixtureDraws, row: Any, x: Floats) -> tuple[Floats, Floats]:
        work.append(part.draws * row.size)
        return evaluate(part, row, x)

    monkeypatch.setattr(quantiles, "_of_part", counted)
    found = quantile(arrays.mixture(bm.Poisson()), levels)
    assert sum(work) / (draws * found.size) <= 15.0  # a search among all floating-point numbers takes 60 and more
    gate, rates = np.exp(arrays.log_gate), np.exp(arrays.parameters["log_mu"])
    for row in range(6):
        for j, level in enumerate(levels):
            below, at = (
                float(np.mean(np.sum(gate[:, row] * stats.poisson.cdf(found[row, j] - less, rates[:, row]), axis=1)))
                for less in (1.0, 0.0)
            )
            assert found[row, j] == np.floor(found[row, j]) >= 0
            assert below < level + 1e-12
            assert at >= level - 1e-10


@pytest.mark.parametrize("name", ["mu", "log_sigma"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_shut_gate_silences_its_expert_whatever_its_parameters(name: str, bad: float) -> None:
    arrays = two_normals(0.5, (2.0, 0.0), (1.0, 1.0))
    arrays.log_gate[:] = [0.0, -np.inf]
    arrays.parameters[name][..., 1] = bad
    found = quantile(arrays.mixture(), [0.1, 0.5])[0]
    np.testing.assert_allclose(found, stats.norm.ppf([0.1, 0.5], 2.0), rtol=1e-9)


def test_experts_of_different_families_side_by_side() -> None:
    parameters = {
        "kind": np.array([[[0, 1]]]),
        "mu": np.array([[[0.0, 3.0]]]),
        "log_sigma": np.log([[[1.0, 0.5]]]),
    }
    arrays = Arrays(np.log([[[0.4, 0.6]]]), parameters)
    levels = np.array([0.01, 0.4, 0.6, 0.99])
    found = quantile(arrays.mixture(NormalOrLaplace()), levels)[0]
    truth = 0.4 * stats.norm.cdf(found) + 0.6 * stats.laplace.cdf(found, 3.0, 0.5)
    np.testing.assert_allclose(truth, levels, atol=1e-10)


def test_nan_in_gives_nan_out_and_only_there() -> None:
    arrays = normal_arrays(2, 3, 2, seed=28)
    arrays.parameters["mu"][1, 1, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(quantile(arrays.mixture(), [0.1, 0.9])).any(axis=1), [0, 1, 0])


def test_shapes() -> None:
    for n in (0, 1, 3):
        m = normal_arrays(2, n, 2, seed=29).mixture()
        assert quantile(m, 0.5).shape == (n, 1)
        assert quantile(m, [0.5, 0.6]).shape == (n, 2)
        assert quantile(m, []).shape == (n, 0)
        assert interval(m, 0.9).shape == (n, 2)


def test_interval_has_equal_tails() -> None:
    m = normal_arrays(4, 6, 3, seed=30).mixture()
    ends = interval(m, 0.8)
    np.testing.assert_allclose(mixtures.cdf(m, ends[:, 0]), 0.1, atol=1e-10)
    np.testing.assert_allclose(mixtures.cdf(m, ends[:, 1]), 0.9, atol=1e-10)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 1.5, np.nan, [0.5, 2.0]])
def test_levels_outside_are_refused(q: Any) -> None:
    with pytest.raises(InputError, match="q: expected levels strictly between 0 and 1"):
        quantile(normal_arrays(1, 1, 1, seed=31).mixture(), q)


def test_a_gamma_of_a_mean_below_all_floats_has_quantiles() -> None:
    log_mu = np.array([[[-1e6]], [[-1e6]]])
    m = Arrays(np.zeros((2, 1, 1)), {"log_mu": log_mu, "log_shape": np.zeros((2, 1, 1))}).mixture(bm.Gamma())
    assert quantile(m, [0.1, 0.9]) == pytest.approx(0.0, abs=1e-300)
    with np.errstate(all="ignore"):
        below = bm.Gamma().cdf(np.array([-1.0, 0.0, 1e-3]), log_mu=np.array(-1e6), log_shape=np.array(0.0))
    assert below.tolist() == [0.0, 0.0, 1.0]


def test_a_table_of_levels_is_refused() -> None:
    with pytest.raises(InputError, match=r"q: expected one level or a list of levels, got shape \(1, 2\)"):
        quantile(normal_arrays(1, 1, 1, seed=31).mixture(), [[0.1, 0.2]])


@pytest.mark.parametrize("q", ["a", "0.5", None, [0.5, None], [0.1, "b"], [0.1, [0.2, 0.3]], True, 0.5j, [[None]]])
def test_levels_that_are_no_numbers_are_refused(q: Any) -> None:
    for ask in (lambda: quantile(normal_arrays(1, 1, 1, seed=31).mixture(), q), lambda: fit().quantile(X, q)):
        with pytest.raises(InputError, match=r"^q: expected numbers strictly between 0 and 1, got .* → pass e\.g\. "):
            ask()


@pytest.mark.parametrize("prob", [0.0, 1.0, 90.0, np.nan, "0.9", [0.5, 0.9], None, True, 0.5j, np.array([0.5, 0.9])])
def test_probabilities_outside_are_refused(prob: Any) -> None:
    found, mixture = fit(), normal_arrays(1, 1, 1, seed=31).mixture()
    asked: list[Callable[[Any], Any]] = [
        lambda prob: interval(mixture, prob),
        lambda prob: found.interval(X, prob),
        lambda prob: bm.scores.width(found, X, prob),
        lambda prob: found.summary(prob=prob),
        lambda prob: found.effects(prob),
    ]
    for ask in asked:
        with pytest.raises(InputError, match=r"^prob: expected a number between 0 and 1, got .* → pass e\.g\. 0\.9"):
            ask(prob)


def test_numbers_of_numpy_are_numbers() -> None:
    found = fit()
    np.testing.assert_array_equal(found.interval(X, np.float32(0.5)), found.interval(X, 0.5))
    levels = found.quantile(X, np.float32([0.25, 0.75]))
    assert levels["quantile"].values.tolist() == [0.25, 0.75]
    np.testing.assert_array_equal(levels, found.quantile(X, (0.25, 0.75)))
    assert found.quantile(X, np.float64(0.25)).dims == ("obs",)
    assert found.quantile(X, []).shape == (len(X), 0)
