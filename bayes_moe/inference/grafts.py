"""Grafts: an expert moves to rows that a line of its own would explain better than the others do."""

from __future__ import annotations

import numpy as np

from ..log_density import Scene
from .starts import probabilities, ridge

_GRAFTS, _GRAFT_CELLS, _GRAFTS_KEPT = (10, 100), 2e5, 50  # lines tried at once; rows of all of them
_GRAFT_STEPS, _UNLIKE = 3, 0.25
_NARROWEST = (0.01, 0.3)  # least sigma of a graft, in sd of y: collapsed ones would win
_ELSEWHERE = -5.0  # log of a graft's prior weight outside its neighbourhood


def graft_onto(responsibilities: np.ndarray, scene: Scene, into: int, rng: np.random.Generator) -> np.ndarray:
    """Return responsibilities where ``into`` moves to rows that a line of its own would explain better.

    Its old rows go to the other experts. Of many random local lines, each improved by EM beside the other experts,
    the distinct ones that would raise the log likelihood most are kept, and a random one of them is taken: their
    order says little of where EM ends.
    """
    near, rows = _neighbourhoods(responsibilities, scene, rng)
    low, high = np.log(_NARROWEST)
    floor = rng.uniform(float(low), float(high), len(near))
    out = responsibilities.copy()
    out[:, into] = 1e-9
    out /= out.sum(axis=1, keepdims=True)
    gain, share = _grown(scene, _own_log_density(out, scene), near, rows, floor)
    kept = _unlike(gain, share)
    if not kept:
        return responsibilities
    chosen = share[kept[int(rng.integers(len(kept)))]][:, None]
    out *= 1.0 - chosen
    out[:, into] += chosen[:, 0]
    return out


def _unlike(gain: np.ndarray, share: np.ndarray) -> list[int]:
    """Return the grafts of highest gain that differ in a good part of their rows."""
    kept: list[int] = []
    sizes = share.sum(axis=1)
    for one in np.argsort(-gain, kind="stable"):
        if not np.isfinite(gain[one]) or len(kept) == _GRAFTS_KEPT:
            break
        apart = np.abs(share[kept] - share[one]).sum(axis=1)
        if np.all(apart > _UNLIKE * np.minimum(sizes[kept], sizes[one])):
            kept.append(int(one))
    return kept


def _neighbourhoods(
    responsibilities: np.ndarray, scene: Scene, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return random neighbourhoods in the covariates and a few rows of one expert in each, (grafts, n) masks."""
    n, p = scene.features.shape
    count = int(np.clip(_GRAFT_CELLS / n, *_GRAFTS))
    centres = rng.choice(n, count, p=probabilities(scene.weights))
    parents = np.argmax(responsibilities[centres].cumsum(axis=1) > rng.random((count, 1)), axis=1)
    squares = np.sum(scene.features**2, axis=1)
    distance = squares - 2.0 * scene.features[centres] @ scene.features.T + 1e-9 * rng.random((count, n))
    smallest, largest = min(n, p + 4), min(n, max(p + 5, int(0.6 * n)))
    sizes = np.exp(rng.uniform(np.log(smallest), np.log(largest), count)).astype(int)
    turns = np.arange(count)
    near = distance <= np.sort(distance, axis=1)[turns, sizes - 1][:, None]
    keys = near * rng.random((count, n)) * (responsibilities[:, parents].T + 0.02)
    few = np.minimum(sizes, p + 1 + rng.geometric(0.5, count))
    return near, keys >= -np.sort(-keys, axis=1)[turns, few - 1][:, None]


def _own_log_density(responsibilities: np.ndarray, scene: Scene) -> np.ndarray:
    """Return the log density of every row under its own expert, refitted with normal errors."""
    n = len(scene.target)
    design = np.column_stack([np.ones(n), scene.features])
    out = np.zeros(n)
    for share in responsibilities.T:
        mine = share * scene.weights
        square = (scene.target - design @ ridge(design, scene.target, mine)) ** 2
        variance = mine @ square / (mine.sum() + 1e-9) + 1e-6
        out -= 0.5 * share * (np.log(variance) + square / variance)
    return out


def _grown(
    scene: Scene, own: np.ndarray, near: np.ndarray, rows: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each line beside the mixture gains after a few EM steps, and its responsibilities (grafts, n)."""
    n, p = scene.features.shape
    design = np.column_stack([np.ones(n), scene.features])
    local = np.where(near, 0.0, _ELSEWHERE)
    share, weight = rows * scene.weights, np.full(len(near), 0.4)
    gain = np.zeros(len(near))
    for turn in range(_GRAFT_STEPS + 1):
        beta = np.array([ridge(design, scene.target, mine) for mine in share])
        square = (scene.target - beta @ design.T) ** 2
        if turn:
            variance = np.sum(share * square, axis=1) / (share.sum(axis=1) + 1e-9)
            weight = np.clip(np.sum(share * near, axis=1) / near.sum(axis=1), 0.02, 0.98)
        else:
            # a line passes through its few rows: a third of the neighbourhood tells its width
            third = np.maximum(rows.sum(axis=1), near.sum(axis=1) // 3) - 1
            variance = np.sort(np.where(near, square, np.inf), axis=1)[np.arange(len(near)), third]
        log_sigma = np.maximum(0.5 * np.log(variance + 1e-12), floor)[:, None]
        prior = np.log(weight)[:, None] + local
        rest = own + np.log1p(-np.exp(prior))
        ahead = np.clip(prior - log_sigma - 0.5 * square * np.exp(-2.0 * log_sigma) - rest, -500.0, 500.0)
        share = scene.weights / (1.0 + np.exp(-ahead))
        gain = np.sum(scene.weights * (rest + np.log1p(np.exp(ahead)) - own), axis=1)
    gain[share.sum(axis=1) < p + 3] = -np.inf
    return gain, np.where(scene.weights > 0, 1.0 / (1.0 + np.exp(-ahead)), 0.0)
