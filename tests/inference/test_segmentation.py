"""Segmentations along a covariate: costs, least cost and draws against enumeration, and what they find."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bayes_moe.inference import segmentation
from bayes_moe.inference.segmentation import Stretch, along, divide
from bayes_moe.log_density import Scene


def stretch(rows: int = 40, seed: int = 0) -> Stretch:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2, 2, rows))
    weights = rng.integers(1, 3, rows).astype(float)
    return Stretch(np.arange(rows), x, np.abs(x) + 0.3 * rng.standard_normal(rows), weights)


def three_segments(rows: int = 300, seed: int = 0) -> tuple[Scene, np.ndarray]:
    """Return a flat line, two crossing lines side by side and a steep line, and whose every row is."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-3, 3, rows))
    second = rng.random(rows) < 0.5
    labels = np.select([x < -1, (x < 1) & second, x < 1], [0, 1, 2], 3)
    means = np.column_stack([0.2 * x, 2.0 + x, -2.0 - x, 6.0 - 3.0 * x])
    y = means[np.arange(rows), labels] + 0.15 * rng.standard_normal(rows)
    return Scene(x[:, None], (y - y.mean()) / y.std(), np.ones(rows)), labels


def test_the_cost_of_a_line_is_that_of_least_squares() -> None:
    data = stretch()
    begin, end = np.array([0, 7, 21]), np.array([40, 20, 33])
    found, _, _ = segmentation._lines(data, begin, end, 1e-12)
    for cost, i, j in zip(found, begin, end, strict=True):
        x, y, w = data.x[i:j], data.y[i:j], data.weights[i:j]
        residual = y - np.polyval(np.polyfit(x, y, 1, w=np.sqrt(w)), x)
        assert cost == pytest.approx(w.sum() * (np.log(w @ residual**2 / w.sum()) + 1.0), abs=1e-3)


def test_the_cost_of_two_lines_is_that_of_their_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """After many EM steps, the shares give the parameters, and these the likelihood."""
    monkeypatch.setattr(segmentation, "_STEPS", 400)
    scene, labels = three_segments()
    middle = np.flatnonzero((labels == 1) | (labels == 2))
    data = along(scene, middle, 0)
    whole = np.array([0]), np.array([len(middle)])
    _, (cost,), (share,) = segmentation._lines(data, *whole, 1e-12)
    joint = []
    for part in (share, 1.0 - share):
        line = np.polyfit(data.x, data.y, 1, w=np.sqrt(part))
        square = (data.y - np.polyval(line, data.x)) ** 2
        variance = part @ square / part.sum()
        joint.append(np.log(part.mean()) - 0.5 * np.log(variance) - 0.5 * square / variance)
    assert cost == pytest.approx(-2.0 * np.logaddexp(*joint).sum(), abs=1e-2)
    right = np.mean((share > 0.5) == (labels[middle] == 1))
    assert max(right, 1.0 - right) > 0.95


def _all_segmentations(edges: int, segments: int) -> list[tuple[int, ...]]:
    return [(0, *inner, edges - 1) for inner in combinations(range(1, edges - 1), segments - 1)]


def _total(costs: tuple[np.ndarray, np.ndarray], cuts: tuple[int, ...], arrangement: tuple[int, ...]) -> float:
    return float(sum(costs[n - 1][i, j] for n, i, j in zip(arrangement, cuts[:-1], cuts[1:], strict=True)))


@pytest.fixture
def costs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    one, two = (np.where(np.triu(np.ones((7, 7)), 1) > 0, 3.0 * rng.standard_normal((7, 7)), np.inf) for _ in range(2))
    return one, two


@pytest.mark.parametrize("arrangement", [(1, 1, 1), (2, 1, 1), (1, 2), (2,)])
def test_the_least_cost_is_that_of_enumeration(
    arrangement: tuple[int, ...], costs: tuple[np.ndarray, np.ndarray]
) -> None:
    every = [_total(costs, cuts, arrangement) for cuts in _all_segmentations(7, len(arrangement))]
    assert segmentation._least(costs, arrangement) == pytest.approx(min(every))


@pytest.mark.parametrize("arrangement", [(1, 2, 1), (1, 1)])
def test_segmentations_are_drawn_by_their_costs(
    arrangement: tuple[int, ...], costs: tuple[np.ndarray, np.ndarray]
) -> None:
    every, temperature, draws = _all_segmentations(7, len(arrangement)), 2.0, 4000
    weights = np.exp([-_total(costs, cuts, arrangement) / (2.0 * temperature) for cuts in every])
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        drawn = [tuple(segmentation._drawn(costs, arrangement, temperature, rng).tolist()) for _ in range(draws)]
    share = weights / weights.sum()
    found = np.array([drawn.count(cuts) for cuts in every])
    # five standard errors of a count
    np.testing.assert_array_less(np.abs(found - draws * share), 5.0 * np.sqrt(draws * share * (1.0 - share)) + 1.0)


def test_arrangements_hold_all_experts() -> None:
    for experts in range(1, 9):
        found = segmentation._arrangements(experts)
        assert len(found) == len(set(found))
        assert {sum(one) for one in found} == {experts}
    assert len(segmentation._arrangements(5)) == 1 + 4 + 3


@pytest.mark.parametrize("rows", [120, 900])
def test_two_lines_within_a_segment_are_found(rows: int) -> None:
    scene, labels = three_segments(rows)
    data = along(scene, np.arange(rows), 0)
    right = []
    with np.errstate(all="ignore"):
        for seed in range(10):
            shares = divide(data, 4, np.random.default_rng(seed))
            assert shares is not None
            np.testing.assert_allclose(shares.sum(axis=1), 1.0)
            one, two = shares.argmax(axis=1), labels
            right.append(np.mean((one[:, None] == one)[::5, ::7] == (two[:, None] == two)[::5, ::7]))
    assert max(right) > 0.9
    assert np.median(right) > 0.75


def test_the_other_covariates_are_taken_out() -> None:
    scene, _ = three_segments()
    rng = np.random.default_rng(1)
    other = rng.standard_normal(300)
    wide = Scene(np.column_stack([other, scene.features]), scene.target + 5.0 * other, scene.weights)
    found = along(wide, np.arange(300), 1)
    np.testing.assert_array_equal(found.x, np.sort(scene.features[:, 0]))
    assert abs(np.corrcoef(found.y, other[found.rows])[0, 1]) < 0.05


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_too_few_rows_are_not_divided(rows: int) -> None:
    assert divide(stretch(rows), 3, np.random.default_rng(0)) is None
