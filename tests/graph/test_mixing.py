"""The mixing operations: against sums over labels, SciPy and each other's linkers, in all their derivatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode, get_mode, optdb
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import norm

from bayes_moe.graph.mixing import (
    Mixing,
    NormalMixing,
    mix_log_densities,
    normal_mixture,
    normal_responsibilities,
    responsibilities,
)

PYTHON = Mode(linker="py", optimizer="fast_compile")
NAMES = ("mixing", "normal", "normal by row")
SHAPES = [(1, 1), (1, 4), (7, 1), (6, 3), (255, 2), (256, 3), (257, 2), (700, 5)]

Arrays = Sequence[np.ndarray]


def arguments(name: str, rows: int, experts: int, seed: int = 0) -> list[np.ndarray]:
    """Return values for the inputs of an operation."""
    rng = np.random.default_rng([seed, rows, experts])
    matrices = [2.0 * rng.normal(size=(rows, experts)) for _ in range(3)]
    if name == "mixing":
        return matrices[:2]
    spread = matrices[2] / 4 if name == "normal by row" else rng.normal(size=experts) / 2
    return [*matrices[:2], spread, rng.normal(size=rows)]


def inputs(name: str) -> list[Any]:
    """Return symbolic inputs of an operation."""
    if name == "mixing":
        return [pt.dmatrix("G"), pt.dmatrix("F")]
    return [
        pt.dmatrix("G"),
        pt.dmatrix("mu"),
        pt.dmatrix("s") if name == "normal by row" else pt.dvector("s"),
        pt.dvector("y"),
    ]


def outputs(name: str, symbols: Sequence[Any]) -> list[Any]:
    """Return all outputs of the operation; the first is the log density."""
    operation = Mixing() if name == "mixing" else NormalMixing(by_row=name == "normal by row")
    return operation(*symbols)


def values_of(name: str, values: Arrays) -> Arrays:
    return python_function(name)(*values)


@cache
def python_function(name: str) -> Callable[..., Arrays]:
    symbols = inputs(name)
    return pytensor.function(symbols, outputs(name, symbols), mode=PYTHON)


@cache
def gradient_function(name: str) -> Callable[..., Arrays]:
    """Return the gradient of a weighted sum of log densities."""
    symbols = inputs(name)
    total = (outputs(name, symbols)[0] * pt.cos(pt.arange(symbols[0].shape[0]))).sum()
    return pytensor.function(symbols, [total, *pytensor.grad(total, symbols)], mode=PYTHON)


def log_densities(name: str, values: Arrays) -> np.ndarray:
    """Return the experts' log densities by SciPy."""
    if name == "mixing":
        return values[1]
    _, mu, log_sigma, y = values
    return np.asarray(norm.logpdf(y[:, None], mu, np.exp(np.broadcast_to(log_sigma, mu.shape))))


def by_sums(logits: np.ndarray, densities: np.ndarray) -> float:
    """Return one row's log density in plain sums, in log space by hand."""
    joint = [g + f for g, f in zip(logits, densities, strict=True)]
    top, top_gate = max(joint), max(logits)
    total = math.fsum(math.exp(value - top) for value in joint)
    total_gate = math.fsum(math.exp(value - top_gate) for value in logits)
    return (top + math.log(total)) - (top_gate + math.log(total_gate))


