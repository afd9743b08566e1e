"""Samples of averaged mixtures, against the averaged distribution function and against counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayes_moe.errors import InputError
from bayes_moe.posterior import sampling
from bayes_moe.posterior.sampling import sample
from tests.posterior.doubles import GAMMA, Arrays, NormalOrLaplace, log_softmax, normal_arrays, oracle


def telltale(S: int, n: int, K: int) -> Arrays:
    """Return components whose outcome is 100 s + k, so that a sample tells where it came from."""
    mu = 100.0 * np.arange(S)[:, None, None] + np.arange(K) + np.zeros((S, n, K))
    log_gate = log_softmax(np.random.default_rng(40).normal(size=(S, n, K)))
    return Arrays(log_gate, {"mu": mu, "log_sigma": np.full((S, n, K), -np.inf)})


@pytest.mark.parametrize("S", [1, 25])
def test_samples_follow_the_averaged_distribution(S: int) -> None:
    arrays = normal_arrays(S, 2, 3, seed=41)
    drawn = sample(arrays.mixture(), 20_000, np.random.default_rng(42))
    for row in range(2):
        truth = np.vectorize(oracle(arrays, row).cdf)
        assert stats.kstest(drawn[:, row], truth).pvalue > 1e-3


def test_one_sample_per_draw_follows_it_too() -> None:
    arrays = normal_arrays(20_000, 1, 2, seed=43)
    drawn = sample(arrays.mixture(), 20_000, np.random.default_rng(44))[:, 0]
    gate, mu = np.exp(arrays.log_gate[:, 0]), arrays.parameters["mu"][:, 0]
    sigma = np.exp(arrays.parameters["log_sigma"][:, 0])
    grid = np.linspace(drawn.min(), drawn.max(), 400)
    truth = [float((gate * stats.norm.cdf(y, mu, sigma)).sum(axis=1).mean()) for y in grid]
    assert stats.kstest(drawn, lambda y: np.interp(y, grid, truth)).pvalue > 1e-3


def test_any_family_draws() -> None:
    shape = np.broadcast_to([0.7, 20.0], (1, 1, 2))
    arrays = Arrays(np.log([[[0.4, 0.6]]]), {"shape": shape, "scale": np.ones((1, 1, 2))})
    drawn = sample(arrays.mixture(GAMMA), 20_000, np.random.default_rng(45))[:, 0]
    result = stats.kstest(drawn, lambda y: 0.4 * stats.gamma.cdf(y, 0.7) + 0.6 * stats.gamma.cdf(y, 20.0))
    assert result.pvalue > 1e-3


def test_experts_of_different_families_side_by_side() -> None:
    parameters = {
        "kind": np.array([[[0, 1]]]),
        "mu": np.array([[[0.0, 3.0]]]),
        "log_sigma": np.log([[[1.0, 0.5]]]),
    }
    m = Arrays(np.log([[[0.4, 0.6]]]), parameters).mixture(NormalOrLaplace())
    drawn = sample(m, 20_000, np.random.default_rng(59))[:, 0]
    result = stats.kstest(drawn, lambda y: 0.4 * stats.norm.cdf(y) + 0.6 * stats.laplace.cdf(y, 3.0, 0.5))
    assert result.pvalue > 1e-3


def test_as_many_samples_as_draws_use_each_draw_once_in_order() -> None:
    drawn = sample(telltale(30, 4, 2).mixture(), 30, np.random.default_rng(46))
    np.testing.assert_array_equal(drawn // 100, np.broadcast_to(np.arange(30)[:, None], (30, 4)))


@pytest.mark.parametrize("size", [1, 7, 29, 31, 500])
def test_one_sample_is_one_draw_for_all_rows(size: int) -> None:
    drawn = sample(telltale(30, 4, 2).mixture(), size, np.random.default_rng(47)) // 100
    assert drawn.shape == (size, 4)
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:, :1], drawn.shape))


def test_other_sizes_pick_draws_evenly_and_in_no_order() -> None:
    drawn = sample(telltale(10, 1, 2).mixture(), 20_000, np.random.default_rng(48))[:, 0] // 100
    counts = np.bincount(drawn.astype(int), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(stats.spearmanr(np.arange(drawn.size), drawn).statistic) < 0.03


def test_experts_come_as_often_as_the_gate_says() -> None:
    arrays = telltale(1, 3, 4)
    drawn = sample(arrays.mixture(), 20_000, np.random.default_rng(49)).astype(int)
    for row in range(3):
        expected = 20_000 * np.exp(arrays.log_gate[0, row])
        assert stats.chisquare(np.bincount(drawn[:, row], minlength=4), expected).pvalue > 1e-3


@pytest.mark.parametrize("shut", [[0], [1], [3], [0, 3], [1, 2], [0, 1, 2]])
def test_a_shut_gate_is_never_taken(shut: list[int]) -> None:
    arrays = telltale(1, 2, 4)
    logits = np.zeros((1, 2, 4))
    logits[..., shut] = -np.inf
    arrays.log_gate = log_softmax(logits)
    arrays.parameters["mu"][..., shut] = np.nan
    drawn = sample(arrays.mixture(), 2_000, np.random.default_rng(50))
    assert set(np.unique(drawn)) == set(range(4)) - set(shut)


def test_the_number_zero_falls_to_the_first_open_gate() -> None:
    assert sampling._pick(np.array([[[0.0, 0.4, 0.6]]]), np.zeros((1, 1))).tolist() == [[1]]


@pytest.mark.parametrize("size", [3, 40, 400])
@pytest.mark.parametrize("chunk_elements", [1, 11, 240, 1000])
def test_chunks_change_nothing_at_all(size: int, chunk_elements: int) -> None:
    arrays = normal_arrays(40, 6, 3, seed=51)
    whole = sample(arrays.mixture(), size, np.random.default_rng(52))
    arrays.asked.clear()
    cut = sample(arrays.mixture(chunk_elements=chunk_elements), size, np.random.default_rng(52))
    np.testing.assert_array_equal(cut, whole)
    assert max(arrays.asked) <= max(chunk_elements, 3)


def test_few_samples_ask_for_few_draws() -> None:
    arrays = normal_arrays(1000, 2, 3, seed=53)
    sample(arrays.mixture(), 5, np.random.default_rng(54))
    assert sum(arrays.asked) <= 5 * 2 * 3


def test_nan_in_gives_nan_out_and_only_there() -> None:
    arrays = normal_arrays(3, 3, 2, seed=55)
    arrays.log_gate[:, 1] = np.nan
    assert np.isnan(sample(arrays.mixture(), 50, np.random.default_rng(56))).all(axis=0).tolist() == [
        False,
        True,
        False,
    ]


def test_shapes_and_refusals() -> None:
    for n in (0, 1, 3):
        m = normal_arrays(2, n, 2, seed=57).mixture()
        for size in (0, 1, 2, 5):
            assert sample(m, size, np.random.default_rng(58)).shape == (size, n)
    with pytest.raises(InputError, match="size: expected at least 0, got -1"):
        sample(m, -1, np.random.default_rng(58))
