"""Log density of a family and its derivatives in the linear predictors, element by element, from its graph.

A family is written once, as a graph of its log density. What engines need beside the value, its first and second
derivatives, PyTensor derives from that graph. All of it works element by element: a row and an expert are one element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.tensor.variable import TensorVariable

PLAIN = Mode(linker="py", optimizer="fast_compile")
"""Compiles in a fraction of a second and runs through NumPy."""

LogPdf = Callable[..., TensorVariable]


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
    mode
        How PyTensor compiles.
    """

    def __init__(self, logpdf: LogPdf, predicted: int, given: int, *, vector: bool, mode: Mode) -> None:
        y = pt.tensor("y", dtype="float64", shape=(None, 1, None) if vector else (None, 1))
        etas = [pt.dmatrix(f"eta_{i}") for i in range(predicted)]
        columns = [pt.tensor(f"given_{i}", dtype="float64", shape=(None, 1)) for i in range(given)]
        value = logpdf(y, *etas, *columns) + sum((0.0 * eta for eta in etas), pt.zeros((1, 1)))
        slopes = _derivatives(value, etas)
        bends = [bend for i, slope in enumerate(slopes) for bend in _derivatives(slope, etas[i:])]
        self.predicted = predicted
        inputs = [y, *etas, *columns]
        self._first = pytensor.function(inputs, [value, *slopes], mode=mode, trust_input=True)
        self._second = pytensor.function(inputs, [value, *slopes, *bends], mode=mode, trust_input=True)

    def copy(self) -> TermsFunction:
        """Return the same functions for another thread."""
        twin = object.__new__(TermsFunction)
        twin.predicted = self.predicted
        twin._first, twin._second = self._first.copy(), self._second.copy()
        return twin

    def __call__(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray] = (), *, bends: bool = False
    ) -> Terms:
        """Return the terms at y (n, 1) or (n, 1, outputs), linear predictors (n, k) each and given columns (n, 1)."""
        count = self.predicted
        if not bends:
            value, *slopes = self._first(y, *etas, *given)
            return Terms(value, np.stack(slopes) if slopes else np.zeros((0, *value.shape)), None)
        value, *rest = self._second(y, *etas, *given)
        full = np.empty((count, count, *value.shape))
        upper = iter(rest[count:])
        for i in range(count):
            for j in range(i, count):
                full[i, j] = full[j, i] = next(upper)
        return Terms(value, np.stack(rest[:count]) if count else np.zeros((0, *value.shape)), full)


def _derivatives(value: TensorVariable, etas: Sequence[TensorVariable]) -> list[Any]:
    """Return the derivative of every element of ``value`` in the same element of each linear predictor."""
    if not etas:
        return []
    return list(pytensor.grad(value.sum(), list(etas), disconnected_inputs="ignore", return_disconnected="zero"))


@lru_cache(maxsize=64)
def terms_function(family: Any, *, vector: bool, mode: Mode = PLAIN) -> TermsFunction:
    """Return the compiled terms of a family, compiled once in a process."""
    return TermsFunction(family.logpdf, len(family.predicted), len(family.given), vector=vector, mode=mode)
