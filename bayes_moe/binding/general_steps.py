"""The M-step of experts of any family under any gate: one Newton step each, from sums over the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..gates import BoundGate
from .chunks import Chunk, Group, Mass
from .parameters import Parameters

_LONGEST = 4.0
_LONGEST_LOG = 1.0
_FLATTEST = 1e-8  # share of the largest curvature that a direction has at least


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the rows that the M-step reads; those of several chunks of rows add up.

    Parameters
    ----------
    sizes
        (K,) sums of responsibilities.
    scores
        (R, P) gradient of the expected log density in the coefficients.
    bends
        Per expert (m P, m P): its Hessian in the coefficients of its m linear predictors.
    gate
        (G W, G W): Hessian of the expected log weights in the gate's coefficients, on its own W columns.
    """

    sizes: np.ndarray
    scores: np.ndarray
    bends: tuple[np.ndarray, ...]
    gate: np.ndarray

    @classmethod
    def empty(cls, parameters: Parameters, groups: Sequence[Group]) -> Sums:
        """Return sums over no rows."""
        width = parameters.width
        slots = np.zeros(parameters.experts, dtype=int)
        for group in groups:
            slots[group.experts] = len(group.rows)
        side = parameters.gate.predictors * len(parameters.gate_positions) if parameters.gate.free else 0
        return cls(
            np.zeros(parameters.experts),
            np.zeros((parameters.rows, width)),
            tuple(np.zeros((slot * width, slot * width)) for slot in slots),
            np.zeros((side, side)),
        )

    def add(self, chunk: Chunk, mass: Mass, pulled: np.ndarray, gate: BoundGate, groups: Sequence[Group]) -> None:
        """Add a chunk of rows with what its terms count and the gradient (n, R) they give."""
        table, width = chunk.table, chunk.table.shape[1]
        self.sizes[:] += mass.experts.sum(axis=0)
        self.scores[:] += pulled.T @ table
        for group, bends in zip(groups, chunk.bends, strict=True):
            if bends is None:
                continue
            for i, expert in enumerate(group.experts):
                own = mass.experts[:, expert]
                for a in range(len(bends)):
                    for b in range(a, len(bends)):
                        weight = own * np.where(own > 0, bends[a, b, :, i], 0.0)
                        square = (table * weight[:, None]).T @ table
                        self.bends[expert][a * width : (a + 1) * width, b * width : (b + 1) * width] += square
                        if b > a:
                            self.bends[expert][b * width : (b + 1) * width, a * width : (a + 1) * width] += square
        if len(self.gate):
            self._add_gate(chunk, mass.gate, gate)

    def _add_gate(self, chunk: Chunk, mass: np.ndarray, gate: BoundGate) -> None:
        columns = chunk.gate_table
        bend = gate.bend(chunk.eta[:, : gate.predictors], mass)
        w = columns.shape[1]
        for a in range(gate.predictors):
            for b in range(a, gate.predictors):
                square = (columns * bend[:, a, b, None]).T @ columns
                self.gate[a * w : (a + 1) * w, b * w : (b + 1) * w] += square
                if b > a:
                    self.gate[b * w : (b + 1) * w, a * w : (a + 1) * w] += square


def maximise(parameters: Parameters, q: np.ndarray, sums: Sums, *, damping: float) -> np.ndarray:
    """Return q moved by a damped Newton step of every expert's and the gate's own part of the objective."""
    out = q.copy()
    if damping > 0:
        precision = parameters.prior_scale**-2.0
        slope = parameters.pull_back(q, sums.scores) - precision * (q - parameters.prior_loc)
        bent = parameters.curvature(q, sums.scores) if parameters.scaled else None
        for island in parameters.islands:
            places = island.places
            curvature = np.diag(precision[places])
            if bent is not None:
                curvature -= bent[np.ix_(places, places)]
            for expert, matrix in parameters.maps(island, q):
                curvature -= matrix.T @ sums.bends[expert] @ matrix
            out[places] += damping * _shortened(parameters, places, _ascent(curvature, slope[places]))
        if parameters.gate_start < parameters.size:
            out[parameters.gate_start :] += damping * _gate_step(parameters, q, sums)
    return settle(parameters, out)


def settle(parameters: Parameters, q: np.ndarray) -> np.ndarray:
    """Return q with the gate's values of highest prior among those with the same coefficients."""
    out = q.copy()
    out[parameters.gate_start :] = parameters.gate.settle(q[parameters.gate_start :])
    return out


def _ascent(curvature: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Solve for the Newton step; where the objective bends upwards, bend it down by as much."""
    try:
        np.linalg.cholesky(curvature)
        return np.asarray(np.linalg.solve(curvature, slope))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(curvature)
        size = np.abs(values)
        size = np.maximum(size, _FLATTEST * size.max(initial=1e-300))
        return np.asarray(vectors @ ((vectors.T @ slope) / size))


def _shortened(parameters: Parameters, places: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the step, shorter where it would move coefficients further than a quadratic can be trusted."""
    reach = _LONGEST * np.maximum(1.0, parameters.prior_scale[places])
    reach[np.isin(places, parameters.hyper)] = _LONGEST_LOG  # what they multiply moves as well
    longest = float(np.max(np.abs(step) / reach, initial=0.0))
    return step / max(longest, 1.0)


def _gate_step(parameters: Parameters, q: np.ndarray, sums: Sums) -> np.ndarray:
    """Return the Newton step of the gate's values, its scale at rest."""
    gate, inner = parameters.gate, q[parameters.gate_start :]
    side = gate.predictors * len(parameters.gate_positions)
    moved = gate.moved(len(inner))
    jacobian = gate.jacobian(inner).reshape(side, -1)[:, :moved]
    matrix = np.eye(moved) - jacobian.T @ sums.gate @ jacobian
    score = sums.scores[: gate.predictors, parameters.gate_positions].ravel()
    step = np.linalg.solve(matrix, jacobian.T @ score - inner[:moved])
    now = np.abs(gate.jacobian(inner).reshape(side, -1)[:, :moved] @ inner[:moved]).max(initial=0.0)
    longest = float(np.abs(jacobian @ step).max(initial=0.0)) / max(_LONGEST, 2.0 * float(now))
    out = np.zeros(len(inner))
    out[:moved] = step / max(longest, 1.0)
    return out
