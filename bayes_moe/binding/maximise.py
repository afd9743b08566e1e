"""The M-step of Normal experts under a gate: closed forms and one Newton step, from sums over the rows.

Everything here is small: no array has a row per observation.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import log

import numpy as np

from ..families import Role
from .expert_terms import ExpertTerm
from .parameters import Parameters, full_from_packed

_LONGEST_LOGIT = 4.0
_MANY_DIGITS = 1e12  # more precision than that beside the prior's, about 1, leaves it fewer than four correct digits
_TINY = 1e-300  # has a logarithm
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
    """Return q with every expert's part at its conditional maximum and the gate moved by a damped Newton step.

    Without damping, 0, only closed forms move, with more care for the last digits.
    """
    out = q.copy()
    width = parameters.width
    square = sums.moments[:, full_from_packed(width)]
    shift = np.zeros((parameters.experts, width))
    for term in parameters.terms:
        if term.parameter.role is Role.LOCATION:
            if not sums.sigma_phase:
                _means(parameters, term, square, sums.scores, out, shift, careful=damping == 0.0)
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


def _means(
    parameters: Parameters,
    term: ExpertTerm,
    square: np.ndarray,
    scores: np.ndarray,
    out: np.ndarray,
    shift: np.ndarray,
    *,
    careful: bool,
) -> None:
    """Weighted ridge regression of every expert, as a step from where it is; the weights carry 1/sigma² already.

    The step is exact, and keeps its digits where residuals are tiny beside y.
    """
    step = _ridge_step(parameters, term, square, scores, out, careful=careful)
    shift[term.grid] = step
    out[term.places] += step  # equal rows where they are shared


def _ridge_step(
    parameters: Parameters,
    term: ExpertTerm,
    square: np.ndarray,
    scores: np.ndarray,
    q: np.ndarray,
    *,
    careful: bool = False,
) -> np.ndarray:
    """Return the Newton step (experts, 1 + p) of one term, equal rows when it is shared."""
    places = term.places
    a = np.array(square[term.cube])
    b = scores[term.row : term.row + parameters.experts][term.grid]
    if term.partly:
        return _tied_step(parameters, places, a, b, q, careful=careful)
    if term.shared:
        a, b, places = a.sum(axis=0, keepdims=True), b.sum(axis=0, keepdims=True), places[:1]
    precision = parameters.precision[places]
    np.einsum("kpp->kp", a)[...] += precision
    step = _solved(a, b - precision * (q[places] - parameters.prior_loc[places]), careful=careful)
    return np.broadcast_to(step, term.places.shape) if term.shared else step


def _solved(a: np.ndarray, b: np.ndarray, *, careful: bool) -> np.ndarray:
    """Return a⁻¹b (experts, p) for positive matrices (experts, p, p).

    Where a sigma is almost 0 at some rows, what other rows and the prior say may be lost in the last digits beside
    their weight. A careful step takes such directions as far as the digits go, which is uphill still.
    """
    if not (careful and _MANY_DIGITS <= np.einsum("kpp->k", a).max(initial=0.0) < np.inf):
        with suppress(np.linalg.LinAlgError):  # singular to the last digit
            return np.asarray(np.linalg.solve(a, b[:, :, None])[:, :, 0])
    values, vectors = np.linalg.eigh(a)
    values = np.maximum(values, values.max(axis=1, keepdims=True) / _MANY_DIGITS)
    return np.asarray(np.einsum("kpj,kj,kqj,kq->kp", vectors, 1.0 / values, vectors, b))


def _tied_step(
    parameters: Parameters, places: np.ndarray, a: np.ndarray, b: np.ndarray, q: np.ndarray, *, careful: bool
) -> np.ndarray:
    """Return the same step for experts that share some coefficients: one system for all of them."""
    distinct, where = np.unique(places, return_inverse=True)
    where = where.reshape(places.shape)
    precision = parameters.precision[distinct]
    matrix = np.diag(precision)
    vector = -precision * (q[distinct] - parameters.prior_loc[distinct])
    np.add.at(matrix, (where[:, :, None], where[:, None, :]), a)
    np.add.at(vector, where, b)
    return np.asarray(_solved(matrix[None], vector[None], careful=careful)[0][where])


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

    k, experts, places = parameters.experts, term.members, term.intercepts
    means, sigmas = slice(k, 2 * k), slice(2 * k, 3 * k)
    step, size, old = shift[experts], sums.sizes[experts], sums.coefficients[sigmas, 0][experts]
    # the score of log sigma is the sum of r (z² - 1), all in units of the old sigma²
    bend = (square[experts] @ step[:, :, None])[:, :, 0] - 2.0 * sums.scores[means][experts]
    rss = sums.scores[sigmas, 0][experts] + size + np.einsum("kp,kp->k", step, bend)
    if term.shared:
        rss, size, old = rss.sum(keepdims=True), size.sum(keepdims=True), old[:1]
    c, t2 = parameters.prior_loc[places], 1.0 / parameters.precision[places]
    log_rss = np.log(np.maximum(rss, _TINY)) + 2.0 * old
    log_rss = np.maximum(log_rss, np.log(np.maximum(size, _TINY)) + _LOG_LAST_DIGIT)
    level = c - t2 * size
    u = level + 0.5 * wrightomega(log_rss - 2.0 * level + np.log(2.0 * t2))
    # Newton steps restore what the subtraction of two large numbers lost
    for _ in range(2):
        pull = t2 * np.exp(log_rss - 2.0 * u)
        u += (level - u + pull) / (2.0 * pull + 1.0)
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
    grid = parameters.gate_grid
    # the blocks of two experts are symmetric themselves, being sums of phi phi'
    curvature = sums.pairs.ravel()[parameters.gate_pairs]
    return gate_step(parameters, q, curvature, sums.scores[grid], sums.coefficients[grid])


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
    matrix.ravel()[:: used + 1] += 1.0
    step = np.linalg.solve(matrix, jacobian.T @ scores.ravel() - inner[:used])
    # a quadratic says little beyond a few units of the logits; a gate that becomes a step may treble
    reach = max(_LONGEST_LOGIT, 2.0 * float(np.abs(coefficients).max()))
    longest = float(np.abs(jacobian @ step).max(initial=0.0)) / reach
    out = np.zeros(len(inner))
    out[:used] = step / max(longest, 1.0)
    return out
