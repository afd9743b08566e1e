"""Every family keeps its contract: one table, and every property on every row of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import special

from bayes_moe.families import Closure, Role, Support
from tests.families.cases import CASES, Case, Values
from tests.families.graphs import compiled

ROWS = 200
# From y to the whole line, back, and the derivative of the way back: there, densities have no poles.
UNBOUNDED: dict[Support, tuple[Any, Any, Any]] = {
    Support.REAL: (lambda y: y, lambda t: t, np.ones_like),
    Support.POSITIVE: (np.log, np.exp, lambda y: y),
    Support.UNIT: (special.logit, special.expit, lambda y: y * (1 - y)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def drawn(case: Case, rng: np.random.Generator, rows: int = ROWS) -> tuple[np.ndarray, Values]:
    predicted = case.parameters(rng, rows)
    return case.target(rng, predicted), predicted


def extreme(case: Case) -> tuple[np.ndarray, Values]:
    """Every combination of extreme parameters at every point."""
    table = np.array(list(itertools.product(case.points, *case.extremes.values())))
    return table[:, 0], dict(zip(case.extremes, table[:, 1:].T, strict=True))


def test_parameters_are_complete(case: Case) -> None:
    family = case.family
    assert set(family.predicted) | set(family.given) == set(case.ranges)
    assert len(set(family.predicted)) == len(family.predicted)
    for parameter in family.parameters:
        assert parameter.prior.intercept.standardised
        assert parameter.prior.slopes.standardised
        assert parameter.logarithmic == (parameter.predicted == f"log_{parameter.name}")
    roles = {parameter.role for parameter in family.parameters}
    assert family.closure is Closure.AFFINE or Role.LOCATION not in roles
    assert family.closure is not Closure.NONE or roles == {Role.FREE}
    assert family.discrete == (family.support not in (Support.REAL, Support.POSITIVE, Support.UNIT))


def test_density_is_that_of_scipy(case: Case, rng: np.random.Generator) -> None:
    y, predicted = drawn(case, rng)
    reference = case.reference(predicted)
    expected = reference.logpmf(y) if case.family.discrete else reference.logpdf(y)
    np.testing.assert_allclose(case.family.log_density(y, **predicted), expected, rtol=1e-9, atol=2e-12)


def test_moments_and_distribution_function_are_those_of_scipy(case: Case, rng: np.random.Generator) -> None:
    y, predicted = drawn(case, rng)
    reference = case.reference(predicted)
    shape = (ROWS,) if predicted else ()
    for ours, expected in (
        (case.family.mean(**predicted), reference.mean()),
        (case.family.variance(**predicted), reference.var()),
    ):
        assert ours.shape == shape
        np.testing.assert_allclose(ours, expected, rtol=case.rtol, atol=1e-13)
    between = y + (0.5 if case.family.discrete else 0.0)
    for at in (y, between):
        below = case.family.cdf(at, **predicted)
        np.testing.assert_allclose(below, reference.cdf(at), rtol=1e-9, atol=1e-14)
        assert np.all((below >= 0) & (below <= 1))


def test_distribution_function_ends_at_0_and_1(case: Case, rng: np.random.Generator) -> None:
    _, predicted = drawn(case, rng)
    np.testing.assert_array_equal(case.family.cdf(np.array(-np.inf), **predicted), 0.0)
    np.testing.assert_array_equal(case.family.cdf(np.array(np.inf), **predicted), 1.0)


def test_distribution_function_is_the_integral_of_the_density(case: Case, rng: np.random.Generator) -> None:
    predicted = case.parameters(rng, 20)
    column = {name: value[:, None] for name, value in predicted.items()}
    reference = case.reference(predicted)
    if case.family.discrete:
        codes = np.arange(np.max(reference.ppf(np.full(20, 0.999999))) + 1.0)
        summed = np.exp(case.family.log_density(codes, **column)).cumsum(axis=-1)
        np.testing.assert_allclose(summed, case.family.cdf(codes, **column), rtol=1e-9, atol=1e-280)
        assert np.all(summed[:, -1] > 0.99999)
        return
    nodes, weights = np.polynomial.legendre.leggauss(60)
    to, back, slope = UNBOUNDED[case.family.support]
    grid = to(np.array([reference.ppf(np.full(20, u)) for u in np.linspace(0.001, 0.999, 40)]))
    if not predicted:
        grid = grid[:, :1]
    low, high = grid[:-1, ..., None], grid[1:, ..., None]
    inside = back(0.5 * (low + high) + 0.5 * (high - low) * nodes)
    density = np.exp(case.family.log_density(inside, **column)) * slope(inside)
    mass = (density * weights).sum(axis=-1) * 0.5 * (high - low)[..., 0]
    np.testing.assert_allclose(mass, np.diff(case.family.cdf(back(grid), **predicted), axis=0), rtol=1e-7)


def test_graph_is_the_density_of_arrays(case: Case, rng: np.random.Generator) -> None:
    y, predicted = drawn(case, rng)
    np.testing.assert_allclose(
        compiled(case.family)(y, predicted).density, case.family.log_density(y, **predicted), rtol=1e-10, atol=1e-10
    )


def test_gradients_are_differences(case: Case, rng: np.random.Generator) -> None:
    y, predicted = drawn(case, rng)
    evaluate = compiled(case.family)
    value = evaluate(y, predicted)
    step = 1e-5
    for i, name in enumerate(case.family.predicted):
        up = evaluate(y, predicted | {name: predicted[name] + step})
        down = evaluate(y, predicted | {name: predicted[name] - step})
        size = 1.0 + np.abs(value.density) + np.abs(value.gradient).max(axis=0) + np.abs(value.hessian).max(axis=(0, 1))
        slope = (up.density - down.density) / (2 * step)
        assert np.all(np.abs(slope - value.gradient[i]) <= 1e-7 * size)
        slopes = (up.gradient - down.gradient) / (2 * step)
        assert np.all(np.abs(slopes - value.hessian[i]) <= 1e-6 * size)
    np.testing.assert_allclose(value.hessian, value.hessian.swapaxes(0, 1), rtol=1e-7, atol=1e-7)


def test_extremes_are_finite(case: Case) -> None:
    y, predicted = extreme(case)
    value = compiled(case.family)(y, predicted)
    finite = np.isfinite(value.density)
    assert not np.isnan(value.density).any()
    assert np.all(value.density < np.inf)
    assert finite.all() or case.overflows
    assert np.isfinite(value.gradient[:, finite]).all()
    assert np.isfinite(value.hessian[:, :, finite]).all()
    np.testing.assert_allclose(case.family.log_density(y, **predicted), value.density, rtol=1e-10, atol=1e-10)


def test_outside_the_support_nothing_moves(case: Case) -> None:
    _, predicted = extreme(case)
    for at in case.outside:
        y = np.full(len(next(iter(predicted.values()))) if predicted else 3, at)
        value = compiled(case.family)(y, predicted)
        np.testing.assert_array_equal(value.density, -np.inf)
        np.testing.assert_array_equal(value.gradient, 0.0)
        np.testing.assert_array_equal(value.hessian, 0.0)
        np.testing.assert_array_equal(case.family.log_density(y, **predicted), -np.inf)


def test_draws_follow_the_distribution_function(case: Case, rng: np.random.Generator) -> None:
    """Kolmogorov and Smirnov's distance of P(Y <= y), spread evenly over its jumps, at one chance in 10 000."""
    rows = 20_000
    predicted = case.parameters(rng, rows)
    y = case.family.draw(rng, **predicted) if predicted else np.array([case.family.draw(rng) for _ in range(rows)])
    assert y.shape == (rows,)
    assert y.dtype == np.float64
    u = case.family.cdf(y, **predicted)
    if case.family.discrete:
        u = u - rng.random(rows) * np.exp(case.family.log_density(y, **predicted))
    u = np.sort(u)
    steps = np.arange(rows + 1) / rows
    distance = max(np.max(steps[1:] - u), np.max(u - steps[:-1]))
    assert distance < 2.23 / np.sqrt(rows)
    assert np.isfinite(case.family.log_density(y, **predicted)).all()


