"""The density that PyTensor compiles: the same in every linker, safe in threads, compiled once for all sizes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core import event

from bayes_moe import MixtureOfExperts
from bayes_moe.binding.graph_density import FAST_START, GraphDensity
from bayes_moe.log_density import LogDensity
from tests.cases import Case, bound, simulated, some_points

SMALL = simulated(MixtureOfExperts(2), 81)
LARGE = simulated(MixtureOfExperts(4), 82, rows=301, columns=3)


def compiled_graph(case: Case, mode: Any = None) -> GraphDensity:
    own = bound(case)
    return GraphDensity(own.pymc_model(), own.design, own.parameters, mode)


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Collect the names of the functions that numba compiles."""

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            found.append(event.data["dispatcher"].py_func.__qualname__)

        def on_end(self, event: Any) -> None:
            pass

    found: list[str] = []
    with event.install_listener("numba:compile", Listener()):
        yield found


def agrees(case: Case, function: Any) -> None:
    density = bound(case).density
    for q in some_points(case, 5, seed=83):
        value, gradient = function(q)
        expected, slope = density.logp_and_gradient(q)
        assert isinstance(value, float)
        assert abs(value - expected) <= 1e-10 * (1.0 + abs(expected))
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(slope).max()))


def holds_in_threads(case: Case, function: Any) -> None:
    points = some_points(case, 40, seed=84)
    expected = [function(q) for q in points]
    with ThreadPoolExecutor(4) as pool:
        for (value, gradient), (wanted, slope) in zip(pool.map(function, points), expected, strict=True):
            assert value == wanted
            np.testing.assert_array_equal(gradient, slope)


def test_numba_agrees_and_compiles_once_for_all_sizes() -> None:
    density = compiled_graph(SMALL)
    agrees(SMALL, density.logp_and_gradient)
    agrees(SMALL, density.compiled())
    holds_in_threads(SMALL, density.compiled())
    with compilations() as names:
        other = compiled_graph(LARGE)
        agrees(LARGE, other.logp_and_gradient)
        agrees(LARGE, other.compiled())
    assert names == []


def test_python_linker_is_safe_in_threads() -> None:
    density = compiled_graph(SMALL, FAST_START)
    assert isinstance(density, LogDensity)
    assert density.size == bound(SMALL).parameters.size
    agrees(SMALL, density.compiled())
    holds_in_threads(SMALL, density.compiled())


def test_pieces_agree_with_each_other() -> None:
    density, q = compiled_graph(SMALL, FAST_START), some_points(SMALL, 1, seed=85)[0]
    value, gradient = density.logp_and_gradient(q)
    assert density.logp(q) == value
    np.testing.assert_array_equal(density.gradient(q), gradient)
    expected = bound(SMALL).density.expand(q)
    for name, coefficients in density.expand(q).items():
        np.testing.assert_array_equal(coefficients, expected[name])


def test_new_data_reach_the_compiled_function() -> None:
    density = compiled_graph(SMALL, FAST_START)
    function, q = density.compiled(), some_points(SMALL, 1, seed=86)[0]
    before, _ = function(q)
    density.model.set_data("y_data", bound(SMALL).data.y[::-1].copy())
    after, _ = function(q)
    assert after != pytest.approx(before)
    density.model.set_data("y_data", bound(SMALL).data.y)
    assert function(q)[0] == before


def test_compilations_are_noticed() -> None:
    with compilations() as names:
        njit(lambda x: x + 1)(1)
    assert len(names) == 1
