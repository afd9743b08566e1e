"""The search over starts: what it files, when it stops, and that it outlives an interrupt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bayes_moe import EM, MixtureOfExperts, nearly_flat
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.errors import EMDecreased
from bayes_moe.inference import search as search_module
from bayes_moe.inference.outcome import Optimum
from bayes_moe.inference.progress import Report
from bayes_moe.inference.search import Search
from tests.inference.densities import mixture

QUIET = Report(visible=False)


@dataclass(frozen=True)
class Stub:
    """A density of which the search of single starts asks only the number of experts and the scene."""

    target: np.ndarray
    experts: int = 2

    def scene(self) -> Stub:
        return self


def optimum(value: float, collapsed: tuple[int, ...] = ()) -> Optimum:
    return Optimum(np.array([value]), value, 0.0, 1.0, collapsed, 1, "stub", 3)


def finish(_density: object, q: np.ndarray, _recipe: str) -> tuple[Optimum, np.ndarray]:
    return optimum(float(np.round(q[0])), (0,) if q[0] > 100 else ()), q


def stubbed(starts: int | None = None) -> Search:
    return Search(Stub(np.zeros(9)), starts, 0, finish)  # type: ignore[arg-type]


def test_hits_are_counted_and_the_best_comes_first_the_collapsed_last() -> None:
    search = stubbed()
    news = [search.take(np.array([value]), "stub") for value in (-5.0, -3.0, -5.1, 200.0, -3.2, -7.0)]
    assert news == [True, True, False, False, False, False]
    assert [(o.log_posterior, o.hits) for o in search.ranked()] == [(-3, 2), (-5, 2), (-7, 1), (200, 1)]
    assert search.long_runs == sum(o.hits for o in search.ranked()) == 6
    np.testing.assert_array_equal(search.trace_of(search.ranked()[-1]), [200.0])


def test_the_default_number_of_starts() -> None:
    assert stubbed().starts == 64
    assert Search(Stub(np.zeros(9), 1), None, 0, finish).starts == 1  # type: ignore[arg-type]
    assert Search(Stub(np.zeros(10**6)), None, 0, finish).starts == 12  # type: ignore[arg-type]
    assert stubbed(3).starts == 3


def test_starts_are_settled_where_runs_agree() -> None:
    search = stubbed()
    for _ in range(6):
        search.take(np.array([-1.0]), "stub")
    assert search._settled()
    search.take(np.array([-50.0]), "stub")
    assert not search._settled(), "one of seven runs ended where no other did"
    for _ in range(20):
        search.take(np.array([-50.0]), "stub")
    assert search._settled()
    for _ in range(2):
        search.take(np.array([-2.0]), "stub")
    assert not search._settled(), "an optimum nearly as good rivals the best"
    for _ in range(90):
        search.take(np.array([-1.0]), "stub")
    assert search._settled(), "nearly all runs end at the best"


def test_patience_follows_what_the_runs_say() -> None:
    search = stubbed()
    search.take(np.array([-1.0]), "stub")
    assert search._patience() == 1, "nothing rivals the best"
    for value in (-4.0, -5.0, -6.0):
        search.take(np.array([value]), "stub")
    restless = search._patience()
    for value in (-4.0, -5.0, -6.0, -400.0, 300.0):
        search.take(np.array([value]), "stub")
    rivals = search._patience()
    assert restless > rivals > 1, "rivals that were seen once tell of others that were not"
    for _ in range(20):
        search.take(np.array([-1.0]), "stub")
    assert 1 < search._patience() < rivals, "most runs agree"


def test_rescue_runs_the_best_short_run_to_the_end() -> None:
    search = stubbed()
    assert not search.rescue()
    search.candidates = [(-4.0, np.array([-4.0]), "poor"), (-2.0, np.array([-2.0]), "good")]
    assert search.rescue()
    assert [o.log_posterior for o in search.ranked()] == [-2.0]
    assert search.rescue()
    assert search.long_runs == 1


def test_a_second_interrupt_ends_the_rescue() -> None:
    def interrupted(*_: object) -> tuple[Optimum, np.ndarray]:
        raise KeyboardInterrupt

    search = Search(Stub(np.zeros(9)), None, 0, interrupted)  # type: ignore[arg-type]
    search.candidates = [(-4.0, np.array([-4.0]), "poor")]
    assert not search.rescue()


def easy(rows: int = 200) -> MixtureDensity:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(rows)
    y = np.where(x > 0, 3.0 + x, -2.0 * x - 3.0) + 0.3 * rng.standard_normal(rows)
    return mixture(MixtureOfExperts(2), x[:, None], y)


def hard() -> MixtureDensity:
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(-3, 3, 80))
    return mixture(nearly_flat(MixtureOfExperts(4)), x[:, None], np.sin(2 * x) + 0.6 * rng.standard_normal(80))


def searched(density: MixtureDensity, starts: int | None = None, seed: int = 0) -> Search:
    search = Search(density, starts, seed, EM(seed=seed)._finish)
    with np.errstate(all="ignore"):
        search.run(QUIET)
    return search


def test_an_easy_search_stops_early_and_a_hard_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_ROUNDS", (3, 3))
    simple, rough = searched(easy()), searched(hard())
    assert len(simple.short_runs) == search_module._PROBE
    assert len(rough.short_runs) == 64
    assert rough.long_runs > 2 * simple.long_runs
    assert simple.ranked()[0].hits > simple.long_runs // 2


def test_a_number_of_starts_is_obeyed() -> None:
    few, more = searched(easy(), 5), searched(easy(), 20)
    assert len(few.short_runs) == 5
    assert len(more.short_runs) == 20
    assert {o.recipe for o in few.ranked()} <= {name for name, _ in few.short_runs}, "no moves in a quick search"


def test_a_search_is_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_ROUNDS", (4, 4))
    one, two = searched(hard(), 8, seed=3), searched(hard(), 8, seed=3)
    assert one.short_runs == two.short_runs
    assert [(o.log_posterior, o.hits, o.recipe) for o in one.ranked()] == [
        (o.log_posterior, o.hits, o.recipe) for o in two.ranked()
    ]


def test_moves_on_their_way_back_are_left() -> None:
    search = searched(easy(), 8)
    best = search.ranked()[0]
    density = search.density
    assert search._promising(density, [(density.logp(best.q), best.q, "graft")]) == []
    assert search._promising(density, [(density.logp(best.q) - 1e3, best.q + 0.5, "graft")]) == []


def test_what_is_better_than_the_best_is_taken_however_near(monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(easy(), 8)
    best, density = search.ranked()[0], search.density
    monkeypatch.setattr(search, "optima", [(replace(o, q=o.q + 0.02), trace) for o, trace in search.optima])
    search.landmarks.clear()
    value = density.logp(best.q)
    assert value > density.logp(best.q + 0.02) + 1e-3
    assert [q is best.q for _, q, _ in search._promising(density, [(value, best.q, "graft")])] == [True]


def test_the_boundaries_of_the_best_are_tried_once() -> None:
    density = hard()
    search = Search(density, 8, 0, EM(seed=0)._finish)
    with np.errstate(all="ignore"):
        search._short_runs(density, 8, QUIET)
        search._long_runs(8, QUIET)
        before, rng = search.ranked()[0].log_posterior, np.random.default_rng(0)
        while search._polished(density, rng):
            assert search.ranked()[0].log_posterior > before
            before = search.ranked()[0].log_posterior
        moves = search.moves
        assert moves > 0
        assert not search._polished(density, rng)
    assert search.moves == moves


def test_a_move_in_vain_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(easy(), 5)

    def decreases(*_: object, **__: object) -> None:
        raise EMDecreased(0.0, -1.0, 1, np.zeros(1))

    monkeypatch.setattr(search, "_few_steps", decreases)
    assert search._moves(search.density, 0, np.random.default_rng(0)) == []


def test_many_rows_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_THIN_ABOVE", 300)
    monkeypatch.setattr(search_module, "_THIN_TO", 150)
    density, thinned_to, honest = easy(400), [], MixtureDensity.thinned

    def thinned(self: MixtureDensity, rows: np.ndarray) -> MixtureDensity:
        thinned_to.append(len(np.unique(rows)))
        return honest(self, rows)

    monkeypatch.setattr(MixtureDensity, "thinned", thinned)
    quick = searched(density, 10)
    assert set(thinned_to) == {150}
    monkeypatch.undo()
    whole = searched(density, 10)
    assert quick.ranked()[0].log_posterior == pytest.approx(whole.ranked()[0].log_posterior, abs=1e-6)
