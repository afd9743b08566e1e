"""Rows divided along one covariate: contiguous segments that hold one line or two, drawn by dynamic programming.

Where gates are steep, an optimum of EM is a segmentation, and EM cannot move a boundary past a row. All segmentations
with given cut points can be compared at once, though: the cost of a segment depends on its own rows alone. A segment
may hold two lines that overlap: their cost comes from a few EM steps, taken for all segments together.

References
----------
Bellman and Roth (1969), curve fitting by segmented straight lines; Ueda et al. (2000), split and merge.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..log_density import Scene

_CUTS, _ROWS = (8, 24), 150  # cut points, at least and at most; rows whose costs are looked at
_CUTS_EACH = 5  # cut points for every expert
_STEPS, _NEAR = 6, 0.4  # EM steps of two lines; where near ends, in variances of one line
_FEWEST = 3.0  # rows that a line holds
_VARIANCE_FLOOR = (1e-4, 1e-2)  # of y's variance, drawn; else lines through few rows would win
_TEMPERATURE, _ARRANGING = (0.3, 1.5), 1.5  # of segmentations, drawn, and of how many lines their segments hold
_DOUBLES = 2  # segments of two lines at most
_SLOPE_RIDGE = 1e-6
_LEAK = 1e-5


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows in the order of one covariate.

    Parameters
    ----------
    rows
        Their positions in the scene.
    x, y, weights
        The covariate, the target less what the other covariates explain, the weights.
    """

    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    def thinned(self, rng: np.random.Generator) -> Stretch:
        """Return a stretch of some of the rows, which stands for all."""
        if len(self.rows) <= _ROWS:
            return self
        few = np.sort(rng.choice(len(self.rows), _ROWS, replace=False))
        return Stretch(self.rows[few], self.x[few], self.y[few], self.weights[few])


def along(scene: Scene, rows: np.ndarray, column: int) -> Stretch:
    """Return some rows of a scene in the order of one column."""
    x, y, weights = scene.features[rows, column], scene.target[rows], scene.weights[rows]
    if scene.features.shape[1] > 1:
        design = np.column_stack([np.ones(len(rows)), scene.features[rows]])
        weighted = design * weights[:, None]
        beta = np.linalg.solve(weighted.T @ design + 1e-3 * np.eye(design.shape[1]), weighted.T @ y)
        beta[[0, 1 + column]] = 0.0
        y = y - design @ beta
    order = np.argsort(x, kind="stable")
    return Stretch(rows[order], x[order], y[order], weights[order])


