"""What must not matter does not: order of rows, of experts and of columns, units, names, copies of rows."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytensor
import pytest
from scipy.stats import norm

from bayes_moe import EM, RBF, Constant, Expert, Fit, Linear, MixtureOfExperts, Polynomial, SoftmaxGate, Spline, fit
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.datasets import two_lines
from bayes_moe.inference.climb import climb
from bayes_moe.inference.newton import newton
from bayes_moe.inference.stopping import Gain
from tests.cases import CASES, KERNELS, Case, bound, some_points, table
from tests.oracle import zero_sum

QUICK = EM(starts=6, seed=0)
LINES = two_lines(80, seed=5)


def close(actual: float, expected: float, tolerance: float = 1e-10) -> None:
    assert abs(actual - expected) <= tolerance * (1.0 + abs(expected)), (actual, expected)


def fitted(case: Case, engine: EM = QUICK) -> Fit:
    return fit(case.model, case.X, case.y, engine, progress=False, **case.options)


def mode_from(density: MixtureDensity, responsibilities: np.ndarray) -> np.ndarray:
    """Return the optimum that EM reaches from given responsibilities."""
    expectation, _ = climb(density, density.fit_labels(responsibilities), 300, Gain(1e-10))
    found = newton(density, expectation.q, settle=density.settle)
    assert found.maximum
    return found.q


SMALL = [name for name, case in CASES.items() if len(case.y) < 100]
REGRESSIONS = {
    "lines": (MixtureOfExperts(2), LINES.X, LINES.y),
    "curves and sigma of x": (
        MixtureOfExperts([Expert(mu=Polynomial(2), sigma=Linear())] * 2, SoftmaxGate(Constant())),
        LINES.X,
        LINES.y,
    ),
    "splines and bumps": (MixtureOfExperts([Expert(mu=Spline(4))] * 2, SoftmaxGate(RBF(3))), LINES.X, LINES.y),
    "two columns, quadratic gate": (MixtureOfExperts(2, SoftmaxGate(Polynomial(2))), *table(61, 90, 2)),
}


@pytest.fixture(scope="module", params=REGRESSIONS)
def base(request: pytest.FixtureRequest) -> tuple[Case, Fit]:
    case = Case(*REGRESSIONS[request.param])
    return case, fitted(case)


# -- rows ------------------------------------------------------------------------------------------------------


def taken(values: Any, rows: np.ndarray) -> Any:
    if values is None:
        return None
    return values.iloc[rows].reset_index(drop=True) if isinstance(values, pd.DataFrame) else values[rows]


def with_rows(case: Case, rows: np.ndarray, weights: np.ndarray | None) -> Case:
    return replace(case, X=taken(case.X, rows), y=case.y[rows], weights=weights, gate_X=taken(case.gate_X, rows))


@pytest.mark.parametrize("name", CASES)
def test_order_of_rows(name: str) -> None:
    case = CASES[name]
    order = np.random.default_rng(2).permutation(len(case.y))
    shuffled = with_rows(case, order, taken(case.weights, order))
    density, other = bound(case).density, bound(shuffled).density
    for q in some_points(case, 3, seed=20):
        close(other.logp(q), density.logp(q))
        np.testing.assert_allclose(other.gradient(q), density.gradient(q), rtol=1e-8, atol=1e-8)


def test_em_does_not_see_the_order_of_rows(base: tuple[Case, Fit]) -> None:
    case, _ = base
    rng = np.random.default_rng(3)
    order = rng.permutation(len(case.y))
    given = rng.dirichlet(np.ones(2), size=len(case.y))
    density, other = bound(case).density, bound(with_rows(case, order, None)).density
    q, moved = mode_from(density, given), mode_from(other, given[order])
    close(other.logp(moved), density.logp(q))
    np.testing.assert_allclose(other.row_log_density(moved), density.row_log_density(q)[order], atol=1e-8)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.model.mean is None])
def test_rows_twice_are_weights_of_two(name: str) -> None:
    case = CASES[name]
    n = len(case.y)
    weights = np.ones(n) if case.weights is None else case.weights
    twice = bound(with_rows(case, np.tile(np.arange(n), 2), np.tile(weights, 2))).density
    double = bound(replace(case, weights=2.0 * weights)).density
    once = bound(case).density
    for q in some_points(case, 3, seed=21):
        close(twice.logp(q), double.logp(q))
        np.testing.assert_allclose(twice.gradient(q), double.gradient(q), rtol=1e-8, atol=1e-8)
        # and weights times c are the log likelihood times c
        close(double.log_likelihood(q), 2.0 * once.log_likelihood(q))


def test_em_does_not_tell_copies_from_weights(base: tuple[Case, Fit]) -> None:
    case, _ = base
    n = len(case.y)
    given = np.random.default_rng(4).dirichlet(np.ones(2), size=n)
    weights = np.where(np.arange(n) % 3 == 0, 2.0, 1.0)
    repeated = np.repeat(np.arange(n), weights.astype(int))
    density, other = bound(replace(case, weights=weights)).density, bound(with_rows(case, repeated, None)).density
    q, copied = mode_from(density, given), mode_from(other, given[repeated])
    close(other.logp(copied), density.logp(q))
    np.testing.assert_allclose(other.row_log_density(copied), density.row_log_density(q)[repeated], atol=1e-8)


def test_weight_zero_is_no_row(base: tuple[Case, Fit]) -> None:
    """Whatever stands in a row of weight zero, even -9e36 for "missing", the fit is that without the row."""
    case, whole = base
    sentinel = np.full((7, case.X.shape[1]), -9e36)
    x, y = np.vstack([case.X[:30], sentinel, case.X[30:]]), np.concatenate([case.y[:30], np.full(7, 9e36), case.y[30:]])
    weights = np.concatenate([np.ones(30), np.zeros(7), np.ones(len(case.y) - 30)])
    other = fitted(Case(case.model, x, y, weights))
    close(other.log_posterior, whole.log_posterior)
    assert abs(other.bic - whole.bic) < 1e-8
    assert abs(other.icl - whole.icl) < 1e-6
    np.testing.assert_allclose(other.log_density(case.X, case.y), whole.log_density(case.X, case.y), atol=1e-8)


# -- experts ---------------------------------------------------------------------------------------------------


def renamed(case: Case, point: dict[str, np.ndarray], order: dict[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Return the point whose expert j of a block is the old one ``order[suffix][j]``; ``""`` orders the gate."""
    out = {}
    back = np.array([zero_sum(axis) for axis in np.eye(len(case.model.experts) - 1)])
    for name, values in point.items():
        if name.endswith("_zerosum__"):
            out[name] = (values @ back)[..., order[""]] @ back.T
            continue
        suffix = next((s for s in order if s and name.endswith(f"{s}_z")), None)
        one_block = len(case.model.blocks) == 1
        shared = values.ndim == 0 or name == "gate_scale_z" or (values.ndim == 1 and "slopes" in name)
        if not shared:
            values = values[list(order["" if one_block else suffix or ""])]
        out[name] = values
    return out


