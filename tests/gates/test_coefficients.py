"""From free values to coefficients, for every gate: one vector as many, and derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest

from bayes_moe.gates import BoundGate
from tests.cases import CASES, bound, some_points

NAMES = [name for name in CASES if bound(CASES[name]).parameters.gate.free]
STEP = 1e-6


def gate_and_values(name: str) -> tuple[BoundGate, list[np.ndarray]]:
    parameters = bound(CASES[name]).parameters
    return parameters.gate, [q[parameters.gate_start :] for q in some_points(CASES[name], 3, seed=8)]


@pytest.mark.parametrize("name", NAMES)
def test_one_vector_is_taken_as_many_are(name: str) -> None:
    """`at` and what the PyMC model and draws use, `coefficients` of constrained values, are the same map."""
    gate, points = gate_and_values(name)
    values, start, stacked = [], 0, np.array(points)
    for free in gate.free:
        values.append(free.constrained(stacked[:, start : start + free.size]))
        start += free.size
    expected = gate.coefficients(values, np)
    np.testing.assert_allclose([gate.at(q) for q in points], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name: str) -> None:
    gate, points = gate_and_values(name)
    rng = np.random.default_rng(1)
    for q in points:
        steps = STEP * np.eye(len(q))
        slopes = np.stack([(gate.at(q + step) - gate.at(q - step)) / (2.0 * STEP) for step in steps], axis=-1)
        np.testing.assert_allclose(gate.jacobian(q), slopes, rtol=1e-6, atol=1e-7)
        gradient = rng.normal(size=gate.at(q).shape)
        np.testing.assert_allclose(gate.pull_back(q, gradient), np.tensordot(gradient, slopes, 2), rtol=1e-5, atol=1e-6)
        bends = [(gate.pull_back(q + step, gradient) - gate.pull_back(q - step, gradient)) for step in steps]
        np.testing.assert_allclose(gate.curvature(q, gradient), np.array(bends) / (2.0 * STEP), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if bound(CASES[name]).parameters.gate.rate is not None])
@pytest.mark.parametrize("log_scale", [-1e4, 1e4])
def test_no_scale_is_too_far(name: str, log_scale: float) -> None:
    """A step that goes astray meets large numbers, not an error."""
    gate, points = gate_and_values(name)
    q = np.append(points[0][:-1], log_scale)
    assert not np.isnan(gate.at(q)).any()
    assert not np.isnan(gate.jacobian(q)[..., :-1]).any()
