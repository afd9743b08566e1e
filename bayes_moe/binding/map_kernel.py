"""From one flat vector to the coefficients of every linear predictor, and back, compiled.

The structure of the model is data (index tables), so this is compiled once and found in the disk cache ever
after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from ..families import Role
from ..gates.base import zero_sum_basis
from ..gates.softmax import BoundSoftmax

if TYPE_CHECKING:
    from .parameters import Parameters

MEAN, CONSTANT_SIGMA, VARYING_SIGMA = 0, 1, 2


class Tables(NamedTuple):
    """A model's structure as arrays.

    Parameters
    ----------
    terms
        (T, 7): kind, whether shared, row of the first expert's coefficients, and where the term's experts and
        columns begin and end in ``experts`` and ``columns``.
    starts
        (T,): where the term's places begin in ``places``.
    experts, columns, places
        Expert numbers, design columns and positions in q (experts x columns), term after term.
    prior_loc, prior_scale
        Prior mean and standard deviation of every entry of q.
    basis
        Zero-sum basis (K, K - 1).
    positions
        Design columns of the gate.
    units
        Prior standard deviation of the gate's slopes at t = 0.
    numbers
        Spread, total and the fixed intercept scale (NaN when it follows the slopes' scale).
    shape
        The gate's start in q and whether its scale is learned.
    targets, sources
        Flat positions in the coefficients and the positions in q they copy.
    """

    terms: np.ndarray
    starts: np.ndarray
    experts: np.ndarray
    columns: np.ndarray
    places: np.ndarray
    prior_loc: np.ndarray
    prior_scale: np.ndarray
    basis: np.ndarray
    positions: np.ndarray
    units: np.ndarray
    numbers: np.ndarray
    shape: np.ndarray
    targets: np.ndarray
    sources: np.ndarray


def make_tables(parameters: Parameters) -> Tables:
    """Return the tables of a model whose gate is a softmax or has nothing to learn."""
    terms, starts, experts, columns, places = [], [], [], [], []
    for term in parameters.terms:
        kind = MEAN if term.parameter.role is Role.LOCATION else VARYING_SIGMA if term.term.width else CONSTANT_SIGMA
        at = (len(experts), len(experts) + len(term.experts), len(columns), len(columns) + len(term.term.positions))
        terms.append((kind, int(term.shared), term.row, *at))
        starts.append(len(places))
        experts += list(term.experts)
        columns += list(term.term.positions)
        places += list(term.places.ravel())
    gate = parameters.gate
    units, numbers, scaled = np.zeros(0), np.array([0.0, 0.0, 1.0]), 0
    if isinstance(gate, BoundSoftmax):
        fixed = np.nan if gate.fixed_intercept is None else gate.fixed_intercept
        units, scaled = np.ascontiguousarray(gate.units, dtype=float), int(gate.scaled)
        numbers = np.array([gate.spread, gate.total, fixed])
    return Tables(
        *(np.array(values, dtype=np.int64) for values in (terms, starts, experts, columns, places)),
        prior_loc=parameters.prior_loc,
        prior_scale=parameters.prior_scale,
        basis=np.ascontiguousarray(zero_sum_basis(parameters.experts)),
        positions=np.asarray(parameters.gate_positions, dtype=np.int64),
        units=units,
        numbers=numbers,
        shape=np.array([parameters.gate_start, scaled]),
        targets=parameters.gather[0],
        sources=parameters.gather[1],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def amplitudes(tables, t, values, slopes):  # type: ignore[no-untyped-def]
    """Fill the factors of the gate's intercepts and slopes at scale t, and their derivatives in t."""
    spread, total, fixed = tables.numbers
    growth = np.exp(spread * t)
    s2 = (total * growth) ** 2
    root = np.sqrt(1.0 + s2)
    values[0] = root / 1.8 if np.isnan(fixed) else fixed
    slopes[0] = spread * s2 / root / 1.8 if np.isnan(fixed) else 0.0
    for j in range(len(tables.units)):
        values[1 + j] = tables.units[j] * growth
        slopes[1 + j] = spread * values[1 + j]


@njit(cache=True, nogil=True, error_model="numpy")
def coefficients_kernel(tables, q, out):  # type: ignore[no-untyped-def]
    """Fill the coefficients (predictors, P): K gate rows, then K rows per parameter of the family."""
    flat = out.ravel()
    for i in range(len(tables.targets)):
        flat[tables.targets[i]] = q[tables.sources[i]]
    start, inner = tables.shape[0], tables.basis.shape[1]
    if start == len(q):
        return
    values, slopes = np.empty(len(tables.positions)), np.empty(len(tables.positions))
    amplitudes(tables, q[len(q) - 1] if tables.shape[1] == 1 else 0.0, values, slopes)
    for i in range(len(values)):
        for k in range(len(tables.basis)):
            total = 0.0
            for m in range(inner):
                total += tables.basis[k, m] * q[start + i * inner + m]
            out[k, tables.positions[i]] = values[i] * total


@njit(cache=True, nogil=True, error_model="numpy")
def pull_back_kernel(tables, q, gradient):  # type: ignore[no-untyped-def]
    """Return the gradient with respect to q from that with respect to the coefficients."""
    out = np.zeros(len(q))
    flat = gradient.ravel()
    for i in range(len(tables.targets)):
        out[tables.sources[i]] += flat[tables.targets[i]]
    start, inner = tables.shape[0], tables.basis.shape[1]
    if start == len(q):
        return out
    values, slopes = np.empty(len(tables.positions)), np.empty(len(tables.positions))
    amplitudes(tables, q[len(q) - 1] if tables.shape[1] == 1 else 0.0, values, slopes)
    growing = 0.0
    for i in range(len(values)):
        for m in range(inner):
            total = 0.0
            for k in range(len(tables.basis)):
                total += tables.basis[k, m] * gradient[k, tables.positions[i]]
            out[start + i * inner + m] = values[i] * total
            growing += slopes[i] * total * q[start + i * inner + m]
    if tables.shape[1] == 1:
        out[len(q) - 1] = growing
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _settling(t, inner, outer, numbers):  # type: ignore[no-untyped-def]
    """Return half the squared norm of the gate's values that give the coefficients at scale t, and its derivative."""
    spread, total, fixed = numbers
    shrunk = outer * np.exp(-2.0 * spread * t)
    if np.isnan(fixed):
        s2 = (total * np.exp(spread * t)) ** 2
        level = inner * 3.24 / (1.0 + s2)
        change = -level * spread * s2 / (1.0 + s2)
    else:
        level, change = inner / fixed**2, 0.0
    return 0.5 * (level + shrunk + t * t), change - spread * shrunk + t


@njit(cache=True, nogil=True, error_model="numpy")
def _lowest(start, inner, outer, numbers):  # type: ignore[no-untyped-def]
    """Return where `_settling` is least between 0 and ``start`` or beyond, by secant steps kept inside a bracket."""
    low, high = min(0.0, start) - 1.0, max(0.0, start) + 1.0
    while _settling(low, inner, outer, numbers)[1] > 0:
        low -= 2.0
    while _settling(high, inner, outer, numbers)[1] < 0:
        high += 2.0
    at = start
    slope = _settling(at, inner, outer, numbers)[1]
    for _ in range(60):
        low, high = (at, high) if slope < 0 else (low, at)
        other = high if slope < 0 else low
        end = _settling(other, inner, outer, numbers)[1]
        guess = at - slope * (other - at) / (end - slope) if end != slope else 0.5 * (low + high)
        # keep away from the ends, so that the bracket shrinks on both sides
        guess = min(max(guess, low + 0.05 * (high - low)), high - 0.05 * (high - low))
        if abs(guess - at) < 1e-12 * (1.0 + abs(at)) or high - low < 1e-13 * (1.0 + abs(at)):
            break
        at = guess
        slope = _settling(at, inner, outer, numbers)[1]
    return at if _settling(at, inner, outer, numbers)[0] <= _settling(start, inner, outer, numbers)[0] else start


@njit(cache=True, nogil=True, error_model="numpy")
def settle_kernel(tables, q):  # type: ignore[no-untyped-def]
    """Put the gate's values where their prior is highest among those with the same coefficients, in place.

    Coefficients do not tell z from its scale: along that curve only the prior changes.
    """
    if tables.shape[1] == 0:
        return
    start, inner, last = tables.shape[0], tables.basis.shape[1], len(q) - 1
    before, after, unused = np.empty((3, len(tables.positions)))
    amplitudes(tables, q[last], before, unused)
    intercept = before[0] ** 2 * np.sum(q[start : start + inner] ** 2)
    slopes = np.exp(2.0 * tables.numbers[0] * q[last]) * np.sum(q[start + inner : last] ** 2)
    best = _lowest(q[last], intercept, slopes, tables.numbers)
    amplitudes(tables, best, after, unused)
    for i in range(len(after)):
        for m in range(inner):
            q[start + i * inner + m] *= before[i] / after[i]
    q[last] = best
