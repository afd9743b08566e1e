"""The M-step of Normal experts under a gate: closed forms and one Newton step, from sums over the rows.

Everything here is small: no array has a row per observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np

from ..families import Role
from .expert_terms import ExpertTerm
from .parameters import Parameters

_LONGEST_LOGIT = 4.0
_LOG_LAST_DIGIT = 2.0 * log(1e-16)  # residuals of standardised y are not known better


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over the rows that the M-step reads; those of several chunks of rows add up.

    Parameters
    ----------
    sizes
        (K,) sums of responsibilities.
    scores
        (3K, P) gradient of the log density in the coefficients.
    pairs
        (K(K+1)/2, P(P+1)/2) packed Hessian of the gate's log-normaliser.
    moments
        (K, P(P+1)/2 + P + 1) weighted products of design and target.
    coefficients
        (3K, P) where the sums were taken.
    sigma_phase
        Whether ``moments`` hold the curvature in log sigma.
    pairs_age
        Number of E-steps ago that ``pairs`` were summed.
    """

    sizes: np.ndarray
    scores: np.ndarray
    pairs: np.ndarray
    moments: np.ndarray
    coefficients: np.ndarray
    sigma_phase: bool
    pairs_age: int = 0


def maximise(parameters: Parameters, q: np.ndarray, sums: Statistics, *, damping: float) -> np.ndarray:
    """Return q with every expert's part at its conditional maximum and the gate moved by a damped Newton step."""
    out = q.copy()
    width = parameters.width
    square = _unpack(sums.moments[:, : width * (width + 1) // 2], width)
    shift = np.zeros((parameters.experts, width))
    for term in parameters.terms:
        if term.parameter.role is Role.LOCATION:
            if not sums.sigma_phase:
                _means(parameters, term, square, sums.scores, out, shift)
        elif term.term.width > 0:
            if sums.sigma_phase:
                _varying_sigmas(parameters, term, square, sums.scores, damping, out)
        elif not sums.sigma_phase:
            _constant_sigmas(parameters, term, sums, square, shift, out)
    if damping > 0 and parameters.gate_start < parameters.size:
        out[parameters.gate_start :] += damping * _gate_newton(parameters, q, sums)
    return settle(parameters, out)


def settle(parameters: Parameters, q: np.ndarray) -> np.ndarray:
    """Return q with the gate's values of highest prior among those with the same coefficients."""
    out = q.copy()
    out[parameters.gate_start :] = parameters.gate.settle(q[parameters.gate_start :])
    return out


@lru_cache(maxsize=64)
def _full_from_packed(width: int) -> np.ndarray:
    """Return positions in a packed lower triangle of every element of the full symmetric matrix."""
    out = np.empty((width, width), dtype=np.int64)
    lower = np.tril_indices(width)
    out[lower] = np.arange(len(lower[0]))
    out.T[lower] = out[lower]
    return out


def _unpack(packed: np.ndarray, width: int) -> np.ndarray:
    return np.asarray(packed[:, _full_from_packed(width)])


def _means(
    parameters: Parameters,
    term: ExpertTerm,
    square: np.ndarray,
    scores: np.ndarray,
    out: np.ndarray,
    shift: np.ndarray,
) -> None:
    """Weighted ridge regression of every expert, as a step from where it is; the weights carry 1/sigma² already.

    The step is exact, and keeps its digits where residuals are tiny beside y.
    """
    step = _ridge_step(parameters, term, square, scores, out)
    shift[term.grid] = step
    out[term.places.ravel()] = (out[term.places] + step).ravel()


def _ridge_step(
    parameters: Parameters, term: ExpertTerm, square: np.ndarray, scores: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """Return the Newton step (experts, 1 + p) of one term, equal rows when it is shared."""
    places = term.places
    a = square[term.cube]
    b = scores[term.row : term.row + parameters.experts][term.grid]
    if term.partly:
        return _tied_step(parameters, places, a, b, q)
    if term.shared:
        a, b, places = a.sum(axis=0, keepdims=True), b.sum(axis=0, keepdims=True), places[:1]
    precision = parameters.prior_scale[places] ** -2
    a[:, *np.diag_indices(a.shape[1])] += precision
    b = b - precision * (q[places] - parameters.prior_loc[places])
    return np.broadcast_to(_solved(a, b), term.places.shape)


def _solved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a⁻¹b (experts, p) for positive matrices (experts, p, p).

    Where a sigma is almost 0 at some rows, what the prior alone decides is lost in the last digits beside their weight:
    such directions are taken as far as the digits go, which is uphill still.
    """
    try:
        return np.asarray(np.linalg.solve(a, b[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(a)
        values = np.maximum(values, np.finfo(float).eps * values.max(axis=1, keepdims=True))
        return np.asarray(np.einsum("kpj,kj,kqj,kq->kp", vectors, 1.0 / values, vectors, b))


def _tied_step(parameters: Parameters, places: np.ndarray, a: np.ndarray, b: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the same step for experts that share some coefficients: one system for all of them."""
    distinct, where = np.unique(places, return_inverse=True)
    where = where.reshape(places.shape)
    precision = parameters.prior_scale[distinct] ** -2
    matrix = np.diag(precision)
    vector = -precision * (q[distinct] - parameters.prior_loc[distinct])
    np.add.at(matrix, (where[:, :, None], where[:, None, :]), a)
    np.add.at(vector, where, b)
    return np.asarray(np.linalg.solve(matrix, vector)[where])


def _constant_sigmas(
    parameters: Parameters,
    term: ExpertTerm,
    sums: Statistics,
    square: np.ndarray,
    shift: np.ndarray,
    out: np.ndarray,
) -> None:
    r"""Maximise ``-N u - S exp(-2u)/2 - (u - c)²/(2 t²)`` over u = log sigma.

    The stationary point is ``u = c - t² N + ω/2`` with ``ω + log ω = log S - 2c + 2 t² N + log 2t²``: the Wright
    omega function. S follows from the sums at the old sigma and the step of the means.
    """
    from scipy.special import wrightomega  # a third of a second that `import bayes_moe` does not pay

    k, experts = parameters.experts, np.array(term.experts)
    step, size = shift[experts], sums.sizes[experts]
    # the score of log sigma is the sum of r (z² - 1), all in units of the old sigma²
    rss = sums.scores[2 * k + experts, 0] + size - 2.0 * np.sum(step * sums.scores[k + experts], axis=1)
    rss = np.maximum(rss + np.einsum("kp,kpq,kq->k", step, square[experts], step), 0.0)
    places, old = term.places[:, 0], sums.coefficients[2 * k + experts, 0]
    if term.shared:
        rss, size, places, old = rss.sum(keepdims=True), size.sum(keepdims=True), places[:1], old[:1]
    c, t2 = parameters.prior_loc[places], parameters.prior_scale[places] ** 2
    with np.errstate(divide="ignore"):
        log_rss = np.maximum(np.log(rss) + 2.0 * old, np.log(size) + _LOG_LAST_DIGIT)
    u = c - t2 * size + 0.5 * np.real(wrightomega(log_rss - 2.0 * c + 2.0 * t2 * size + np.log(2.0 * t2)))
    # Newton steps restore what the subtraction of two large numbers lost
    for _ in range(2):
        pull = np.exp(log_rss - 2.0 * u)
        u = u + (pull - size - (u - c) / t2) / (2.0 * pull + 1.0 / t2)
    out[places] = u


def _varying_sigmas(
    parameters: Parameters,
    term: ExpertTerm,
    square: np.ndarray,
    scores: np.ndarray,
    damping: float,
    out: np.ndarray,
) -> None:
    """One Newton step on the concave objective in the coefficients of log sigma."""
    step = _ridge_step(parameters, term, square, scores, out)
    # log sigma may not move by more than 1 at a time: beyond that the quadratic says nothing
    longest = np.abs(step).max(axis=None if term.partly else 1, keepdims=True)
    out[term.places.ravel()] = (out[term.places] + damping * step / np.maximum(longest, 1.0)).ravel()


def _gate_newton(parameters: Parameters, q: np.ndarray, sums: Statistics) -> np.ndarray:
    """Return the Newton step of the gate from the sums of an E-step."""
    k, positions = parameters.experts, parameters.gate_positions
    # the blocks of two experts are symmetric themselves, being sums of phi phi'
    blocks = sums.pairs[:, _full_from_packed(parameters.width)[parameters.gate_grid]]
    curvature = blocks[_full_from_packed(k)].transpose(0, 2, 1, 3).reshape(k * len(positions), -1)
    return gate_step(parameters, q, curvature, sums.scores[:k, positions], sums.coefficients[:k, positions])


def gate_step(
    parameters: Parameters, q: np.ndarray, curvature: np.ndarray, scores: np.ndarray, coefficients: np.ndarray
) -> np.ndarray:
    """Return the Newton step of the gate's coefficients, all experts at once (no block-diagonal shortcut).

    The gate's scale rests during the step, which makes the problem concave; `BoundGate.settle` moves it afterwards.

    Parameters
    ----------
    parameters, q
        The layout, and where the step begins.
    curvature
        (K w, K w) Hessian of the log normaliser in the coefficients of the gate's w columns.
    scores, coefficients
        (K, w) gradient in them, and they themselves.
    """
    inner = q[parameters.gate_start :]
    used = (parameters.experts - 1) * len(parameters.gate_positions)
    jacobian = parameters.gate.jacobian(inner).reshape(len(curvature), -1)[:, :used]
    matrix = jacobian.T @ curvature @ jacobian
    matrix[np.diag_indices(used)] += 1.0
    step = np.linalg.solve(matrix, jacobian.T @ scores.ravel() - inner[:used])
    # a quadratic says little beyond a few units of the logits; a gate that becomes a step may treble
    reach = max(_LONGEST_LOGIT, 2.0 * float(np.abs(coefficients).max()))
    longest = float(np.abs(jacobian @ step).max(initial=0.0)) / reach
    out = np.zeros(len(inner))
    out[:used] = step / max(longest, 1.0)
    return out
