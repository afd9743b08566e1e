"""Gaussian processes: PyMC's approximation, its derivatives, and what EM and the samplers make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytest

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.inference.climb import climb
from bayes_moe.inference.stopping import Gain
from bayes_moe.priors import LearnedScale
from tests.cases import CASES, Case, bound, some_points

RNG = np.random.default_rng(17)
X = RNG.uniform(-2.0, 5.0, size=(80, 2)) * np.array([1.0, 30.0])
Y = np.sin(2.0 * X[:, 0]) + 0.2 * RNG.normal(size=80)
KERNELS = {bm.Kernel.EXP_QUAD: pm.gp.cov.ExpQuad, bm.Kernel.MATERN52: pm.gp.cov.Matern52}
PROCESSES = [name for name in CASES if "process" in name.lower()]


def alone(predictor: bm.HSGP, x: Any = X, y: Any = Y) -> Bound:
    return bound(Case(bm.MixtureOfExperts([bm.Expert(mu=predictor)], bm.EqualGate()), x, y))


@pytest.mark.parametrize("kernel", bm.Kernel)
@pytest.mark.parametrize("m", [(7,), (4, 3)])
def test_it_is_the_approximation_of_pymc(kernel: bm.Kernel, m: tuple[int, ...]) -> None:
    own = alone(bm.HSGP(m, 1.7, kernel), X[:, : len(m)])
    x = own.design.scaling.standardise_x(X[:, : len(m)])
    term = own.parameters.terms[0]
    q = 0.5 * RNG.normal(size=own.density.size)
    q[term.hyper] = [[0.4, -0.8]]
    amplitude, lengthscale = np.exp(0.4), 0.7 * np.exp(-0.4)
    theirs = pm.gp.HSGP(m=list(m), c=1.7, cov_func=amplitude**2 * KERNELS[kernel](len(m), ls=lengthscale))
    phi, root = (np.asarray(part.eval()) for part in theirs.prior_linearized(x))
    ours = own.design.matrix(X[:, : len(m)])[:, 1:] * np.exp(term.weights.logs(list(q[term.hyper].T)))  # type: ignore[union-attr]
    np.testing.assert_allclose(
        ours @ ours.T, (phi * root**2) @ phi.T, rtol=1e-7, atol=1e-12
    )  # PyMC's constant for Matérn in two columns has 8 digits
    if len(m) == 1:
        np.testing.assert_allclose(ours, phi * root, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kernel", bm.Kernel)
def test_many_sines_have_the_kernel_s_covariance(kernel: bm.Kernel) -> None:
    own = alone(bm.HSGP(150, 3.0, kernel), X[:, :1])
    x = own.design.scaling.standardise_x(X[:, :1])
    term = own.parameters.terms[0]
    half = own.design.matrix(X[:, :1])[:, 1:] * np.exp(term.weights.logs([np.zeros(1), np.zeros(1)]))  # type: ignore[union-attr]
    exact = KERNELS[kernel](1, ls=0.7)(x).eval()
    np.testing.assert_allclose(half @ half.T, exact, atol=2e-3)


@pytest.mark.parametrize("name", PROCESSES)
def test_derivatives_of_the_map_to_coefficients(name: str) -> None:
    parameters = bound(CASES[name]).parameters
    for q in some_points(CASES[name], 2, seed=8):
        steps = 1e-5 * np.eye(parameters.size)
        numeric = [(parameters.coefficients(q + e) - parameters.coefficients(q - e)).ravel() / 2e-5 for e in steps]
        np.testing.assert_allclose(parameters.jacobian(q), np.transpose(numeric), atol=1e-7, rtol=1e-6)
        gradient = np.random.default_rng(1).normal(size=(parameters.rows, parameters.width))
        pulled = parameters.jacobian(q).T @ gradient.ravel()
        np.testing.assert_allclose(parameters.pull_back(q, gradient), pulled, atol=1e-10)
        curved = [(parameters.pull_back(q + e, gradient) - parameters.pull_back(q - e, gradient)) / 2e-5 for e in steps]
        np.testing.assert_allclose(parameters.curvature(q, gradient), curved, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_em_never_goes_down(name: str) -> None:
    density = bound(CASES[name]).density
    assert isinstance(density, GeneralDensity)
    for q in 0.5 * some_points(CASES[name], 2, seed=9):
        _, trace = climb(density, q, 60, Gain(1e-10))
        assert len(trace) > 3
        assert np.all(np.diff(trace) >= -1e-8 * (1.0 + np.abs(trace[:-1])))


def test_a_fit_finds_the_curve_and_returns_to_its_level(tmp_path: Path) -> None:
    x = X[:, :1]
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.HSGP(15))], bm.EqualGate())
    fit = bm.fit(model, x, Y, bm.EM(seed=1), progress=False)
    assert fit.status.converged
    grid = np.linspace(-1.8, 4.8, 30)[:, None]
    assert np.abs(fit.predict(grid).values - np.sin(2.0 * grid[:, 0])).max() < 0.3
    posterior = fit.idata["posterior"]
    far = fit.predict(np.array([[-1e6], [1e9]])).values
    np.testing.assert_allclose(far, posterior["mu_intercept"].item(), rtol=1e-12)
    assert 0.2 < posterior["mu_lengthscale"].item() * x.std() < 2.0
    assert 0.3 < posterior["mu_amplitude"].item() < 10.0
    assert posterior["mu_feature"].values.tolist()[:2] == ["gp[1]", "gp[2]"]
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bm.load(tmp_path / "fit.nc").predict(grid), fit.predict(grid))


ENGINES = [
    bm.Laplace(draws=60, seed=1, starts=4),
    pytest.param(bm.NUTS(draws=10, tune=30, chains=2, max_treedepth=4, seed=1), marks=pytest.mark.full),
    pytest.param(bm.ADVI(draws=60, steps=20, seed=1, starts=4), marks=pytest.mark.full),
]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.filterwarnings("ignore::bayes_moe.FitWarning")
def test_posterior_engines(engine: Any) -> None:
    label = RNG.integers(2, size=80)
    y = np.where(label, Y, 4.0 + 0.5 * X[:, 0] + 0.2 * RNG.normal(size=80))
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.HSGP(8))] * 2, bm.SoftmaxGate(bm.HSGP(3)))
    fit = bm.fit(model, X[:, :1], y, engine, progress=False)
    band = fit.interval(X[:5, :1], 0.9).values
    assert np.isfinite(band).all()
    assert fit.idata["posterior"]["mu_lengthscale"].values.std() > 0
    assert float(fit.log_density(X[:, :1], y).mean()) > -2.0


REFUSED = [
    (lambda: bm.HSGP(0), r"HSGP\.m: expected whole numbers from 1"),
    (lambda: bm.HSGP(()), r"HSGP\.m: expected whole numbers"),
    (lambda: bm.HSGP(4, 1.0), r"HSGP\.c: expected a finite number above 1, got 1\.0"),
    (lambda: bm.HSGP(4, kernel="rbf"), r"HSGP\.kernel: expected a bm\.Kernel, got 'rbf'"),
    (lambda: bm.HSGP(4, amplitude=bm.priors.Normal()), r"HSGP\.amplitude: expected priors\.LearnedScale or None"),
    (lambda: bm.HSGP(4, shared=("x0",)), r"HSGP\.shared: expected True or False"),
    (lambda: alone(bm.HSGP((4, 4)), X[:, :1]), r"HSGP\.m: expected a number for each of the columns \['x0'\]"),
    (lambda: alone(bm.HSGP(40)), r"HSGP\.m: .*product of at most 1000, got 40"),
    (lambda: alone(bm.HSGP(2), np.hstack([X, X**2])), r"HSGP\.columns: expected at most 3"),
    (
        lambda: bound(Case(bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.HSGP(3, lengthscale=LearnedScale()))), X, Y)),
        "gate: expected an HSGP whose lengthscale is fixed",
    ),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_is_no_process_is_refused(case: int) -> None:
    make, message = REFUSED[case]
    with pytest.raises(bm.SpecError, match=message):
        make()
