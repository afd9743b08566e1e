"""The optima that a search found: where each came from, how far it is a maximum, and which of its experts are vain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..binding.bind import Bound
from ..errors import NotFittedError, Notice
from ..inference.outcome import Optimum, Outcome
from .draws import Draws
from .mixtures import MixtureDraws, outcomes, pieces

_ROWS = 2000  # rows that two experts are compared on
_ALIKE = 0.01  # nats a row


def optima_rows(bound: Bound, outcome: Outcome) -> list[dict[str, object]]:
    """Return what `Fit.optima` shows of every optimum.

    Raises
    ------
    NotFittedError
        If no search for optima was part of the fit.
    """
    if outcome.posterior is not None:
        raise NotFittedError(
            "optima: expected a fit at or around a mode, got coefficients with posteriors → fit.idata['fit'] has the "
            "bounds that the starts reached"
        )
    if not outcome.optima:
        raise NotFittedError(
            "optima: expected a fit at or around a mode, got a network whose training was stopped early → fit its "
            "output layer with bm.EM(), starting from this fit"
        )
    best, runs = outcome.optima[0], sum(optimum.hits for optimum in outcome.optima)
    return [_row(bound, optimum, best.log_posterior, runs) for optimum in outcome.optima]


def _row(bound: Bound, optimum: Optimum, best: float, runs: int) -> dict[str, object]:
    return {
        "log_posterior": optimum.log_posterior,
        "gap": best - optimum.log_posterior,
        "hits": optimum.hits,
        "share": optimum.hits / runs,
        "recipe": optimum.recipe,
        "iterations": optimum.iterations,
        "gradient_norm": float(np.abs(bound.density.gradient(optimum.q)).max(initial=0.0)),
        "decrement": optimum.decrement,
        "smallest_eigenvalue": optimum.smallest_eigenvalue,
        "collapsed": len(optimum.collapsed),
        "duplicates": sum(len(alike) - 1 for alike in duplicates(bound, optimum.q)),
    }


def duplicates(bound: Bound, q: np.ndarray) -> list[tuple[int, ...]]:
    """Return groups of experts that have the same density wherever one of them holds rows.

    Two experts are alike where ``Σ_i w_i (r_ij + r_ik) |log f_j(y_i) - log f_k(y_i)|`` is below 0.01 nats for each
    row they hold; whatever their gates do, one of the two would explain y as well.
    """
    experts = bound.parameters.experts
    if experts == 1:
        return []
    rows = np.arange(len(bound.data.y))[:: max(1, len(bound.data.y) // _ROWS)]
    identity = np.arange(experts)[None, :]
    mixture = Draws(bound, q[None, None, :], identity).mixture(np.asarray(bound.data.table.values)[rows])
    densities, shares = _by_expert(mixture, bound.data.y[rows])
    apart = np.zeros((experts, experts))
    with np.errstate(invalid="ignore"):
        for one in range(experts):
            held = (shares[:, [one]] + shares) * bound.data.weights[rows, None]
            differences = np.where(held > 0, np.abs(densities[:, [one]] - densities), 0.0)
            apart[one] = np.sum(held * differences, axis=0) / (held.sum(axis=0) + 1e-300)
    alike = apart < _ALIKE
    groups = dict.fromkeys(tuple(int(k) for k in np.flatnonzero(row)) for row in alike)
    return [group for group in groups if len(group) > 1]


@np.errstate(all="ignore")
def _by_expert(m: MixtureDraws, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log densities and responsibilities of the rows under one draw, both (n, K)."""
    values, densities, joint = outcomes(m, y), np.empty((m.rows, m.experts)), np.empty((m.rows, m.experts))
    for piece in pieces(m):
        densities[piece.rows] = m.family.log_density(values[piece.rows, None], **piece.parameters)[0]
        joint[piece.rows] = piece.log_gate[0] + densities[piece.rows]
    shares = np.exp(joint - joint.max(axis=1, keepdims=True))
    return densities, np.nan_to_num(shares / shares.sum(axis=1, keepdims=True))


def duplicate_notices(bound: Bound, outcome: Outcome) -> Iterator[Notice]:
    """Find experts of the best optimum that repeat one another."""
    if not outcome.optima or outcome.mode is None:
        return
    for alike in duplicates(bound, outcome.mode):
        yield Notice(
            "duplicate_experts",
            f"Experts {list(alike)} have the same density where they hold rows: use fewer experts.",
        )
