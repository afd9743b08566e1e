"""Hidden layers: the forward map for arrays and tensors alike, and its derivative for arrays.

A layer takes rows (n, inputs) to ``activation(rows @ W + b)``. The forward map is written with operations that NumPy
and PyTensor share, so that the formula exists once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Layer = tuple[Any, Any]
"""Weights (inputs, units) and biases (units,)."""


@dataclass(frozen=True)
class Nonlinearity:
    """One activation function.

    Parameters
    ----------
    value
        ``value(a, functions)`` with ``functions`` being ``numpy`` or ``pytensor.tensor``.
    both
        ``both(a)``: value and derivative at an array.
    """

    value: Callable[[Any, Any], Any]
    both: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _tanh(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h = np.tanh(a)
    return h, 1.0 - h * h


def _silu(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from .slope_kernels import silu  # numba, which `import bayes_moe` does not pay

    h, slope = np.empty_like(a), np.empty_like(a)
    silu(a, h, slope)
    return h, slope


TANH = Nonlinearity(lambda a, functions: functions.tanh(a), _tanh)
SILU = Nonlinearity(lambda a, functions: a * (0.5 + 0.5 * functions.tanh(0.5 * a)), _silu)
RELU = Nonlinearity(lambda a, functions: functions.maximum(a, 0.0), lambda a: (np.maximum(a, 0.0), (a > 0.0) * 1.0))


def forward(rows: Any, layers: Sequence[Layer], nonlinearity: Nonlinearity, functions: Any) -> Any:
    """Return the last hidden layer (n, units).

    Parameters
    ----------
    rows
        (n, inputs).
    layers
        Weights and biases, first to last.
    nonlinearity
        What follows every layer.
    functions
        ``numpy`` or ``pytensor.tensor``.
    """
    for weights, biases in layers:
        rows = nonlinearity.value(rows @ weights + biases, functions)
    return rows


def remembered(rows: np.ndarray, layers: Sequence[Layer], nonlinearity: Nonlinearity) -> list[np.ndarray]:
    """Return the inputs, then slopes and values of every layer: what `backward` needs."""
    out = [rows]
    for weights, biases in layers:
        sums = out[-1] @ weights
        sums += biases
        values, slopes = nonlinearity.both(sums)
        out += [slopes, values]
    return out


def backward(memory: Sequence[np.ndarray], layers: Sequence[Layer], gradient: np.ndarray) -> list[Layer]:
    """Return the gradient in weights and biases of every layer from that (n, units) in the last layer's values."""
    out: list[Layer] = []
    for place in range(len(layers) - 1, -1, -1):
        before, inner = memory[2 * place], memory[2 * place + 1]
        inner *= gradient  # the memory is used once
        out.append((before.T @ inner, inner.sum(axis=0)))
        if place:
            gradient = inner @ layers[place][0].T
    return out[::-1]
