"""Figures belong to the test that drew them."""

from __future__ import annotations

import pytest
from matplotlib import pyplot as plt


@pytest.mark.parametrize("which", ["first", "second"])
def test_no_figure_outlives_its_test(which: str) -> None:
    assert plt.get_fignums() == [], f"the {which} of two tests starts with figures of another"
    plt.figure()
