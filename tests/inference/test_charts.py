"""Charts: the same density in other coordinates, in Python and as a C function."""

from __future__ import annotations

import numpy as np
import pytest

from bayes_moe.inference.chart_kernel import chart_machine
from bayes_moe.inference.charts import Chart
from bayes_moe.inference.em import EM
from tests.binding.test_posterior_kernel import called
from tests.cases import CASES, bound


@pytest.fixture(scope="module", params=[name for i, name in enumerate(CASES) if i % 6 == 0])
def density(request: pytest.FixtureRequest):
    return bound(CASES[request.param]).density


def test_machine_equals_function(density, rng: np.random.Generator) -> None:
    chart = Chart(density, EM(seed=1, starts=8).run(density).draws[0, 0])
    function = chart.function(density.compiled())
    machine, flag = chart_machine(chart, density.machine())
    for u in rng.standard_normal((5, density.size)):
        value, gradient = function(u)
        code, found, slope = called(machine, u)
        assert code == 0
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-9 * (1 + np.abs(gradient).max()))
    flag[0] = 1
    assert called(machine, np.zeros(density.size))[0] != 0
