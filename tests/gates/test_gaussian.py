"""The Gaussian gate: fitted as a joint density, read as a conditional one; its M-step and prior are what they say."""

from __future__ import annotations

from itertools import permutations as orders
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import bayes_moe as bm
from bayes_moe.binding.graph_density import FAST_START, GraphDensity
from bayes_moe.gates.gaussian import BoundGaussian
from bayes_moe.posterior.draws import Draws, label_draws
from tests.cases import CASES, GAUSSIANS, bound, simulated, some_points


def differences(function: Any, q: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the derivative of a function at some positions of q."""
    steps = 1e-5 * np.eye(len(q))[places]
    return np.array([(function(q + e) - function(q - e)) / 2e-5 for e in steps])


# -- the M-step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAUSSIANS)
def test_the_m_step_is_the_maximum(name: str) -> None:
    """Whatever the gate was before, its values are best for the responsibilities at once: SciPy finds no better."""
    density = bound(CASES[name]).density
    q = 0.5 * some_points(CASES[name], 1, seed=5)[0]
    gate = np.arange(density.parameters.gate_start, density.size)
    given = density.responsibilities(q)
    moved = q.copy()
    moved[gate] = density.m_step(density.e_step(q), damping=0.0)[gate]

    def expected(p: np.ndarray) -> float:
        return density.expected(p, given)

    assert expected(moved) >= expected(q)
    slope = differences(expected, moved, gate)
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)

    def negative(values: np.ndarray) -> float:
        at = moved.copy()
        at[gate] = values
        return -expected(at)

    if len(gate) and len(gate) < 12:
        found = minimize(negative, q[gate], method="BFGS")
        assert -found.fun <= expected(moved) + 1e-6


@pytest.mark.parametrize("name", ["regions, two columns, weighted", "regions of odd columns"])
def test_where_em_ends_pymc_is_stationary(name: str) -> None:
    case = CASES[name]
    fit = bm.fit(case.model, case.X, case.y, bm.EM(seed=1, starts=4), progress=False, **case.options)
    assert fit.status.converged
    own = fit.bound
    compiled = GraphDensity(own.pymc_model(), own.design, own.parameters, FAST_START)
    value, gradient = compiled.logp_and_gradient(fit.outcome.mode)
    assert value == pytest.approx(fit.log_posterior, rel=1e-12)
    hessian = own.density.hessian(fit.outcome.mode)
    assert gradient @ np.linalg.solve(-hessian, gradient) < 1e-10
    assert np.linalg.eigvalsh(-hessian)[0] > 0


# -- what it says ------------------------------------------------------------------------------------------------------

MEANS = np.array([[0.0, 0.0], [4.0, 1.0], [-3.0, 5.0]])
ROOTS = np.array([[[1.0, 0.0], [0.8, 0.5]], [[0.5, 0.0], [0.0, 1.0]], [[1.0, 0.0], [-0.5, 0.4]]])
UNIT, AT = np.array([1.0, 100.0]), np.array([0.0, 1000.0])


def regions(rows: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return data of three known regions: X, y and the region of every row."""
    rng = np.random.default_rng(7)
    region = rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    x = AT + UNIT * (MEANS[region] + np.einsum("nij,nj->ni", ROOTS[region], rng.normal(size=(rows, 2))))
    y = np.array([0.0, 5.0, -5.0])[region] + np.array([1.0, -2.0, 0.5])[region] * x[:, 0]
    return pd.DataFrame(x, columns=["dose", "age"]), y + 0.5 * rng.normal(size=rows), region


@pytest.fixture(scope="module")
def fitted() -> bm.Fit:
    X, y, _ = regions(400)
    return bm.fit(bm.MixtureOfExperts(3, bm.GaussianGate()), X, y, bm.EM(seed=1, starts=6), progress=False)


def test_known_regions_are_found(fitted: bm.Fit) -> None:
    X, y, region = regions(400)
    posterior = fitted.idata["posterior"]
    guess = fitted.responsibilities(X, y).values.argmax(axis=1)
    order = max(orders(range(3)), key=lambda order: np.mean(np.array(order)[guess] == region))
    assert np.mean(np.array(order)[guess] == region) > 0.97
    own = np.argsort(order)
    means = posterior["gate_mean"].values[0, 0][own]
    assert posterior["gate_mean"].dims == ("chain", "draw", "expert", "gate_feature")
    np.testing.assert_allclose((means - AT) / UNIT, MEANS, atol=0.25)
    covariances = np.array([np.cov((X[region == k] / UNIT).T) for k in range(3)])
    spreads = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(posterior["gate_sd"].values[0, 0][own] / UNIT, spreads, rtol=0.1)
    correlations = covariances[:, 1, 0] / spreads.prod(axis=1)
    np.testing.assert_allclose(posterior["gate_correlation"].values[0, 0][own][:, 0], correlations, atol=0.1)
    assert posterior["gate_pair"].values.tolist() == ["age~dose"]
    np.testing.assert_allclose(posterior["gate_weight"].values[0, 0][own], [0.5, 0.3, 0.2], atol=0.05)


def test_densities_are_conditional(fitted: bm.Fit) -> None:
    """What the fit says of y is the conditional density, computed here from the reported numbers by SciPy."""
    X, y, _ = regions(400)
    at = {name: values[0, 0].values for name, values in fitted.idata["posterior"].items()}
    sd, r = at["gate_sd"], at["gate_correlation"][:, 0]
    x = X.to_numpy()
    gate, expert = (np.empty((len(y), 3)) for _ in range(2))
    for k in range(3):
        off = r[k] * sd[k].prod()
        covariance = np.array([[sd[k, 0] ** 2, off], [off, sd[k, 1] ** 2]])
        gate[:, k] = np.log(at["gate_weight"][k]) + multivariate_normal.logpdf(x, at["gate_mean"][k], covariance)
        expert[:, k] = norm.logpdf(y, at["mu_intercept"][k] + x @ at["mu_slopes"][k], at["sigma"][k])
    given = logsumexp(gate + expert, axis=1) - logsumexp(gate, axis=1)
    np.testing.assert_allclose(fitted.log_density(X, y).values, given, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(fitted.gate(X).values, np.exp(gate - logsumexp(gate, axis=1, keepdims=True)), atol=1e-9)
    assert fitted.log_likelihood == pytest.approx(given.sum(), rel=1e-9)
    assert fitted.bic == pytest.approx(-2 * given.sum() + (3 * 4 + 2 + 3 * 5) * np.log(400), rel=1e-9)
    samples = fitted.sample(X[:3], draws=40_000, seed=3).values
    error = 5.0 * samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - fitted.predict(X[:3]).values) < error)


