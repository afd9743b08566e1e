"""Rows on several processors: the same numbers on any number of them."""

from __future__ import annotations

import numpy as np
import pytest

from bayes_moe import MixtureOfExperts
from bayes_moe.binding import parallel
from bayes_moe.binding.bind import bind
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.data import read_training


@pytest.fixture(scope="module")
def large() -> MixtureDensity:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(17_000, 6))
    y = np.where(rng.random(17_000) < 0.5, x[:, 0], -x[:, 1]) + 0.2 * rng.normal(size=17_000)
    return bind(MixtureOfExperts(5), read_training(x, y, experts=5, parameters=0)).density


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_sums_do_not_depend_on_the_number_of_processors(
    large: MixtureDensity, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(large._parts) > 2
    monkeypatch.setitem(large.__dict__, "_gradient_parts", large._parts)
    q = 0.3 * np.random.default_rng(2).normal(size=large.size)
    monkeypatch.setattr(parallel, "workers", lambda: 1)
    value, gradient = large.logp_and_gradient(q)
    alone = large.e_step(q)
    monkeypatch.setattr(parallel, "workers", lambda: workers)
    together = large.e_step(q)
    assert large.logp(q) == value
    np.testing.assert_array_equal(large.gradient(q), gradient)
    assert together.log_posterior == alone.log_posterior
    for name in ("sizes", "scores", "pairs", "moments"):
        np.testing.assert_array_equal(getattr(together.statistics, name), getattr(alone.statistics, name))


def test_parts_equal_the_whole(large: MixtureDensity, monkeypatch: pytest.MonkeyPatch) -> None:
    q = 0.3 * np.random.default_rng(3).normal(size=large.size)
    cut = large.e_step(q)
    monkeypatch.setitem(large.__dict__, "_gradient_parts", large._parts)
    assert large.logp(q) == pytest.approx(cut.log_posterior, rel=1e-12)
    monkeypatch.setitem(large.__dict__, "_parts", [slice(0, len(large.rows.blocks))])
    whole = large.e_step(q)
    assert cut.log_posterior == pytest.approx(whole.log_posterior, rel=1e-12)
    np.testing.assert_allclose(cut.gradient, whole.gradient, rtol=1e-9, atol=1e-9 * np.abs(whole.gradient).max())


def test_few_rows_are_not_cut() -> None:
    assert parallel.parts(4, 1e9) == [slice(0, 4)]
    assert parallel.parts(1000, 10.0) == [slice(0, 1000)]
    pieces = parallel.parts(1001, 1e9)
    assert len(pieces) % 2 == 0
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert pieces[-1].stop == 1001


def test_an_error_in_one_part_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "workers", lambda: 2)

    def task(piece: slice) -> int:
        if piece.start == 3:
            raise ZeroDivisionError
        return piece.start

    assert parallel.spread(task, [slice(0, 1), slice(1, 2)]) == [0, 1]
    with pytest.raises(ZeroDivisionError):
        parallel.spread(task, [slice(0, 1), slice(3, 4)])
