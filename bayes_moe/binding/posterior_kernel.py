"""Log posterior and gradient in one compiled call, for samplers.

The whole way from the flat vector to value and gradient runs without Python: gather, gate map, rows, priors. The
structure of the model is data (index tables), so this is compiled once and found in the disk cache ever after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import carray, njit

from ..gates.base import zero_sum_basis
from ..gates.softmax import BoundSoftmax
from ..graph.kernels import normal_gradient
from ..log_density import Machine
from ..pointers import DENSITY, address_of, doubles_at, integers_at
from .parameters import Parameters
from .rows import Rows


@njit(cache=True, nogil=True, error_model="numpy")
def normal_posterior(  # type: ignore[no-untyped-def]  # noqa: C901 - one compiled way from vector to value
    q, targets, sources, prior_loc, prior_scale, basis, positions, units, numbers, shape, blocks, y, weights, out
):
    """Return the log posterior up to a constant and write its gradient to ``out``.

    ``numbers`` holds spread, total and the fixed intercept scale (NaN when it follows the slopes' scale);
    ``shape`` holds the gate's start in q (its length when there is no gate to learn), whether its scale is learned
    and whether sigma varies by row.
    """
    experts, inner = basis.shape
    width = blocks.shape[1]
    start, scaled, varies = shape[0], shape[1] == 1, shape[2] == 1
    full = np.zeros((3 * experts, width))
    flat = full.ravel()
    for i in range(targets.shape[0]):
        flat[targets[i]] = q[sources[i]]
    t = q[q.shape[0] - 1] if scaled else 0.0
    growth = np.exp(numbers[0] * t)
    spread = (numbers[1] * growth) ** 2
    root = np.sqrt(1.0 + spread)
    amplitude = root / 1.8 if np.isnan(numbers[2]) else numbers[2]
    d_amplitude = numbers[0] * spread / root / 1.8 if np.isnan(numbers[2]) else 0.0
    if start < q.shape[0]:
        for j in range(positions.shape[0]):
            factor = amplitude if j == 0 else units[j - 1] * growth
            for k in range(experts):
                total = 0.0
                for m in range(inner):
                    total += basis[k, m] * q[start + j * inner + m]
                full[k, positions[j]] = factor * total
    used = 3 * experts if varies else 2 * experts
    log_sigma = full[2 * experts :, 0].copy()
    scores, d_log_sigma = np.zeros((3 * experts, width)), np.zeros(experts)
    value = normal_gradient(full[:used], log_sigma, blocks, y, weights, scores[:used], d_log_sigma)
    if not varies:
        for k in range(experts):
            scores[2 * experts + k, 0] = d_log_sigma[k]
    flat_scores = scores.ravel()
    for i in range(q.shape[0]):
        z = (q[i] - prior_loc[i]) / prior_scale[i]
        value -= 0.5 * z * z
        out[i] = -z / prior_scale[i]
    for i in range(targets.shape[0]):
        out[sources[i]] += flat_scores[targets[i]]
    if start < q.shape[0]:
        pulled_t = 0.0
        for j in range(positions.shape[0]):
            factor = amplitude if j == 0 else units[j - 1] * growth
            d_factor = d_amplitude if j == 0 else numbers[0] * factor
            for m in range(inner):
                total = 0.0
                for k in range(experts):
                    total += basis[k, m] * scores[k, positions[j]]
                out[start + j * inner + m] += factor * total
                pulled_t += d_factor * total * q[start + j * inner + m]
        if scaled:
            out[q.shape[0] - 1] += pulled_t
    return value


def _called(size, point, gradient, value, data):  # type: ignore[no-untyped-def]
    """Call `normal_posterior` on what lies behind ``data``: eight lengths, then the addresses of `Inputs`."""
    at = carray(data, (20,))
    entries, experts, inner, positions, units = at[0], at[1], at[2], at[3], at[4]
    blocks, width, rows = at[5], at[6], at[7]
    numbers = carray(doubles_at(at[15]), (4,))
    found = numbers[3] + normal_posterior(
        carray(point, (size,)),
        carray(integers_at(at[8]), (entries,)),
        carray(integers_at(at[9]), (entries,)),
        carray(doubles_at(at[10]), (size,)),
        carray(doubles_at(at[11]), (size,)),
        carray(doubles_at(at[12]), (experts, inner)),
        carray(integers_at(at[13]), (positions,)),
        carray(doubles_at(at[14]), (units,)),
        numbers,
        carray(integers_at(at[16]), (3,)),
        carray(doubles_at(at[17]), (blocks, width, rows)),
        carray(doubles_at(at[18]), (blocks, rows)),
        carray(doubles_at(at[19]), (blocks, rows)),
        carray(gradient, (size,)),
    )
    carray(value, (1,))[0] = found
    return 0 if np.isfinite(found) else 1


class Inputs(NamedTuple):
    """What `normal_posterior` needs beside the vector, in its order; ``numbers`` ends with the constant offset."""

    targets: np.ndarray
    sources: np.ndarray
    prior_loc: np.ndarray
    prior_scale: np.ndarray
    basis: np.ndarray
    positions: np.ndarray
    units: np.ndarray
    numbers: np.ndarray
    shape: np.ndarray
    blocks: np.ndarray
    y: np.ndarray
    weights: np.ndarray


def make_inputs(parameters: Parameters, rows: Rows, offset: float, *, sigma_varies: bool) -> Inputs:
    """Return the arrays of a model with a softmax or equal gate on its data."""
    gate = parameters.gate
    units, numbers, scaled = np.zeros(0), (0.0, 0.0, 1.0), 0
    if isinstance(gate, BoundSoftmax):
        fixed = np.nan if gate.fixed_intercept is None else gate.fixed_intercept
        units, scaled = np.ascontiguousarray(gate.units, dtype=float), int(gate.scaled)
        numbers = (gate.spread, gate.total, fixed)
    targets, sources = parameters.gather
    return Inputs(
        np.ascontiguousarray(targets, dtype=np.int64),
        np.ascontiguousarray(sources, dtype=np.int64),
        np.ascontiguousarray(parameters.prior_loc),
        np.ascontiguousarray(parameters.prior_scale),
        np.ascontiguousarray(zero_sum_basis(parameters.experts)),
        np.ascontiguousarray(parameters.gate_positions, dtype=np.int64),
        units,
        np.array([*numbers, offset]),
        np.array([parameters.gate_start, scaled, int(sigma_varies)], dtype=np.int64),
        rows.blocks,
        rows.y,
        rows.weights,
    )


def posterior_function(inputs: Inputs) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return ``f(q) -> (log posterior, gradient)``."""
    offset = inputs.numbers[3]

    def function(q: np.ndarray) -> tuple[float, np.ndarray]:
        out = np.empty_like(q)
        return normal_posterior(q, *inputs, out) + offset, out

    return function


def posterior_machine(inputs: Inputs) -> Machine:
    """Return the same as a C function."""
    lengths = (len(inputs.targets), *inputs.basis.shape, len(inputs.positions), len(inputs.units), *inputs.blocks.shape)
    data = np.array([*lengths, *(array.ctypes.data for array in inputs)], dtype=np.int64)
    return Machine(address_of(_called, DENSITY), data.ctypes.data, (data, inputs))