def test_laplace_loo_and_a_file(fitted: bm.Fit, tmp_path: Any) -> None:
    X, y, _ = regions(400)
    fit = bm.fit(fitted.model, X, y, bm.Laplace(seed=1, draws=300), start=fitted, progress=False)
    fit.save(tmp_path / "fit.nc")
    back = bm.load(tmp_path / "fit.nc")
    for verb in ("predict", "variance", "gate", "expert_means"):
        np.testing.assert_array_equal(getattr(back, verb)(X[:9]).values, getattr(fit, verb)(X[:9]).values)
    middle = fit.quantile(X[:5], 0.5).values
    np.testing.assert_allclose(fit.cdf(X[:5], middle).values, 0.5, atol=1e-6)
    # the log likelihood of a draw, and with it LOO, is that of y alone
    log_likelihood = fit.idata["log_likelihood"]["y"].values[0].sum(axis=1)
    assert np.median(log_likelihood) == pytest.approx(fitted.log_likelihood, abs=40.0)
    assert np.isfinite(fit.loo().elpd)


def test_the_pymc_model_predicts_y(fitted: bm.Fit) -> None:
    model = fitted.bound.pymc_model()
    assert [variable.name for variable in model.potentials] == ["gate_X"]
    assert [variable.name for variable in model.observed_RVs] == ["y"]
    assert {"gate_mean", "gate_sd", "gate_correlation", "gate_weight"} <= {d.name for d in model.deterministics}


# -- odd columns -------------------------------------------------------------------------------------------------------


def test_repeated_and_constant_columns_break_nothing() -> None:
    X, y, _ = regions(300)
    rng = np.random.default_rng(8)
    copies = {"copy": X["dose"], "near": X["dose"] + 1e-9 * rng.normal(size=300), "same": 3.0, "sum": X.sum(axis=1)}
    odd = X.assign(**copies)
    fit = bm.fit(bm.MixtureOfExperts(3, bm.GaussianGate()), odd, y, bm.EM(seed=1, starts=6), progress=False)
    assert fit.status.converged
    assert fit.idata["posterior"]["gate_feature"].values.tolist() == ["dose", "age", "copy", "near", "sum"]
    gate = fit.gate(odd).values
    assert np.isfinite(gate).all()
    # a hundredth of a unit between the copies is no reason to change regions
    moved = odd.assign(copy=odd["copy"] + 0.01)
    assert np.abs(fit.gate(moved).values - gate).max() < 0.2
    assert fit.log_density(odd, y).values.mean() > -2.0


