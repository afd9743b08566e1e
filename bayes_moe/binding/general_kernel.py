"""The log posterior of any families under any gate, with its gradient, as one C function: what samplers call.

From the flat vector to value and gradient nothing is Python. The structure of the model is data: index tables from
vector to coefficients, a compiled function per family and one per kind of gate, by their addresses. So a family is
compiled once, whatever it is mixed with, and all of it is found in the disk cache ever after.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import carray, njit

from ..graph.arithmetic import exp, log
from ..pointers import call_rows, doubles_at, integers_at

_FLAGS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


class Sizes(NamedTuple):
    """Integers that stand first in the data of the C function, in this order."""

    links: int
    scaled: int
    powers: int
    rank: int
    gate_columns: int
    predictors: int
    width: int
    blocks: int
    rows: int
    experts: int
    gate_predictors: int
    parts: int
    sloped: int
    added: int
    grouped: int
    gate_scale: int
    gate_kernel: int


class Arrays(NamedTuple):
    """Arrays whose addresses follow, in this order.

    Parameters
    ----------
    targets, sources, factors
        (links,) flat positions in the coefficients, positions in q and the factors by which these enter those.
    scaled_places, scaled_numbers, squares
        Per Gaussian process of an expert (scaled, 7): first link, slopes, links per slope, positions in q of log
        amplitude and log lengthscale (-1 where they are fixed), whether it is Matérn, where its squared frequencies
        begin; and (scaled, 6): number of columns, constant, log amplitude and its spread, log lengthscale and its
        spread.
    power_targets, power_sources, power_rates
        (powers,) of coefficients exp(rate q).
    basis, places, positions, units, numbers, centre
        Of gates with a learned scale: the matrix (G, rank), positions in q of what it multiplies (columns, rank), the
        design columns, the slopes' amplitudes (columns - 1,), then spread, total and fixed amplitude of intercepts
        (NaN when it follows the scale), and what intercepts are without any deviation (G,).
    gate_shape
        What the gate's compiled log weights read.
    prior_loc, prior_scale, sloped, alpha, beta
        Normal priors, their scale inf where the prior is inverse-gamma: those positions, shapes and scales.
    table, weights, counts, heads
        (blocks, P, rows), (blocks, rows), how often a label counts at the row that stands for it: as often as its row,
        or once per group at the group's first row; and where this is in its block, (blocks, 0) without groups.
    added
        (blocks, R, rows) where something is added to linear predictors, else (0, R, rows).
    parts
        (parts, 6): compiled function, expert, first row of eta, number of linear predictors, address of the known
        columns (blocks, columns, rows) and their number.
    constant
        (1,) what the log posterior has more.
    """

    targets: np.ndarray
    sources: np.ndarray
    factors: np.ndarray
    scaled_places: np.ndarray
    scaled_numbers: np.ndarray
    squares: np.ndarray
    power_targets: np.ndarray
    power_sources: np.ndarray
    power_rates: np.ndarray
    basis: np.ndarray
    places: np.ndarray
    positions: np.ndarray
    units: np.ndarray
    numbers: np.ndarray
    centre: np.ndarray
    gate_shape: np.ndarray
    prior_loc: np.ndarray
    prior_scale: np.ndarray
    sloped: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    table: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    heads: np.ndarray
    added: np.ndarray
    parts: np.ndarray
    constant: np.ndarray


@njit(**_FLAGS)
def _spectrum(q, places, numbers):  # type: ignore[no-untyped-def]
    """Return log amplitude and log lengthscale of one Gaussian process."""
    amplitude, lengthscale = numbers[2], numbers[4]
    if places[3] >= 0:
        amplitude += numbers[3] * q[places[3]]
    if places[4] >= 0:
        lengthscale += numbers[5] * q[places[4]]
    return amplitude, lengthscale


@njit(**_FLAGS)
def _weigh(q, places, numbers, squares, factors):  # type: ignore[no-untyped-def]
    """Multiply the factors of links by the weights of Gaussian processes."""
    for term in range(places.shape[0]):
        amplitude, lengthscale = _spectrum(q, places[term], numbers[term])
        grown, dims = np.exp(2.0 * lengthscale), numbers[term, 0]
        each, at = places[term, 2], places[term, 0] + places[term, 2]
        for s in range(places[term, 1]):
            u = grown * squares[places[term, 6] + s]
            bent = 0.5 * (dims + 5.0) * np.log(5.0 + u) if places[term, 5] else 0.5 * u
            weight = np.exp(amplitude + 0.5 * (numbers[term, 1] + dims * lengthscale - bent))
            for _ in range(each):
                factors[at] *= weight
                at += 1


@njit(**_FLAGS)
def _pull_weights(q, places, numbers, squares, terms, out):  # type: ignore[no-untyped-def]
    """Add the pull of all links, ``terms``, on the hyperparameters of Gaussian processes."""
    for term in range(places.shape[0]):
        _, lengthscale = _spectrum(q, places[term], numbers[term])
        grown, dims = np.exp(2.0 * lengthscale), numbers[term, 0]
        each, at = places[term, 2], places[term, 0] + places[term, 2]
        by_amplitude = by_lengthscale = 0.0
        for s in range(places[term, 1]):
            u = grown * squares[places[term, 6] + s]
            first = 0.5 * (dims - ((dims + 5.0) * u / (5.0 + u) if places[term, 5] else u))
            for _ in range(each):
                by_amplitude += terms[at]
                by_lengthscale += first * terms[at]
                at += 1
        if places[term, 3] >= 0:
            out[places[term, 3]] += numbers[term, 3] * by_amplitude
        if places[term, 4] >= 0:
            out[places[term, 4]] += numbers[term, 5] * by_lengthscale


@njit(**_FLAGS)
def _amplitudes(t, numbers):  # type: ignore[no-untyped-def]
    """Return growth of slopes at t, amplitude of intercepts and its derivative, of a gate with a learned scale."""
    growth = np.exp(numbers[0] * t)
    if not np.isnan(numbers[2]):
        return growth, numbers[2], 0.0
    spread = (numbers[1] * growth) ** 2
    root = np.sqrt(1.0 + spread)
    return growth, root / 1.8, numbers[0] * spread / root / 1.8


@njit(**_FLAGS)
def _gate_coefficients(q, t, basis, places, positions, units, numbers, centre, full):  # type: ignore[no-untyped-def]
    growth, amplitude, _ = _amplitudes(t, numbers)
    for j in range(positions.shape[0]):
        factor = amplitude if j == 0 else units[j - 1] * growth
        for g in range(basis.shape[0]):
            total = 0.0
            for m in range(basis.shape[1]):
                total += basis[g, m] * q[places[j, m]]
            full[g, positions[j]] = factor * total + (centre[g] if j == 0 else 0.0)


@njit(**_FLAGS)
def _pull_gate(q, t, basis, places, positions, units, numbers, scores, out):  # type: ignore[no-untyped-def]
    """Add the gate's gradient to ``out`` and return that in t."""
    growth, amplitude, slope = _amplitudes(t, numbers)
    pulled = 0.0
    for j in range(positions.shape[0]):
        factor = amplitude if j == 0 else units[j - 1] * growth
        d_factor = slope if j == 0 else numbers[0] * factor
        for m in range(basis.shape[1]):
            total = 0.0
            for g in range(basis.shape[0]):
                total += basis[g, m] * scores[g, positions[j]]
            out[places[j, m]] += factor * total
            pulled += d_factor * total * q[places[j, m]]
    return pulled


