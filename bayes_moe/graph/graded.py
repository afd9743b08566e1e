"""A PyTensor function in two compilations: at hand at once, and fast once there is work for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode
from pytensor.tensor.variable import TensorVariable

PLAIN = Mode(linker="py", optimizer="fast_compile")
"""Compiles in a fraction of a second and runs through NumPy."""

_NODE, _ELEMENT = 5e-6, 1e-8  # seconds that NumPy takes for an operation, and for an element of it
_PATIENCE = 4.0  # seconds of plain work after which a compilation pays


class Graded:
    """Some element-wise outputs as a function.

    It runs through NumPy until it has done so much work that compiling it by numba (some 10 s, 2 s from PyTensor's
    cache on disk) pays. Work is counted, not timed: which of the two runs, and so the last digit of a result, depends
    on the calls alone.

    Parameters
    ----------
    inputs, outputs
        Of the function.
    """

    def __init__(self, inputs: Sequence[TensorVariable], outputs: Sequence[TensorVariable]) -> None:
        self._graph = (list(inputs), list(outputs))
        self._plain = pytensor.function(*self._graph, mode=PLAIN, trust_input=True)
        self._fast: Any = None
        self._nodes = len(self._plain.maker.fgraph.apply_nodes)
        self.work = 0.0

    def __call__(self, *values: np.ndarray, elements: int) -> list[np.ndarray]:
        """Return the outputs; each has so many ``elements``."""
        self.work += self._nodes * (_NODE + _ELEMENT * elements)
        if self._fast is None and self.work < _PATIENCE:
            return list(self._plain(*values))
        return list(self.hurried()._fast(*values))

    def hurried(self) -> Graded:
        """Compile now, for work that is known to be much."""
        if self._fast is None:
            self._fast = pytensor.function(*self._graph, mode="NUMBA", trust_input=True)
        return self

    def copy(self) -> Graded:
        """Return the same function for another thread: PyTensor's functions keep their arguments in one place."""
        twin = object.__new__(Graded)
        twin.__dict__.update(self.__dict__)
        twin._plain = self._plain.copy()
        twin._fast = None if self._fast is None else self._fast.copy()
        return twin
