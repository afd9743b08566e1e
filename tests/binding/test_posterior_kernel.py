"""The log posterior as one compiled function and as a C function: the same numbers as the sums of the E-step."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from bayes_moe.log_density import Compiled, Machine
from tests.cases import KERNELS, bound, some_points


def called(machine: Machine, q: np.ndarray) -> tuple[int, float, np.ndarray]:
    """Call a C function by its address, as a sampler does."""
    doubles = ctypes.POINTER(ctypes.c_double)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64, doubles, doubles, doubles, ctypes.c_void_p)(
        machine.function
    )
    point, gradient, value = q.copy(), np.empty_like(q), np.empty(1)
    code = function(len(q), *(a.ctypes.data_as(doubles) for a in (point, gradient, value)), machine.data)
    return code, float(value[0]), gradient


@pytest.mark.parametrize("name", KERNELS)
def test_function_and_machine_equal_the_e_step(name: str) -> None:
    density = bound(KERNELS[name]).density
    assert isinstance(density, Compiled)
    function, machine = density.compiled(), density.machine()
    for q in some_points(KERNELS[name], 5, seed=3):
        value, gradient = density.logp_and_gradient(q)
        for code, found, slope in ((0, *function(q)), called(machine, q)):
            assert code == 0
            assert found == pytest.approx(value, rel=1e-12)
            np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-9 * (1 + np.abs(gradient).max()))


def test_the_machine_reports_what_is_not_finite() -> None:
    density = bound(KERNELS[next(iter(KERNELS))]).density
    machine = density.machine()
    assert called(machine, np.full(density.size, np.nan))[0] != 0
    assert called(machine, np.zeros(density.size))[0] == 0