@njit(**_FLAGS)
def _log_prior(q, loc, scale, where, alpha, beta, out):  # type: ignore[no-untyped-def]
    """Return the log prior up to a constant and fill its gradient; scales are inf where it is inverse-gamma."""
    value = 0.0
    for i in range(q.shape[0]):
        z = (q[i] - loc[i]) / scale[i]
        value -= 0.5 * z * z
        out[i] = -z / scale[i]
    for i in range(where.shape[0]):
        shrunk = beta[i] * np.exp(-q[where[i]])
        value -= alpha[i] * q[where[i]] + shrunk
        out[where[i]] = shrunk - alpha[i]
    return value


@njit(**_FLAGS)
def _mix(joint, weights, value, top):  # type: ignore[no-untyped-def]
    """Turn joint log weights into weighted responsibilities and return the weighted log density."""
    experts, rows = joint.shape
    for b in range(rows):
        top[b] = joint[0, b]
        value[b] = 0.0
    for k in range(1, experts):
        for b in range(rows):
            top[b] = joint[k, b] if joint[k, b] > top[b] else top[b]
    for b in range(rows):
        top[b] = 0.0 if top[b] == -np.inf else top[b]
    for k in range(experts):
        for b in range(rows):
            joint[k, b] = exp(joint[k, b] - top[b])
            value[b] += joint[k, b]
    total = 0.0
    for b in range(rows):
        total += weights[b] * (top[b] + log(value[b])) if weights[b] != 0.0 else 0.0
        value[b] = weights[b] / value[b] if value[b] != 0.0 else 0.0  # no expert can explain such a row
    for k in range(experts):
        for b in range(rows):
            joint[k, b] = joint[k, b] * value[b] if weights[b] != 0.0 else 0.0
    return total