def differences(function: Callable[..., float], values: Arrays, position: int, step: float = 1e-5) -> np.ndarray:
    """Return central differences of a function of several arrays in one of them."""
    out = np.empty(values[position].shape)
    for index in np.ndindex(*out.shape):
        moved = [value.copy() for value in values]
        ends = []
        for sign in (1.0, -1.0):
            moved[position][index] = values[position][index] + sign * step
            ends.append(float(function(*moved)))
        out[index] = (ends[0] - ends[1]) / (2.0 * step)
    return out


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_sums_and_scipy(name: str, shape: tuple[int, int]) -> None:
    values = arguments(name, *shape)
    logits, densities = values[0], log_densities(name, values)
    found = values_of(name, values)
    expected = [by_sums(g, f) for g, f in zip(logits, densities, strict=True)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        found[0], logsumexp(log_softmax(logits, axis=1) + densities, axis=1), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(found[1], softmax(logits + densities, axis=1), rtol=1e-10, atol=1e-13)
    gate = softmax(logits, axis=1)
    np.testing.assert_allclose(found[2], gate if name == "mixing" else found[1] - gate, rtol=1e-10, atol=1e-13)
    if name != "mixing":
        _, mu, log_sigma, y = values
        z = (y[:, None] - mu) / np.exp(log_sigma)
        np.testing.assert_allclose(found[3], found[1] * z / np.exp(log_sigma), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[4], found[1] * (z**2 - 1), rtol=1e-9, atol=1e-12)


def test_no_rows() -> None:
    for name in NAMES:
        found = values_of(name, arguments(name, 0, 3))
        assert [value.shape for value in found] == [(0,), *[(0, 3)] * (len(found) - 1)]


def test_product_over_rows_is_the_sum_over_all_labels() -> None:
    values = arguments("normal by row", 6, 3)
    gate, density = softmax(values[0], axis=1), np.exp(log_densities("normal by row", values))
    ways = itertools.product(range(3), repeat=6)
    total = math.fsum(math.prod(gate[i, k] * density[i, k] for i, k in enumerate(labels)) for labels in ways)
    assert abs(values_of("normal by row", values)[0].sum() - math.log(total)) < 1e-10


def test_public_functions_are_the_outputs() -> None:
    G, mu, s, y = inputs("normal")
    F = pt.dmatrix("F")
    graphs = [mix_log_densities(G, F), responsibilities(G, F), normal_mixture(G, mu, s, y)]
    graphs += [normal_responsibilities(G, mu, s, y), normal_mixture(G, mu, s[None, :], y)]
    values = arguments("normal", 5, 3)
    densities = log_densities("normal", values)
    found = pytensor.function([G, F, mu, s, y], graphs, mode=PYTHON)(values[0], densities, *values[1:])
    expected = logsumexp(log_softmax(values[0], axis=1) + densities, axis=1)
    shares = softmax(values[0] + densities, axis=1)
    for value, wanted in zip(found, [expected, shares, expected, shares, expected], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-13)


# -- derivatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_derivative(name: str) -> None:
    values, function = arguments(name, 5, 3), gradient_function(name)
    for position, gradient in enumerate(function(*values)[1:]):
        slope = differences(lambda *at: function(*at)[0], values, position)
        np.testing.assert_allclose(gradient, slope, rtol=1e-7, atol=1e-8, err_msg=f"input {position}")


@pytest.mark.parametrize("name", NAMES)
def test_second_derivative_is_the_derivative_of_the_first(name: str) -> None:
    """The gradient of a function of the gradient and of all outputs, which cotangents reach by every way."""
    symbols = inputs(name)
    found = outputs(name, symbols)
    slopes = pytensor.grad(found[0].sum(), symbols)
    total = sum((pt.sin(slope + 0.3)).sum() for slope in slopes) + sum(pt.cos(2.0 * out).sum() for out in found)
    function = pytensor.function(symbols, [total, *pytensor.grad(total, symbols)], mode=PYTHON)
    values = arguments(name, 4, 3, seed=1)
    for position, gradient in enumerate(function(*values)[1:]):
        slope = differences(lambda *at: function(*at)[0], values, position)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-7, err_msg=f"input {position}")


