"""What only a point fit has: its mode, and the information criteria there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding.bind import Bound
from ..errors import NotFittedError
from ..inference.outcome import Outcome


def point_of(outcome: Outcome, engine: Any, asked: str) -> np.ndarray:
    """Return the mode of a point fit.

    Raises
    ------
    NotFittedError
        For draws, in the name of what was asked for.
    """
    if outcome.posterior is not None:
        raise NotFittedError(
            f"{asked}: expected a fit at a mode, got coefficients with posteriors from {type(engine).__name__} → its "
            "evidence lower bound is fit.outcome.facts['elbo']; compare log densities of held-out rows"
        )
    if not outcome.point or outcome.mode is None:
        raise NotFittedError(
            f"{asked}: expected a point fit, got draws from {type(engine).__name__} → use engine=bm.EM(), or "
            "fit.loo() for a posterior"
        )
    return outcome.mode


def named_point(bound: Bound, outcome: Outcome, engine: Any) -> dict[str, np.ndarray]:
    """Return the mode, or means of coefficients with points for the rest, by value variable.

    Raises
    ------
    NotFittedError
        Where there is neither.
    """
    mode = outcome.mode if outcome.posterior is None else outcome.draws[0, 0]
    if mode is None:
        raise NotFittedError(f"point: expected a fit that knows its mode, got one by {engine!r} → use bm.EM()")
    network = {} if bound.features is None else bound.features.named()
    return network | bound.parameters.named(mode)


def log_posterior(bound: Bound, outcome: Outcome, engine: Any) -> float:
    """Return log likelihood plus log prior of all free variables, those of a network among them."""
    network = 0.0 if bound.features is None else bound.features.log_prior()
    return bound.density.logp(point_of(outcome, engine, "log_posterior")) + network


def bic(bound: Bound, outcome: Outcome, engine: Any, asked: str = "bic") -> float:
    """Return ``-2 log likelihood + d log n``."""
    likelihood = bound.density.log_likelihood(_mode_of(bound, outcome, engine, asked))
    rows = float(bound.data.weights.sum())
    return float(-2.0 * likelihood + likelihood_parameters(bound) * np.log(rows))


def icl(bound: Bound, outcome: Outcome, engine: Any) -> float:
    """Return BIC plus twice the entropy of the labels."""
    mode = _mode_of(bound, outcome, engine, "icl")
    return bic(bound, outcome, engine) + 2.0 * label_entropy(bound, mode)


def _mode_of(bound: Bound, outcome: Outcome, engine: Any, asked: str) -> np.ndarray:
    if bound.features is not None:
        raise NotFittedError(
            f"{asked}: expected a fit at a mode, got a network whose training was stopped early → compare log "
            "densities of held-out rows, fit.log_density(X, y)"
        )
    return point_of(outcome, engine, asked)


def likelihood_parameters(bound: Bound) -> int:
    """Return the number of coefficients the likelihood sees: experts' and gate's, not the gate's prior scale.

    Columns of one predictor that depend on each other count as many as are independent.
    """
    parameters = bound.parameters
    return parameters.gate_start + parameters.gate.count - bound.redundant


def label_entropy(bound: Bound, q: np.ndarray) -> float:
    """Return the entropy of the labels at q, in nats: of the rows by their weights, or of the groups."""
    r, counts = bound.density.responsibilities(q), bound.density.weights
    if bound.members is not None:
        r, counts = r[bound.members.starts], bound.members.counts
    logs = np.log(np.where(r > 0, r, 1.0))
    return float(-np.sum(counts[:, None] * r * logs))