@njit(**_FLAGS)
def _add(value, weights, heads, out):  # type: ignore[no-untyped-def]
    """Add the log density of one expert to its log weights: row by row, or all of a group's rows to the first."""
    if heads.shape[0] == 0:
        for b in range(value.shape[0]):
            out[b] += value[b]
    else:
        for b in range(value.shape[0]):
            out[heads[b]] += weights[b] * value[b] if weights[b] != 0.0 else 0.0


@njit(**_FLAGS)
def _spread(joint, weights, heads, top):  # type: ignore[no-untyped-def]
    """Turn mass that stands at the first row of every group into that of every row."""
    for k in range(joint.shape[0]):
        for b in range(weights.shape[0]):
            top[b] = joint[k, heads[b]] * weights[b]
        for b in range(weights.shape[0]):
            joint[k, b] = top[b]


@njit(**_FLAGS)
def _pass(full, table, weights, counts, heads, added, parts, gate, first, scores):  # type: ignore[no-untyped-def]
    """Return the weighted log density of all rows and fill its gradient in the coefficients.

    ``gate`` holds the address of the gate's function and of its shape, ``first`` the number of its linear predictors.
    """
    predictors, rows, experts = full.shape[0], weights.shape[1], gate[2]
    eta, joint = np.empty((predictors, rows)), np.empty((experts, rows))
    value, top = np.empty(rows), np.empty(rows)
    step = np.empty_like(scores)
    eta_at, joint_at, value_at = np.int64(eta.ctypes.data), np.int64(joint.ctypes.data), np.int64(value.ctypes.data)
    total = 0.0
    for i in range(table.shape[0]):
        np.dot(full, table[i], eta)
        if added.shape[0] > 0:
            for r in range(predictors):
                for b in range(rows):
                    eta[r, b] += added[i, r, b]
        call_rows(gate[0], 0, rows, experts, eta_at, joint_at, gate[1])
        for n in range(parts.shape[0]):
            known, start = parts[n, 4] + 8 * i * parts[n, 5] * rows, eta_at + 8 * parts[n, 2] * rows
            call_rows(parts[n, 0], rows, parts[n, 3], experts * rows, known, start, value_at)
            _add(value, weights[i], heads[i], joint[parts[n, 1]])
        total += _mix(joint, counts[i], value, top)
        call_rows(gate[0], 1, rows, experts, eta_at, joint_at, gate[1])
        if heads.shape[1] > 0:
            _spread(joint, weights[i], heads[i], top)
        for r in range(first, predictors):
            k = (r - first) % experts
            for b in range(rows):
                # an impossible expert has no mass, whatever its slope
                eta[r, b] = joint[k, b] * eta[r, b] if joint[k, b] > 0.0 else 0.0
        np.dot(eta, table[i].T, step)
        for r in range(predictors):
            for p in range(scores.shape[1]):
                scores[r, p] += step[r, p]
    return total


