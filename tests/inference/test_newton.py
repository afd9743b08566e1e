"""The trust-region Newton method on functions whose maximum is known, and its certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from bayes_moe.inference.newton import certify, newton
from tests.inference.densities import Known, LogGamma, correlated

Point = tuple[float, np.ndarray, np.ndarray]


@dataclass(eq=False)
class Surface(Known):
    """A function given as ``q -> (value, gradient, Hessian)``; it remembers where values were asked for."""

    formula: Callable[[np.ndarray], Point]
    size: int
    values: list[float] = field(default_factory=list)
    hessians: int = 0

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient, _ = self.formula(q)
        self.values.append(value)
        return value, gradient

    def hessian(self, q: np.ndarray) -> np.ndarray:
        self.hessians += 1
        return self.formula(q)[2]


def rosenbrock(q: np.ndarray) -> Point:
    """The banana, upside down; its maximum is at (1, 1)."""
    x, y = q
    bend = y - x * x
    value = -((1 - x) ** 2) - 100 * bend**2
    gradient = np.array([2 * (1 - x) + 400 * x * bend, -200 * bend])
    hessian = np.array([[-2 + 400 * bend - 800 * x * x, 400 * x], [400 * x, -200.0]])
    return value, gradient, hessian


def two_hills(q: np.ndarray) -> Point:
    """Hills at x = 1 and x = -1, with a saddle at 0 between them."""
    x, y = q
    value = -((x * x - 1) ** 2) - y * y
    return value, np.array([-4 * x * (x * x - 1), -2 * y]), np.diag([4 - 12 * x * x, -2.0])


def monkey(q: np.ndarray) -> Point:
    """A saddle of third order at 0, where gradient and Hessian vanish, inside a bowl."""
    x, y = q
    r2 = x * x + y * y
    value = x**3 - 3 * x * y * y - r2 * r2
    gradient = np.array([3 * x * x - 3 * y * y - 4 * x * r2, -6 * x * y - 4 * y * r2])
    hessian = np.array(
        [[6 * x - 12 * x * x - 4 * y * y, -6 * y - 8 * x * y], [-6 * y - 8 * x * y, -6 * x - 4 * x * x - 12 * y * y]]
    )
    return value, gradient, hessian


def walled(q: np.ndarray) -> Point:
    """``log x - x``: its maximum is at 1, and there is nothing at or below 0."""
    x = float(q[0])
    if x <= 0:
        return -np.inf, np.array([np.nan]), np.array([[np.nan]])
    return float(np.log(x)) - x, np.array([1 / x - 1]), np.array([[-1 / x**2]])


def test_a_quadratic_takes_one_full_step() -> None:
    density = correlated(6, seed=1)
    found = newton(density, density.mean + 0.1)
    np.testing.assert_allclose(found.q, density.mean, atol=1e-10)
    assert found.maximum
    assert found.iterations <= 2
    assert found.decrement < 1e-20
    np.testing.assert_allclose(found.smallest_eigenvalue, np.linalg.eigvalsh(density.precision)[0], rtol=1e-8)


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -4.0), (0.0, 50.0), (-8.0, -8.0)])
def test_rosenbrock(start: tuple[float, float]) -> None:
    surface = Surface(rosenbrock, 2)
    found = newton(surface, np.array(start))
    np.testing.assert_allclose(found.q, 1.0, atol=1e-8)
    assert found.maximum
    assert found.log_density == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("start", [(0.0, 0.0), (0.0, 1.0), (1e-12, 0.5), (0.3, 0.0), (-0.2, 2.0)])
def test_saddles_are_left(start: tuple[float, float]) -> None:
    """Also from the saddle itself and from the ridge, where the gradient has nothing along the way out."""
    found = newton(Surface(two_hills, 2), np.array(start))
    np.testing.assert_allclose(np.abs(found.q), [1.0, 0.0], atol=1e-6)
    assert found.maximum


def test_a_flat_saddle_is_no_maximum() -> None:
    assert not newton(Surface(monkey, 2), np.zeros(2)).maximum
    found = newton(Surface(monkey, 2), np.array([0.1, 0.2]))
    assert found.maximum
    assert found.log_density == pytest.approx(27 / 256)  # r³ - r⁴ at r = 3/4


def test_walls_are_kept_off() -> None:
    found = newton(Surface(walled, 1), np.array([200.0]))
    np.testing.assert_allclose(found.q, 1.0, atol=1e-9)


@pytest.mark.parametrize("formula", [rosenbrock, two_hills, monkey])
def test_it_never_goes_down(formula: Callable[[np.ndarray], Point]) -> None:
    start = np.array([-1.3, 0.8])
    reached = [formula(newton(Surface(formula, 2), start, max_iter=count).q)[0] for count in range(30)]
    assert reached[0] == formula(start)[0]
    assert np.all(np.diff(reached) >= -1e-12)
    assert reached[-1] > reached[0]


def test_settle_is_applied_to_every_proposal() -> None:
    """A function that does not depend on the product's factors apart is settled on equal factors."""

    def product(q: np.ndarray) -> Point:
        x, y = q
        off = x * y - 4.0
        value = -(off**2) - 0.01 * (x * x + y * y)
        gradient = np.array([-2 * off * y - 0.02 * x, -2 * off * x - 0.02 * y])
        cross = -2 * x * y - 2 * off
        return value, gradient, np.array([[-2 * y * y - 0.02, cross], [cross, -2 * x * x - 0.02]])

    def even(q: np.ndarray) -> np.ndarray:
        return np.full(2, np.sqrt(max(q[0] * q[1], 0.0)))

    start = np.array([40.0, 0.1])
    plain = newton(Surface(product, 2), start)
    helped = newton(Surface(product, 2), start, settle=even)
    np.testing.assert_allclose(helped.q, plain.q, atol=1e-6)
    assert helped.iterations < plain.iterations


def test_independent_terms() -> None:
    shapes = np.array([0.01, 1.0, 300.0])
    found = newton(LogGamma(shapes), np.zeros(3))
    np.testing.assert_allclose(found.q, np.log(shapes), atol=1e-8)
    np.testing.assert_allclose(found.smallest_eigenvalue, 0.01, rtol=1e-6)


def test_the_certificate_by_hand() -> None:
    """At q = (2, 0) of two hills: gradient (-24, 0), negative Hessian diag(44, 2)."""
    found = certify(Surface(two_hills, 2), np.array([2.0, 0.0]))
    assert found.log_density == -9.0
    assert found.gradient_norm == 24.0
    assert found.decrement == pytest.approx(24.0**2 / 44.0)
    assert found.smallest_eigenvalue == pytest.approx(2.0)
    assert not found.maximum
    saddle = certify(Surface(two_hills, 2), np.zeros(2))
    assert saddle.decrement == np.inf
    assert saddle.smallest_eigenvalue == pytest.approx(-4.0)
    assert not saddle.maximum


def test_the_last_step_takes_no_hessian_of_its_own() -> None:
    """One where it begins and one after every step; the certificate after the last short step has that before it."""
    surface = Surface(rosenbrock, 2)
    found = newton(surface, np.array([-1.2, 1.0]))
    assert found.maximum
    assert surface.hessians == found.iterations + 1
    np.testing.assert_allclose(found.q, 1.0, atol=1e-9)