def block_orders(case: Case) -> list[dict[str, Sequence[int]]]:
    """Return every renaming of the experts that leaves the specification as it is (at most 24)."""
    blocks = case.model.blocks
    ways = itertools.product(*(itertools.permutations(range(len(positions))) for _, positions in blocks))
    out = []
    for way in itertools.islice(ways, 24):
        gate = list(range(len(case.model.experts)))
        order: dict[str, Sequence[int]] = {}
        for index, ((_, positions), chosen) in enumerate(zip(blocks, way, strict=True)):
            order[f"_{index}"] = chosen
            for place, old in zip(positions, chosen, strict=True):
                gate[place] = positions[old]
        out.append({"": gate, **(order if len(blocks) > 1 else {})})
    return out


@pytest.mark.parametrize("name", [name for name, case in KERNELS.items() if len(case.model.experts) > 1])
def test_names_of_experts(name: str) -> None:
    case = CASES[name]
    here = bound(case)
    density, named = here.density, here.parameters.named
    assert len(block_orders(case)) > 1
    for q in some_points(case, 3, seed=22):
        rows, responsibilities = density.by_row(q)
        for order in block_orders(case):
            point = renamed(case, named(q), order)
            moved = np.concatenate([np.ravel(point[key]) for key in here.parameters.slices])
            close(density.logp(moved), density.logp(q), 1e-12)
            close(density.log_prior(moved), density.log_prior(q), 1e-12)
            rows_moved, r_moved = density.by_row(moved)
            np.testing.assert_allclose(rows_moved, rows, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(r_moved, responsibilities[:, order[""]], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_a_constant_added_to_all_logits_is_not_representable(name: str) -> None:
    density = bound(CASES[name]).density
    for q in some_points(CASES[name], 3, seed=23):
        coefficients = density.parameters.coefficients(q)[: density.experts]
        np.testing.assert_allclose(coefficients.sum(axis=0), 0.0, atol=1e-12 * (1.0 + np.abs(coefficients).max()))


def test_one_expert_is_plain_regression() -> None:
    case = Case(MixtureOfExperts(1), LINES.X, LINES.y)
    density = bound(case).density
    x = (LINES.X[:, 0] - LINES.X.mean()) / LINES.X.std()
    center, scale = LINES.y.mean(), LINES.y.std()
    named = bound(case).parameters.named
    for q in some_points(case, 5, seed=24):
        at = named(q)
        mu = center + scale * (at["mu_intercept_z"][0] + at["mu_slopes_z"][0, 0] * x)
        plain = norm.logpdf(LINES.y, mu, scale * np.exp(at["log_sigma_z"][0])).sum()
        close(density.log_likelihood(q), plain)
        np.testing.assert_array_equal(density.responsibilities(q), 1.0)


def test_equal_experts_are_one_expert() -> None:
    """With the same coefficients in all experts the gate does not matter."""
    one, three = (Case(MixtureOfExperts(k), LINES.X, LINES.y) for k in (1, 3))
    here = bound(three)
    q, many = some_points(one, 1, seed=25)[0], some_points(three, 1, seed=26)[0]
    single = bound(one).parameters.named(q)
    for name in ("mu_intercept_z", "mu_slopes_z", "log_sigma_z"):
        many[here.parameters.slices[name]] = single[name].ravel()[0]
    close(here.density.log_likelihood(many), bound(one).density.log_likelihood(q))


# -- units and columns -----------------------------------------------------------------------------------------

AFFINE = {
    "y": (0.0, 1.0, 3.0, -7.0),
    "x": (-2.0, -3.0, 0.0, 1.0),
    "small": (0.0, 1e-6, -1.0, -1e-6),
    "large": (-1e5, -1e6, 1e3, 1e6),
    "large x, small y": (1e3, 1e6, 0.5, 1e-6),
}


@pytest.mark.parametrize("change", AFFINE)
def test_units(base: tuple[Case, Fit], change: str) -> None:
    case, plain = base
    a, b, c, d = AFFINE[change]
    other = fitted(replace(case, X=a + b * case.X, y=c + d * case.y))
    new_x, new_y = case.X[::3] + 0.01, case.y[::3] + 0.1
    expected = plain.log_density(new_x, new_y) - np.log(abs(d))
    np.testing.assert_allclose(other.log_density(a + b * new_x, c + d * new_y), expected, atol=1e-8, rtol=0)
    mean = c + d * plain.predict(new_x)
    np.testing.assert_allclose(other.predict(a + b * new_x), mean, rtol=1e-8, atol=1e-8 * abs(d))
    np.testing.assert_allclose(other.variance(a + b * new_x), d**2 * plain.variance(new_x), rtol=1e-7)


def test_two_columns_change_units_apart() -> None:
    case = Case(*REGRESSIONS["two columns, quadratic gate"])
    plain, stretch = fitted(case), np.array([-1e6, 1e-6])
    other = fitted(replace(case, X=case.X * stretch))
    expected = plain.log_density(case.X, case.y)
    np.testing.assert_allclose(other.log_density(case.X * stretch, case.y), expected, atol=1e-8, rtol=0)


def test_order_and_names_of_columns() -> None:
    x, y = table(62, 50, 3)
    frame, order = pd.DataFrame(x, columns=["a", "b", "c"]), [2, 0, 1]
    given = np.random.default_rng(5).dirichlet(np.ones(2), size=50)
    plain = bound(Case(MixtureOfExperts(2), x, y))
    q = some_points(Case(MixtureOfExperts(2), x, y), 1, seed=27)[0]
    point = plain.parameters.named(q)
    point["mu_slopes_z"] = point["mu_slopes_z"][:, order]
    point["gate_slopes_z_zerosum__"] = point["gate_slopes_z_zerosum__"][order]
    reordered = np.concatenate([np.ravel(point[key]) for key in plain.parameters.slices])
    best = plain.density.row_log_density(mode_from(plain.density, given))
    for columns, at in (
        (x[:, order], reordered),
        (frame.iloc[:, order], reordered),
        (frame.rename(columns={"b": "chain", "a": "expert"}), q),
    ):
        density = bound(Case(MixtureOfExperts(2), columns, y)).density
        close(density.logp(at), plain.density.logp(q))
        np.testing.assert_allclose(density.row_log_density(mode_from(density, given)), best, atol=1e-8)


def test_float32_columns_are_their_values() -> None:
    x = LINES.X.astype(np.float32)
    single = fitted(Case(MixtureOfExperts(2), x, LINES.y))
    double = fitted(Case(MixtureOfExperts(2), x.astype(np.float64), LINES.y))
    assert single.log_posterior == double.log_posterior
    near = fitted(Case(MixtureOfExperts(2), LINES.X, LINES.y))
    assert abs(single.log_posterior - near.log_posterior) < 1e-3


# -- nothing else changes --------------------------------------------------------------------------------------


def settings() -> dict[str, Any]:
    """Return what a fit has no business to change."""
    flags = {name: getattr(pytensor.config, name) for name in ("floatX", "mode", "linker", "optimizer", "cxx")}
    root = logging.getLogger()
    return flags | {
        "filters": list(warnings.filters),
        "errors": np.geterr(),
        "print": np.get_printoptions(),
        "logging": (root.level, list(root.handlers), logging.root.manager.disable),
        "environment": dict(os.environ),
    }


def test_a_fit_changes_nothing_else() -> None:
    x, y, weights = LINES.X.copy(), LINES.y.copy(), np.full(80, 2.0)
    frame = pd.DataFrame({"z": x[:, 0] ** 2})
    before, state = settings(), np.random.get_state()  # noqa: NPY002 - the global state is what is looked at
    result = fit(MixtureOfExperts(2), x, y, QUICK, gate_X=frame, weights=weights, progress=False)
    result.sample(x, 5, seed=1, gate_X=frame)
    result.predict(x, gate_X=frame)
    after = np.random.get_state()  # noqa: NPY002
    assert settings() == before
    assert all(np.array_equal(a, b) for a, b in zip(state, after, strict=True))
    np.testing.assert_array_equal(x, LINES.X)
    np.testing.assert_array_equal(y, LINES.y)
    np.testing.assert_array_equal(weights, 2.0)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"z": LINES.X[:, 0] ** 2}))


FRESH = """
import logging, os, random, warnings
import numpy as np, pytensor, scipy.special  # whose import adds a filter for its own warning
def state():
    root = logging.getLogger()
    return (list(warnings.filters), np.geterr(), pytensor.config.floatX, pytensor.config.mode, root.level,
            root.handlers[:], dict(os.environ), random.getstate(), str(np.random.get_state()))
import bayes_moe as bm
data = bm.datasets.two_lines(60, seed=1)
before = state()
bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=2, seed=1), progress=False)
assert [b == a for b, a in zip(before, state())] == [True] * 9, [b == a for b, a in zip(before, state())]
"""


def test_the_first_fit_of_a_process_changes_nothing_else() -> None:
    """What is imported on the way must not leave warnings filters, handlers or seeds behind either."""
    ran = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
