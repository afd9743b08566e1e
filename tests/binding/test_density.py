"""The log density is exact: against an independent one, by enumeration and quadrature, and in its derivatives."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from pymc.distributions.transforms import ZeroSumTransform

from bayes_moe import Expert, Linear, MixtureOfExperts
from bayes_moe.binding.bind import Bound
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.gates.base import zero_sum_basis
from tests.cases import CASES, GAUSSIANS, Case, bound, simulated, some_points
from tests.oracle import Oracle, Terms, zero_sum

POINTS = 20


@cache
def _bound(name: str) -> Bound:
    return bound(CASES[name])


@cache
def _oracle(name: str) -> Oracle:
    return Oracle(CASES[name])


def terms(name: str, q: np.ndarray) -> Terms:
    """Return the oracle's terms of the rows that count."""
    return _oracle(name).terms(_bound(name).parameters.named(q)).counted


def close(actual: float, expected: float, tolerance: float = 1e-10) -> None:
    assert abs(actual - expected) <= tolerance * (1.0 + abs(expected)), (actual, expected)


def differences(function, q: np.ndarray, step: float) -> np.ndarray:
    """Return the derivative of a function (of any shape) by four-point central differences, q's axis first.

    Steps are ``step`` (1 + |q|), element by element.
    """
    out = []
    for i, axis in enumerate(np.eye(len(q))):
        size = step * (1.0 + abs(q[i]))
        at = [function(q + h * size * axis) for h in (1, -1, 2, -2)]
        out.append((8.0 * (at[0] - at[1]) - (at[2] - at[3])) / (12.0 * size))
    return np.array(out)


