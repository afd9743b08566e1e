"""The Hessian of the log likelihood in the coefficients, summed over chunks of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..gates import BoundGate
from .chunks import Chunk, Group, Mass, pulled
from .members import GroupedChunk
from .parameters import Parameters


def curvature(
    chunks: Iterable[Chunk], parameters: Parameters, groups: Sequence[Group]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Hessian (A, A) in the active coefficients, and the gradient (R, P) in all of them."""
    rows, columns = parameters.active
    used = np.unique(rows)
    width, gate = parameters.width, parameters.gate
    blocks = np.zeros((len(used), len(used), width, width))
    scores = np.zeros((parameters.rows, width))
    inner = np.zeros((len(rows), len(rows)))
    for chunk in chunks:
        responsibilities = chunk.by_row[1]
        scores += pulled(chunk, chunk.mass(responsibilities), gate, groups).T @ chunk.table
        if isinstance(chunk, GroupedChunk):
            inner += group_curvature(chunk, gate, groups, (rows, columns))
            continue
        bent = row_curvature(chunk, responsibilities, gate, groups)[:, used][:, :, used]
        for a in range(len(used)):
            for b in range(a, len(used)):
                weight = chunk.weights * bent[:, a, b]
                blocks[a, b] += (chunk.table * weight[:, None]).T @ chunk.table
    for a in range(len(used)):
        for b in range(a):
            blocks[a, b] = blocks[b, a].T
    place = np.searchsorted(used, rows)
    inner += blocks[place[:, None], place[None, :], columns[:, None], columns[None, :]]
    return inner, scores


def row_curvature(chunk: Chunk, responsibilities: np.ndarray, gate: BoundGate, groups: Sequence[Group]) -> np.ndarray:
    """Return the Hessian (n, R, R) of every row's log density in its linear predictors.

    With s_k the gradient and H_k the Hessian of log weight plus log density of expert k it is
    ``Σ r_k (H_k + s_k s_k') - (Σ r_k s_k)(Σ r_k s_k)'``.
    """
    n, experts = responsibilities.shape
    size, ahead = chunk.eta.shape[1], gate.predictors
    eta = chunk.eta[:, :ahead]
    single = np.zeros((n, experts, size))
    single[:, :, :ahead] = gate.slopes(eta)
    out = np.zeros((n, size, size))
    out[:, :ahead, :ahead] = gate.bend(eta, responsibilities)
    for group, bends in zip(groups, chunk.bends, strict=True):
        for i, expert in enumerate(group.experts):
            r = responsibilities[:, expert]
            rows = group.rows[:, i]
            single[:, expert, rows] = np.where(r[:, None] > 0, chunk.slopes[:, rows], 0.0)
            if bends is not None:
                own = r * np.where(r > 0, bends[:, :, :, i], 0.0)
                out[:, rows[:, None], rows[None, :]] += own.transpose(2, 0, 1)
    mean = np.einsum("nk,nkr->nr", responsibilities, single)
    out += np.einsum("nk,nkr,nks->nrs", responsibilities, single, single, optimize=True)
    out -= mean[:, :, None] * mean[:, None, :]
    return out


def group_curvature(
    chunk: GroupedChunk, gate: BoundGate, groups: Sequence[Group], places: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the Hessian (A, A) of the groups' log density in the coefficients at ``places``, (A,) rows and columns.

    With s_k the gradient and H_k the Hessian of log weight plus summed log densities of expert k it is, for every
    group, ``Σ r_k (H_k + s_k s_k') - (Σ r_k s_k)(Σ r_k s_k)'``. The rows of a group meet in s_k.
    """
    rows, columns = places
    members, starts = chunk.members, chunk.members.starts
    responsibilities = chunk.mixed[1]
    mass = chunk.mass(members.spread(responsibilities))
    ahead = gate.predictors
    eta = chunk.eta[starts, :ahead]
    out = _bent(chunk, mass, gate, groups, places)
    is_gate = np.flatnonzero(rows < ahead)
    at_gate = chunk.table[starts][:, columns[is_gate]]
    slopes = gate.slopes(eta)[:, :, rows[is_gate]]
    mean = np.zeros((len(starts), len(rows)))
    for group in groups:
        for i, expert in enumerate(group.experts):
            own = np.flatnonzero(np.isin(rows, group.rows[:, i]))
            r = responsibilities[:, expert]
            possible = members.spread(r)[:, None] > 0
            steep = np.where(possible, chunk.weights[:, None] * chunk.slopes[:, rows[own]], 0.0)
            single = np.zeros((len(starts), len(rows)))
            single[:, is_gate] = slopes[:, expert] * at_gate
            single[:, own] = members.summed(steep * chunk.table[:, columns[own]])
            mean += r[:, None] * single
            out += (single * (r * members.counts)[:, None]).T @ single
    out -= (mean * members.counts[:, None]).T @ mean
    return out


def _bent(
    chunk: GroupedChunk, mass: Mass, gate: BoundGate, groups: Sequence[Group], places: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return Σ mass H (A, A): the part of the Hessian that goes row by row."""
    rows, columns = places
    out = np.zeros((len(rows), len(rows)))
    starts = chunk.members.starts
    bend = gate.bend(chunk.eta[starts, : gate.predictors], mass.gate[starts])

    def add(row: int, other: int, weight: np.ndarray, table: np.ndarray) -> None:
        here, there = np.flatnonzero(rows == row), np.flatnonzero(rows == other)
        out[np.ix_(here, there)] += (table[:, columns[here]] * weight[:, None]).T @ table[:, columns[there]]

    for a in range(gate.predictors):
        for b in range(gate.predictors):
            add(a, b, bend[:, a, b], chunk.table[starts])
    for group, bends in zip(groups, chunk.bends, strict=True):
        if bends is None:
            continue
        for i, expert in enumerate(group.experts):
            own = mass.experts[:, expert]
            for a, row in enumerate(group.rows[:, i]):
                for b, other in enumerate(group.rows[:, i]):
                    add(int(row), int(other), np.where(own > 0, own * bends[a, b, :, i], 0.0), chunk.table)
    return out
