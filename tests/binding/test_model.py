"""The PyMC model is the same density, on which PyMC's own tools work; nothing of the data is compiled into it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pymc.model_graph import ModelGraph
from pytensor.compile.mode import Mode, get_mode
from pytensor.graph.basic import Constant
from pytensor.graph.fg import FunctionGraph
from scipy.special import logsumexp, softmax
from scipy.stats import kstest, laplace, norm

from bayes_moe import (
    HSGP,
    RBF,
    EqualGate,
    Expert,
    GaussianGate,
    Linear,
    MixtureOfExperts,
    Normal,
    Polynomial,
    SoftmaxGate,
    Spline,
    StickBreakingGate,
    TreeGate,
    priors,
)
from bayes_moe import Constant as ConstantPredictor
from bayes_moe.binding.graph_density import FAST_START, GraphDensity
from bayes_moe.families import Closure, Family, Support
from tests.cases import CASES, Case, bound, simulated, some_points
from tests.oracle import Oracle

QUICK = {"mode": FAST_START}
# Models whose graph is that of another one: other numbers, the same operations.
TWIN_CASES = {
    "linear gate, 5, two columns",
    "constant gate with prior",
    "fixed gate prior, standardised",
    "learned gate scale",
    "known gate scale",
    "one expert, weighted",
    "constant means",
    "quadratic means",
    "cubic gate, two columns",
    "sigma of x",
    "one line",
    "several blocks of rows",
    "flat",
    "flat, plain mixture, one sigma",
    "flat, sigma of x, polynomial",
    "constant tree",
    "flat tree",
    "sticks, fixed priors",
    "one stick",
    "flat sticks",
    "regions of odd columns",
    "one region",
}
MODELS = [pytest.param(name, marks=pytest.mark.full) if name in TWIN_CASES else name for name in CASES]


@cache
def built(name: str) -> pm.Model:
    return bound(CASES[name]).pymc_model()


@cache
def graph(name: str) -> GraphDensity:
    own = bound(CASES[name])
    return GraphDensity(built(name), own.design, own.parameters, FAST_START)


# -- the same density --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_model_is_the_density(name: str) -> None:
    density, compiled, oracle = bound(CASES[name]).density, graph(name), Oracle(CASES[name])
    for q in some_points(CASES[name], 3, seed=20):
        value, gradient = compiled.logp_and_gradient(q)
        expected, slope = density.logp_and_gradient(q)
        assert abs(value - expected) <= 1e-10 * (1.0 + abs(expected))
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(slope).max()))
        own = oracle.log_posterior(density.parameters.named(q))
        assert abs(value - own) <= 1e-10 * (1.0 + abs(own))


@pytest.mark.parametrize("name", MODELS)
def test_value_variables_are_the_vector(name: str) -> None:
    parameters = bound(CASES[name]).parameters
    assert [variable.name for variable in built(name).value_vars] == list(parameters.slices)
    assert [variable.name for variable in built(name).free_RVs] == [free.name for free in parameters.free]
    for free in parameters.free:
        assert built(name).named_vars_to_dims.get(free.name, ()) == free.dims
        assert tuple(len(built(name).coords[dim]) for dim in free.dims) == free.shape


@pytest.mark.parametrize("name", MODELS)
def test_reported_coefficients(name: str) -> None:
    model, density = built(name), bound(CASES[name]).density
    graphs = model.replace_rvs_by_values(model.deterministics)
    function = pytensor.function(model.value_vars, graphs, mode=FAST_START, on_unused_input="ignore")
    q = some_points(CASES[name], 1, seed=21)[0]
    found = dict(zip([each.name for each in graphs], function(*density.parameters.named(q).values()), strict=True))
    expected = density.expand(q)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-10, atol=1e-10 * (1.0 + np.abs(value).max(initial=0.0)))
        assert tuple(len(model.coords[dim]) for dim in model.named_vars_to_dims.get(key, ())) == value.shape


HESSIANS = [
    "linear gate, 3",
    "sigma of x, weighted",
    "unlike experts, shared, weighted",
    "equal gate",
    "fixed gate prior",
]


@pytest.mark.parametrize("name", HESSIANS)
def test_hessian_is_the_density_s(name: str) -> None:
    for q in 0.7 * some_points(CASES[name], 2, seed=22):
        expected = bound(CASES[name]).density.hessian(q)
        found = graph(name).hessian(q)
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * (1.0 + np.abs(expected).max()))


def test_absurd_rows_of_weight_zero_change_nothing() -> None:
    case = CASES["weighted, gate_X"]
    out = case.weights == 0
    wild = replace(case, X=np.where(out[:, None], 1e90, case.X), y=np.where(out, -1e95, case.y))
    own = bound(wild)
    compiled = GraphDensity(own.pymc_model(), own.design, own.parameters, FAST_START)
    for q in some_points(case, 2, seed=23):
        value, gradient = graph("weighted, gate_X").logp_and_gradient(q)
        found, slope = compiled.logp_and_gradient(q)
        assert abs(found - value) <= 1e-10 * abs(value)
        np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("logit", [40.0, 400.0, 800.0])
@pytest.mark.parametrize("name", ["linear gate, 3", "constant gate", "polynomial gate"])
def test_extreme_gates(name: str, logit: float) -> None:
    density, q = bound(CASES[name]).density, some_points(CASES[name], 1, seed=24)[0]
    where = density.parameters.slices["gate_intercept_z_zerosum__"]
    eta = density.table @ density.parameters.coefficients(q)[: density.experts].T
    q[where] *= logit / np.ptp(eta, axis=1).max()
    value, gradient = graph(name).logp_and_gradient(q)
    expected, slope = density.logp_and_gradient(q)
    assert abs(value - expected) <= 1e-10 * (1.0 + abs(expected))
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(slope).max()))


# -- nothing of the data is compiled in --------------------------------------------------------------------------------


def structure(fgraph: FunctionGraph) -> list[Any]:
    """Return a graph in a form that can be compared: operations, edges, types and constants."""
    names: dict[Any, Any] = {variable: ("input", i, variable.type) for i, variable in enumerate(fgraph.inputs)}
    out: list[Any] = list(names.values())
    for i, node in enumerate(fgraph.toposort()):
        for variable in node.inputs:
            if isinstance(variable, Constant):
                names[variable] = ("constant", variable.type, np.asarray(variable.data, dtype=object).tolist())
        out.append((node.op, [names[variable] for variable in node.inputs]))
        names.update({variable: (i, j) for j, variable in enumerate(node.outputs)})
    return [*out, [names[variable] for variable in fgraph.outputs]]


_PRIORS = {"mu": Linear(intercept=priors.Normal(3.0, 4.0), slopes=priors.Normal(0.5, 2.0))}
_FLAT = SoftmaxGate(Linear(slopes=priors.LearnedScale(3.0, 0.2)))
_CURVES = {"mu": Polynomial(2), "sigma": Linear()}
TWINS: dict[str, tuple[Case, Case]] = {
    "lines": (simulated(MixtureOfExperts(2), 61), simulated(MixtureOfExperts(5), 62, rows=77, columns=3)),
    "lines, priors": (
        simulated(MixtureOfExperts(2), 61),
        simulated(MixtureOfExperts([Expert(**_PRIORS)] * 3, _FLAT), 63, rows=40, columns=2),
    ),
    "one expert": (simulated(MixtureOfExperts(1), 64), simulated(MixtureOfExperts(3), 65, rows=44)),
    "curves, weighted": (
        simulated(MixtureOfExperts([Expert(**_CURVES)] * 2, SoftmaxGate(Polynomial(2))), 66, weighted=True),
        simulated(
            MixtureOfExperts([Expert(**_CURVES)] * 4, SoftmaxGate(Polynomial(2))), 67, rows=50, columns=2, weighted=True
        ),
    ),
    "trees": (
        simulated(MixtureOfExperts(5, TreeGate(((1, 1), 3))), 68),
        simulated(MixtureOfExperts(5, TreeGate(((1, 1), 3), _FLAT.predictor)), 69, rows=44, columns=2),
    ),
    "sticks": tuple(simulated(MixtureOfExperts(k, StickBreakingGate()), k, rows=10 * k, columns=k - 1) for k in (2, 4)),
    "regions": tuple(simulated(MixtureOfExperts(k, GaussianGate()), k, rows=10 * k, columns=2) for k in (2, 4)),
    "splines and bumps": tuple(
        simulated(MixtureOfExperts([Expert(mu=Spline(4))] * k, SoftmaxGate(RBF(3))), 67 + k, rows=30 + k, columns=k - 1)
        for k in (2, 3)
    ),
    "Gaussian processes": tuple(
        simulated(MixtureOfExperts([Expert(mu=HSGP(3 + k))] * k, SoftmaxGate(HSGP(3))), 69 + k, rows=30 + k)
        for k in (2, 3)
    ),
    "equal gate, one sigma": tuple(
        simulated(MixtureOfExperts([Expert(sigma=ConstantPredictor(shared=True))] * k, EqualGate()), k, rows=10 * k)
        for k in (2, 4)
    ),
}


def flat_graph(case: Case) -> tuple[Any, list[Any]]:
    own = bound(case)
    q, value, gradient = GraphDensity(own.pymc_model(), own.design, own.parameters).graph
    return q, [value, gradient]


@pytest.mark.parametrize("name", TWINS)
def test_graphs_depend_on_the_structure_alone(name: str) -> None:
    """Another number of rows, columns and experts, other data and other priors give the same graph."""
    modes = [FAST_START]
    if name == "lines":
        modes.append(Mode(linker="py", optimizer=get_mode("NUMBA").provided_optimizer))
    for mode in modes:
        found = []
        for case in TWINS[name]:
            q, wanted = flat_graph(case)
            found.append(structure(pytensor.function([q], wanted, mode=mode).maker.fgraph))
        assert len(found[0]) == len(found[1])
        for left, right in zip(*found, strict=True):
            assert left == right


def test_twins_are_cases() -> None:
    assert CASES.keys() > TWIN_CASES


def test_another_structure_is_another_graph() -> None:
    """The comparison above can fail."""
    graphs = [flat_graph(CASES[name]) for name in ("linear gate, 2", "quadratic means")]
    found = [structure(pytensor.function([q], wanted, mode=FAST_START).maker.fgraph) for q, wanted in graphs]
    assert found[0] != found[1]


# -- PyMC's tools ------------------------------------------------------------------------------------------------------

TOOLS = "linear gate, 3"


@cache
def sampled() -> xr.DataTree:
    with built(TOOLS):
        return pm.sample(
            draws=10,
            tune=10,
            chains=2,
            cores=1,
            random_seed=1,
            progressbar=False,
            nuts_sampler="pymc",
            nuts={"max_treedepth": 4},
            compute_convergence_checks=False,
            compile_kwargs=QUICK,
        )


def at_points(points: np.ndarray) -> xr.DataTree:
    """Return a posterior whose draws are given unconstrained vectors (draws, size)."""
    parameters = bound(CASES[TOOLS]).parameters
    columns = {}
    for free in parameters.free:
        values = parameters.named(points)[free.value_name]
        if free.zero_sum:
            values = values @ np.asarray(_zero_sum(free.shape[-1])).T
        columns[free.name] = (("chain", "draw", *free.dims), values[None])
    coords = {dim: list(built(TOOLS).coords[dim]) for free in parameters.free for dim in free.dims}
    constant = sampled()["constant_data"].to_dataset()
    return xr.DataTree.from_dict({"posterior": xr.Dataset(columns, coords), "constant_data": constant})


@cache
def _zero_sum(experts: int) -> np.ndarray:
    """Return PyMC's own map from K - 1 free values to K that sum to zero, as a matrix."""
    transform = pm.distributions.transforms.ZeroSumTransform([-1])
    return np.asarray(transform.backward(pt.as_tensor(np.eye(experts - 1))).eval(mode="FAST_COMPILE")).T


