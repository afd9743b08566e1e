"""Log densities at some elements, with their derivatives in the linear predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Terms:
    """One family's log density at some elements, with its derivatives.

    Parameters
    ----------
    value
        (n, k) log densities.
    slopes
        (m, n, k) derivatives in the m linear predictors.
    bends
        (m, m, n, k) second derivatives; None where they were not asked for.
    """

    value: np.ndarray
    slopes: np.ndarray
    bends: np.ndarray | None


def square(upper: Sequence[np.ndarray], shape: tuple[int, ...], count: int) -> np.ndarray:
    """Return (count, count, n, k) second derivatives from those of the upper triangle."""
    full, each = np.empty((count, count, *shape)), iter(upper)
    for i in range(count):
        for j in range(i, count):
            full[i, j] = full[j, i] = next(each)
    return full
