"""Log weights compiled row by row: a C function per kind of gate, called with the addresses of a block of rows.

A function is called twice on a block. The way there fills the log weights, as the target has them, and writes over the
linear predictors what the way back needs of them. The way back takes the mass of every expert and writes the gradient
of Σ_k mass_k log weight_k in the linear predictors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import carray, njit

from ..graph.arithmetic import exp, log
from ..pointers import doubles_at, integers_at
from .base import BoundGate
from .branching import Branching, leaves_of
from .equal import BoundEqual
from .gaussian import BoundGaussian
from .softmax import BoundSoftmax
from .stick_breaking import BoundSticks
from .tree import BoundTree

_HALF_LOG_2PI = 0.9189385332046727
_LOOPS = {"nogil": True, "forceinline": True, "fastmath": {"contract"}, "error_model": "numpy"}

# Every kernel takes whether it is the way back, the numbers of rows and of experts, and the addresses of the linear
# predictors, of log weights or mass, and of what it knows of the gate's shape.


@njit(**_LOOPS)
def _normalise(eta, first, last, total):  # type: ignore[no-untyped-def]
    """Write over linear predictors first to last their softmax, and to ``total`` the log of their summed weights."""
    rows = total.shape[0]
    top = np.empty(rows)
    for b in range(rows):
        top[b] = eta[first, b]
        total[b] = 0.0
    for j in range(first + 1, last):
        for b in range(rows):
            top[b] = eta[j, b] if eta[j, b] > top[b] else top[b]
    for j in range(first, last):
        for b in range(rows):
            eta[j, b] = exp(eta[j, b] - top[b])
            total[b] += eta[j, b]
    for j in range(first, last):
        for b in range(rows):
            eta[j, b] /= total[b]
    for b in range(rows):
        total[b] = top[b] + log(total[b])


@njit(**_LOOPS)
def _softmax_back(e, w):  # type: ignore[no-untyped-def]
    total = np.zeros(w.shape[1])
    for k in range(w.shape[0]):
        for b in range(w.shape[1]):
            total[b] += w[k, b]
    for k in range(w.shape[0]):
        for b in range(w.shape[1]):
            e[k, b] = w[k, b] - total[b] * e[k, b]


def _softmax_rows(back, rows, experts, eta, weights, shape):  # type: ignore[no-untyped-def]  # noqa: ARG001
    e, w = carray(doubles_at(eta), (experts, rows)), carray(doubles_at(weights), (experts, rows))
    if back != 0:
        _softmax_back(e, w)
        return 0
    total = np.zeros(rows)
    for k in range(experts):
        for b in range(rows):
            w[k, b] = e[k, b]
    _normalise(e, 0, experts, total)
    for k in range(experts):
        for b in range(rows):
            w[k, b] -= total[b]
    return 0


@njit(**_LOOPS)
def _tree_there(e, w, sizes, reach):  # type: ignore[no-untyped-def]
    total = np.zeros(w.shape[1])
    for k in range(w.shape[0]):
        for b in range(w.shape[1]):
            w[k, b] = 0.0
    at = 0
    for i in range(sizes.shape[0]):
        stop = at + sizes[i]
        for j in range(at, stop):
            for k in range(reach[j, 0], reach[j, 1]):
                for b in range(w.shape[1]):
                    w[k, b] += e[j, b]
        _normalise(e, at, stop, total)
        for k in range(reach[at, 0], reach[stop - 1, 1]):
            for b in range(w.shape[1]):
                w[k, b] -= total[b]
        at = stop


@njit(**_LOOPS)
def _tree_back(e, w, sizes, reach):  # type: ignore[no-untyped-def]
    total, at = np.zeros(w.shape[1]), 0
    for i in range(sizes.shape[0]):
        stop = at + sizes[i]
        for b in range(w.shape[1]):
            total[b] = 0.0
        for k in range(reach[at, 0], reach[stop - 1, 1]):
            for b in range(w.shape[1]):
                total[b] += w[k, b]
        for j in range(at, stop):
            for b in range(w.shape[1]):
                e[j, b] *= -total[b]
            for k in range(reach[j, 0], reach[j, 1]):
                for b in range(w.shape[1]):
                    e[j, b] += w[k, b]
        at = stop


def _tree_rows(back, rows, experts, eta, weights, shape):  # type: ignore[no-untyped-def]
    """``shape`` holds the number of nodes and that of children of each, then first and last expert of each branch."""
    nodes = carray(integers_at(shape), (1,))[0]
    sizes = carray(integers_at(shape + 8), (nodes,))
    branches = 0
    for i in range(nodes):
        branches += sizes[i]
    reach = carray(integers_at(shape + 8 + 8 * nodes), (branches, 2))
    e, w = carray(doubles_at(eta), (branches, rows)), carray(doubles_at(weights), (experts, rows))
    if back == 0:
        _tree_there(e, w, sizes, reach)
    else:
        _tree_back(e, w, sizes, reach)
    return 0


def _stick_rows(back, rows, experts, eta, weights, shape):  # type: ignore[no-untyped-def]  # noqa: ARG001
    e, w = carray(doubles_at(eta), (experts - 1, rows)), carray(doubles_at(weights), (experts, rows))
    left = np.zeros(rows)  # log of what is left of the stick, or the mass of all later experts
    if back == 0:
        for k in range(experts - 1):
            for b in range(rows):
                x = e[k, b]
                small = exp(-abs(x))
                whole = log(1.0 + small)
                w[k, b] = left[b] + (x if x < 0.0 else 0.0) - whole
                left[b] -= (x if x > 0.0 else 0.0) + whole
                e[k, b] = (1.0 if x > 0.0 else small) / (1.0 + small)
        for b in range(rows):
            w[experts - 1, b] = left[b]
        return 0
    for b in range(rows):
        left[b] = w[experts - 1, b]
    for k in range(experts - 2, -1, -1):
        for b in range(rows):
            left[b] += w[k, b]
            e[k, b] = w[k, b] - left[b] * e[k, b]
    return 0


@njit(**_LOOPS)
def _gaussian_there(e, w, width):  # type: ignore[no-untyped-def]
    experts, rows = w.shape
    total = np.zeros(rows)
    for k in range(experts):
        for b in range(rows):
            w[k, b] = e[k, b] + e[experts + k, b] - width * _HALF_LOG_2PI
        for j in range(2 * experts + k * width, 2 * experts + (k + 1) * width):
            for b in range(rows):
                w[k, b] -= 0.5 * e[j, b] * e[j, b]
    _normalise(e, 0, experts, total)
    for k in range(experts):
        for b in range(rows):
            w[k, b] -= total[b]


@njit(**_LOOPS)
def _gaussian_back(e, w, width):  # type: ignore[no-untyped-def]
    experts, rows = w.shape
    _softmax_back(e, w)
    for k in range(experts):
        for b in range(rows):
            e[experts + k, b] = w[k, b]
        for j in range(2 * experts + k * width, 2 * experts + (k + 1) * width):
            for b in range(rows):
                e[j, b] *= -w[k, b]


def _gaussian_rows(back, rows, experts, eta, weights, shape):  # type: ignore[no-untyped-def]
    """``shape`` holds the number of columns."""
    width = carray(integers_at(shape), (1,))[0]
    e = carray(doubles_at(eta), (experts * (2 + width), rows))
    w = carray(doubles_at(weights), (experts, rows))
    if back == 0:
        _gaussian_there(e, w, width)
    else:
        _gaussian_back(e, w, width)
    return 0


class GateKernel(NamedTuple):
    """A gate's log weights as compiled code.

    Parameters
    ----------
    kernel
        The pass over rows, to be compiled.
    shape
        Integers that it reads.
    """

    kernel: Callable[..., int]
    shape: np.ndarray


def kernel_of(gate: BoundGate) -> GateKernel | None:
    """Return a gate's log weights as compiled code, or None where they are not compiled."""
    none = np.zeros(1, dtype=np.int64)
    if type(gate) in (BoundSoftmax, BoundEqual):
        return GateKernel(_softmax_rows, none)
    if type(gate) is BoundTree:
        return GateKernel(_tree_rows, _tree_shape(gate.root))
    if type(gate) is BoundSticks:
        return GateKernel(_stick_rows, none)
    if type(gate) is BoundGaussian:
        return GateKernel(_gaussian_rows, np.array([gate.width], dtype=np.int64))
    return None


def _tree_shape(root: Branching) -> np.ndarray:
    sizes = [len(node.children) for node in root.nodes]
    leaves = [leaves_of(child) for node in root.nodes for child in node.children]
    reach = [edge for below in leaves for edge in (below[0], below[-1] + 1)]
    return np.array([len(sizes), *sizes, *reach], dtype=np.int64)