def divide(whole: Stretch, experts: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return responsibilities (rows in their order, experts) of a segmentation drawn at random, or None.

    First drawn is how many lines the segments hold, one or two each, by the least cost of every such arrangement;
    then a segmentation among those so arranged, with probability ``exp(-cost / 2T)`` at a temperature drawn as well.
    The cost is -2 log likelihood of normal lines.
    """
    few = whole.thinned(rng)
    edges = _edges(few.x, experts, rng)
    if edges is None:
        return None
    floor, temperature = (float(np.exp(rng.uniform(*np.log(between)))) for between in (_VARIANCE_FLOOR, _TEMPERATURE))
    costs = _costs(few, edges, floor)
    arrangements = [(a, least) for a in _arrangements(experts) if np.isfinite(least := _least(costs, a))]
    if not arrangements:
        return None
    chances = _chances(np.array([least for _, least in arrangements]), _ARRANGING)
    arrangement = arrangements[int(rng.choice(len(arrangements), p=chances))][0]
    cuts = _drawn(costs, arrangement, temperature, rng)
    # the cut points of a few rows, as places among all of them
    inner = np.searchsorted(whole.x, few.x[edges[cuts[1:-1]]])
    places = np.concatenate([[0], inner, [len(whole.x)]])
    return _shares(whole, places, arrangement, floor)


def _edges(x: np.ndarray, experts: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return some places where a segment may begin, between distinct values of x; None where there are too few."""
    places = np.flatnonzero(np.diff(x) > 0) + 1
    places = places[(places >= _FEWEST) & (places <= len(x) - _FEWEST)]
    if len(x) < _FEWEST * experts or not len(places):
        return None
    number = min(int(np.clip(_CUTS_EACH * experts, *_CUTS)), len(places))
    chosen = np.sort(rng.choice(places, number, replace=False))
    return np.concatenate([[0], chosen, [len(x)]])


def _costs(stretch: Stretch, edges: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of one line and of two on every segment, two upper triangular (edges, edges) arrays."""
    begin, end = np.triu_indices(len(edges), 1)
    long_enough = edges[end] - edges[begin] >= _FEWEST
    begin, end = begin[long_enough], end[long_enough]
    one, two = np.full((2, len(edges), len(edges)), np.inf)
    one[begin, end], two[begin, end], _ = _lines(stretch, edges[begin], edges[end], floor)
    return one, two


def _lines(
    stretch: Stretch, begin: np.ndarray, end: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the costs of one line and of two on segments, and what rows of each belong to the first of two.

    Two lines begin above and below the one line, near and far from it, and crossing it; the best is kept.
    """
    lengths = end - begin
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows = np.arange(lengths.sum()) - np.repeat(first - begin, lengths)
    of = np.repeat(np.arange(len(lengths)), lengths)
    x, y, weights = stretch.x[rows], stretch.y[rows], stretch.weights[rows]

    def summed(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, first, axis=-1)

    def line(share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mass, variance (segments) and residuals (rows) of the line through a share of every row."""
        mass = share * weights
        total = summed(mass) + 1e-9
        mean_x, mean_y, xx, xy = (summed(mass * each) / total for each in (x, y, x * x, x * y))
        slope = (xy - mean_x * mean_y) / (np.maximum(xx - mean_x**2, 0.0) + _SLOPE_RIDGE)
        residual = y - (mean_y - slope * mean_x)[..., of] - slope[..., of] * x
        return total, summed(mass * residual**2) / total + floor, residual

    total, variance, residual = line(np.ones(len(x)))
    middle = summed(weights * x) / total
    above, near = residual > 0, residual**2 < _NEAR * variance[of]
    share = np.where(np.stack([above, near, above ^ (x > middle[of])]), 0.9, 0.1)
    log_density = np.zeros_like(share)
    for _ in range(_STEPS):
        logs = []
        for part in (share, 1.0 - share):
            mine, own, apart = line(part)
            logs.append((np.log(mine / total) - 0.5 * np.log(own))[..., of] - 0.5 * apart**2 / own[..., of])
        log_density = np.logaddexp(*logs)
        share = np.exp(logs[0] - log_density)
    held = summed(np.stack([share, 1.0 - share]) * weights).min(axis=0)
    two = np.where(held > _FEWEST, -2.0 * summed(weights * log_density), np.inf)
    shares = np.split(share[two.argmin(axis=0)[of], np.arange(len(of))], first[1:])
    return total * (np.log(variance) + 1.0 - floor / variance), two.min(axis=0), shares


def _arrangements(experts: int) -> list[tuple[int, ...]]:
    """Return in how many ways segments of one line and at most two of two lines hold all experts.

    Examples
    --------
    >>> _arrangements(3)
    [(1, 1, 1), (2, 1), (1, 2)]
    """
    return [
        tuple(2 if segment in doubled else 1 for segment in range(experts - doubles))
        for doubles in range(min(_DOUBLES, experts // 2) + 1)
        for doubled in combinations(range(experts - doubles), doubles)
    ]


def _least(costs: tuple[np.ndarray, np.ndarray], arrangement: tuple[int, ...]) -> float:
    """Return the least cost of a segmentation so arranged."""
    best = costs[arrangement[0] - 1][0]
    for lines in arrangement[1:]:
        best = np.min(best[:, None] + costs[lines - 1], axis=0)
    return float(best[-1])


def _drawn(
    costs: tuple[np.ndarray, np.ndarray], arrangement: tuple[int, ...], temperature: float, rng: np.random.Generator
) -> np.ndarray:
    """Return edges of a segmentation drawn by forward filtering and backward sampling."""
    steps = [-costs[lines - 1] / (2.0 * temperature) for lines in arrangement]
    forward = [steps[0][0]]
    for step in steps[1:]:
        forward.append(np.logaddexp.reduce(forward[-1][:, None] + step, axis=0))
    cuts = [len(steps[0]) - 1]
    for before, step in zip(forward[-2::-1], steps[:0:-1], strict=True):
        cuts.append(int(rng.choice(len(step), p=_chances(-before - step[:, cuts[-1]], 0.5))))
    return np.array([0, *cuts[::-1]])


def _chances(costs: np.ndarray, temperature: float) -> np.ndarray:
    chances = np.exp(-(costs - costs.min()) / (2.0 * temperature))
    return np.asarray(chances / chances.sum())


def _shares(whole: Stretch, places: np.ndarray, arrangement: tuple[int, ...], floor: float) -> np.ndarray:
    """Return responsibilities of lines fitted to segments of all rows."""
    _, _, shares = _lines(whole, places[:-1], places[1:], floor)
    out = np.full((len(whole.rows), sum(arrangement)), _LEAK)
    expert = 0
    for begin, end, lines, share in zip(places[:-1], places[1:], arrangement, shares, strict=True):
        out[begin:end, expert] = share if lines == 2 else 1.0
        if lines == 2:
            out[begin:end, expert + 1] = 1.0 - share
        expert += lines
    return np.asarray(out / out.sum(axis=1, keepdims=True))
