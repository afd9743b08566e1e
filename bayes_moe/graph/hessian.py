r"""The exact Hessian of a mixture's log density in the coefficients of its linear predictors.

With r the responsibilities, g the gate and s, c the first and second derivatives of the experts' log densities, one
row's Hessian in its linear predictors is

.. math:: D - v v^\top + \bar g \bar g^\top, \quad v = (r_k, r_k s_{k1}, r_k s_{k2}, \ldots)

where D couples only predictors of the same expert. Two symmetric rank-n products and one product for D sum
it over the rows, in chunks of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CHUNK_ELEMENTS = 200_000  # a chunk's products stay in the processor's cache


@dataclass(frozen=True, eq=False)
class RowTerms:
    """What rows contribute: everything is (rows, K).

    Parameters
    ----------
    gate, responsibilities
        Gate probabilities and responsibilities.
    scores
        Per parameter of the family, d log f_k / d predictor.
    curvatures
        Per pair of parameters (j <= i, packed), the second derivative.
    """

    gate: np.ndarray
    responsibilities: np.ndarray
    scores: tuple[np.ndarray, ...]
    curvatures: tuple[np.ndarray, ...]


def normal_terms(eta: np.ndarray, y: np.ndarray, experts: int) -> RowTerms:
    """Return the row terms of Normal experts from linear predictors (rows, 3K): gate, mean, log sigma."""
    logits, mu, log_sigma = eta[:, :experts], eta[:, experts : 2 * experts], eta[:, 2 * experts :]
    inverse = np.exp(-log_sigma)
    z = np.clip((y[:, None] - mu) * inverse, -1e150, 1e150)
    gate = np.exp(logits - logits.max(axis=1, keepdims=True))
    joint = logits - log_sigma - 0.5 * z * z
    joint = np.exp(joint - joint.max(axis=1, keepdims=True))
    return RowTerms(
        gate / gate.sum(axis=1, keepdims=True),
        joint / joint.sum(axis=1, keepdims=True),
        (z * inverse, z * z - 1.0),
        (-inverse * inverse, -2.0 * z * inverse, -2.0 * z * z),
    )


def normal_hessian(
    coefficients: np.ndarray,
    active: tuple[np.ndarray, np.ndarray],
    table: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Hessian (A, A) and gradient (A,) of the weighted log density in A coefficients.

    Parameters
    ----------
    coefficients
        (3K, P): gate logits, means and log sigmas on P design columns.
    active
        Rows and columns of the A coefficients that are not structurally zero.
    table, y, weights
        (n, P), (n,), (n,).
    """
    experts = coefficients.shape[0] // 3
    size = len(active[0])
    hessian, gradient, own = np.zeros((size, size)), np.zeros(size), np.zeros(())
    step = max(64, _CHUNK_ELEMENTS // max(size, 1))
    for start in range(0, len(y), step):
        phi, w = table[start : start + step], weights[start : start + step]
        terms = normal_terms(phi @ coefficients.T, y[start : start + step], experts)
        own = own + _add_shared(terms, active, phi, w, hessian, gradient)
    _add_own(hessian, active, own, len(coefficients) // experts, table.shape[1])
    return hessian, gradient


def _add_shared(
    terms: RowTerms,
    active: tuple[np.ndarray, np.ndarray],
    phi: np.ndarray,
    weights: np.ndarray,
    hessian: np.ndarray,
    gradient: np.ndarray,
) -> np.ndarray:
    """Add the gradient and the part of the Hessian that couples experts; return the sums of D (values, P(P+1)/2)."""
    rows, columns = active
    r, g = terms.responsibilities, terms.gate
    experts = r.shape[1]
    v = np.concatenate([r, *(r * score for score in terms.scores)], axis=1)
    slope = v.copy()
    slope[:, :experts] -= g
    gradient += ((slope * weights[:, None]).T @ phi)[rows, columns]
    rooted = np.ascontiguousarray((phi * np.sqrt(weights)[:, None]).T)
    wide = np.ascontiguousarray(v.T)[rows] * rooted[columns]
    hessian -= wide @ wide.T
    gates = np.flatnonzero(rows < experts)
    wide = np.ascontiguousarray(g.T)[rows[gates]] * rooted[columns[gates]]
    hessian[np.ix_(gates, gates)] += wide @ wide.T
    upper = np.triu_indices(phi.shape[1])
    crosses = phi[:, upper[0]] * phi[:, upper[1]] * weights[:, None]
    return np.asarray(np.concatenate(_own_weights(terms), axis=1).T @ crosses)


def _own_pairs(kinds: int) -> list[tuple[int, int]]:
    """Return the pairs of predictor kinds that D couples, kind 0 being the gate.

    Examples
    --------
    >>> _own_pairs(3)
    [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    """
    return [(i, j) for i in range(kinds) for j in range(i + 1)]


def _own_weights(terms: RowTerms) -> list[np.ndarray]:
    """Return D as (rows, K) per pair of `_own_pairs`."""
    r, scores = terms.responsibilities, terms.scores
    out = [r - terms.gate]
    packed = 0
    for i, score in enumerate(scores):
        out.append(r * score)
        for j in range(i + 1):
            out.append(r * (score * scores[j] + terms.curvatures[packed]))
            packed += 1
    return out


def _add_own(
    hessian: np.ndarray, active: tuple[np.ndarray, np.ndarray], sums: np.ndarray, kinds: int, width: int
) -> None:
    """Add the blocks that couple predictors of the same expert."""
    rows, columns = active
    pairs = _own_pairs(kinds)
    experts = len(sums) // len(pairs)
    upper = np.triu_indices(width)
    square = np.empty((len(sums), width, width))
    square[:, upper[0], upper[1]] = sums
    square[:, upper[1], upper[0]] = sums
    places = [np.flatnonzero(rows == row) for row in range(experts * kinds)]
    for index, (a, b) in enumerate(pairs):
        for k in range(experts):
            here, there = places[a * experts + k], places[b * experts + k]
            block = square[index * experts + k][np.ix_(columns[here], columns[there])]
            hessian[np.ix_(here, there)] += block
            if a != b:
                hessian[np.ix_(there, here)] += block.T
