"""The log posterior of any families as a C function: the same numbers as NumPy's, at extremes as well."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.binding import general_machine
from bayes_moe.binding.bind import bind
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.data import read_training
from bayes_moe.pointers import called_at
from tests.cases import GAUSSIANS, GENERAL, STICKS, TREES, Case, bound, some_points
from tests.family_cases import FAMILIES, of

CASES: dict[str, Case] = FAMILIES | GENERAL | TREES | STICKS | GAUSSIANS


@cache
def density_of(name: str) -> GeneralDensity:
    return bound(CASES[name]).general_density


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_numpy(name: str) -> None:
    density = density_of(name)
    machine = density.machine()
    assert machine is not None
    called = called_at(machine.function, machine.data)
    for q in density.parameters.prior_loc + 0.6 * some_points(CASES[name], 3, seed=5):
        value, gradient = density.logp_and_gradient(q)
        code, found, slope = called(q)
        assert code == 0
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-10, atol=1e-11 * (1 + np.abs(gradient).max()))


@pytest.mark.parametrize("name", CASES)
def test_far_out_the_function_says_what_numpy_says(name: str) -> None:
    """Linear predictors of several hundreds, where exponentials overflow: the same value, finite or not."""
    density = density_of(name)
    function = density.compiled()
    rng = np.random.default_rng(8)
    with np.errstate(all="ignore"):
        for size in (30.0, 400.0):
            q = density.parameters.prior_loc + size * rng.choice([-1.0, 1.0], density.size) / np.sqrt(density.size)
            value, gradient = density.logp_and_gradient(q)
            found, slope = function(q)
            assert found == pytest.approx(value, rel=1e-9, nan_ok=True)
            if np.isfinite(value) and np.isfinite(gradient).all():
                np.testing.assert_allclose(slope, gradient, rtol=1e-7, atol=1e-8 * (1 + np.abs(gradient).max()))


@pytest.mark.parametrize("name", ["tree", "sticks", "regions", "Student"])
def test_gates_of_800_are_finite(name: str) -> None:
    density = density_of(name)
    q = density.parameters.prior_loc.copy()
    q[density.parameters.gate_start] = 800.0
    machine = density.machine()
    assert machine is not None
    code, value, gradient = called_at(machine.function, machine.data)(q)
    expected, slope = density.logp_and_gradient(q)
    assert code == 0
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * (1 + np.abs(slope).max()))


def _noise_within(high: float) -> GeneralDensity:
    """Return the mixture with noise, whose noise stops at ``high``."""
    density = density_of("Normal and Student and noise")
    noise = bm.Uniform(float(density.outcomes.y.min()) - 1.0, high)
    groups = tuple(replace(g, family=noise) if isinstance(g.family, bm.Uniform) else g for g in density.groups)
    return replace(density, groups=groups)


def test_what_no_expert_explains() -> None:
    """An expert that excludes a row leaves it to the others; a row that all exclude has no density."""
    density = _noise_within(float(np.median(density_of("Normal and Student and noise").outcomes.y)))
    q = density.parameters.prior_loc + 0.1
    value, gradient = density.logp_and_gradient(q)
    found, slope = density.compiled()(q)
    assert np.isfinite(value)
    assert found == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-9)
    noise = density.groups[-1].family
    alone = replace(density, groups=tuple(replace(g, family=noise, rows=g.rows[:0]) for g in density.groups))
    assert alone.compiled()(q)[0] == -np.inf == alone.logp(q)


SHARED_LABELS: dict[str, tuple[bm.families.Family, bm.gates.Gate | None, int]] = {
    "Poisson": (bm.Poisson(), bm.SoftmaxGate(bm.Constant()), 2),
    "Student": (bm.StudentT(), bm.StickBreakingGate(bm.Linear(columns=(1,))), 3),
    "Normal": (bm.Normal(), bm.GaussianGate(bm.Linear(columns=(1,))), 2),
}


@pytest.mark.parametrize("sizes", [(3, 1, 4, 1, 5), (200, 100, 7, 300, 1, 256, 90)], ids=["few rows", "several blocks"])
@pytest.mark.parametrize("name", SHARED_LABELS)
def test_rows_that_share_a_label(name: str, sizes: tuple[int, ...]) -> None:
    family, gate, count = SHARED_LABELS[name]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(4)
    x = np.column_stack([rng.normal(size=len(codes)), rng.normal(size=len(sizes))[codes]])
    y, weights = rng.poisson(3.0, len(codes)).astype(float), rng.choice([0.5, 1.0, 2.0], len(codes))
    model = bm.MixtureOfExperts([bm.Expert(family, mu=bm.Linear(columns=(0,)))] * count, gate)
    density = bind(model, read_training(x, y, weights=weights, groups=codes, experts=count, parameters=0)).density
    assert isinstance(density, GeneralDensity)
    for one in (density, density.thinned(np.arange(0, len(codes), 2))):
        machine = one.machine()
        assert machine is not None
        for q in one.parameters.prior_loc + 0.5 * rng.normal(size=(2, one.size)):
            value, gradient = one.logp_and_gradient(q)
            code, found, slope = called_at(machine.function, machine.data)(q)
            assert code == 0
            assert found == pytest.approx(value, rel=1e-12)
            np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-11 * (1 + np.abs(gradient).max()))


def test_what_is_not_finite_is_reported() -> None:
    density = density_of("Poisson")
    machine = density.machine()
    assert machine is not None
    called = called_at(machine.function, machine.data)
    assert called(np.full(density.size, np.nan))[0] != 0
    assert called(density.parameters.prior_loc)[0] == 0
    with np.errstate(all="ignore"):
        assert np.isnan(density.compiled()(np.full(density.size, np.nan))[0])


def test_what_is_not_compiled_goes_through_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    density = bound(of(bm.Poisson(), 131)).density
    monkeypatch.setattr(general_machine, "parts_of", lambda *_: None)
    assert density.machine() is None
    q = density.parameters.prior_loc
    value, gradient = density.compiled()(q)
    assert value == density.logp(q)
    np.testing.assert_array_equal(gradient, density.gradient(q))
