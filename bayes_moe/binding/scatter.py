r"""The scatter of the scores: what rows' gradients of the log likelihood vary by.

.. math:: B = \sum_i w_i \, s_i s_i^\top, \qquad s_i = \nabla_q \log p(y_i \mid x_i, q)

With the Hessian H of the negative log posterior it makes the sandwich ``H⁻¹ B H⁻¹``.
"""

from __future__ import annotations

import numpy as np

from .chunks import Chunk, pulled
from .general import GeneralDensity
from .members import GroupedChunk


def scatter(density: GeneralDensity, q: np.ndarray) -> np.ndarray:
    """Return B (size, size) at q; of groups of rows where these share a label.

    A row of weight 2 counts as two equal rows.
    """
    rows, columns = density.parameters.active
    inner = np.zeros((len(rows), len(rows)))
    for chunk in density.chunks(q):
        scores = _scores(chunk, density, rows, columns)
        inner += scores.T @ scores
    jacobian = density.parameters.jacobian(q)[rows * density.parameters.width + columns]
    return np.asarray(jacobian.T @ inner @ jacobian)


def _scores(chunk: Chunk, density: GeneralDensity, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the root of the weight times the score (units, A) of every row or group, in the active coefficients."""
    mass = chunk.mass(chunk.by_row[1])
    scores = pulled(chunk, mass, density.parameters.gate, density.groups)[:, rows] * chunk.table[:, columns]
    if isinstance(chunk, GroupedChunk):
        return np.asarray(chunk.members.summed(scores) / np.sqrt(chunk.members.counts)[:, None])
    return np.asarray(scores / np.sqrt(chunk.weights)[:, None])