@pytest.mark.parametrize("name", NAMES)
def test_third_derivative_is_the_derivative_of_the_second(name: str) -> None:
    symbols = inputs(name)
    total = outputs(name, symbols)[0].sum()
    for turn in range(2):
        total = sum((pt.cos(slope + turn)).sum() for slope in pytensor.grad(total, symbols))
    function = pytensor.function(symbols, [total, *pytensor.grad(total, symbols)], mode=PYTHON)
    values = arguments(name, 2, 2, seed=2)
    for position, gradient in enumerate(function(*values)[1:]):
        slope = differences(lambda *at: function(*at)[0], values, position)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-6, err_msg=f"input {position}")


def test_derivatives_of_each_output_alone() -> None:
    """No output's cotangent is needed for another's."""
    for name in NAMES:
        symbols = inputs(name)
        values = arguments(name, 2, 3, seed=3)
        for order, out in enumerate(outputs(name, symbols)):
            total = pt.sin(out).sum()
            gradients = pytensor.grad(total, symbols, disconnected_inputs="ignore")
            function = pytensor.function(symbols, [total, *gradients], mode=PYTHON, on_unused_input="ignore")
            for position, gradient in enumerate(function(*values)[1:]):
                slope = differences(lambda *at, f=function: f(*at)[0], values, position)
                np.testing.assert_allclose(
                    gradient, slope, rtol=1e-6, atol=1e-8, err_msg=f"{name}: {order}, {position}"
                )


@pytest.mark.parametrize("shared", ["mu of logits", "sigma of mu", "y of mu"])
def test_inputs_may_depend_on_each_other(shared: str) -> None:
    """A derivative with respect to one input does not leak through another."""
    x = pt.dmatrix("x")
    logits, mu, log_sigma, y = {
        "mu of logits": lambda: (x, pt.sin(x), 0.1 * pt.cos(x), pt.ones(2)),
        "sigma of mu": lambda: (pt.cos(x), x, 0.1 * x, pt.ones(2)),
        "y of mu": lambda: (pt.cos(x), x, 0.2 * pt.cos(x), x.sum(axis=1)),
    }[shared]()
    found = NormalMixing(by_row=True)(logits, mu, log_sigma, y)
    total = sum(pt.sin(out).sum() for out in found)
    slope = pytensor.grad(total, x)
    function = pytensor.function(
        [x], [total, slope, pt.cos(slope).sum(), pytensor.grad(pt.cos(slope).sum(), x)], mode=PYTHON
    )
    at = np.random.default_rng(4).normal(size=(2, 3))
    for value, gradient in ((0, 1), (2, 3)):
        slopes = differences(lambda point, v=value: function(point)[v], [at], 0)
        np.testing.assert_allclose(function(at)[gradient], slopes, rtol=1e-6, atol=1e-7)


# -- extremes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [40.0, 400.0, 800.0])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits(name: str, size: float) -> None:
    values = arguments(name, 6, 3)
    values[0] = size * np.array([[1, -1, 0], [-1, 1, 1], [1, 1, 1], [0, 0, -1], [-1, -1, -1], [1, 0.5, -1]])
    densities = log_densities(name, values)
    expected = [by_sums(g, f) for g, f in zip(values[0], densities, strict=True)]
    np.testing.assert_allclose(values_of(name, values)[0], expected, rtol=1e-10)
    _, d_logits, *others = gradient_function(name)(*values)
    weights = np.cos(np.arange(6))[:, None]
    fisher = weights * (softmax(values[0] + densities, axis=1) - softmax(values[0], axis=1))
    np.testing.assert_allclose(d_logits, fisher, rtol=1e-9, atol=1e-13)
    assert all(np.isfinite(other).all() for other in others)


