"""The chart's density as a C function: a sampler's chains run it on their own threads, without Python between them."""

from __future__ import annotations

import numpy as np
from numba import carray, types

from ..log_density import Machine
from ..pointers import DENSITY, address_of, call_density, doubles_at
from .charts import Chart


def _called(size, point, gradient, value, data):  # type: ignore[no-untyped-def]
    """Go from u to q, call the density there, and pull its gradient back; as `Chart.function` does.

    ``data`` holds the flag that stops everything, the density's function and data, the addresses of the centre, of the
    whitening matrix's transpose, of itself and of the centring (told, base and rate of every value), and the funnel's
    first and last value and scale.
    """
    at = carray(data, (10,))
    if at[0] != 0:
        return 1  # a divergence to the sampler, which then looks whether it shall stop
    u, out = carray(point, (size,)), carray(gradient, (size,))
    centre = carray(doubles_at(at[3]), (size,))
    transposed, matrix = carray(doubles_at(at[4]), (size, size)), carray(doubles_at(at[5]), (size, size))
    first, last, scale = at[7], at[8], at[9]
    centring = carray(doubles_at(at[6]), (3, last - first))
    q, slope, found = np.empty(size), np.empty(size), np.empty(1)
    for i in range(size):
        q[i] = centre[i]
    for j in range(size):
        for i in range(size):
            q[i] += transposed[j, i] * u[j]
    t = q[scale]
    jacobian = 0.0
    for i in range(first, last):
        told, base, rate = centring[0, i - first], centring[1, i - first], centring[2, i - first]
        square = base + told * np.exp(2.0 * rate * t)
        q[i] /= np.sqrt(square)
        jacobian += 0.5 * np.log(square)
    failed = call_density(at[1], size, q, slope, found, at[2])
    pulled = 0.0
    for i in range(first, last):
        told, base, rate = centring[0, i - first], centring[1, i - first], centring[2, i - first]
        square = base + told * np.exp(2.0 * rate * t)
        pulled += rate * (1.0 - base / square) * (slope[i] * q[i] + 1.0)
        slope[i] /= np.sqrt(square)
    slope[scale] -= pulled
    for i in range(size):
        out[i] = 0.0
    for j in range(size):
        for i in range(size):
            out[i] += matrix[j, i] * slope[j]
    carray(value, (1,))[0] = found[0] - jacobian
    return failed


def _copied(size, expanded, point, out, data):  # type: ignore[no-untyped-def]  # noqa: ARG001 - the sampler's signature
    source, target = carray(point, (size,)), carray(out, (size,))
    for i in range(size):
        target[i] = source[i]
    return 0


def chart_machine(chart: Chart, density: Machine) -> tuple[Machine, np.ndarray]:
    """Return a density as a C function of the chart's u, and an array whose first entry stops it when set to 1."""
    funnel, centring = chart.recentred.funnel, chart.recentred.centring
    span = (0, 0, 0) if funnel is None else (funnel.values.start, funnel.values.stop, funnel.scale)
    matrix = np.ascontiguousarray(chart.matrix)
    arrays = (
        np.ascontiguousarray(chart.centre),
        np.ascontiguousarray(matrix.T),
        matrix,
        np.array([centring.told, centring.base, centring.rate]),
    )
    data = np.array([0, density.function, density.data, *(a.ctypes.data for a in arrays), *span], dtype=np.int64)
    return Machine(address_of(_called, DENSITY), data.ctypes.data, (data, arrays, density)), data


def copy_address() -> int:
    """Return the address of a C function that hands a sampler's point on as it is."""
    signature = types.int32(
        types.uint64,
        types.uint64,
        types.CPointer(types.float64),
        types.CPointer(types.float64),
        types.CPointer(types.int64),
    )
    return address_of(_copied, signature)
