"""Moves away from an optimum: split and merge, grafts, boundaries drawn anew, annealing.

EM ends at the nearest optimum; a move leaves it in one respect and keeps the rest, so that what was found already is
not searched for again. All return responsibilities (rows, K), from which a short run of EM goes on.

References
----------
Ueda et al. (2000), split and merge EM; Ueda and Nakano (1998), deterministic annealing EM.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..log_density import Latent, Scene
from .grafts import graft_onto
from .segmentation import along, divide
from .starts import CERTAIN, PORTFOLIO, from_labels

_LOG_TEMPERATURE = (-1.0, 3.5)

Move = Callable[[Latent, np.ndarray, np.random.Generator], np.ndarray]


def split_and_merge(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert is split, another's rows go to the others."""
    expert, into = rng.choice(density.experts, 2, replace=False)
    return split(density.responsibilities(q), density.scene(), int(expert), int(into), rng)


def graft(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert moves to rows that a line of its own would explain better."""
    return graft_onto(density.responsibilities(q), density.scene(), int(rng.integers(density.experts)), rng)


def shift(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert hands rows over to another."""
    return hand_over(density.responsibilities(q), density.scene(), rng)


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
    return redivided(responsibilities, scene, column, ((chosen, chosen),), rng)


def transfer(density: Latent, q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Neighbours along a covariate divide their rows among one expert more, other neighbours among one less."""
    scene, experts = density.scene(), density.experts
    if scene.features.shape[1] == 0 or experts < 3:
        return divide_again(density, q, rng)
    responsibilities, column = density.responsibilities(q), int(rng.integers(scene.features.shape[1]))
    order = _neighbours(responsibilities, scene, column)
    losing = int(rng.integers(2, min(3, experts - 1) + 1))
    gaining = int(rng.integers(1, min(2, experts - losing) + 1))
    # one window before the other, with room before, between and after them
    sizes = (gaining, losing) if rng.random() < 0.5 else (losing, gaining)
    skip, more = np.sort(rng.integers(experts - losing - gaining + 1, size=2))
    windows = order[skip : skip + sizes[0]], order[more + sizes[0] : more + sum(sizes)]
    givers, takers = windows if sizes[0] == losing else windows[::-1]
    moved = int(rng.integers(losing))
    divisions = ((takers, np.append(takers, givers[moved])), (givers, np.delete(givers, moved)))
    return redivided(responsibilities, scene, column, divisions, rng)


MOVES: tuple[Move, ...] = (
    *(divide_again, graft, shift, divide_again, transfer, divide_again),
    *(divide_again, graft, shift, divide_again, split_and_merge, divide_again),
    *(divide_again, graft, shift, divide_again, anneal, restart),
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


def hand_over(responsibilities: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return hard labels where one expert hands the rows nearest to another expert over to it.

    Where gates are steps, EM cannot move a boundary past a row; this can.
    """
    labels = np.argmax(responsibilities, axis=1)
    giver, taker = rng.choice(responsibilities.shape[1], 2, replace=False)
    rows, others = np.flatnonzero(labels == giver), np.flatnonzero(labels == taker)
    if len(rows) > 3 and len(others):
        towards = scene.features[others].mean(axis=0) - scene.features[rows].mean(axis=0)
        order = np.argsort(-scene.features[rows] @ towards, kind="stable")
        labels[rows[order[: int(rng.integers(1, len(rows) // 2 + 1))]]] = taker
    return from_labels(labels, responsibilities.shape[1], belief=CERTAIN)


def redivided(
    responsibilities: np.ndarray,
    scene: Scene,
    column: int,
    divisions: tuple[tuple[np.ndarray, np.ndarray], ...],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return responsibilities where the rows of some experts are divided anew along a column.

    ``divisions`` are pairs: whose rows, and among whom. Where rows are too few to divide, nothing changes.
    """
    labels = np.argmax(responsibilities, axis=1)
    out = responsibilities.copy()
    for owners, experts in divisions:
        rows = np.flatnonzero(np.isin(labels, owners))
        stretch = along(scene, rows, column)
        divided = divide(stretch, len(experts), rng)
        if divided is None:
            return responsibilities
        out[rows] = 0.0
        out[np.ix_(stretch.rows, experts)] = divided
    return out


def _neighbours(responsibilities: np.ndarray, scene: Scene, column: int) -> np.ndarray:
    """Return the experts in the order of their rows along a column."""
    mass = responsibilities * scene.weights[:, None]
    return np.argsort(mass.T @ scene.features[:, column] / (mass.sum(axis=0) + 1e-9), kind="stable")
