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
        Per block of b linear predictors of the gate (b W, b W): Hessian of the expected log weights in their
        coefficients, on the gate's own W columns.
    gate_sizes
        (K,) sums of responsibilities as the gate counts them: a group with one label once.
    """

    sizes: np.ndarray
    scores: np.ndarray
    bends: tuple[np.ndarray, ...]
    gate: tuple[np.ndarray, ...]
    gate_sizes: np.ndarray

    @classmethod
    def empty(cls, parameters: Parameters, groups: Sequence[Group]) -> Sums:
        """Return sums over no rows."""
        width = parameters.width
        slots = np.zeros(parameters.experts, dtype=int)
        for group in groups:
            slots[group.experts] = len(group.rows)
        gate = parameters.gate
        sides = [len(block.rows) * len(parameters.gate_positions) for block in gate.blocks] if gate.free else []
        return cls(
            np.zeros(parameters.experts),
            np.zeros((parameters.rows, width)),
            tuple(np.zeros((slot * width, slot * width)) for slot in slots),
            tuple(np.zeros((side, side)) for side in sides),
            np.zeros(parameters.experts),
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
        self.gate_sizes[:] += mass.gate.sum(axis=0)
        if self.gate:
            eta = chunk.eta[:, : gate.predictors]
            for sums, square in zip(self.gate, gate_bends(gate, chunk.gate_table, eta, mass.gate), strict=True):
                sums += square


def maximise(parameters: Parameters, q: np.ndarray, sums: Sums, *, damping: float) -> np.ndarray:
    """Return q moved by a damped Newton step of every expert's and the gate's own part of the objective."""
    out = q.copy()
    best = parameters.gate.closed_form(sums.gate_sizes, sums.gate)
    if best is not None:
        out[parameters.gate_start :] = best
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
        if best is None and parameters.gate_start < parameters.size:
            scores = sums.scores[: parameters.gate_rows, parameters.gate_positions]
            inner = q[parameters.gate_start :]
            out[parameters.gate_start :] += damping * gate_step(parameters.gate, inner, scores, sums.gate)
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


def gate_bends(gate: BoundGate, columns: np.ndarray, eta: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
    """Return, block by block, the Hessian (b W, b W) of the expected log weights in the gate's coefficients.

    ``columns`` (n, W) are the gate's, ``eta`` (n, G) its linear predictors, ``mass`` (n, K) weighted responsibilities.
    """
    out, w = [], columns.shape[1]
    for bend in gate.bends(eta, mass):
        size = bend.shape[1]
        sums = np.empty((size * w, size * w))
        for a in range(size):
            for b in range(a, size):
                square = (columns * bend[:, a, b, None]).T @ columns
                sums[a * w : (a + 1) * w, b * w : (b + 1) * w] = square
                sums[b * w : (b + 1) * w, a * w : (a + 1) * w] = square
        out.append(sums)
    return out


def gate_step(gate: BoundGate, inner: np.ndarray, scores: np.ndarray, bends: Sequence[np.ndarray]) -> np.ndarray:
    """Return the Newton step of the gate's values, block by block, its scale at rest.

    ``scores`` (G, W) is the gradient of the expected log weights in the gate's coefficients, ``bends`` its Hessian.
    """
    jacobian = gate.jacobian(inner)
    out = np.zeros(len(inner))
    for block, bend in zip(gate.blocks, bends, strict=True):
        own, values = jacobian[block.rows][:, :, block.values].reshape(len(bend), -1), inner[block.values]
        matrix = np.eye(len(values)) - own.T @ bend @ own
        step = np.linalg.solve(matrix, own.T @ scores[block.rows].ravel() - values)
        now = np.abs(own @ values).max(initial=0.0)
        longest = float(np.abs(own @ step).max(initial=0.0)) / max(_LONGEST, 2.0 * float(now))
        out[block.values] = step / max(longest, 1.0)
    return out
