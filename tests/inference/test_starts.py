"""Starts and moves: responsibilities on any data, the same from the same generator, blind to rows without weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from bayes_moe.inference.grafts import graft_onto
from bayes_moe.inference.moves import MOVES, Move, boundary_shifts, hand_over, redivided, split
from bayes_moe.inference.starts import PORTFOLIO, from_labels
from bayes_moe.log_density import Scene

RECIPES = tuple(dict.fromkeys(PORTFOLIO))


def scene(rows: int = 60, columns: int = 2) -> Scene:
    rng = np.random.default_rng([rows, columns])
    return Scene(rng.standard_normal((rows, columns)), rng.standard_normal(rows), np.ones(rows))


def _weighted() -> Scene:
    plain, rng = scene(), np.random.default_rng(4)
    return Scene(plain.features, plain.target, rng.integers(0, 3, 60).astype(float))


SCENES = {
    "plain": scene(),
    "no column": scene(columns=0),
    "one column": scene(columns=1),
    "weighted": _weighted(),
    "constant column": Scene(np.column_stack([np.zeros(30), scene(30).features]), scene(30).target, np.ones(30)),
    "duplicates": Scene(np.repeat(scene(8).features, 5, axis=0), np.repeat(scene(8).target, 5), np.ones(40)),
    "ties in y": Scene(scene(30).features, np.sign(scene(30).target), np.ones(30)),
    "constant y": Scene(scene(30).features, np.zeros(30), np.ones(30)),
    "five rows": scene(5),
    "more columns than rows": scene(6, 9),
}


@dataclass(frozen=True)
class Shares:
    """A density of which moves ask the scene and responsibilities; its q are the responsibilities, in one row."""

    data: Scene
    experts: int

    def scene(self) -> Scene:
        return self.data

    def responsibilities(self, q: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        shares = q.reshape(-1, self.experts) ** (1.0 / temperature)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def check(responsibilities: np.ndarray, data: Scene, experts: int) -> None:
    assert responsibilities.shape == (len(data.target), experts)
    assert np.all(responsibilities >= 0)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0, rtol=1e-9)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_recipes_divide_any_rows(recipe: Callable[..., np.ndarray], name: str) -> None:
    for experts in (2, 3, 5):
        for seed in range(3):
            with np.errstate(all="ignore"):  # as in every run of EM
                one, two = (recipe(SCENES[name], experts, np.random.default_rng(seed)) for _ in range(2))
            check(one, SCENES[name], experts)
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("move", dict.fromkeys(MOVES), ids=lambda move: move.__name__)
def test_moves_divide_any_rows(move: Move, name: str) -> None:
    data = SCENES[name]
    for experts in (2, 4):
        share = np.random.default_rng(1).dirichlet(np.full(experts, 0.3), len(data.target)).ravel()
        density, before = Shares(data, experts), share.copy()
        for seed in range(4):
            with np.errstate(all="ignore"):  # as in every run of EM
                one, two = (move(density, share, np.random.default_rng(seed)) for _ in range(2))  # type: ignore[arg-type]
            check(one, data, experts)
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(share, before)


@pytest.mark.parametrize("name", SCENES)
def test_boundaries_are_shifted_by_a_few_rows(name: str) -> None:
    data = SCENES[name]
    share = np.random.default_rng(1).dirichlet(np.full(3, 0.3), len(data.target))
    labels = share.argmax(axis=1)
    shifted = list(boundary_shifts(Shares(data, 3), share.ravel(), np.random.default_rng(0)))  # type: ignore[arg-type]
    assert bool(shifted) == bool(data.features.shape[1])
    assert len(shifted) <= 24
    for one in shifted:
        check(one, data, 3)
        assert np.sum(one.argmax(axis=1) != labels) <= 4


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_recipes_differ_from_seed_to_seed(recipe: Callable[..., np.ndarray]) -> None:
    drawn = [recipe(scene(), 3, np.random.default_rng(seed)) for seed in range(8)]
    assert any(not np.array_equal(drawn[0], other) for other in drawn[1:])


def _recovered(share: np.ndarray, truth: np.ndarray) -> float:
    found = share.argmax(axis=1)
    return float(max(np.mean(found == truth), np.mean(found != truth)))


def test_rows_without_weight_do_not_steer() -> None:
    """Whatever y such rows have, the others are divided the same."""
    data = SCENES["weighted"]
    counted = data.weights > 0
    other = Scene(data.features, np.where(counted, data.target, 50.0), data.weights)
    for name in ("k_regressions", "segments"):
        recipe = next(recipe for recipe in RECIPES if recipe.__name__ == name)
        one, two = (recipe(here, 3, np.random.default_rng(2)) for here in (data, other))
        np.testing.assert_array_equal(one[counted], two[counted])


def test_k_regressions_and_segments_find_lines() -> None:
    x = np.sort(np.random.default_rng(0).uniform(-2, 2, 100))
    truth = (x > 0.3).astype(int)
    y = np.where(truth, 3.0 - 2.0 * x, x - 3.0) + 0.05 * np.random.default_rng(1).standard_normal(100)
    data = Scene(x[:, None], y, np.ones(100))
    for name in ("k_regressions", "segments"):
        recipe = next(recipe for recipe in RECIPES if recipe.__name__ == name)
        assert max(_recovered(recipe(data, 2, np.random.default_rng(s)), truth) for s in range(10)) > 0.95


def test_a_graft_finds_a_hidden_line() -> None:
    """Twenty of a hundred rows lie on a narrow line of their own among wide noise."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-2, 2, 100)
    hidden = np.arange(100) < 20
    y = np.where(hidden, x, rng.standard_normal(100))
    data = Scene(x[:, None], y, np.ones(100))
    share = from_labels(rng.integers(2, size=100), 2)
    grafts = [graft_onto(share, data, 0, np.random.default_rng(s))[:, 0] for s in range(60)]
    assert max(g[hidden].sum() / g.sum() for g in grafts if g.sum() > 5.0) > 0.5


def test_rows_are_handed_over_by_one_expert_only() -> None:
    data = scene(40, 1)
    labels = np.repeat([0, 1, 2], [14, 13, 13])
    for share, rows in ((0.5, 6), (0.2, 3), (0.0, 1)):
        moved = hand_over(from_labels(labels, 3), data, 2, 0, share).argmax(axis=1)
        changed = moved != labels
        assert changed.sum() == rows
        assert set(labels[changed]) == {2}
        assert set(moved[changed]) == {0}


def test_rows_are_divided_anew_among_some_experts_only() -> None:
    data = scene(60, 1)
    labels = np.random.default_rng(0).integers(4, size=60)
    with np.errstate(all="ignore"):
        moved = redivided(from_labels(labels, 4), data, 0, np.array([1, 3]), np.random.default_rng(0)).argmax(axis=1)
    theirs = np.isin(labels, (1, 3))
    assert np.any(moved[theirs] != labels[theirs])
    assert set(moved[theirs]) == {1, 3}
    np.testing.assert_array_equal(moved[~theirs], labels[~theirs])


def test_a_split_halves_an_expert() -> None:
    data = scene(40, 1)
    labels = np.repeat([0, 1, 2], [20, 10, 10])
    moved = split(from_labels(labels, 3, belief=1.0), data, 0, 1, np.random.default_rng(0))
    assert moved[:20, 0].sum() + moved[:20, 1].sum() > 19
    assert abs(moved[:20, 1].sum() - 15) < 10
    assert np.all(moved[20:30, 2] > 0.45), "half of the rows of the expert that moved go to each of the others"
