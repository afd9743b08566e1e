"""Moments and densities of averaged mixtures, against quadrature and against loops over `math`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from bayes_moe.errors import InputError
from bayes_moe.families import Gamma
from bayes_moe.posterior import blend, mixtures
from bayes_moe.posterior.blend import Blend
from bayes_moe.posterior.mixtures import (
    MixtureDraws,
    cdf,
    expert_means,
    gate_probabilities,
    hard_mean,
    log_density,
    pointwise_log_density,
    predictive_mean,
    predictive_moments,
    predictive_variance,
    responsibilities,
)
from tests.posterior.doubles import CAUCHY, GAMMA, Arrays, Floats, normal_arrays, oracle, two_normals

SHAPES = [(1, 1, 1), (1, 4, 3), (5, 3, 2), (40, 2, 4)]

WITHOUT_Y: dict[str, Callable[[MixtureDraws], Floats]] = {
    "predictive_mean": predictive_mean,
    "predictive_variance": predictive_variance,
    "expert_means": expert_means,
    "gate_probabilities": gate_probabilities,
    "hard_mean": hard_mean,
}
WITH_Y: dict[str, Callable[[MixtureDraws, Any], Floats]] = {
    "log_density": log_density,
    "pointwise_log_density": pointwise_log_density,
    "cdf": cdf,
    "responsibilities": responsibilities,
}
RESULT_SHAPES = {
    "predictive_mean": "n",
    "predictive_variance": "n",
    "hard_mean": "n",
    "expert_means": "nK",
    "gate_probabilities": "nK",
    "log_density": "n",
    "cdf": "n",
    "responsibilities": "nK",
    "pointwise_log_density": "Sn",
}


def every_result(m: MixtureDraws, y: Floats) -> dict[str, Floats]:
    return {name: f(m) for name, f in WITHOUT_Y.items()} | {name: f(m, y) for name, f in WITH_Y.items()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("row", [0, -1])
def test_the_density_integrates_to_one_and_to_the_moments(shape: tuple[int, int, int], row: int) -> None:
    arrays = normal_arrays(*shape, seed=1)
    m = arrays.mixture()
    mean, variance = float(predictive_mean(m)[row]), float(predictive_variance(m)[row])
    lower, upper = mean - 12 * math.sqrt(variance) - 5, mean + 12 * math.sqrt(variance) + 5
    modes = np.unique(arrays.parameters["mu"][:, row].mean(axis=0))

    def integral(power: int, centre: float, end: float) -> float:
        def integrand(y: float) -> float:
            return (y - centre) ** power * math.exp(log_density(m, np.full(m.rows, y))[row])

        inside = modes[modes < end]
        return float(integrate.quad(integrand, lower, end, points=inside, limit=400, epsabs=1e-11)[0])

    assert integral(0, 0.0, upper) == pytest.approx(1.0, abs=1e-9)
    assert integral(1, 0.0, upper) == pytest.approx(mean, abs=1e-8)
    assert integral(2, mean, upper) == pytest.approx(variance, rel=1e-8)
    at = mean + 0.7
    assert integral(0, 0.0, at) == pytest.approx(cdf(m, np.full(m.rows, at))[row], abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_everything_equals_its_sum_written_out(shape: tuple[int, int, int]) -> None:
    arrays = normal_arrays(*shape, seed=2)
    S, n, K = shape
    y = np.random.default_rng(3).normal(size=n) * 2
    found = every_result(arrays.mixture(), y)
    gate, mu = np.exp(arrays.log_gate), arrays.parameters["mu"]
    for i in range(n):
        truth = oracle(arrays, i)
        assert found["predictive_mean"][i] == pytest.approx(truth.mean(), rel=1e-12, abs=1e-12)
        assert found["predictive_variance"][i] == pytest.approx(truth.variance(), rel=1e-12)
        assert found["cdf"][i] == pytest.approx(truth.cdf(y[i]), rel=1e-12)
        assert found["log_density"][i] == pytest.approx(math.log(truth.density(y[i])), rel=1e-12, abs=1e-12)
        for s in range(S):
            at_draw = math.log(S * truth.density(y[i], draw=s))
            assert found["pointwise_log_density"][s, i] == pytest.approx(at_draw, rel=1e-12, abs=1e-12)
        gates = [math.fsum(gate[:, i, k]) / S for k in range(K)]
        means = [math.fsum(mu[:, i, k]) / S for k in range(K)]
        shares = [truth.density(y[i], expert=k) / truth.density(y[i]) for k in range(K)]
        np.testing.assert_allclose(found["gate_probabilities"][i], gates, rtol=1e-12)
        np.testing.assert_allclose(found["expert_means"][i], means, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found["responsibilities"][i], shares, rtol=1e-11)
        assert found["hard_mean"][i] == pytest.approx(means[gates.index(max(gates))], rel=1e-12)


def test_the_spread_between_experts_and_between_draws_is_in_the_variance() -> None:
    between_experts = two_normals(0.5, (-3.0, 3.0), (1.0, 1.0))
    assert predictive_variance(between_experts.mixture()) == pytest.approx(10.0)
    mu = np.array([-3.0, 3.0]).reshape(2, 1, 1)
    between_draws = Arrays(np.zeros((2, 1, 1)), {"mu": mu, "log_sigma": np.zeros((2, 1, 1))})
    assert predictive_variance(between_draws.mixture()) == pytest.approx(10.0)


def test_responsibilities_average_before_they_divide() -> None:
    # Two draws that disagree about the gate; the one under which y is likelier must weigh more.
    log_gate = np.log([[[0.9, 0.1]], [[0.1, 0.9]]])
    mu = np.array([[[0.0, 0.0]], [[5.0, 5.0]]])
    arrays = Arrays(log_gate, {"mu": mu, "log_sigma": np.zeros((2, 1, 2))})
    assert responsibilities(arrays.mixture(), [0.0])[0, 0] == pytest.approx(0.9, abs=1e-5)


@pytest.mark.parametrize("chunk_elements", [1, 7, 100, 1000])
@pytest.mark.parametrize("piece_elements", [1, 50, 32_768])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk_elements: int, piece_elements: int) -> None:
    arrays = normal_arrays(23, 70, 3, seed=4)
    y = np.random.default_rng(5).normal(size=70)
    whole = every_result(arrays.mixture(), y)
    monkeypatch.setattr(mixtures, "PIECE_ELEMENTS", piece_elements)
    arrays.asked.clear()
    cut = every_result(arrays.mixture(chunk_elements=chunk_elements), y)
    assert max(arrays.asked) <= max(chunk_elements, 3)
    for name, value in whole.items():
        np.testing.assert_allclose(cut[name], value, rtol=1e-12, atol=1e-13, err_msg=name)


def test_every_row_and_draw_comes_once_and_in_small_pieces() -> None:
    m = normal_arrays(50, 300, 4, seed=6).mixture(chunk_elements=9_000)
    count = np.zeros((m.draws, m.rows), dtype=int)
    for piece in mixtures.pieces(m):
        count[piece.draws, piece.rows] += 1
        assert piece.log_gate.shape == (*count[piece.draws, piece.rows].shape, 4)
        assert piece.log_gate.size <= 9_000
    assert (count == 1).all()


@pytest.mark.parametrize(("draws", "rows"), [(2000, 150), (2, 100_000), (40_000, 5)])
def test_what_is_computed_at_once_stays_in_cache(draws: int, rows: int) -> None:
    """And no call computes so little that the call itself is most of the work."""
    arrays = normal_arrays(draws, rows, 3, seed=8)
    predictive_variance(arrays.mixture())
    assert max(arrays.asked) <= mixtures.ASKED_ELEMENTS
    assert len(arrays.asked) <= 3 * -(-draws * rows * 3 // mixtures.ASKED_ELEMENTS)


@pytest.mark.parametrize("n", [0, 1, 200_000])
def test_any_number_of_rows(n: int) -> None:
    S, K = 2, 3
    arrays = normal_arrays(S, n, K, seed=7)
    sizes = {"S": S, "n": n, "K": K}
    for name, value in every_result(arrays.mixture(chunk_elements=300_000), np.zeros(n)).items():
        assert value.shape == tuple(sizes[letter] for letter in RESULT_SHAPES[name]), name
        assert np.isfinite(value).all(), name


def test_parameters_may_broadcast() -> None:
    arrays = normal_arrays(4, 5, 3, seed=8)
    arrays.parameters["log_sigma"] = np.broadcast_to(np.array([0.1, 0.2, 0.3]), (4, 5, 3))
    narrow = MixtureDraws(
        rows=5,
        draws=4,
        experts=3,
        components=lambda i, s: (
            arrays.log_gate[s, i],
            {"mu": arrays.parameters["mu"][s, i], "log_sigma": np.array([0.1, 0.2, 0.3])},
        ),
        family=arrays.mixture().family,
    )
    y = np.linspace(-1, 1, 5)
    for name, value in every_result(arrays.mixture(), y).items():
        np.testing.assert_array_equal(every_result(narrow, y)[name], value, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_shut_gate_silences_its_expert_whatever_its_parameters(bad: float) -> None:
    arrays = normal_arrays(6, 4, 2, seed=9)
    open_only = Arrays(np.zeros((6, 4, 1)), {name: a[..., :1] for name, a in arrays.parameters.items()})
    arrays.log_gate[:] = [0.0, -np.inf]
    arrays.parameters["mu"][..., 1] = bad
    y = np.linspace(-2, 2, 4)
    got, expected = every_result(arrays.mixture(), y), every_result(open_only.mixture(), y)
    for name in (
        "predictive_mean",
        "predictive_variance",
        "hard_mean",
        "cdf",
        "log_density",
        "pointwise_log_density",
    ):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-13, err_msg=name)
    np.testing.assert_array_equal(got["responsibilities"], np.broadcast_to([1.0, 0.0], (4, 2)))
    np.testing.assert_array_equal(got["gate_probabilities"], np.broadcast_to([1.0, 0.0], (4, 2)))


def test_nan_in_gives_nan_out_and_only_there() -> None:
    arrays = normal_arrays(3, 4, 2, seed=10)
    arrays.parameters["mu"][1, 2, 0] = np.nan
    y = np.array([0.0, 1.0, 2.0, np.nan])
    found = every_result(arrays.mixture(), y)
    for name in ("predictive_mean", "predictive_variance"):
        np.testing.assert_array_equal(np.isnan(found[name]), [False, False, True, False], err_msg=name)
    for name in ("log_density", "cdf"):
        np.testing.assert_array_equal(np.isnan(found[name]), [False, False, True, True], err_msg=name)
    assert np.isnan(found["responsibilities"][3]).all()


def test_far_out_the_log_density_is_that_of_the_nearest_tail() -> None:
    m = two_normals(0.25, (0.0, 1.0), (1.0, 3.0)).mixture()
    for y in (1e3, -1e6, 1e100):
        tail = math.log(0.75) - 0.5 * ((y - 1.0) / 3.0) ** 2 - math.log(3.0) - 0.5 * math.log(2 * math.pi)
        assert log_density(m, [y])[0] == pytest.approx(tail, rel=1e-12)
        np.testing.assert_array_equal(responsibilities(m, [y]), [[0.0, 1.0]])
    # Beyond the range of floats the log density is −inf and y says nothing about the experts.
    assert log_density(m, [1e200])[0] == -np.inf
    np.testing.assert_allclose(responsibilities(m, [1e200]), [[0.25, 0.75]])
    np.testing.assert_array_equal([cdf(m, [y])[0] for y in (-np.inf, -1e200, 1e200, np.inf)], [0, 0, 1, 1])


def test_an_expert_of_tiny_sigma_leaves_no_nan() -> None:
    m = two_normals(0.5, (0.0, 1.0), (1e-150, 1.0)).mixture()
    assert log_density(m, [0.0])[0] == pytest.approx(math.log(0.5) + 150 * math.log(10) - 0.5 * math.log(2 * math.pi))
    other = math.log(0.5) - 0.5 * math.log(2 * math.pi)
    assert log_density(m, [1.0])[0] == pytest.approx(other)
    np.testing.assert_allclose(responsibilities(m, [0.0]), [[1.0, 0.0]], atol=1e-149)
    assert predictive_variance(m)[0] == pytest.approx(0.75)


@pytest.mark.parametrize("chunk_elements", [2, 2_000_000], ids=["piece by piece", "at once"])
def test_what_is_too_large_for_a_float_is_infinite(chunk_elements: int) -> None:
    """Means below the largest float, whose squares are not; means beyond it; and both beside a shut gate."""
    log_mu = np.log(10.0) * np.array([[[200.0, 210.0], [400.0, 1.0], [-400.0, -400.0], [1e6, 1.0]]] * 3)
    log_gate = np.log([[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1e-300, 1.0]]] * 3)
    log_gate[:, 3, 0] = -np.inf
    arrays = Arrays(log_gate, {"log_mu": log_mu, "log_shape": np.zeros((3, 4, 2))})
    m = arrays.mixture(Gamma(), chunk_elements)
    expected = [1e210 / 2, np.inf, 0.0, 10.0], [np.inf, np.inf, 0.0, 100.0]
    for found in (predictive_moments(m), blend.predictive_moments(Blend((m, m), np.array([0.25, 0.75])))):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_variance_survives_a_mean_a_million_million_times_larger() -> None:
    arrays = normal_arrays(200, 3, 2, seed=11)
    small = predictive_variance(arrays.mixture(chunk_elements=50))
    arrays.parameters["mu"] += 2.0**40
    shifted = predictive_variance(arrays.mixture(chunk_elements=50))
    # mu itself is rounded to 2^-12 there, so 1e-3 is all its spread can keep;
    # E[y²] − E[y]² would be off by 1e8.
    np.testing.assert_allclose(shifted, small, rtol=1e-3)


def test_an_infinite_density_takes_the_responsibility() -> None:
    shape = np.array([[[0.5, 3.0]]])
    arrays = Arrays(np.log([[[0.5, 0.5]]]), {"shape": shape, "scale": np.ones((1, 1, 2))})
    m = arrays.mixture(GAMMA)
    assert log_density(m, [0.0])[0] == np.inf
    np.testing.assert_array_equal(responsibilities(m, [0.0]), [[1.0, 0.0]])
    assert log_density(m, [-1.0])[0] == -np.inf
    np.testing.assert_allclose(responsibilities(m, [-1.0]), [[0.5, 0.5]])


def test_a_family_without_moments_says_so() -> None:
    arrays = Arrays(np.zeros((1, 1, 1)), {"shape": np.zeros((1, 1, 1)), "scale": np.ones((1, 1, 1))})
    mean, variance = predictive_moments(arrays.mixture(CAUCHY))
    assert np.isnan(mean).all()
    assert np.isnan(variance).all()


def test_permuting_the_experts_permutes_and_nothing_else() -> None:
    arrays = normal_arrays(7, 5, 3, seed=12)
    turned = Arrays(arrays.log_gate[..., ::-1], {name: a[..., ::-1] for name, a in arrays.parameters.items()})
    y = np.linspace(-2, 2, 5)
    there, back = every_result(arrays.mixture(), y), every_result(turned.mixture(), y)
    for name, value in there.items():
        expected = value[:, ::-1] if RESULT_SHAPES[name] == "nK" else value
        np.testing.assert_allclose(back[name], expected, rtol=1e-13, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("function", WITH_Y.values(), ids=WITH_Y.keys())
@pytest.mark.parametrize("y", [0.0, [0.0], np.zeros((3, 1)), np.zeros(4)])
def test_y_of_another_length_is_refused(function: Callable[[MixtureDraws, Any], Floats], y: Any) -> None:
    with pytest.raises(InputError, match=r"y: expected shape \(3,\)"):
        function(normal_arrays(2, 3, 2, seed=13).mixture(), y)


@pytest.mark.parametrize(("name", "value"), [("rows", -1), ("draws", 0), ("experts", 0), ("chunk_elements", 0)])
def test_sizes_without_meaning_are_refused(name: str, value: int) -> None:
    sizes = {"rows": 1, "draws": 1, "experts": 1, "chunk_elements": 1} | {name: value}
    m = normal_arrays(1, 1, 1, seed=14).mixture()
    with pytest.raises(InputError, match=f"{name}: expected at least"):
        MixtureDraws(components=m.components, family=m.family, **sizes)