def test_draws_at_extremes_are_inside_the_support(case: Case, rng: np.random.Generator) -> None:
    _, predicted = extreme(case)
    if case.family.closure is Closure.NONE or case.family.support is Support.REAL:
        with np.errstate(over="ignore"):
            assert np.isfinite(case.family.draw(rng, **predicted)).all()


def test_draws_repeat_with_the_seed(case: Case, rng: np.random.Generator) -> None:
    predicted = case.parameters(rng, 10)
    first, second = (case.family.draw(np.random.default_rng(3), **predicted) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.family.closure is not Closure.NONE])
def test_density_moves_and_stretches_with_y(name: str, rng: np.random.Generator) -> None:
    """What the roles say about coefficients: the density of a + b y is that of y over b."""
    case = CASES[name]
    y, predicted = drawn(case, rng)
    shift, stretch = (-3.7 if case.family.closure is Closure.AFFINE else 0.0), 12.5
    roles = {column: parameter.role for parameter in case.family.parameters for column in parameter.columns}
    moved = {column: roles[column].to_user(value[:, None], shift, stretch)[:, 0] for column, value in predicted.items()}
    family = case.family.standardised(-shift / stretch, 1 / stretch)
    np.testing.assert_allclose(
        family.log_density(shift + stretch * y, **moved),
        case.family.log_density(y, **predicted) - np.log(stretch),
        rtol=1e-9,
        atol=1e-9,
    )


def test_meets_its_own_draws(case: Case, rng: np.random.Generator) -> None:
    predicted = {name: np.full(50, value.mean().round()) for name, value in case.parameters(rng, 50).items()}
    y = case.family.draw(rng, **predicted)
    y = np.atleast_1d(y)
    assert case.family.meet(y, np.ones(y.shape)) == case.family
    centre = case.family.centre(np.clip(y, None, 1.0) if case.family.given else y, np.ones(y.shape))
    assert set(centre) <= set(case.family.predicted)
    assert all(np.isfinite(value) for value in centre.values())
