"""Relabelling: planted permutations come back, the algorithm's theory holds, ambiguity is seen."""

from __future__ import annotations

from itertools import permutations as every_permutation

import numpy as np
import pytest
from numpy.typing import NDArray

from bayes_moe.errors import InputError
from bayes_moe.posterior import relabel as module
from bayes_moe.posterior.matching import AnyOrder
from bayes_moe.posterior.relabel import choose_rows, permuted, relabel

Array = NDArray[np.float64]


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def scenario(
    seed: int,
    *,
    draws: int = 200,
    rows: int = 60,
    experts: int = 3,
    sharpness: float = 3.0,
    noise: float = 0.3,
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return pivot, permuted draws and the permutations that undo it."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((rows, experts))
    clean = softmax(logits + noise * rng.standard_normal((draws, rows, experts)))
    shuffle = np.argsort(rng.random((draws, experts)), axis=1)  # raw k holds true expert shuffle[s, k]
    raw = np.stack([clean[s][:, shuffle[s]] for s in range(draws)])
    return softmax(logits), raw, np.argsort(shuffle, axis=1)


def same_experts(seed: int, *, draws: int = 400, rows: int = 200, swapped: bool = True) -> tuple[Array, Array]:
    """Return pivot and draws of two experts whose difference is symmetric about 0: one is too many."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1.0, 1.0, rows)
    tilt = 0.4 * rng.standard_normal((draws, 1)) * x + 0.4 * rng.standard_normal((draws, 1))
    tilt = tilt if swapped else tilt + 8.0 * x
    draw = softmax(np.stack([tilt, np.zeros_like(tilt)], axis=2))
    return softmax(np.stack([(0.3 if swapped else 8.0) * x, 0.0 * x], axis=1)), draw


def stephens_cost(raw: Array, permutation: tuple[int, ...], pivot: Array, weights: Array) -> float:
    """Return the cost of one draw, written down directly."""
    moved = raw[:, permutation]
    return float(np.sum(weights[:, None] * moved * (np.log(moved) - np.log(pivot))))


@pytest.mark.parametrize("experts", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_permutations_come_back_all_of_them(experts: int, seed: int) -> None:
    pivot, raw, undo = scenario(seed, experts=experts)
    found = relabel(raw, pivot)
    np.testing.assert_array_equal(found.permutations, undo)
    assert found.agreement > 0.95
    assert found.ambiguity == 0.0
    assert not found.ambiguous


def test_permuted_puts_experts_back_along_any_axis() -> None:
    pivot, raw, undo = scenario(3, experts=4)
    found = relabel(raw, pivot)
    together = permuted(raw, found.permutations, axis=2)
    for s in (0, 7, 199):
        np.testing.assert_array_equal(together[s], raw[s][:, undo[s]])
    parameter = np.arange(4.0)[np.argsort(undo, axis=1)]  # every raw expert carries the number of the true one
    np.testing.assert_array_equal(permuted(parameter, found.permutations), np.tile(np.arange(4.0), (200, 1)))
    slopes = np.repeat(parameter[:, :, None], 2, axis=2)
    np.testing.assert_array_equal(permuted(slopes, found.permutations)[:, :, 1], permuted(parameter, undo))


def test_the_pivot_returned_is_the_mean_of_the_relabelled_draws() -> None:
    pivot, raw, undo = scenario(4)
    np.testing.assert_allclose(
        relabel(raw, pivot).pivot,
        np.mean([r[:, u] for r, u in zip(raw, undo, strict=True)], axis=0),
        rtol=1e-12,
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_total_cost_never_rises(seed: int) -> None:
    pivot, raw, _ = scenario(seed, experts=4, sharpness=0.2, noise=1.0)
    bad_start = softmax(np.random.default_rng(seed).standard_normal(pivot.shape))
    found = relabel(raw, bad_start)
    trace = np.array(found.cost_trace)
    assert np.all(np.diff(trace) <= 1e-12 * trace[0])
    assert trace[-1] < 0.9 * trace[0]
    assert found.cost == trace[-1]


@pytest.mark.parametrize("seed", range(10))
def test_it_is_idempotent(seed: int) -> None:
    pivot, raw, _ = scenario(seed, experts=4, sharpness=0.5, noise=1.0)
    first = relabel(raw, pivot)
    again = relabel(permuted(raw, first.permutations, axis=2), first.pivot)
    np.testing.assert_array_equal(again.permutations, np.tile(np.arange(4), (len(raw), 1)))
    assert again.cost == pytest.approx(first.cost, rel=1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_equivariant_under_renaming_the_pivot(seed: int) -> None:
    pivot, raw, _ = scenario(seed, experts=4, sharpness=0.5, noise=1.0)
    names = np.random.default_rng(seed).permutation(4)
    plain, renamed = relabel(raw, pivot), relabel(raw, pivot[:, names])
    np.testing.assert_array_equal(renamed.permutations, plain.permutations[:, names])
    assert renamed.cost == pytest.approx(plain.cost, rel=1e-10)
    assert renamed.ambiguity == plain.ambiguity


@pytest.mark.parametrize("experts", [2, 3, 4, 5])
def test_best_and_second_best_agree_with_trying_every_permutation(experts: int) -> None:
    pivot, raw, _ = scenario(5, draws=25, rows=12, experts=experts, sharpness=0.5, noise=1.0)
    weights = np.random.default_rng(6).uniform(0.5, 2.0, 12)
    found = relabel(raw, pivot, weights=weights, max_sweeps=1)
    blocks = module._Blocks(raw, pivot.shape)
    entropy = np.einsum("i,sik,sik->sk", weights, raw, np.log(raw))
    chosen, costs, _ = module._sweep(blocks, entropy, pivot, weights, AnyOrder())
    margin = AnyOrder().margin(costs, chosen)
    total = 0.0
    for s, draw in enumerate(raw):
        tried = {p: stephens_cost(draw, p, pivot, weights) for p in every_permutation(range(experts))}
        best, second = sorted(tried.values())[:2]
        assert tried[tuple(found.permutations[s])] == pytest.approx(best, rel=1e-9)
        assert margin[s] == pytest.approx(second - best, rel=1e-7, abs=1e-10)
        total += best
    assert found.cost == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_two_equal_experts_are_ambiguous(seed: int) -> None:
    pivot, raw = same_experts(seed)
    found = relabel(raw, pivot)
    assert found.ambiguity > 0.1
    assert found.ambiguous


@pytest.mark.parametrize("seed", range(10))
def test_more_rows_do_not_make_equal_experts_clear(seed: int) -> None:
    pivot, raw = same_experts(seed, rows=4000)
    assert relabel(raw, pivot).ambiguity > 0.1
    pivot, raw = same_experts(seed, swapped=False)
    assert relabel(raw, pivot).ambiguity == 0.0


def test_rows_between_two_clear_experts_are_no_disagreement() -> None:
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.uniform(-3.0, 3.0, 100), np.full(100, 0.0)])  # half of the rows lie on the border
    logits = 3.0 * (x + 0.05 * rng.standard_normal((300, 1)))
    found = relabel(
        softmax(np.stack([logits, 0.0 * logits], axis=2)),
        softmax(np.stack([3.0 * x + 0.01, 0.0 * x], axis=1)),
    )
    assert found.agreement > 0.97
    assert not found.ambiguous


def test_agreement_is_the_share_of_rows_and_draws() -> None:
    pivot = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    stray = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.8, 0.2]])
    draws = np.stack([pivot, stray, pivot[:, ::-1], stray[:, ::-1]])
    assert relabel(draws, pivot).agreement == pytest.approx(14 / 16)
    assert relabel(draws, pivot, weights=[1, 1, 1, 3]).agreement == pytest.approx(18 / 24)


def test_a_pivot_that_tells_nothing_agrees_with_nothing() -> None:
    _, raw, _ = scenario(8, experts=2)
    assert relabel(raw, np.full((60, 2), 0.5)).agreement == 0.0


def test_a_weight_of_two_is_the_row_twice() -> None:
    pivot, raw, _ = scenario(9, sharpness=0.5, noise=1.0)
    counts = np.random.default_rng(9).integers(0, 4, 60)
    rows = np.repeat(np.arange(60), counts)
    weighted, repeated = relabel(raw, pivot, weights=counts), relabel(raw[:, rows], pivot[rows])
    np.testing.assert_array_equal(weighted.permutations, repeated.permutations)
    np.testing.assert_allclose(weighted.cost_trace, repeated.cost_trace, rtol=1e-10)
    assert weighted.agreement == pytest.approx(repeated.agreement, rel=1e-12)
    assert weighted.ambiguity == repeated.ambiguity


@pytest.mark.parametrize("cuts", [[1, 2, 3], [50, 50, 199], []])
def test_chunks_equal_the_whole(cuts: list[int]) -> None:
    pivot, raw, _ = scenario(10, experts=4, sharpness=0.5, noise=1.0)
    whole = relabel(raw, pivot)
    chunked = relabel(lambda: iter(np.split(raw, cuts)), pivot)
    np.testing.assert_array_equal(chunked.permutations, whole.permutations)
    np.testing.assert_allclose(chunked.cost_trace, whole.cost_trace, rtol=1e-10)
    np.testing.assert_allclose(chunked.pivot, whole.pivot, rtol=1e-10)
    assert (chunked.agreement, chunked.ambiguity) == pytest.approx((whole.agreement, whole.ambiguity))


def test_large_arrays_are_cut_without_changing_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pivot, raw, _ = scenario(11, sharpness=0.5, noise=1.0)
    whole = relabel(raw, pivot)
    monkeypatch.setattr(module, "_BLOCK", 7 * pivot.size)
    cut = relabel(raw, pivot)
    np.testing.assert_array_equal(cut.permutations, whole.permutations)
    assert cut.cost == pytest.approx(whole.cost, rel=1e-10)


def test_float32_draws_give_the_same_labels() -> None:
    pivot, raw, undo = scenario(12)
    np.testing.assert_array_equal(relabel(raw.astype(np.float32), pivot).permutations, undo)


def test_hard_allocations_with_exact_zeros_are_fine() -> None:
    rng = np.random.default_rng(13)
    hard = np.eye(3)[rng.integers(3, size=50)]
    shuffle = np.argsort(rng.random((100, 3)), axis=1)
    raw = np.stack([hard[:, p] for p in shuffle])
    found = relabel(raw, hard)
    np.testing.assert_array_equal(found.permutations, np.argsort(shuffle, axis=1))
    assert found.cost == pytest.approx(0.0, abs=1e-9)
    assert found.agreement == 1.0


def test_chosen_rows_are_enough_and_show_the_small_expert() -> None:
    rng = np.random.default_rng(14)
    x = np.sort(rng.uniform(0.0, 1.0, 20000))
    logits = 40.0 * np.stack([0.6 - x, x - 0.6, np.full_like(x, -1.0) + 1.5 * (x > 0.998)], axis=1)
    pivot, weights = softmax(logits), rng.uniform(0.5, 1.5, 20000)
    rows, chosen = choose_rows(pivot, weights=weights, limit=600)
    assert rows.size <= 603
    assert np.all(np.diff(rows) > 0)
    hard, small = pivot.argmax(axis=1), int((pivot.argmax(axis=1) == 2).sum())
    assert 0 < small < 60
    assert int((hard[rows] == 2).sum()) == small
    for expert in range(3):
        assert chosen[hard[rows] == expert].sum() == pytest.approx(weights[hard == expert].sum(), rel=1e-10)
    clean = softmax(logits[rows] + 0.5 * rng.standard_normal((100, rows.size, 3)))
    shuffle = np.argsort(rng.random((100, 3)), axis=1)
    raw = np.take_along_axis(clean, shuffle[:, None, :], axis=2)
    found = relabel(raw, pivot[rows], weights=chosen)
    np.testing.assert_array_equal(found.permutations, np.argsort(shuffle, axis=1))


def test_few_rows_are_all_chosen_as_they_are() -> None:
    pivot, _, _ = scenario(15)
    rows, weights = choose_rows(pivot, weights=np.arange(60.0))
    np.testing.assert_array_equal(rows, np.arange(60))
    np.testing.assert_array_equal(weights, np.arange(60.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"responsibilities": np.ones((5, 60, 2))}, r"responsibilities: expected shape \(draws, 60, 3\)"),
        ({"responsibilities": np.ones((0, 60, 3))}, "responsibilities: expected at least one draw"),
        ({"responsibilities": lambda: [np.ones((5, 9, 3))]}, r"got \(5, 9, 3\)"),
        ({"pivot": np.ones(60)}, "pivot: expected shape"),
        ({"pivot": -np.ones((60, 3))}, "pivot: expected responsibilities"),
        ({"weights": np.ones(59)}, "weights: expected shape"),
        ({"weights": np.zeros(60)}, "weights: expected finite"),
        ({"max_sweeps": 0}, "max_sweeps: expected"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str) -> None:
    pivot, raw, _ = scenario(16)
    arguments = {"responsibilities": raw, "pivot": pivot} | change
    with pytest.raises(InputError, match=message):
        relabel(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5, np.inf])
def test_a_bad_draw_is_named(value: float) -> None:
    pivot, raw, _ = scenario(17)
    raw[131, 5, 1] = value
    with pytest.raises(InputError, match="first in draw 131"):
        relabel(lambda: np.split(raw, [90]), pivot)


def test_chunks_that_cannot_be_read_twice_are_refused() -> None:
    pivot, raw, _ = scenario(18)
    once = iter([raw])
    with pytest.raises(InputError, match="same 200 draws in every pass, got 0"):
        relabel(lambda: once, pivot)
