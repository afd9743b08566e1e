"""One small data set, and the readers the tests of the border share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayes_moe.data import Data, read_training

N = 40
RNG = np.random.default_rng(20)
X = RNG.normal(size=(N, 2))
Y = RNG.normal(size=N)
LINE = np.linspace(-1.0, 1.0, N)
FRAME = pd.DataFrame(X, columns=["age", "dose"])


def read(x: Any = X, y: Any = Y, **options: Any) -> Data:
    return read_training(x, y, **({"experts": 2, "parameters": 10} | options))


def changed(array: np.ndarray, where: Any, value: Any, kind: Any = None) -> np.ndarray:
    copy = array.astype(kind or array.dtype, copy=True)
    copy[where] = value
    return copy


def codes(data: Data) -> tuple[str, ...]:
    return tuple(notice.code for notice in data.notices)


def values_like(kind: str) -> np.ndarray:
    """Numbers every dtype under test can hold."""
    return np.arange(2 * N).reshape(N, 2).__mod__(np.array([7, 5])).astype(kind)
