"""The record in which measured data come."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Measured inputs and outputs, with what is known about them.

    Parameters
    ----------
    X
        Inputs, shape (n, features).
    y
        Outputs, shape (n,).
    feature_names
        One name for each column of ``X``.
    target_name
        The name of ``y``.
    description
        What was measured, in which units.
    source
        Where the data were published.
    licence
        Why they may be used and passed on.
    """

    X: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    feature_names: tuple[str, ...]
    target_name: str
    description: str
    source: str
    licence: str
