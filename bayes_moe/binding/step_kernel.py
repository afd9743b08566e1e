"""The M-step of Normal experts under a softmax gate, compiled: closed forms and one Newton step.

Nothing here has a row per observation: on small data the interpreter's share of an EM step was nine tenths.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .map_kernel import CONSTANT_SIGMA, MEAN, VARYING_SIGMA, amplitudes, settle_kernel

_LONGEST_LOGIT = 4.0
_LOG_LAST_DIGIT = -72.0  # log of the square of a double's last digit
_ROUNDING = 1e-14


@njit(cache=True, nogil=True, error_model="numpy")
def _packed(i, j):  # type: ignore[no-untyped-def]
    return i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i


@njit(cache=True, nogil=True, error_model="numpy")
def solve(a, b):  # type: ignore[no-untyped-def]
    """Solve a positive definite system by Cholesky's method in place: ``b`` becomes the solution.

    A direction in which rounding has left no curvature gets no step.
    """
    size = len(b)
    for i in range(size):
        least = _ROUNDING * a[i, i]
        for j in range(i + 1):
            total = a[i, j]
            for m in range(j):
                total -= a[i, m] * a[j, m]
            if j < i:
                a[i, j] = total / a[j, j]
            else:
                a[i, i] = np.sqrt(total) if total > least else np.inf
    for i in range(size):
        total = b[i]
        for m in range(i):
            total -= a[i, m] * b[m]
        b[i] = total / a[i, i]
    for i in range(size - 1, -1, -1):
        total = b[i]
        for m in range(i + 1, size):
            total -= a[m, i] * b[m]
        b[i] = total / a[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _regressions(tables, index, moments, scores, damping, q, out, shift):  # type: ignore[no-untyped-def]
    """Move the coefficients of one term: weighted ridge regressions, from the scores at q.

    The weights carry 1/sigma² already. Steps in means are exact; those in log sigma are Newton's on a concave
    objective, at most 1 long. ``shift`` (K, P) receives the step in the coefficients.
    """
    kind, shared, row, first, last, left, right = tables.terms[index]
    columns = tables.columns[left:right]
    width = right - left
    matrix, slope = np.empty((width, width)), np.empty(width)
    for turn in range(last - first):
        places = tables.places[tables.starts[index] + turn * width : tables.starts[index] + (turn + 1) * width]
        if turn == 0 or shared == 0:
            matrix[:] = 0.0
            for i in range(width):
                scale = tables.prior_scale[places[i]]
                matrix[i, i] = 1.0 / scale**2
                slope[i] = -(q[places[i]] - tables.prior_loc[places[i]]) / scale**2
        expert = tables.experts[first + turn]
        for i in range(width):
            slope[i] += scores[row + expert, columns[i]]
            for j in range(width):
                matrix[i, j] += moments[expert, _packed(columns[i], columns[j])]
        if shared == 0 or turn == last - first - 1:
            solve(matrix, slope)
            factor = damping / max(1.0, np.abs(slope).max()) if kind == VARYING_SIGMA else 1.0
            for i in range(width):
                out[places[i]] = q[places[i]] + factor * slope[i]
            for other in range(first if shared == 1 else first + turn, first + turn + 1):
                for i in range(width):
                    shift[tables.experts[other], columns[i]] = factor * slope[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _log_sigma(size, log_rss, center, variance):  # type: ignore[no-untyped-def]
    """Maximise ``-N u - S exp(-2u)/2 - (u - c)²/(2 t²)`` over u, from log S.

    The derivative falls and is convex: from a lower bound Newton's method climbs to its root and never oversteps.
    """
    # the maximum lies between that without the prior, log(S/N)/2, and that without the data, c
    free = 0.5 * (log_rss - np.log(size)) if size > 0 else center
    u = max(min(free, center), center - variance * size)
    for _ in range(200):
        pull = np.exp(log_rss - 2.0 * u)
        step = (pull - size - (u - center) / variance) / (2.0 * pull + 1.0 / variance)
        u += step
        if abs(step) <= 1e-14 * (1.0 + abs(u)):
            break
    return u


@njit(cache=True, nogil=True, error_model="numpy")
def _constant_sigmas(tables, index, moments, scores, sizes, q, out, shift):  # type: ignore[no-untyped-def]
    """Put every log sigma of one term at its maximum, given the step of the means."""
    _, shared, row, first, last, _, _ = tables.terms[index]
    width = shift.shape[1]
    total, size = 0.0, 0.0
    for turn in range(last - first):
        expert, place = tables.experts[first + turn], tables.places[tables.starts[index] + turn]
        # in units of the old sigma²; d log density / d log sigma is the sum of r (z² - 1)
        rss = scores[row + expert, 0] + sizes[expert]
        for i in range(width):
            if shift[expert, i] != 0.0:
                rss -= 2.0 * shift[expert, i] * scores[row - tables.basis.shape[0] + expert, i]
                for j in range(width):
                    rss += shift[expert, i] * shift[expert, j] * moments[expert, _packed(i, j)]
        total = (total if shared == 1 else 0.0) + max(rss, 0.0)
        size = (size if shared == 1 else 0.0) + sizes[expert]
        if shared == 0 or turn == last - first - 1:
            variance = tables.prior_scale[place] ** 2
            # residuals of standardised y are not known better than to its last digit
            log_rss = max(np.log(max(total, 1e-300)) + 2.0 * q[place], np.log(max(size, 1e-300)) + _LOG_LAST_DIGIT)
            out[place] = _log_sigma(size, log_rss, tables.prior_loc[place], variance)


@njit(cache=True, nogil=True, error_model="numpy")
def _gate_step(tables, pairs, scores, full, damping, q, out):  # type: ignore[no-untyped-def]
    """Move the gate's values by a damped Newton step, all experts at once; the scale rests."""
    experts, inner = tables.basis.shape
    start, width = tables.shape[0], len(tables.positions)
    size = inner * width
    values, slopes = np.empty(width), np.empty(width)
    amplitudes(tables, q[len(q) - 1] if tables.shape[1] == 1 else 0.0, values, slopes)
    matrix, step = np.empty((size, size)), np.empty(size)
    block, half = np.empty((experts, experts)), np.empty((experts, inner))
    for i in range(width):
        for m in range(inner):
            total = 0.0
            for k in range(experts):
                total += tables.basis[k, m] * scores[k, tables.positions[i]]
            step[i * inner + m] = values[i] * total - q[start + i * inner + m]
        for j in range(i + 1):
            place = _packed(tables.positions[i], tables.positions[j])
            for k in range(experts):
                for m in range(k + 1):
                    block[k, m] = pairs[k * (k + 1) // 2 + m, place]
                    block[m, k] = block[k, m]
            for k in range(experts):
                for m in range(inner):
                    total = 0.0
                    for other in range(experts):
                        total += block[k, other] * tables.basis[other, m]
                    half[k, m] = total
            factor = values[i] * values[j]
            for m in range(inner):
                for other in range(inner):
                    total = 0.0
                    for k in range(experts):
                        total += tables.basis[k, m] * half[k, other]
                    matrix[i * inner + m, j * inner + other] = factor * total
    for i in range(size):
        matrix[i, i] += 1.0
    solve(matrix, step)
    highest, longest = 0.0, 0.0
    for i in range(width):
        for k in range(experts):
            highest = max(highest, abs(full[k, tables.positions[i]]))
            total = 0.0
            for m in range(inner):
                total += tables.basis[k, m] * step[i * inner + m]
            longest = max(longest, abs(values[i] * total))
    # a quadratic says little beyond a few units of the logits; a gate that becomes a step may treble
    factor = damping / max(1.0, longest / max(_LONGEST_LOGIT, 2.0 * highest))
    for i in range(size):
        out[start + i] = q[start + i] + factor * step[i]


@njit(cache=True, nogil=True, error_model="numpy")
def maximise_kernel(tables, q, sizes, scores, pairs, moments, full, sigma_phase, damping):  # type: ignore[no-untyped-def]
    """Return q with every expert's part at its conditional maximum and the gate moved."""
    out = q.copy()
    shift = np.zeros((len(sizes), scores.shape[1]))
    for index in range(len(tables.terms)):
        kind = tables.terms[index, 0]
        if kind == MEAN and not sigma_phase or kind == VARYING_SIGMA and sigma_phase:
            _regressions(tables, index, moments, scores, damping, q, out, shift)
        elif kind == CONSTANT_SIGMA and not sigma_phase:
            _constant_sigmas(tables, index, moments, scores, sizes, q, out, shift)
    if damping > 0 and tables.shape[0] < len(q):
        _gate_step(tables, pairs, scores, full, damping, q, out)
    settle_kernel(tables, out)
    return out
