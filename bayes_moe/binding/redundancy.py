"""Coefficients that no training row tells apart: columns of one predictor that depend linearly on each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..screening import dependent_columns
from .parameters import Parameters

_DEPENDENT = 1e-12  # eigenvalue of a Gram matrix (unit diagonal) that is rounding error


def redundant_coefficients(parameters: Parameters, table: np.ndarray) -> int:
    """Return how many free coefficients the likelihood could do without.

    It is the dimension of the directions in which they move and no linear predictor does at any row.

    Parameters
    ----------
    parameters
        The layout of the coefficients.
    table
        (n, P) the design at the training rows of positive weight.
    """
    gram = _gram(table)
    found = 0
    for term in parameters.terms:
        own = _nullity(gram, term.term.positions[~term.tied])
        whole = _nullity(gram, term.term.positions)
        alone = 0 if term.shared else len(term.experts) * own
        # what tied slopes add once for all experts: directions within the reach of every expert's own columns
        found += term.free_labels * (alone + whole - (0 if term.shared else own))
    gate = parameters.gate
    if not gate.joint and gate.count:  # a joint gate has a density of x, not linear predictors
        found += gate.count // len(parameters.gate_positions) * _nullity(gram, parameters.gate_positions)
    return found


def dependent_names(parameters: Parameters, table: np.ndarray) -> Iterator[list[str]]:
    """Yield the names of columns that depend on each other, of one predictor of experts after another.

    Predictors with learned weights have priors that choose among their columns, and are left out.
    """
    seen: set[tuple[int, ...]] = set()
    for term in parameters.terms:
        positions = tuple(int(j) for j in term.term.positions[1:])
        if term.weights is None and positions not in seen:
            seen.add(positions)
            for group in dependent_columns(table[:, positions]):
                yield [term.term.basis.names[j] for j in group]


def _gram(table: np.ndarray) -> np.ndarray:
    squares = np.asarray(table.T @ table)
    norms = np.sqrt(np.diag(squares))
    norms[norms == 0] = 1.0
    return np.asarray(squares / np.outer(norms, norms))


def _nullity(gram: np.ndarray, positions: np.ndarray) -> int:
    if not len(positions):
        return 0
    return int(np.count_nonzero(np.linalg.eigvalsh(gram[np.ix_(positions, positions)]) < _DEPENDENT))
