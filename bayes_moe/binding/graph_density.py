"""The log density of any PyMC model of ours, compiled by PyTensor over one flat vector.

Experts without a kernel of their own are fitted through this; for Normal experts it is an oracle that shares no
compiled code path with `MixtureDensity` but the mixing kernel. The vector is cut with symbolic positions and
lengths, so that the compiled code depends on the structure of the model alone and other data, another number of
experts and other priors find it in PyTensor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode, get_mode
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from .describe import user_coefficients
from .design import Design
from .parameters import Parameters

FAST_START = Mode(linker="py", optimizer="fast_compile")
"""Compiles in a fraction of a second and runs milliseconds longer: glue in Python, the mixing in its kernel."""


@dataclass(frozen=True, eq=False)
class GraphDensity:
    """Log posterior of a PyMC model over one flat vector; implements `LogDensity`.

    Parameters
    ----------
    model
        A model built by `build_model`.
    design, parameters
        What it was built from.
    mode
        How PyTensor compiles; None for its default. `FAST_START` compiles at once.
    """

    model: pm.Model
    design: Design
    parameters: Parameters
    mode: Mode | str | None = None

    @property
    def size(self) -> int:
        return self.parameters.size

    def logp(self, q: np.ndarray) -> float:
        return self.logp_and_gradient(q)[0]

    def gradient(self, q: np.ndarray) -> np.ndarray:
        return self.logp_and_gradient(q)[1]

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.function(q)
        return float(value), gradient

    def compiled(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        compiled = self.function
        machine: Any = getattr(compiled.vm, "jit_fn", None)
        lock = Lock()

        def guarded(q: np.ndarray) -> tuple[float, np.ndarray]:
            with lock:  # a PyTensor function keeps its arguments in one place
                value, gradient = compiled(q)
            return float(value), gradient

        def direct(q: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = machine(q, *(container.storage[0] for container in compiled.input_storage[1:]))
            return float(value), gradient

        # machine code has no such place; it gets the data as arguments
        return guarded if machine is None else direct

    def hessian(self, q: np.ndarray) -> np.ndarray:
        rows = [self.curvature(q, direction) for direction in np.eye(self.size)]
        out: np.ndarray = np.array(rows).reshape(self.size, self.size)
        return np.asarray(0.5 * (out + out.T))

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        return user_coefficients(self.parameters, self.design, q)

    @cached_property
    def function(self) -> Any:
        """The compiled function from the flat vector to log density and gradient."""
        q, value, gradient = self.graph
        return self._compile([q], [value, gradient])

    @cached_property
    def curvature(self) -> Any:
        """The compiled function from the flat vector and a direction to the Hessian times the direction."""
        q, _, gradient = self.graph
        direction = pt.dvector("direction")
        return self._compile([q, direction], pytensor.grad(gradient @ direction, q))

    @cached_property
    def graph(self) -> tuple[TensorVariable, TensorVariable, TensorVariable]:
        """The flat vector, and log density and gradient as graphs of it."""
        q = pt.dvector("q")
        pieces, start = {}, 0
        for variable in self.model.value_vars:
            where = self.parameters.slices[variable.name]
            assert where.start == start, variable
            start = where.stop
            pieces[variable] = _cut(q, where, self._shapes[variable.name], variable)
        value = graph_replace(self.model.logp(), pieces)
        return q, value, pytensor.grad(value, q)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {free.value_name: free.value_shape for free in self.parameters.free}

    def _compile(self, inputs: list[TensorVariable], outputs: Any) -> Any:
        # the numbers of our priors were checked when they were specified
        mode = get_mode(self.mode).including("local_remove_check_parameter")
        return pytensor.function(inputs, outputs, mode=mode, trust_input=True)


def _cut(q: TensorVariable, where: slice, shape: tuple[int, ...], variable: TensorVariable) -> TensorVariable:
    """Return the piece of ``q`` that stands for a value variable; nothing of its place or shape is compiled in."""
    start, stop = pytensor.shared(np.asarray(where.start)), pytensor.shared(np.asarray(where.stop))
    lengths = pytensor.shared(np.array(shape, dtype=np.int64))
    piece = q[start:stop].reshape(lengths, ndim=len(shape)) if shape else q[start]
    return variable.type.filter_variable(piece)
