"""Log density of a family and its derivatives in the linear predictors, element by element, from its graph.

A family is written once, as a graph of its log density. What engines need beside the value, its first and second
derivatives, PyTensor derives from that graph. All of it works element by element: a row and an expert are one element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from .derivatives import Terms, square
from .graded import Graded

LogPdf = Callable[..., TensorVariable]


class TermsFunction:
    """The compiled functions of one log density of y, linear predictors and given columns.

    Parameters
    ----------
    logpdf
        The graph function.
    predicted, given
        How many linear predictors and further columns it takes.
    vector
        Whether y is several numbers a row.
    """

    def __init__(self, logpdf: LogPdf, predicted: int, given: int, *, vector: bool) -> None:
        y = pt.tensor("y", dtype="float64", shape=(None, 1, None) if vector else (None, 1))
        self._etas = [pt.dmatrix(f"eta_{i}") for i in range(predicted)]
        columns = [pt.tensor(f"given_{i}", dtype="float64", shape=(None, 1)) for i in range(given)]
        value = logpdf(y, *self._etas, *columns) + sum((0.0 * eta for eta in self._etas), pt.zeros((1, 1)))
        self._slopes = _derivatives(value, self._etas)
        self._inputs = [y, *self._etas, *columns]
        self._first = Graded(self._inputs, [value, *self._slopes])
        self._second: Graded | None = None

    def hurried(self) -> TermsFunction:
        """Return the functions for another thread, compiled for many calls."""
        twin = object.__new__(TermsFunction)
        twin.__dict__.update(self.__dict__)
        twin._first, twin._second = self._first.hurried().copy(), None
        return twin

    def __call__(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray] = (), *, bends: bool = False
    ) -> Terms:
        """Return the terms at y (n, 1) or (n, 1, outputs), linear predictors (n, k) each and given columns (n, 1)."""
        elements = etas[0].size if len(etas) else len(y)
        value, *slopes = self._first(y, *etas, *given, elements=elements)
        first = np.stack(slopes) if slopes else np.zeros((0, *value.shape))
        if not bends:
            return Terms(value, first, None)
        count = len(self._etas)
        upper = self._bends()(y, *etas, *given, elements=elements) if count else []
        return Terms(value, first, square(upper, value.shape, count))

    def _bends(self) -> Graded:
        """Return the second derivatives, compiled when they are first asked for."""
        if self._second is None:
            bends = [bend for i, slope in enumerate(self._slopes) for bend in _derivatives(slope, self._etas[i:])]
            self._second = Graded(self._inputs, bends)
        return self._second


def _derivatives(value: TensorVariable, etas: Sequence[TensorVariable]) -> list[Any]:
    """Return the derivative of every element of ``value`` in the same element of each linear predictor."""
    if not etas:
        return []
    return list(pytensor.grad(value.sum(), list(etas), disconnected_inputs="ignore", return_disconnected="zero"))


@lru_cache(maxsize=64)
def terms_function(family: Any, *, vector: bool) -> TermsFunction:
    """Return the compiled terms of a family, compiled once in a process."""
    return TermsFunction(family.logpdf, len(family.predicted), len(family.given), vector=vector)
