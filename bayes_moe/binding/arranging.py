"""Labels without an order, put into one that suits the gate."""

from __future__ import annotations

import numpy as np

from .general_steps import gate_bends, gate_step
from .members import Members
from .parameters import Parameters

_ROUNDS = 5


def arranged(
    parameters: Parameters,
    table: np.ndarray,
    weights: np.ndarray,
    members: Members | None,
    responsibilities: np.ndarray,
) -> np.ndarray:
    """Return the responsibilities (n, K) with their columns in the order that the gate fits best.

    Under gates that do not tell equal experts apart they come back as they are.
    """
    columns = table[:, parameters.gate_positions]
    counted = weights if members is None else members.once(members.counts)
    mass = responsibilities * counted[:, None]
    found = parameters.gate.orders(columns[:, 1:], mass)
    if not found:
        return responsibilities
    orders = [np.arange(parameters.experts), *found]
    best = max(orders, key=lambda order: _reached(parameters, columns, mass[:, order]))
    return np.asarray(responsibilities[:, best])


def _reached(parameters: Parameters, columns: np.ndarray, mass: np.ndarray) -> float:
    """Return the expected log weights plus log prior after a few of Newton's steps."""
    gate = parameters.gate
    inner, best = np.zeros(parameters.size - parameters.gate_start), -np.inf
    q = np.zeros(parameters.size)
    for _ in range(_ROUNDS):
        q[parameters.gate_start :] = inner
        coefficients = parameters.coefficients(q)[: gate.predictors, parameters.gate_positions]
        eta = columns @ coefficients.T
        best = max(best, float(np.sum(mass * gate.log_weights(eta))) - 0.5 * float(inner @ inner))
        scores = gate.pull(eta, mass).T @ columns
        inner = gate.settle(inner + gate_step(gate, inner, scores, gate_bends(gate, columns, eta, mass)))
    return best