def log_posterior(size, point, gradient, value, data):  # type: ignore[no-untyped-def]
    """Return the log posterior and its gradient at a point; ``data`` holds `Sizes` and the addresses of `Arrays`."""
    at = carray(data, (45,))
    q, out = carray(point, (size,)), carray(gradient, (size,))
    links, scaled, powers, rank, columns = at[0], at[1], at[2], at[3], at[4]
    predictors, width, blocks, rows = at[5], at[6], at[7], at[8]
    experts, first, parts, sloped, added, grouped, gate_scale = at[9], at[10], at[11], at[12], at[13], at[14], at[15]
    targets, sources = carray(integers_at(at[17]), (links,)), carray(integers_at(at[18]), (links,))
    constant = carray(doubles_at(at[19]), (links,))
    scaled_places, scaled_numbers = carray(integers_at(at[20]), (scaled, 7)), carray(doubles_at(at[21]), (scaled, 6))
    squares = carray(doubles_at(at[22]), (1,))
    power_targets, power_sources = carray(integers_at(at[23]), (powers,)), carray(integers_at(at[24]), (powers,))
    power_rates = carray(doubles_at(at[25]), (powers,))
    basis, places = carray(doubles_at(at[26]), (first, rank)), carray(integers_at(at[27]), (columns, rank))
    positions, units = carray(integers_at(at[28]), (columns,)), carray(doubles_at(at[29]), (columns,))
    numbers, centre = carray(doubles_at(at[30]), (3,)), carray(doubles_at(at[31]), (first,))
    full, scores = np.zeros((predictors, width)), np.zeros((predictors, width))
    coefficients, pulls = full.ravel(), scores.ravel()
    factors = np.empty(links)
    for i in range(links):
        factors[i] = constant[i]
    _weigh(q, scaled_places, scaled_numbers, squares, factors)
    for i in range(links):
        coefficients[targets[i]] += factors[i] * q[sources[i]]
    for i in range(powers):
        coefficients[power_targets[i]] = np.exp(power_rates[i] * q[power_sources[i]])
    t = q[gate_scale] if gate_scale >= 0 else 0.0
    _gate_coefficients(q, t, basis, places, positions, units, numbers, centre, full)
    found = _pass(
        full,
        carray(doubles_at(at[38]), (blocks, width, rows)),
        carray(doubles_at(at[39]), (blocks, rows)),
        carray(doubles_at(at[40]), (blocks, rows)),
        carray(integers_at(at[41]), (blocks, grouped)),
        carray(doubles_at(at[42]), (added, predictors, rows)),
        carray(integers_at(at[43]), (parts, 6)),
        (at[16], at[32], experts),
        first,
        scores,
    )
    found += carray(doubles_at(at[44]), (1,))[0] + _log_prior(
        q,
        carray(doubles_at(at[33]), (size,)),
        carray(doubles_at(at[34]), (size,)),
        carray(integers_at(at[35]), (sloped,)),
        carray(doubles_at(at[36]), (sloped,)),
        carray(doubles_at(at[37]), (sloped,)),
        out,
    )
    for i in range(links):
        pull = factors[i] * pulls[targets[i]]
        out[sources[i]] += pull
        factors[i] = pull * q[sources[i]]
    _pull_weights(q, scaled_places, scaled_numbers, squares, factors, out)
    for i in range(powers):
        out[power_sources[i]] += power_rates[i] * coefficients[power_targets[i]] * pulls[power_targets[i]]
    pulled = _pull_gate(q, t, basis, places, positions, units, numbers, scores, out)
    if gate_scale >= 0:
        out[gate_scale] += pulled
    carray(value, (1,))[0] = found
    finite = np.isfinite(found)
    for i in range(size):
        finite = finite and np.isfinite(out[i])
    return 0 if finite else 1
