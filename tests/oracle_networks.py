"""Hidden layers once more: sums and activations in plain Python, a number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bayes_moe import Activation


def bent(activation: Activation, total: float) -> float:
    """Return what a unit makes of its weighted sum."""
    if activation is Activation.RELU:
        return max(total, 0.0)
    return math.tanh(total) if activation is Activation.TANH else total / (1.0 + math.exp(-total))


def hidden(
    columns: Sequence[np.ndarray], layers: Sequence[tuple[np.ndarray, np.ndarray]], activation: Activation
) -> list[np.ndarray]:
    """Return the units of the last layer, a column each, from standardised columns."""
    rows = [[float(column[i]) for column in columns] for i in range(len(columns[0]))]
    for weights, biases in layers:
        rows = [
            [
                bent(activation, math.fsum([*(w * value for w, value in zip(into, row, strict=True)), bias]))
                for into, bias in zip(weights.T, biases, strict=True)
            ]
            for row in rows
        ]
    return [np.array(column) for column in zip(*rows, strict=True)]