# -- values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_oracle(name: str) -> None:
    density = _bound(name).density
    for q in some_points(CASES[name], POINTS):
        expected = terms(name, q)
        close(density.log_prior(q), expected.prior)
        rows, responsibilities = density.by_row(q)
        np.testing.assert_allclose(rows, expected.rows, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(responsibilities, expected.responsibilities(), rtol=1e-8, atol=1e-12)
        close(density.log_likelihood(q), expected.log_likelihood)
        close(density.logp(q), expected.log_posterior)


@pytest.mark.parametrize("name", CASES)
def test_latent_quantities_agree_with_the_oracle(name: str) -> None:
    density, rng = _bound(name).density, np.random.default_rng(1)
    for q in some_points(CASES[name], 3, seed=1):
        expected = terms(name, q)
        given = rng.dirichlet(np.ones(density.experts), size=len(density.weights))
        close(density.expected(q, given), expected.expected(given))
        np.testing.assert_allclose(density.row_log_density(q), expected.rows, rtol=1e-10, atol=1e-10)
        for temperature in (1.0, 0.3, 7.0):
            soft = density.responsibilities(q, temperature=temperature)
            np.testing.assert_allclose(soft, expected.responsibilities(temperature), rtol=1e-8, atol=1e-12)
        expectation = density.e_step(q)
        sizes = expected.weights @ expected.responsibilities()
        np.testing.assert_allclose(expectation.sizes, sizes, rtol=1e-9, atol=1e-10)
        close(expectation.log_posterior, expected.log_posterior)


@pytest.mark.parametrize("experts", [2, 3, 6])
def test_zero_sum_values_are_those_of_pymc(experts: int) -> None:
    values = np.random.default_rng(experts).normal(size=experts - 1)
    expected = ZeroSumTransform([-1]).backward(pt.as_tensor(values)).eval(mode="FAST_COMPILE")
    np.testing.assert_allclose(zero_sum(values), expected, atol=1e-14)
    np.testing.assert_allclose(zero_sum_basis(experts) @ values, expected, atol=1e-14)


@pytest.mark.parametrize("name", ["linear gate, 3", "equal gate", "unlike experts", "one expert", "weighted, gate_X"])
def test_compiled_function_is_the_same(name: str) -> None:
    density = _bound(name).density
    function = density.compiled()
    for q in some_points(CASES[name], 5, seed=2):
        kept = q.copy()
        value, gradient = function(q)
        expected, slope = density.logp_and_gradient(q)
        close(value, expected, 1e-13)
        np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(q, kept)


@pytest.mark.parametrize("name", CASES)
def test_compiled_function_at_one_point(name: str) -> None:
    density, q = _bound(name).density, some_points(CASES[name], 1, seed=3)[0]
    value, gradient = density.compiled()(q)
    close(value, terms(name, q).log_posterior)
    np.testing.assert_allclose(gradient, density.gradient(q), rtol=1e-10, atol=1e-10)


SIX = {
    "three lines": simulated(MixtureOfExperts(3), 51, rows=6),
    "sigma of x": simulated(MixtureOfExperts([Expert(sigma=Linear())] * 3), 52, rows=6),
    "unlike": simulated(MixtureOfExperts([Expert(), Expert(sigma=Linear()), Expert()]), 53, rows=6, columns=2),
}


@pytest.mark.parametrize("name", SIX)
def test_marginal_is_the_sum_over_all_labels(name: str) -> None:
    density = bound(SIX[name]).density
    for q in some_points(SIX[name], 5):
        pieces = Oracle(SIX[name]).terms(bound(SIX[name]).parameters.named(q))
        joint = np.exp(pieces.gate + pieces.experts)
        ways = itertools.product(range(3), repeat=6)
        total = math.fsum(math.prod(joint[i, k] for i, k in enumerate(labels)) for labels in ways)
        close(density.log_likelihood(q), math.log(total))


@pytest.mark.parametrize("name", CASES)
def test_density_integrates_to_one(name: str) -> None:
    density, case = _bound(name).density, CASES[name]
    for q in 0.5 * some_points(case, 3, seed=4):
        eta = density.table[0] @ density.parameters.coefficients(q).T
        if isinstance(density, GeneralDensity) and density.outcomes.offsets is not None:
            eta += density.outcomes.offsets[0]
        mu, log_sigma = eta[density.parameters.gate_rows :].reshape(2, -1)
        sigma = np.exp(log_sigma)
        # the trapezoidal rule is exact to rounding where the step is a third of the narrowest Normal's sigma
        grid = np.arange((mu - 10 * sigma).min(), (mu + 10 * sigma).max(), sigma.min() / 3)
        unit = np.full(len(grid), np.log(density.design.scaling.y_scale))
        seen: dict[str, Any] = {"y": grid, "weights": np.ones(len(grid)), "log_units": unit}
        if isinstance(density, GeneralDensity):
            offsets = density.outcomes.offsets
            seen["offsets"] = None if offsets is None else np.tile(offsets[0], (len(grid), 1))
            seen = {"outcomes": replace(density.outcomes, **seen)}
        along = replace(density, table=np.tile(density.table[0], (len(grid), 1)), **seen)
        step = (grid[1] - grid[0]) * density.design.scaling.y_scale
        assert abs(step * np.exp(along.by_row(q)[0]).sum() - 1.0) < 1e-8


# -- derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.y) < 100])
def test_gradient_of_the_oracle(name: str) -> None:
    q = 0.7 * some_points(CASES[name], 1, seed=5)[0]
    named = _bound(name).parameters.named
    slope = differences(lambda p: _oracle(name).log_posterior(named(p)), q, 3e-4)
    gradient = _bound(name).density.gradient(q)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-7 * (1.0 + np.abs(slope).max()))


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_derivative(name: str) -> None:
    density = _bound(name).density
    for q in some_points(CASES[name], 20, seed=6):
        slope = differences(density.logp, q, 1e-4)
        np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-4, atol=1e-6 * (1.0 + np.abs(slope).max()))


@pytest.mark.parametrize("name", CASES)
def test_hessian_is_the_derivative_of_the_gradient(name: str) -> None:
    density = _bound(name).density
    for q in 0.7 * some_points(CASES[name], 3, seed=7):
        hessian = density.hessian(q)
        np.testing.assert_array_equal(hessian, hessian.T)
        bend = differences(density.gradient, q, 1e-4)
        np.testing.assert_allclose(hessian, bend, rtol=1e-6, atol=1e-6 * (1.0 + np.abs(bend).max()))