def test_sample() -> None:
    posterior = sampled()["posterior"]
    parameters = bound(CASES[TOOLS]).parameters
    for free in parameters.free:
        assert posterior[free.name].shape == (2, 10, *free.shape)
        assert np.isfinite(posterior[free.name]).all()
    assert posterior["mu_slopes"].dims == ("chain", "draw", "expert", "mu_feature")
    assert posterior["gate_slopes"].dims == ("chain", "draw", "expert", "gate_feature")
    np.testing.assert_allclose(posterior["gate_slopes"].sum("expert"), 0.0, atol=1e-9)
    assert posterior["mu_intercept"].std("draw").min() > 0


def test_prior_predictive() -> None:
    own = bound(CASES[TOOLS])
    with built(TOOLS):
        tree = pm.sample_prior_predictive(draws=400, random_seed=2, compile_kwargs=QUICK)
    prior = tree["prior"]
    for free in own.parameters.free:
        values = prior[free.name].to_numpy()
        scale = np.broadcast_to(free.scale, free.shape) * (np.sqrt(1 - 1 / free.shape[-1]) if free.zero_sum else 1.0)
        loc = np.broadcast_to(free.loc, free.shape)
        assert np.abs((values[0].mean(axis=0) - loc) / scale * 20).max() < 5
        np.testing.assert_allclose(values[0].std(axis=0) / scale, 1.0, atol=0.25)
    y = tree["prior_predictive"]["y"].to_numpy()
    assert y.shape == (1, 400, len(own.data.y))
    # in the user's units: the prior's mean is the mean of y, its spread a few times the spread of y
    assert abs(np.median(y) - own.data.y.mean()) < own.data.y.std()
    assert 0.5 < np.median(np.abs(y - y.mean())) / own.data.y.std() < 10


