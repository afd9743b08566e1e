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
    slope
        ``slope(a, h)``: its derivative at a, where it has the value h.
    """

    value: Callable[[Any, Any], Any]
    slope: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _silu(a: Any, functions: Any) -> Any:
    return a * (0.5 + 0.5 * functions.tanh(0.5 * a))


def _silu_slope(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    share = 0.5 + 0.5 * np.tanh(0.5 * a)
    return np.asarray(share + h * (1.0 - share))


TANH = Nonlinearity(lambda a, functions: functions.tanh(a), lambda a, h: 1.0 - h * h)  # noqa: ARG005
SILU = Nonlinearity(_silu, _silu_slope)
RELU = Nonlinearity(lambda a, functions: functions.maximum(a, 0.0), lambda a, h: (a > 0.0) * 1.0)  # noqa: ARG005


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
    """Return the inputs, then sums and values of every layer: what `backward` needs."""
    out = [rows]
    for weights, biases in layers:
        sums = out[-1] @ weights
        sums += biases
        out += [sums, nonlinearity.value(sums, np)]
    return out


def backward(
    memory: Sequence[np.ndarray], layers: Sequence[Layer], nonlinearity: Nonlinearity, gradient: np.ndarray
) -> list[Layer]:
    """Return the gradient in weights and biases of every layer from that (n, units) in the last layer's values."""
    out: list[Layer] = []
    for place in range(len(layers) - 1, -1, -1):
        before, sums, values = memory[2 * place], memory[2 * place + 1], memory[2 * place + 2]
        inner = gradient * nonlinearity.slope(sums, values)
        out.append((before.T @ inner, inner.sum(axis=0)))
        if place:
            gradient = inner @ layers[place][0].T
    return out[::-1]
