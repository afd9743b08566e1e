"""Scalings are values that forget units and count weights as repeated rows."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_moe.data import read_training, scaling_of
from tests.data_cases import FRAME, LINE, X, Y, read


def test_d17_offset_costs_no_digits() -> None:
    # 1e9 + y is exact to 2^-23; rounding y to that grid first makes the two data sets the same numbers.
    grid = np.round(Y * 2**20) / 2**20
    near, far = read(y=grid), read(y=grid + 1e9)
    expected = (grid - grid.mean()) / grid.std()
    np.testing.assert_allclose(near.scaling.standardise_y(grid), expected, atol=1e-13)
    np.testing.assert_allclose(far.scaling.standardise_y(grid + 1e9), expected, atol=1e-6)
    assert far.scaling.y_scale == pytest.approx(grid.std(), rel=1e-12)


def test_d17_many_rows_cost_no_digits_either() -> None:
    y = 1e9 + 0.1 * (np.arange(300_001) % 7)
    data = read(np.empty((y.size, 0)), y)
    exact = math.fsum(y) / y.size
    assert abs(data.scaling.y_center - exact) <= 2 * np.spacing(1e9)


def test_d13_a_column_at_1e9_is_not_constant() -> None:
    data = read(X + 1e9)
    assert data.dropped == ()
    np.testing.assert_allclose(data.scaling.x_scale, X.std(axis=0), rtol=1e-6)


def test_scaling_is_a_value() -> None:
    first, second = scaling_of(read()), scaling_of(read(FRAME.to_numpy().copy()))
    assert first == second
    assert hash(first) == hash(second)
    np.testing.assert_allclose(first.x_center, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(first.x_scale, X.std(axis=0), rtol=1e-12)
    assert first.y_scale == pytest.approx(Y.std(), rel=1e-12)


def test_binary_columns_keep_their_unit() -> None:
    scaling = scaling_of(read(np.column_stack([X, LINE > 0, 3 - 4.0 * (LINE > 0.5)])))
    assert scaling.x_scale[2:] == (1.0, 4.0)
    assert scaling.x_center[2] == pytest.approx(0.5)


numbers = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda v: round(v, 3))
factors = st.sampled_from([-1e6, -1.0, -1e-6, 1e-6, 0.37, 1e6])


@given(hnp.arrays(float, (12, 3), elements=numbers), factors, st.floats(-10, 10), st.booleans())
@settings(max_examples=80, deadline=None)
def test_standardising_forgets_units(table: np.ndarray, factor: float, shift: float, binary: bool) -> None:
    table[:2] += [[0.0, 0.0, 0.0], [5.0, 6.0, 7.0]]
    if binary:
        table[:, 0] = np.where(np.arange(12) % 3 == 0, 2.0, 5.0)
    if (np.ptp(table, axis=0) < 0.5).any():
        return
    x, y = table[:, :2], table[:, 2]
    one = scaling_of(read_training(x, y, experts=1, parameters=1))
    other_x, other_y = shift * factor + factor * x, shift * factor + factor * y
    two = scaling_of(read_training(other_x, other_y, experts=1, parameters=1))
    sign = np.sign(factor)
    np.testing.assert_allclose(two.standardise_x(other_x), sign * one.standardise_x(x), atol=1e-9)
    np.testing.assert_allclose(two.standardise_y(other_y), sign * one.standardise_y(y), atol=1e-9)


@given(hnp.arrays(float, (12, 3), elements=numbers), hnp.arrays(np.int64, 12, elements=st.integers(0, 4)))
@settings(max_examples=80, deadline=None)
def test_weights_are_repeated_rows(table: np.ndarray, weights: np.ndarray) -> None:
    weights[:3] = [2, 1, 3]
    table[:3, 2] = [0.0, 1.0, 2.0]
    weighted = read_training(table[:, :2], table[:, 2], weights=weights, experts=1, parameters=1)
    rows = np.repeat(table, weights, axis=0)
    repeated = read_training(rows[:, :2], rows[:, 2], experts=1, parameters=1)
    a, b = weighted.scaling, repeated.scaling
    assert a.x_constant == b.x_constant
    assert weighted.dropped == repeated.dropped
    np.testing.assert_allclose([*a.x_scale, a.y_scale], [*b.x_scale, b.y_scale], rtol=1e-11)
    np.testing.assert_allclose([*a.x_center, a.y_center], [*b.x_center, b.y_center], rtol=1e-11, atol=1e-11)