@pytest.mark.parametrize("name", CASES)
def test_fishers_identity(name: str) -> None:
    """At one q, the marginal's gradient is that of the expected complete-data log posterior."""
    density = _bound(name).density
    for q in 0.7 * some_points(CASES[name], 3, seed=8):
        responsibilities = density.responsibilities(q)
        slope = differences(lambda p, r=responsibilities: density.expected(p, r), q, 1e-4)
        np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-6, atol=1e-7 * (1.0 + np.abs(slope).max()))
        np.testing.assert_allclose(density.e_step(q).gradient, density.gradient(q), rtol=1e-12, atol=1e-10)


WITH_GATE = [name for name in CASES if _bound(name).parameters.gate.free and name not in GAUSSIANS]
EXTREME_LOGITS = [name for name in WITH_GATE if _bound(name).density.experts > 1]


def at_logits(density: MixtureDensity | GeneralDensity, q: np.ndarray, largest: float) -> np.ndarray:
    """Return q with the gate's values stretched so that its largest difference of logits over the rows is given."""
    out, gate = q.copy(), slice(density.parameters.gate_start, density.size)
    stretched = [i for i in range(gate.start, gate.stop) if not _is_gate_scale(density, i)]
    eta = density.table @ density.parameters.coefficients(out)[: density.parameters.gate_rows].T
    # the log odds of a single linear predictor are against 0
    choices = [np.pad(eta[:, b.rows], ((0, 0), (0, len(b.rows) == 1))) for b in density.parameters.gate.blocks]
    out[stretched] *= largest / max(np.ptp(each, axis=1).max() for each in choices)
    return out


def _is_gate_scale(density: MixtureDensity | GeneralDensity, position: int) -> bool:
    scale = density.parameters.slices.get("gate_scale_z")
    return scale is not None and scale.start <= position < scale.stop


@pytest.mark.parametrize("logit", [40.0, -40.0, 400.0, -400.0, 800.0, -800.0])
@pytest.mark.parametrize("name", EXTREME_LOGITS)
def test_extreme_gates(name: str, logit: float) -> None:
    density = _bound(name).density
    q = at_logits(density, some_points(CASES[name], 1, seed=9)[0], logit)
    value, gradient = density.logp_and_gradient(q)
    close(value, terms(name, q).log_posterior)
    assert np.isfinite(gradient).all()
    assert np.isfinite(density.hessian(q)).all()
    compiled_value, compiled = density.compiled()(q)
    close(compiled_value, value, 1e-12)
    scale = 1.0 + np.abs(gradient).max()
    np.testing.assert_allclose(compiled, gradient, rtol=1e-8, atol=1e-10 * scale)
    slope = differences(density.logp, q, 1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("log_sigma", [15.0, -15.0])
@pytest.mark.parametrize("name", CASES)
def test_extreme_sigmas(name: str, log_sigma: float) -> None:
    density = _bound(name).density
    for every in (True, False):
        q = 0.5 * some_points(CASES[name], 1, seed=10)[0]
        for variable, where in density.parameters.slices.items():
            if variable.startswith(("log_sigma_z", "log_sigma_intercept", "log_sigma_0", "log_sigma_1", "log_sigma_2")):
                wanted = where if every else slice(where.start, where.start + 1)
                # no two alike: at a tie the density has a kink
                q[wanted] = log_sigma + 0.1 * np.arange(wanted.stop - wanted.start)
        value, gradient = density.logp_and_gradient(q)
        close(value, terms(name, q).log_posterior)
        assert np.isfinite(gradient).all()
        assert np.isfinite(density.hessian(q)).all()
        np.testing.assert_allclose(density.compiled()(q)[1], gradient, rtol=1e-8, atol=1e-10 * np.abs(gradient).max())
        # where sigma is tiny, rows pass from expert to expert within a step that is not
        slope = differences(density.logp, q, 1e-7 if log_sigma < 0 else 1e-5)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6 * (1.0 + np.abs(slope).max()))