def test_two_values_are_columns_too() -> None:
    rng = np.random.default_rng(9)
    x = np.column_stack([rng.integers(2, size=200), rng.normal(size=200)]).astype(float)
    y = np.where(x[:, 0] > 0.5, 3.0 * x[:, 1], -3.0) + 0.3 * rng.normal(size=200)
    fit = bm.fit(bm.MixtureOfExperts(2, bm.GaussianGate()), x, y, bm.EM(seed=1, starts=6), progress=False)
    assert fit.status.converged
    assert np.mean(fit.responsibilities(x, y).values.argmax(axis=1) == x[:, 0]) in (0.0, 1.0)


@pytest.mark.parametrize("far", [1e3, 1e6, -1e9])
def test_far_rows_have_a_gate(fitted: bm.Fit, far: float) -> None:
    X = pd.DataFrame({"dose": [far, 0.0, far], "age": [1000.0, far, far]})
    gate = fitted.gate(X).values
    np.testing.assert_allclose(gate.sum(axis=1), 1.0)
    assert np.isfinite(fitted.predict(X).values).all()


@pytest.mark.parametrize("value", [20.0, -20.0])
def test_extreme_spreads(value: float) -> None:
    """Regions a thousand times too wide or narrow: logits of thousands and millions, and exact derivatives."""
    own = bound(CASES["regions, two columns, weighted"])
    density, gate = own.density, own.parameters.gate
    assert isinstance(gate, BoundGaussian)
    q = 0.5 * some_points(CASES["regions, two columns, weighted"], 1, seed=6)[0]
    q[own.parameters.gate_start + gate.places[2][0]] = value
    value, gradient = density.logp_and_gradient(q)
    compiled = GraphDensity(own.pymc_model(), own.design, own.parameters, FAST_START)
    found, slope = compiled.logp_and_gradient(q)
    assert found == pytest.approx(value, rel=1e-10)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(slope, gradient, rtol=1e-8, atol=1e-9 * np.abs(gradient).max())
    assert np.isfinite(density.hessian(q)).all()


# -- labels ------------------------------------------------------------------------------------------------------------


def test_renamings_change_nothing_and_are_undone() -> None:
    own = bound(simulated(bm.MixtureOfExperts(3, bm.GaussianGate()), 74, rows=90, columns=2))
    parameters, gate = own.parameters, own.parameters.gate
    assert isinstance(gate, BoundGaussian)
    rng = np.random.default_rng(4)
    mode = own.density.fit_labels(rng.dirichlet(np.full(3, 0.05), size=90))
    basis = np.linalg.pinv(gate.jacobian(np.zeros(len(mode) - parameters.gate_start))[:3, 0, :2])

    def renamed(q: np.ndarray, order: np.ndarray) -> np.ndarray:
        out = q.copy()
        for term in parameters.terms:
            out[term.places] = q[term.places[order]]
        for places in gate.places:
            out[parameters.gate_start + places] = q[parameters.gate_start + places[order]]
        logits = np.linalg.pinv(basis) @ q[parameters.gate_start : parameters.gate_start + 2]
        out[parameters.gate_start : parameters.gate_start + 2] = basis @ logits[order]
        return out

    plain = mode + 0.02 * rng.normal(size=(40, parameters.size))
    planted = np.array([rng.permutation(3) for _ in range(40)])
    q = np.array([renamed(one, order) for one, order in zip(plain, planted, strict=True)])
    for one, other, order in zip(q[:5], plain, planted, strict=False):
        assert own.density.logp(one) == pytest.approx(own.density.logp(other), rel=1e-12)
        np.testing.assert_allclose(
            own.density.responsibilities(one), own.density.responsibilities(other)[:, order], atol=1e-9
        )
    labels = label_draws(own, q, mode)
    np.testing.assert_array_equal(
        np.take_along_axis(planted, labels.permutations, axis=1), np.tile(np.arange(3), (40, 1))
    )
    back, expected = Draws(own, q[None], labels.permutations), Draws(own, plain[None], np.tile(np.arange(3), (40, 1)))
    np.testing.assert_allclose(back.coefficients, expected.coefficients, atol=1e-10)
    for key, values in expected.user().items():
        np.testing.assert_allclose(back.user()[key], values, rtol=1e-8, atol=1e-8)


# -- the border --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "predictor",
    [
        None,
        bm.Constant(),
        bm.Polynomial(2),
        bm.Linear(shared=True),
        bm.Linear(intercept=bm.priors.Normal()),
        bm.Linear(slopes=bm.priors.LearnedScale()),
    ],
)
def test_predictors_of_a_gate(predictor: Any) -> None:
    with pytest.raises(bm.SpecError, match=r"^GaussianGate\.predictor: expected .* → "):
        bm.GaussianGate(predictor)


def test_flat_priors_leave_it_its_own() -> None:
    model = bm.MixtureOfExperts(2, bm.GaussianGate())
    assert bm.nearly_flat(model).gate == model.gate