def test_experts_without_support() -> None:
    logits, densities = arguments("mixing", 4, 3)
    densities[0, 1] = -np.inf
    densities[1, :2] = -np.inf
    densities[2] = -np.inf
    value, shares, _ = values_of("mixing", [logits, densities])
    assert value[2] == -np.inf
    assert np.isfinite(value[[0, 1, 3]]).all()
    np.testing.assert_allclose(value[0], by_sums(logits[0], densities[0]), rtol=1e-12)
    np.testing.assert_allclose(value[1], log_softmax(logits, axis=1)[1, 2] + densities[1, 2], rtol=1e-12)
    _, d_logits, d_densities = gradient_function("mixing")(logits, densities)
    np.testing.assert_array_equal(d_densities[~np.isfinite(densities)], 0.0)
    np.testing.assert_array_equal(d_logits[2], 0.0)
    assert np.isfinite(d_logits).all()
    assert shares[1, 2] == 1.0


def test_a_gate_may_close() -> None:
    logits, densities = arguments("mixing", 2, 3)
    logits[0, 0] = -np.inf
    value, shares, gate = values_of("mixing", [logits, densities])
    np.testing.assert_allclose(value[0], by_sums(logits[0, 1:], densities[0, 1:]), rtol=1e-12)
    assert shares[0, 0] == gate[0, 0] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_row(name: str) -> None:
    for position, value in enumerate(arguments(name, 3, 3)):
        by_row = value.shape[0] == 3 and not (name == "normal" and position == 2)
        values = arguments(name, 3, 3)
        values[position][(1,) + (2,) * (value.ndim - 1) if by_row else 2] = np.nan
        spoiled = np.array([False, True, False]) if by_row else np.ones(3, dtype=bool)
        np.testing.assert_array_equal(np.isnan(values_of(name, values)[0]), spoiled, err_msg=f"input {position}")
        _, *gradients = gradient_function(name)(*values)
        assert np.isnan(gradients[0][spoiled]).any()
        assert not np.isnan(gradients[0][~spoiled]).any()


def test_far_rows_keep_finite_gradients() -> None:
    values = arguments("normal", 2, 2)
    values[3][:] = 1e200, -1e160
    value, *gradients = gradient_function("normal")(*values)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# -- what is refused ---------------------------------------------------------------------------------------------------

MISFITS = {
    "mixing": [[(3, 2), (3, 4)], [(3, 2), (4, 2)], [(3, 2), (1, 2)]],
    "normal": [[(3, 2), (3, 2), (3,), (3,)], [(3, 2), (3, 2), (2,), (2,)], [(3, 2), (1, 2), (2,), (3,)]],
    "normal by row": [[(3, 2), (3, 2), (1, 2), (3,)], [(3, 2), (3, 2), (3, 2), (4,)], [(3, 2), (3, 4), (3, 2), (3,)]],
}


