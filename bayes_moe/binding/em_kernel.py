"""Many EM steps in one compiled call.

On small data the interpreter takes most of an EM step; a search over many starts spends its whole time there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..graph.kernels import normal_em_pass
from .map_kernel import coefficients_kernel
from .step_kernel import maximise_kernel

_HALVINGS = 8
_LONGEST_EXTRAPOLATION = 64.0


@njit(cache=True, nogil=True, error_model="numpy")
def expectation_kernel(tables, rows, q, given, sums, sigma_phase, varies, curvature):  # type: ignore[no-untyped-def]
    """Overwrite ``sums`` by the M-step's sums at q and return the log posterior up to a constant.

    ``rows`` are blocks, y and weights; ``sums`` are sizes, scores, pairs, moments and coefficients. Without
    ``curvature`` the old pairs stay.
    """
    sizes, scores, pairs, moments, full = sums
    experts = len(sizes)
    used = 3 * experts if varies else 2 * experts
    full[:], scores[:], sizes[:], moments[:] = 0.0, 0.0, 0.0, 0.0
    if curvature:
        pairs[:] = 0.0
    coefficients_kernel(tables, q, full)
    d_log_sigma = np.zeros(experts)
    value = normal_em_pass(
        full[:used],
        full[2 * experts :, 0].copy(),
        rows[0],
        rows[1],
        rows[2],
        given,
        sigma_phase,
        d_log_sigma,
        sizes,
        scores[:used],
        pairs if curvature else pairs[:0],
        moments,
    )
    if not varies:
        scores[2 * experts :, 0] = d_log_sigma
    return value - 0.5 * np.sum(((q - tables.prior_loc) / tables.prior_scale) ** 2)


@njit(cache=True, nogil=True, error_model="numpy")
def labels_kernel(tables, rows, q, given, sums, rounds, varies):  # type: ignore[no-untyped-def]
    """Return q after M-steps on given responsibilities (B, K, rows)."""
    sizes, scores, pairs, moments, full = sums
    for turn in range(rounds):
        phase = varies and turn % 2 == 1
        expectation_kernel(tables, rows, q, given, sums, phase, varies, True)
        q = maximise_kernel(tables, q, sizes, scores, pairs, moments, full, phase, 1.0)
    return q


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source, target):  # type: ignore[no-untyped-def]
    target[0][:] = source[0]
    target[1][:] = source[1]
    target[2][:] = source[2]
    target[3][:] = source[3]
    target[4][:] = source[4]


@njit(cache=True, nogil=True, error_model="numpy")
def _step(tables, rows, q, value, sums, spare, sigma_phase, varies, curvature, slack):  # type: ignore[no-untyped-def]
    """Take one EM step, its Newton parts shortened until the log posterior does not fall.

    Returns q, its log posterior and whether it did not fall; ``sums`` are those at the returned q.
    """
    nothing = np.zeros((0, len(sums[0]), 1))
    floor = value - slack * (1.0 + abs(value))
    damping, proposal, new = 1.0, q, value
    _copy(sums, spare)
    sizes, scores, pairs, moments, full = spare
    for attempt in range(_HALVINGS):
        proposal = maximise_kernel(tables, q, sizes, scores, pairs, moments, full, sigma_phase, damping)
        new = expectation_kernel(
            tables, rows, proposal, nothing, sums, varies and not sigma_phase, varies, curvature or attempt > 0
        )
        if new >= floor:
            return proposal, new, True
        damping = 0.0 if attempt == _HALVINGS - 2 else 0.25 * damping
    _copy(spare, sums)
    return q, new, False


@njit(cache=True, nogil=True, error_model="numpy")
def _extrapolate(tables, rows, path, value, sums, spare, varies):  # type: ignore[no-untyped-def]
    """Return a point beyond the last two rounds and its log posterior where that is higher, else the last one."""
    nothing = np.zeros((0, len(sums[0]), 1))
    step, bend = path[1] - path[0], path[2] - 2.0 * path[1] + path[0]
    length, curve = np.sqrt(np.sum(step**2)), np.sqrt(np.sum(bend**2))
    if curve <= 1e-12 * (1.0 + length) or length <= curve:
        return path[2].copy(), value, False
    alpha = min(length / curve, _LONGEST_EXTRAPOLATION)
    proposal = path[0] + 2.0 * alpha * step + alpha**2 * bend
    _copy(sums, spare)
    new = expectation_kernel(tables, rows, proposal, nothing, sums, False, varies, True)
    if new >= value:
        return proposal, new, True
    _copy(spare, sums)
    return path[2].copy(), value, False


@njit(cache=True, nogil=True, error_model="numpy")
def climb_kernel(tables, rows, q, sums, spare, steps, tol, fast, varies, renewal, slack):  # type: ignore[no-untyped-def]
    """Take EM steps from q until a round gains less than ``tol`` relative to the log posterior.

    Parameters
    ----------
    tables, rows, q, sums, varies
        As for `expectation_kernel`; ``spare`` is like ``sums``.
    steps
        Log posteriors to record; the run also ends with the round that fills them.
    tol
        Relative gain of a round at which to stop; a negative one never stops.
    fast
        Whether every third proposal extrapolates the last two rounds (SQUAREM); it is kept only where it is higher.
    renewal
        The gate's Hessian is summed every so many steps.
    slack
        Relative decrease that counts as rounding.

    Returns
    -------
    tuple
        q; the log posteriors up to a constant; whether the gain fell below ``tol``; the log posterior of a step that
        could not be kept from falling, or NaN.
    """
    trace, count = np.empty(steps + 6), 1
    path = np.empty((3, len(q)))
    value = expectation_kernel(tables, rows, q, np.zeros((0, len(sums[0]), 1)), sums, False, varies, True)
    trace[0] = value
    while count < steps:
        before = value
        path[0] = q
        for turn in range(1, 3 if fast else 2):
            for phase in range(2 if varies else 1):
                q, value, kept = _step(
                    tables, rows, q, value, sums, spare, phase == 1, varies, count % renewal == 0, slack
                )
                if not kept:
                    return q, trace[:count], False, value
                trace[count] = value
                count += 1
            path[turn] = q
        if fast:
            q, value, further = _extrapolate(tables, rows, path, value, sums, spare, varies)
            if further:
                trace[count] = value
                count += 1
        if value - before <= tol * (1.0 + abs(value)):
            return q, trace[:count], True, np.nan
    return q, trace[:count], False, np.nan
