"""Compiled passes over the rows of a mixture of experts.

One pass takes linear predictors through gate, experts and mixture and brings back the marginal log
density, the responsibilities and the derivative with respect to every linear predictor, all from the same
two vectorised exponentials. It goes through the rows in blocks that stay in the processor's cache, so no array
of size rows x experts x features ever exists, and it releases the interpreter's lock.

Layouts: a block is ``(features, block_rows)`` and linear predictors are ``(predictors, block_rows)``: rows run
fastest, so that every inner loop is one wide instruction after another, whatever the number of experts.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .arithmetic import exp, log

_HALF_LOG_2PI = 0.9189385332046727
_FARTHEST = 1e150  # standardised residuals are cut here, so that their square stays finite


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def normal_experts(eta, log_sigma, y, joint, inverse_sigma):  # type: ignore[no-untyped-def]
    """Turn predicted means and log sigmas of one block into standardised residuals and joint log weights.

    ``eta`` holds K gate logits, K means and, when sigma varies by row, K log sigmas. On return its means are
    replaced by standardised residuals, ``joint`` is log gate + log density up to constants that all experts
    share, and ``inverse_sigma`` is 1/sigma.
    """
    experts, rows = joint.shape
    constant = eta.shape[0] == 2 * experts
    for k in range(experts):
        if constant:
            s = log_sigma[k]
            inverse = exp(-s)
            for b in range(rows):
                z = (y[b] - eta[experts + k, b]) * inverse
                z = _FARTHEST if z > _FARTHEST else z
                z = -_FARTHEST if z < -_FARTHEST else z
                eta[experts + k, b] = z
                inverse_sigma[k, b] = inverse
                joint[k, b] = eta[k, b] - s - 0.5 * z * z
        else:
            for b in range(rows):
                s = eta[2 * experts + k, b]
                inverse = exp(-s)
                z = (y[b] - eta[experts + k, b]) * inverse
                z = _FARTHEST if z > _FARTHEST else z
                z = -_FARTHEST if z < -_FARTHEST else z
                eta[experts + k, b] = z
                inverse_sigma[k, b] = inverse
                joint[k, b] = eta[k, b] - s - 0.5 * z * z


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def mix(gate, joint, log_density, scratch):  # type: ignore[no-untyped-def]
    """Join one block of gate and experts: log density, responsibilities and gate probabilities.

    ``log_density = logsumexp_k(joint) - logsumexp_k(gate)``; on return ``joint`` holds the responsibilities and
    ``gate`` the normalised gate. A row where every ``joint`` is -inf gets -inf and zero in both (its derivative
    counts as zero); NaN stays NaN.
    """
    experts, rows = joint.shape
    top, top_gate, total, total_gate = scratch[0], scratch[1], scratch[2], scratch[3]
    for b in range(rows):
        top[b] = joint[0, b]
        top_gate[b] = gate[0, b]
        total[b] = 0.0
        total_gate[b] = 0.0
    for k in range(1, experts):
        for b in range(rows):
            top[b] = joint[k, b] if joint[k, b] > top[b] else top[b]
            top_gate[b] = gate[k, b] if gate[k, b] > top_gate[b] else top_gate[b]
    for b in range(rows):
        top[b] = 0.0 if top[b] == -np.inf else top[b]
        top_gate[b] = 0.0 if top_gate[b] == -np.inf else top_gate[b]
    for k in range(experts):
        for b in range(rows):
            weight = exp(joint[k, b] - top[b])
            joint[k, b] = weight
            total[b] += weight
            weight = exp(gate[k, b] - top_gate[b])
            gate[k, b] = weight
            total_gate[b] += weight
    for b in range(rows):
        log_density[b] = (top[b] - top_gate[b]) + log(total[b] / total_gate[b])
        possible = total[b] != 0.0
        top[b] = 1.0 / total[b] if possible else 0.0
        top_gate[b] = 1.0 / total_gate[b] if possible else 0.0
    for k in range(experts):
        for b in range(rows):
            joint[k, b] *= top[b]
            gate[k, b] *= top_gate[b]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def normal_scores(eta, responsibilities, gate, inverse_sigma, weights):  # type: ignore[no-untyped-def]
    """Overwrite ``eta`` by the weighted derivative of the log density with respect to it."""
    experts, rows = responsibilities.shape
    constant = eta.shape[0] == 2 * experts
    for k in range(experts):
        for b in range(rows):
            r = responsibilities[k, b] * weights[b]
            z = eta[experts + k, b]
            eta[k, b] = r - gate[k, b] * weights[b]
            eta[experts + k, b] = r * z * inverse_sigma[k, b]
            inverse_sigma[k, b] = r * (z * z - 1.0)
        if not constant:
            for b in range(rows):
                eta[2 * experts + k, b] = inverse_sigma[k, b]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _copy(source, target):  # type: ignore[no-untyped-def]
    """Copy the first rows of ``source``; a slice assignment would compile two seconds of error message."""
    for k in range(target.shape[0]):
        for b in range(target.shape[1]):
            target[k, b] = source[k, b]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _add_row_sums(values, out):  # type: ignore[no-untyped-def]
    for k in range(values.shape[0]):
        total = 0.0
        for b in range(values.shape[1]):
            total += values[k, b]
        out[k] += total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _weighted_sum(values, weights):  # type: ignore[no-untyped-def]
    total = 0.0
    for b in range(values.shape[0]):
        # a row of weight zero is ignored whatever its density
        total += weights[b] * (values[b] - _HALF_LOG_2PI) if weights[b] != 0.0 else 0.0
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def normal_gradient(coefficients, log_sigma, blocks, y, weights, d_coefficients, d_log_sigma):  # type: ignore[no-untyped-def]
    """Return the weighted log density of all rows and add its derivatives to the last two arguments.

    Parameters
    ----------
    coefficients
        (2K or 3K, P): gate logits, means and, when sigma varies by row, log sigmas, on P design columns.
    log_sigma
        (K,): used when sigma is constant over the rows.
    blocks, y, weights
        (B, P, rows), (B, rows), (B, rows): the design, the target and the weights, padded with weight zero.
    """
    predictors = coefficients.shape[0]
    experts = log_sigma.shape[0]
    rows = y.shape[1]
    eta = np.empty((predictors, rows))
    gate = np.empty((experts, rows))
    joint = np.empty((experts, rows))
    inverse_sigma = np.empty((experts, rows))
    scratch = np.empty((5, rows))
    step = np.empty_like(d_coefficients)
    value = 0.0
    for i in range(blocks.shape[0]):
        np.dot(coefficients, blocks[i], eta)
        normal_experts(eta, log_sigma, y[i], joint, inverse_sigma)
        _copy(eta, gate)
        mix(gate, joint, scratch[4], scratch)
        normal_scores(eta, joint, gate, inverse_sigma, weights[i])
        np.dot(eta, blocks[i].T, step)
        d_coefficients += step
        _add_row_sums(inverse_sigma, d_log_sigma)
        value += _weighted_sum(scratch[4], weights[i])
    return value


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def products(block, y, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the products of one block: phi_p phi_q (q <= p), then phi_p y, then y²."""
    features, rows = block.shape
    m = 0
    for p in range(features):
        for q in range(p + 1):
            for b in range(rows):
                out[m, b] = block[p, b] * block[q, b]
            m += 1
    for p in range(features):
        for b in range(rows):
            out[m, b] = block[p, b] * y[b]
        m += 1
    for b in range(rows):
        out[m, b] = y[b] * y[b]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def gate_pairs(gate, weights, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (K(K+1)/2, rows) with the weighted Hessian of the gate's log-normaliser, row by row."""
    m = 0
    for k in range(gate.shape[0]):
        for j in range(k + 1):
            for b in range(gate.shape[1]):
                same = gate[k, b] if j == k else 0.0
                out[m, b] = weights[b] * (same - gate[k, b] * gate[j, b])
            m += 1


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _row_precisions(responsibilities, residuals, inverse_sigma, weights, sigma_phase, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        for b in range(out.shape[1]):
            factor = inverse_sigma[k, b]
            factor = 2.0 * residuals[k, b] * residuals[k, b] if sigma_phase else factor * factor
            out[k, b] = responsibilities[k, b] * weights[b] * factor


@njit(cache=True, nogil=True, error_model="numpy")
def normal_em_pass(  # type: ignore[no-untyped-def]
    coefficients, log_sigma, blocks, y, weights, given, sigma_phase, d_log_sigma, sizes, scores, curvature, moments
):
    """E-step in one pass: return the weighted log density and add up everything the M-step needs.

    Adds to ``sizes`` (K,) the responsibilities, to ``scores`` (like ``coefficients``) and ``d_log_sigma`` (K,)
    the derivative of the log density, to ``curvature`` (K(K+1)/2, P(P+1)/2) the packed Hessian of the gate's
    log-normaliser (skipped when it has no rows), and to ``moments`` (K, P(P+1)/2 + P + 1) the products of design and
    target weighted by responsibility / sigma² (in the sigma phase: by 2 responsibility z², the curvature in log
    sigma). With ``given`` (B, K, rows) these responsibilities replace the computed ones.
    """
    predictors = coefficients.shape[0]
    experts, rows = log_sigma.shape[0], y.shape[1]
    crossed = curvature.shape[1]
    eta = np.empty((predictors, rows))
    gate, joint = np.empty((experts, rows)), np.empty((experts, rows))
    inverse_sigma, precision = np.empty((experts, rows)), np.empty((experts, rows))
    scratch = np.empty((5, rows))
    crosses = np.empty((moments.shape[1], rows))
    pairs = np.empty((curvature.shape[0], rows))
    step_scores, step_curvature = np.empty_like(scores), np.empty_like(curvature)
    step_moments = np.empty_like(moments)
    value = 0.0
    for i in range(blocks.shape[0]):
        np.dot(coefficients, blocks[i], eta)
        normal_experts(eta, log_sigma, y[i], joint, inverse_sigma)
        _copy(eta, gate)
        mix(gate, joint, scratch[4], scratch)
        if given.shape[0] > 0:
            _copy(given[i], joint)
        _row_precisions(joint, eta[experts : 2 * experts], inverse_sigma, weights[i], sigma_phase, precision)
        normal_scores(eta, joint, gate, inverse_sigma, weights[i])
        products(blocks[i], y[i], crosses)
        np.dot(precision, crosses.T, step_moments)
        moments += step_moments
        np.dot(eta, blocks[i].T, step_scores)
        scores += step_scores
        if pairs.shape[0] > 0:
            gate_pairs(gate, weights[i], pairs)
            np.dot(pairs, crosses[:crossed].T, step_curvature)
            curvature += step_curvature
        for k in range(experts):
            for b in range(rows):
                joint[k, b] *= weights[i, b]
        _add_row_sums(joint, sizes)
        _add_row_sums(inverse_sigma, d_log_sigma)
        value += _weighted_sum(scratch[4], weights[i])
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def normal_rows(coefficients, log_sigma, blocks, y, log_density, responsibilities):  # type: ignore[no-untyped-def]
    """Fill log density (rows,) and responsibilities (rows, K) of every row, unweighted."""
    predictors = coefficients.shape[0]
    experts, rows = log_sigma.shape[0], y.shape[1]
    eta = np.empty((predictors, rows))
    gate = np.empty((experts, rows))
    joint = np.empty((experts, rows))
    inverse_sigma = np.empty((experts, rows))
    scratch = np.empty((5, rows))
    total = log_density.shape[0]
    for i in range(blocks.shape[0]):
        np.dot(coefficients, blocks[i], eta)
        normal_experts(eta, log_sigma, y[i], joint, inverse_sigma)
        _copy(eta, gate)
        mix(gate, joint, scratch[4], scratch)
        start = i * rows
        for b in range(min(rows, total - start)):
            log_density[start + b] = scratch[4, b] - _HALF_LOG_2PI
            for k in range(experts):
                responsibilities[start + b, k] = joint[k, b]
