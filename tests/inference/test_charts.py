"""Charts: the same density in other coordinates, in Python and as a C function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bayes_moe.inference.chart_kernel import chart_machine
from bayes_moe.inference.charts import make_chart
from bayes_moe.inference.em import EM
from bayes_moe.log_density import Funnel
from tests.binding.test_posterior_kernel import called
from tests.cases import KERNELS, bound


@dataclass(frozen=True)
class Shrinking:
    """t is standard normal, and z given t is normal with sd exp(-p r t): a `Funnelled` density with known answers."""

    rate: float
    power: float
    size: int = 3

    @property
    def funnel(self) -> Funnel:
        return Funnel(slice(0, 2), 2, self.rate)

    @property
    def top(self) -> float:
        """The joint mode's t; the marginal's is 0."""
        return 2 * self.power * self.rate

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        z, t, slope = q[:2], q[2], self.power * self.rate
        c = z * np.exp(slope * t)
        gradient = np.append(-c * np.exp(slope * t), -t + 2 * slope - slope * c @ c)
        return float(-0.5 * (c @ c + t * t) + 2 * slope * t), gradient

    def logp(self, q: np.ndarray) -> float:
        return self.logp_and_gradient(q)[0]

    def gradient(self, q: np.ndarray) -> np.ndarray:
        return self.logp_and_gradient(q)[1]

    def hessian(self, q: np.ndarray) -> np.ndarray:
        slope, e = self.power * self.rate, np.exp(2 * self.power * self.rate * q[2])
        out = -np.diag([e, e, 1.0 + 2 * slope**2 * (q[:2] @ q[:2]) * e])
        out[:2, 2] = out[2, :2] = -2 * slope * q[:2] * e
        return out

    def compiled(self):
        return self.logp_and_gradient

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        return {"q": q}


@dataclass(frozen=True)
class Informed(Shrinking):
    """The same with z given t normal with precision 1 + λ exp(2 r t); ``power`` is λ."""

    @property
    def top(self) -> float:
        return 0.0

    def _precision(self, t: float) -> tuple[float, float, float]:
        from_data = self.power * np.exp(2 * self.rate * t)
        return 1.0 + from_data, 2 * self.rate * from_data, 4 * self.rate**2 * from_data

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        z, t = q[:2], q[2]
        a, slope, _ = self._precision(t)
        return float(-0.5 * (a * z @ z + t * t) + np.log(a)), np.append(-a * z, -t - 0.5 * slope * z @ z + slope / a)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        z, (a, slope, bend) = q[:2], self._precision(q[2])
        out = -np.diag([a, a, 1.0 + 0.5 * bend * z @ z - bend / a + (slope / a) ** 2])
        out[:2, 2] = out[2, :2] = -slope * z
        return out


PROPER = [name for name in KERNELS if not name.startswith("flat")]  # the others' best points lie at a collapse


@pytest.fixture(scope="module", params=PROPER[::6])
def density(request: pytest.FixtureRequest):
    return bound(KERNELS[request.param]).density


def test_machine_equals_function(density, rng: np.random.Generator) -> None:
    chart = make_chart(density, EM(seed=1, starts=8).run(density).draws[0, 0])
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


def precision(function, at: np.ndarray) -> np.ndarray:
    """Return the negative Hessian of a value-and-gradient function by central differences."""
    size = len(at)
    return -np.array([(function(at + e)[1] - function(at - e)[1]) / 2e-4 for e in 1e-4 * np.eye(size)])


def test_curvature_is_one_in_the_middle_of_the_chart(density) -> None:
    """Given the scale exactly; the scale's own spread is that of a marginal, not a curvature."""
    chart = make_chart(density, EM(seed=1, starts=8).run(density).draws[0, 0])
    found = precision(chart.function(density.compiled()), np.zeros(density.size))
    funnel = chart.recentred.funnel
    rest = np.delete(np.arange(density.size), [] if funnel is None else [funnel.scale])
    np.testing.assert_allclose(found[np.ix_(rest, rest)], np.eye(len(rest)), atol=2e-3)
    if funnel is not None:
        np.testing.assert_allclose(found[rest, funnel.scale], 0.0, atol=2e-2)


def test_the_chart_of_a_datum_is_gaussian() -> None:
    """Where z has the precision that a datum leaves, λ is found, and u is standard normal where t is far out, too."""
    density = Informed(rate=1.0, power=3.0)
    chart = make_chart(density, np.zeros(3))
    centring = chart.recentred.centring
    np.testing.assert_array_equal(centring.base, 1.0)
    np.testing.assert_allclose(centring.told, 3.0, rtol=0.1)
    function = chart.function(density.compiled())
    at = np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [2.0, 1.0, 3.0], [2.0, -1.0, -3.0]])
    fall = np.array([function(u)[0] - function(at[0])[0] for u in at])
    np.testing.assert_allclose(fall, -0.5 * np.sum(at**2, axis=1), atol=0.4)


def test_the_chart_of_a_funnel_is_gaussian() -> None:
    """Where z is normal with a spread that shrinks as exp(-p r t), p is found and u is standard normal, exactly."""
    density = Shrinking(rate=1.5, power=0.7)
    chart = make_chart(density, np.array([0.0, 0.0, density.top]))
    centring = chart.recentred.centring
    np.testing.assert_array_equal(centring.base, 0.0)
    np.testing.assert_allclose(centring.rate, 0.7 * 1.5, atol=0.03)
    function = chart.function(density.compiled())
    at = np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [-0.5, 2.0, -1.0]])
    fall = np.array([function(u)[0] - function(at[0])[0] for u in at])
    np.testing.assert_allclose(fall, -0.5 * np.sum(at**2, axis=1), atol=0.2)
