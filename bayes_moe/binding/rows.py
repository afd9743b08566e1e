"""The rows of a data set in the blocked layout of the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK_ROWS = 256
"""Rows of a block: K x 256 doubles of each temporary stay in the second cache for any usual K."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Design, target and weights, cut into blocks and padded with rows of weight zero.

    Parameters
    ----------
    count
        Number of true rows.
    blocks
        (B, P, rows) design columns.
    y, weights
        (B, rows).
    """

    count: int
    blocks: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    def blocked(self, values: np.ndarray) -> np.ndarray:
        """Return values (count, m) as (B, m, rows), padded with zeros."""
        return _blocked(values, self.y.shape[0], self.y.shape[1])


def _blocked(values: np.ndarray, blocks: int, rows: int) -> np.ndarray:
    padded = np.zeros((blocks * rows, values.shape[1]))
    padded[: len(values)] = values
    return np.ascontiguousarray(padded.reshape(blocks, rows, values.shape[1]).transpose(0, 2, 1))


def make_rows(design: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Rows:
    """Return rows in blocks; short data make one short block."""
    count = len(y)
    rows = min(BLOCK_ROWS, max(8, -(-count // 8) * 8))
    blocks = max(1, -(-count // rows))
    return Rows(
        count,
        _blocked(design, blocks, rows),
        _blocked(y[:, None], blocks, rows)[:, 0].copy(),
        _blocked(weights[:, None], blocks, rows)[:, 0].copy(),
    )
