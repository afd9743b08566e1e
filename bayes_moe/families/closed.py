"""Closed forms of log densities with their derivatives, for engines that ask for them a million times.

A closed form takes what a row brings (columns that no parameter changes: y, its logarithm, a binomial coefficient) and
the linear predictors, and returns the log density, its first derivatives and the upper triangle of its second ones. It
is written in the functions of `elementary`, so that arrays and compiled code share one text: with columns (n, 1) and
linear predictors (n, k) it gives arrays, and `kernels` runs it row by row. The graph of the log density says the same
(a test holds them equal) and stands in where a closed form leaves the range of floating-point numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class ClosedTerms(NamedTuple):
    """Value (n, k), slopes (n, k) per predictor, and bends (n, k) per pair i <= j, in the order 00, 01, ..., 11, ..."""

    value: np.ndarray
    slopes: Sequence[Any]
    bends: Sequence[Any]

    @classmethod
    def read(cls, flat: Sequence[Any], predictors: int) -> ClosedTerms:
        """Return the terms from a closed form's value, slopes and bends in a row."""
        return cls(flat[0], flat[1 : 1 + predictors], flat[1 + predictors :])