@pytest.mark.parametrize("name", CASES)
def test_settling_moves_along_the_prior_only(name: str) -> None:
    """`settle` leaves the coefficients alone, never lowers the prior, and has nothing left to gain."""
    density = _bound(name).density
    for q in some_points(CASES[name], 5, seed=14):
        settled = density.settle(q)
        close(density.log_likelihood(settled), density.log_likelihood(q), 1e-9)
        assert density.log_prior(settled) >= density.log_prior(q) - 1e-12
        np.testing.assert_allclose(density.settle(settled), settled, atol=1e-5)
        if "gate_scale_z" not in density.parameters.slices:
            np.testing.assert_array_equal(settled, q)
            continue
        gate = density.parameters.gate
        for nudge in (0.01, -0.01, 0.3, -0.3):
            # the same coefficients under another scale have a lower prior
            moved = settled.copy()
            moved[-1] += nudge
            before, after = (gate.amplitudes(t) for t in (settled[-1], moved[-1]))
            inner, start = density.experts - 1, density.parameters.gate_start
            moved[start : start + inner] *= before[0] / after[0]
            moved[start + inner : -1] *= np.repeat(before[3] / after[3], inner)
            assert density.log_prior(moved) <= density.log_prior(settled) + 1e-9


# -- what is not a number, and what does not count -------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["linear gate, 3", "unlike experts", "sigma of x", "equal gate", "one expert, weighted"]
)
def test_nan_stays_nan(name: str) -> None:
    density = _bound(name).density
    for position in range(density.size):
        q = some_points(CASES[name], 1, seed=11)[0]
        q[position] = np.nan
        assert math.isnan(density.logp(q)), f"position {position}"
        assert math.isnan(density.compiled()(q)[0]), f"position {position}"
        assert np.isnan(density.gradient(q)).any()


@pytest.mark.parametrize("log_sigma", [700.0, -700.0])
def test_no_nan_where_sigma_leaves_all_bounds(log_sigma: float) -> None:
    density = _bound("linear gate, 3").density
    q = some_points(CASES["linear gate, 3"], 1)[0]
    q[density.parameters.slices["log_sigma_z"]] = log_sigma
    assert not math.isnan(density.logp(q))
    assert not math.isnan(density.compiled()(q)[0])
    assert density.logp(q) < -1e3


def test_rows_where_every_density_underflows() -> None:
    """No expert gives a row more than exp(-5000): its responsibilities still follow the logs."""
    case = CASES["linear gate, 3"]
    density = _bound("linear gate, 3").density
    q = some_points(case, 1, seed=12)[0]
    q[density.parameters.slices["log_sigma_z"]] = -6.0
    expected = terms("linear gate, 3", q)
    assert expected.rows.min() < -5000
    rows, responsibilities = density.by_row(q)
    np.testing.assert_allclose(rows, expected.rows, rtol=1e-10)
    np.testing.assert_allclose(responsibilities, expected.responsibilities(), atol=1e-9)


def _wild(case: Case) -> Case:
    """Return the case with absurd numbers in its rows of weight zero."""
    out = case.weights == 0
    assert out.any()
    gate_x = None if case.gate_X is None else np.where(out[:, None], -1e80, case.gate_X)
    return replace(case, X=np.where(out[:, None], 1e90, case.X), y=np.where(out, -1e95, case.y), gate_X=gate_x)


@pytest.mark.parametrize("name", ["weighted, gate_X", "sigma of x, weighted", "several blocks of rows"])
def test_rows_of_weight_zero_are_ignored(name: str) -> None:
    case = CASES[name]
    kept = case.weights > 0
    gate_x = None if case.gate_X is None else case.gate_X[kept]
    removed = bound(replace(case, X=case.X[kept], y=case.y[kept], weights=case.weights[kept], gate_X=gate_x)).density
    for density in (bound(case).density, bound(_wild(case)).density):
        for q in some_points(case, 3, seed=13):
            value, gradient = density.logp_and_gradient(q)
            close(value, removed.logp(q))
            np.testing.assert_allclose(gradient, removed.gradient(q), rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(density.hessian(q), removed.hessian(q), rtol=1e-9, atol=1e-8)
            np.testing.assert_allclose(density.compiled()(q)[1], removed.gradient(q), rtol=1e-9, atol=1e-9)
