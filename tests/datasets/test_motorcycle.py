"""The motorcycle data are the published ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from bayes_moe.datasets import motorcycle


def test_shapes_names_and_order() -> None:
    data = motorcycle()
    assert data.X.shape == (133, 1)
    assert data.y.shape == (133,)
    assert data.X.dtype == data.y.dtype == np.float64
    assert (data.feature_names, data.target_name) == (("times",), "accel")
    assert np.all(np.diff(data.X[:, 0]) >= 0)


def test_known_numbers() -> None:
    """Facts known elsewhere: 94 distinct times (R's boot::motor keeps one row of each), the extremes."""
    data = motorcycle()
    assert len(np.unique(data.X)) == 94
    assert (data.X[0, 0], data.X[-1, 0]) == (2.4, 57.6)
    assert (data.y.min(), data.y.max()) == (-134.0, 75.0)
    np.testing.assert_allclose([data.y.mean(), data.y.std(ddof=1)], [-25.5459, 48.3221], atol=5e-5)


def test_each_call_returns_its_own_arrays() -> None:
    first = motorcycle()
    first.y[:] = 0
    assert motorcycle().y.any()


def test_record_is_frozen_and_speaks_of_its_source() -> None:
    data = motorcycle()
    with pytest.raises(AttributeError):
        data.y = np.zeros(133)  # type: ignore[misc]
    assert "Silverman" in data.source
    assert "README" in data.licence


def test_equal_to_the_copy_in_mass(data_dir: Path) -> None:
    with (data_dir / "classic" / "MASS_mcycle.csv").open(encoding="utf-8", newline="") as lines:
        rows = [(float(row["times"]), float(row["accel"])) for row in csv.DictReader(lines)]
    data = motorcycle()
    np.testing.assert_array_equal(np.column_stack([data.X, data.y]), rows)