def refuses(name: str, function: Callable[..., Any]) -> None:
    for shapes in MISFITS[name]:
        with pytest.raises(ValueError, match="mixing: expected"):
            function(*(np.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    refuses(name, python_function(name))


def test_wrong_dimensions_are_refused() -> None:
    with pytest.raises(TypeError, match="expected a tensor of 2 dimensions, got 1"):
        mix_log_densities(pt.dvector(), pt.dmatrix())


# -- graphs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_one_node_serves_value_gradient_and_responsibilities(name: str) -> None:
    symbols = inputs(name)
    weights = pt.dvector("w")
    value, shares, *_ = outputs(name, symbols)
    total = (weights * outputs(name, symbols)[0]).sum()
    wanted = [value, shares, total, *pytensor.grad(total, symbols)]
    # the rewrites of the numba linker, without its compiler
    mode = Mode(linker="py", optimizer=get_mode("NUMBA").provided_optimizer)
    nodes = pytensor.function([weights, *symbols], wanted, mode=mode).maker.fgraph.apply_nodes
    assert sum(isinstance(node.op, Mixing | NormalMixing) for node in nodes) == 1


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_inferred(name: str) -> None:
    symbols = inputs(name)
    shapes = pt.concatenate([out.shape for out in outputs(name, symbols)])
    function = pytensor.function(
        symbols, shapes, mode=Mode(linker="py", optimizer="fast_run"), on_unused_input="ignore"
    )
    assert not any(isinstance(node.op, Mixing | NormalMixing) for node in function.maker.fgraph.apply_nodes)
    assert function(*arguments(name, 5, 3)).tolist() == [5] + [5, 3] * (len(outputs(name, symbols)) - 1)


@pytest.mark.parametrize("linker", ["jax", "mlx", "pytorch"])
@pytest.mark.parametrize("name", NAMES)
def test_other_compilers_get_elementary_operations(name: str, linker: str) -> None:
    symbols = inputs(name)
    found = outputs(name, symbols)
    graph = FunctionGraph(symbols, [*found, *pytensor.grad(found[0].sum(), symbols)], clone=True)
    reference = pytensor.function(graph.inputs, graph.outputs, mode=PYTHON)
    optdb.query(RewriteDatabaseQuery(include=["moe_mixing_spelled_out"])).rewrite(graph)
    assert "moe_mixing_spelled_out" in {
        rewriter.name for rewriter in optdb.query(RewriteDatabaseQuery(include=[linker]))
    }
    assert not any(isinstance(node.op, Mixing | NormalMixing) for node in graph.apply_nodes)
    values = arguments(name, 5, 3)
    if name == "mixing":
        values[1][0, 0] = values[1][1, :] = -np.inf
        values[1][2, 1] = np.nan
    spelled_out = pytensor.function(graph.inputs, graph.outputs, mode=PYTHON)
    with np.errstate(divide="ignore", invalid="ignore"):
        for value, expected in zip(spelled_out(*values), reference(*values), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)


def test_batches_are_vectorised() -> None:
    symbols = inputs("normal")
    many = pt.dtensor3("many")
    rows = vectorize_graph(outputs("normal", symbols)[0], {symbols[1]: many})
    values = arguments("normal", 5, 3)
    mu = np.random.default_rng(5).normal(size=(2, 5, 3))
    found = pytensor.function([symbols[0], many, *symbols[2:]], rows, mode=PYTHON)(values[0], mu, *values[2:])
    for batch in range(2):
        np.testing.assert_array_equal(found[batch], values_of("normal", [values[0], mu[batch], *values[2:]])[0])


# -- linkers -----------------------------------------------------------------------------------------------------------


def awkward() -> dict[str, list[np.ndarray]]:
    """Return values in several memory layouts, with impossible and missing ones."""
    out = {name: arguments(name, 300, 3) for name in NAMES}
    out["mixing"][1][0, 1] = out["mixing"][1][1, :] = -np.inf
    out["mixing"][0][2, 2] = np.nan
    out["normal"][3][0] = np.nan
    out["mixing"][0] = np.asfortranarray(out["mixing"][0])
    out["normal by row"][2] = np.repeat(out["normal by row"][2], 2, axis=1)[:, ::2]
    out["normal by row"][1] = out["normal by row"][1][::-1]
    return out


@pytest.mark.parametrize("linker", ["numba", "c"])
def test_linkers_agree(linker: str) -> None:
    if linker == "c" and not pytensor.config.cxx:
        pytest.skip("there is no C++ compiler")
    mode = Mode(linker=linker, optimizer=get_mode("NUMBA" if linker == "numba" else "FAST_RUN").provided_optimizer)
    symbols = [inputs(name) for name in NAMES]
    wanted = [out for name, each in zip(NAMES, symbols, strict=True) for out in outputs(name, each)]
    function = pytensor.function([x for each in symbols for x in each], wanted, mode=mode)
    values = awkward()
    expected = [value for name in NAMES for value in values_of(name, values[name])]
    found = function(*(value for name in NAMES for value in values[name]))
    for value, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-11, atol=1e-13)
    for name in NAMES:
        others = {other: arguments(other, 2, 2) for other in NAMES}
        refuses(
            name,
            lambda *misfit, name=name, others=others: function(
                *(x for other in NAMES for x in (misfit if other == name else others[other]))
            ),
        )