def test_log_likelihood_by_row() -> None:
    for name, weight in ((TOOLS, None), ("weighted, gate_X", CASES["weighted, gate_X"].weights)):
        density, model = graph(name), built(name)
        q = some_points(CASES[name], 1, seed=25)[0]
        rows = model.logp(model.observed_RVs, sum=False)[0]
        function = pytensor.function(model.value_vars, rows, mode=FAST_START, on_unused_input="ignore")
        terms = Oracle(CASES[name]).terms(density.parameters.named(q))
        expected = terms.rows if weight is None else np.where(weight > 0, weight * terms.rows, 0.0)
        np.testing.assert_allclose(function(*density.parameters.named(q).values()), expected, rtol=1e-10, atol=1e-10)
    points = some_points(CASES[TOOLS], 4, seed=26)
    tree = at_points(points)
    with built(TOOLS):
        pm.compute_log_likelihood(tree, progressbar=False, compile_kwargs=QUICK)
    expected = [bound(CASES[TOOLS]).density.row_log_density(q) for q in points]
    np.testing.assert_allclose(tree["log_likelihood"]["y"][0], expected, rtol=1e-10)


def moments(q: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gate, means and sigmas (rows, K) at rows of the raw table, in the user's units."""
    density = bound(CASES[TOOLS]).density
    eta = density.design.matrix(table) @ density.parameters.coefficients(q).T
    k, scaling = density.experts, density.design.scaling
    mu = scaling.y_center + scaling.y_scale * eta[:, k : 2 * k]
    return softmax(eta[:, :k], axis=1), mu, scaling.y_scale * np.exp(eta[:, 2 * k :])


def test_posterior_predictive_has_the_mixture_s_distribution() -> None:
    q = some_points(CASES[TOOLS], 1, seed=27)[0]
    with built(TOOLS):
        tree = pm.sample_posterior_predictive(
            at_points(np.tile(q, (300, 1))), random_seed=3, progressbar=False, compile_kwargs=QUICK
        )
    draws = tree["posterior_predictive"]["y"].to_numpy()[0]
    gate, mu, sigma = moments(q, bound(CASES[TOOLS]).data.table.values)
    assert draws.shape == (300, len(gate))
    level = (gate * norm.cdf(draws[..., None], mu, sigma)).sum(axis=-1)
    assert kstest(level.ravel(), "uniform").pvalue > 1e-3
    # rows are drawn independently of each other
    assert abs(np.corrcoef(level[:, 0], level[:, 1])[0, 1]) < 0.25


def test_new_rows_by_set_data() -> None:
    own = bound(CASES[TOOLS])
    model = own.pymc_model()
    new = np.repeat(own.data.table.values[[0, 7]], 250, axis=0)
    q = some_points(CASES[TOOLS], 1, seed=28)[0]
    with model:
        pm.set_data({"X": new}, coords={"obs": range(500)})
        tree = pm.sample_posterior_predictive(
            at_points(np.tile(q, (20, 1))), random_seed=4, progressbar=False, predictions=True, compile_kwargs=QUICK
        )
    draws = tree["predictions"]["y"].to_numpy()[0]
    gate, mu, sigma = moments(q, new)
    assert draws.shape == (20, 500)
    assert kstest((gate * norm.cdf(draws[..., None], mu, sigma)).sum(axis=-1).ravel(), "uniform").pvalue > 1e-3


def test_model_graph() -> None:
    model = built("unlike experts, shared, weighted")
    plates = {
        plate.dim_info.names: {node.var.name for node in plate.variables} for plate in ModelGraph(model).get_plates()
    }
    assert {"y", "y_data", "weights"} <= plates[("obs",)]
    assert "X" in plates[("obs", "column")]
    assert "mu_slopes" in plates[("expert", "mu_feature")]
    assert "CustomDist" in model.str_repr()
    if importlib.util.find_spec("graphviz"):
        assert "gate_scale" in pm.model_to_graphviz(model).source


# -- families without a kernel of their own ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Laplace(Family):
    """A family that the package does not know; scale e^log_sigma."""

    @property
    def support(self) -> Support:
        return Support.REAL

    @property
    def closure(self) -> Closure:
        return Closure.AFFINE

    @property
    def parameters(self) -> tuple[Any, ...]:
        return Normal().parameters

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        mu, log_sigma = predicted
        return -np.log(2.0) - log_sigma - pt.abs(y - mu) * pt.exp(-log_sigma)

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        return rng.laplace(predicted["mu"], np.exp(predicted["log_sigma"]))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(laplace.logpdf(y, predicted["mu"], np.exp(predicted["log_sigma"])))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return predicted["mu"]

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(2.0 * np.exp(2.0 * predicted["log_sigma"]))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(laplace.cdf(y, predicted["mu"], np.exp(predicted["log_sigma"])))


@pytest.mark.parametrize("sigma", [ConstantPredictor(), Linear()])
def test_a_family_without_a_kernel(sigma: Any) -> None:
    case = simulated(MixtureOfExperts([Expert(Laplace(), sigma=sigma)] * 3), 71, rows=40, weighted=True)
    own = bound(case)
    compiled = GraphDensity(own.pymc_model(), own.design, own.parameters, FAST_START)
    q = some_points(case, 1, seed=72)[0]
    eta = own.design.matrix(own.data.table.values) @ own.parameters.coefficients(q).T
    gate, mu, log_sigma = eta[:, :3], eta[:, 3:6], eta[:, 6:]
    y, scaling = own.design.scaling.standardise_y(own.data.y), own.design.scaling
    rows = logsumexp(gate + laplace.logpdf(y[:, None], mu, np.exp(log_sigma)), axis=1) - logsumexp(gate, axis=1)
    expected = own.data.weights @ (rows - np.log(scaling.y_scale))
    expected += norm.logpdf(q, own.parameters.prior_loc, own.parameters.prior_scale).sum()
    assert abs(compiled.logp(q) - expected) < 1e-10 * abs(expected)
    slopes = [(compiled.logp(q + h) - compiled.logp(q - h)) / 2e-6 for h in 1e-6 * np.eye(len(q))]
    np.testing.assert_allclose(compiled.gradient(q), slopes, rtol=1e-5, atol=1e-5)
    values = _constrained(own.parameters, q)
    with own.pymc_model() as model:
        fixed = pm.do(model, values)
    draws = pm.draw(fixed["y"], draws=200, random_seed=5, mode=FAST_START)
    shares = softmax(gate, axis=1)
    units = scaling.y_center + scaling.y_scale * mu, scaling.y_scale * np.exp(log_sigma)
    assert kstest((shares * laplace.cdf(draws[..., None], *units)).sum(axis=-1).ravel(), "uniform").pvalue > 1e-3


def _constrained(parameters: Any, q: np.ndarray) -> dict[str, np.ndarray]:
    named = parameters.named(q)
    return {
        free.name: named[free.value_name] @ _zero_sum(free.shape[-1]).T if free.zero_sum else named[free.value_name]
        for free in parameters.free
    }
