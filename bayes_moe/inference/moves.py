"""Moves away from an optimum: split and merge, grafts, boundaries drawn anew, annealing.

EM ends at the nearest optimum; a move leaves it in one respect and keeps the rest, so that what was found already is
not searched for again. All return responsibilities (rows, K), from which a short run of EM goes on.

References
----------
Ueda et al. (2000), split and merge EM; Ueda and Nakano (1998), deterministic annealing EM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from ..log_density import Latent, Scene
from .grafts import graft_onto
from .segmentation import along, divide
from .starts import CERTAIN, PORTFOLIO, from_labels

_LOG_TEMPERATURE = (-1.0, 3.5)
_SHIFTED, _SHIFTS = (1, 2, 4), 24  # rows that pass a boundary; how many boundaries and numbers are tried at most
_NEARBY, _LEAST_SHARE = 0.5, 5.0  # chance that rows go to a neighbour; then a share down to 2⁻⁵ of them

Move = Callable[[Latent, np.ndarray, np.random.Generator], np.ndarray]


def split_and_merge(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert is split, another's rows go to the others."""
    expert, into = rng.choice(density.experts, 2, replace=False)
    return split(density.responsibilities(q), density.scene(), int(expert), int(into), rng)


def graft(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert moves to rows that a line of its own would explain better."""
    return graft_onto(density.responsibilities(q), density.scene(), int(rng.integers(density.experts)), rng)


def shift(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert hands rows over to another: to a neighbour few more often than many, to any as often few as many."""
    scene, responsibilities = density.scene(), density.responsibilities(q)
    columns = scene.features.shape[1]
    if columns and rng.random() < _NEARBY:
        order = _neighbours(responsibilities, scene, int(rng.integers(columns)))
        place = int(rng.integers(density.experts - 1))
        giver, taker = rng.permutation(order[place : place + 2])
        share = 0.5 ** rng.uniform(1.0, _LEAST_SHARE)
    else:
        giver, taker = rng.choice(density.experts, 2, replace=False)
        share = 0.5 * rng.random()
    return hand_over(responsibilities, scene, int(giver), int(taker), share)


def boundary_shifts(density: Latent, q: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield hard labels where one expert hands one to a few rows over to a neighbour along a covariate."""
    scene, responsibilities = density.scene(), density.responsibilities(q)
    pairs = [
        pair
        for column in range(scene.features.shape[1])
        for one, other in pairwise(_neighbours(responsibilities, scene, column))
        for pair in ((int(one), int(other)), (int(other), int(one)))
    ]
    sizes = responsibilities.sum(axis=0)
    shifts = [(*pair, rows) for pair in dict.fromkeys(pairs) for rows in _SHIFTED]
    for giver, taker, rows in [shifts[each] for each in rng.permutation(len(shifts))[:_SHIFTS]]:
        yield hand_over(responsibilities, scene, giver, taker, rows / max(sizes[giver], 1.0))


def anneal(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All experts at a temperature of their own choice, above 1 or below."""
    return density.responsibilities(q, temperature=float(np.exp(rng.uniform(*_LOG_TEMPERATURE))))


def restart(density: Latent, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return to any start."""
    return PORTFOLIO[int(rng.integers(len(PORTFOLIO)))](density.scene(), density.experts, rng)


def divide_again(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three or more neighbours along a covariate divide their rows anew."""
    scene, experts = density.scene(), density.experts
    if scene.features.shape[1] == 0:
        return restart(density, q, rng)
    responsibilities, column = density.responsibilities(q), int(rng.integers(scene.features.shape[1]))
    size = int(rng.integers(min(3, experts), experts + 1))
    first = int(rng.integers(experts - size + 1))
    chosen = _neighbours(responsibilities, scene, column)[first : first + size]
    return redivided(responsibilities, scene, column, chosen, rng)


MOVES: tuple[Move, ...] = (
    *(divide_again, graft, shift, divide_again, graft, split_and_merge),
    *(divide_again, graft, shift, divide_again, graft, anneal),
    *(divide_again, graft, shift, divide_again, shift, restart),
)
"""Moves in the order in which rounds take them."""


def split(responsibilities: np.ndarray, scene: Scene, expert: int, into: int, rng: np.random.Generator) -> np.ndarray:
    """Return responsibilities where ``expert`` gives half of its rows to ``into``, whose rows go to the others.

    The rows are parted along a random direction of covariates and target.
    """
    out = responsibilities.copy()
    others = [k for k in range(out.shape[1]) if k != into]
    out[:, others] += out[:, [into]] / len(others)
    joint = np.column_stack([scene.features, scene.target])
    score = joint @ rng.standard_normal(joint.shape[1])
    mass = out[:, expert] * scene.weights
    order = np.argsort(score, kind="stable")
    half = np.searchsorted(np.cumsum(mass[order]), 0.5 * mass.sum())
    upper = np.zeros(len(score), dtype=bool)
    upper[order[half:]] = True
    out[:, into] = np.where(upper, out[:, expert], 0.0)
    out[:, expert] = np.where(upper, 0.0, out[:, expert])
    return np.asarray(0.98 * out + 0.02 / out.shape[1])


def hand_over(responsibilities: np.ndarray, scene: Scene, giver: int, taker: int, share: float) -> np.ndarray:
    """Return hard labels where ``giver`` hands a share of its rows, at least one, over to ``taker``: the nearest ones.

    Where gates are steps, EM cannot move a boundary past a row; this can.
    """
    labels = np.argmax(responsibilities, axis=1)
    rows, others = np.flatnonzero(labels == giver), np.flatnonzero(labels == taker)
    if len(rows) > 3 and len(others):
        towards = scene.features[others].mean(axis=0) - scene.features[rows].mean(axis=0)
        order = np.argsort(-scene.features[rows] @ towards, kind="stable")
        labels[rows[order[: max(1, round(share * len(rows)))]]] = taker
    return from_labels(labels, responsibilities.shape[1], belief=CERTAIN)


def redivided(
    responsibilities: np.ndarray, scene: Scene, column: int, experts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return responsibilities where some experts divide their rows anew along a column, if there are rows enough."""
    rows = np.flatnonzero(np.isin(np.argmax(responsibilities, axis=1), experts))
    if not len(rows):
        return responsibilities
    stretch = along(scene, rows, column)
    divided = divide(stretch, len(experts), rng)
    if divided is None:
        return responsibilities
    out = responsibilities.copy()
    out[rows] = 0.0
    out[np.ix_(stretch.rows, experts)] = divided
    return out


def _neighbours(responsibilities: np.ndarray, scene: Scene, column: int) -> np.ndarray:
    """Return the experts in the order of their rows along a column."""
    mass = responsibilities * scene.weights[:, None]
    return np.argsort(mass.T @ scene.features[:, column] / (mass.sum(axis=0) + 1e-9), kind="stable")
