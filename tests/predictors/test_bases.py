"""Splines and bumps: the functions they span, where they go beyond the data, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytensor
import pytest
from scipy.cluster.vq import kmeans2
from scipy.interpolate import BSpline
from scipy.spatial.distance import cdist

import bayes_moe as bm
from bayes_moe.binding.design import Design
from bayes_moe.binding.graph_density import FAST_START
from bayes_moe.binding.model import _design_columns
from bayes_moe.predictors import Predictor
from tests.cases import Case, bound

RNG = np.random.default_rng(5)
X = np.column_stack([RNG.gamma(2.0, 3.0, size=70), RNG.normal(size=70)])
Y = np.sin(X[:, 0]) + X[:, 1] + 0.3 * RNG.normal(size=70)
BASES: list[Predictor] = [bm.Spline(3), bm.Spline(7), bm.Spline(4, 1), bm.Spline(6, 5), bm.RBF(5), bm.RBF(1, 0.4)]


def design(predictor: Predictor, x: Any = X, weights: Any = None) -> Design:
    """Return the design of one expert whose mean has this predictor, under equal weights."""
    model = bm.MixtureOfExperts([bm.Expert(mu=predictor)], bm.EqualGate())
    return bound(Case(model, x, Y[: len(x)], weights)).design


def residual(columns: np.ndarray, targets: np.ndarray) -> float:
    """Return the largest distance of the targets from what the columns span."""
    return float(np.abs(targets - columns @ np.linalg.lstsq(columns, targets, rcond=None)[0]).max())


@pytest.mark.parametrize(("df", "degree"), [(3, 3), (5, 3), (8, 2), (4, 1), (7, 5)])
def test_splines_and_intercept_span_all_splines_on_their_knots(df: int, degree: int) -> None:
    x = X[:, :1]
    ours = design(bm.Spline(df, degree), x).matrix(x)
    inner = np.interp(np.arange(1, df - degree + 1) / (df - degree + 1), (np.arange(70) + 0.5) / 70, np.sort(x[:, 0]))
    ends = np.repeat([[x.min()], [x.max()]], degree + 1, axis=1)
    every = BSpline.design_matrix(x[:, 0], np.concatenate([ends[0], inner, ends[1]]), degree).toarray()
    assert ours.shape == every.shape
    assert np.linalg.matrix_rank(ours) == df + 1
    assert residual(ours, every) < 1e-10
    assert residual(every, ours) < 1e-10


@pytest.mark.parametrize("predictor", BASES, ids=repr)
def test_columns_are_standardised_over_rows_that_count(predictor: Predictor) -> None:
    weights = RNG.choice([0.0, 1.0, 2.5], size=70)
    values = design(predictor, weights=weights).matrix(X)[:, 1:]
    np.testing.assert_allclose(np.average(values, axis=0, weights=weights), 0.0, atol=1e-12)
    variances = np.average(values**2, axis=0, weights=weights)
    if isinstance(predictor, bm.Spline):  # on average over the splines of a column
        variances = variances.reshape(2, -1).mean(axis=1)
    np.testing.assert_allclose(variances, 1.0, rtol=1e-12)


def test_a_reflected_column_has_the_same_prior() -> None:
    x = X[:, :1]
    for predictor in (bm.Spline(6), bm.RBF(4)):
        here, there = (design(predictor, s * x).matrix(s * x)[:, 1:] for s in (1.0, -1.0))
        np.testing.assert_allclose(there @ there.T, here @ here.T, atol=1e-10)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_splines_go_on_as_straight_lines(degree: int) -> None:
    x = X[:, :1]
    found = design(bm.Spline(6, degree), x)
    for end, outwards in ((x.min(), -1.0), (x.max(), 1.0)):
        steps = np.array([0.0, 1.0, 2.0, 1000.0])
        values = found.matrix(end + outwards * steps[:, None])
        np.testing.assert_allclose(values[2] - values[0], 2.0 * (values[1] - values[0]), atol=1e-10)
        np.testing.assert_allclose(values[3] - values[0], 1000.0 * (values[1] - values[0]), rtol=1e-9, atol=1e-9)
        inside = found.matrix(np.array([[end - outwards * 1e-6]]))[0]
        slope = (values[0] - inside) / 1e-6
        np.testing.assert_allclose(values[1] - values[0], slope, atol=1e-4)
    assert np.isfinite(found.matrix(np.array([[-1e90], [1e90]]))).all()


@pytest.mark.parametrize("predictor", [*BASES, bm.HSGP((4, 3)), bm.HSGP(5, columns=(0,))], ids=repr)
def test_graph_and_arrays_are_one_formula(predictor: Predictor) -> None:
    own = design(predictor)
    table = pytensor.tensor.dmatrix("table")
    function = pytensor.function([table], _design_columns(own, table), mode=FAST_START)
    new = np.vstack([X[:9], X.min(axis=0) - 5.0, X.max(axis=0) + 50.0, X.min(axis=0), X.max(axis=0)])
    np.testing.assert_allclose(function(new), own.matrix(new), rtol=1e-12, atol=1e-12)
    assert own.matrix(new[:0]).shape == (0, own.width)


@pytest.mark.parametrize("predictor", BASES, ids=repr)
def test_reported_coefficients_are_those_of_the_plain_columns(predictor: Predictor) -> None:
    own = design(predictor)
    basis, row = own.experts[0][0][0].basis, np.random.default_rng(2).normal(size=own.width)
    user = basis.to_user() @ row
    x = own.scaling.standardise_x(X)
    plain = basis.bumps(x) if isinstance(predictor, bm.RBF) else basis.splines(x)[:, :, 1:].reshape(70, -1)  # type: ignore[attr-defined]
    assert plain.min() >= 0.0
    assert plain.max() <= 1.0 + 1e-12
    np.testing.assert_allclose(user[0] + plain @ user[1:], own.matrix(X) @ row, atol=1e-9)


def test_splines_of_a_column_that_is_mostly_one_value() -> None:
    x = np.where(np.arange(70) < 60, 0.0, np.arange(70.0))[:, None]
    values = design(bm.Spline(6), x).matrix(x)
    assert np.linalg.matrix_rank(values) == 7
    assert np.isfinite(values).all()


def test_centres_are_good_and_do_not_depend_on_chance() -> None:
    x = np.concatenate([np.random.default_rng(k).normal(5.0 * k, 0.4, size=(30 + 5 * k, 2)) for k in range(4)])
    y = np.random.default_rng(9).normal(size=len(x))
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.RBF(6))], bm.EqualGate())
    order = np.random.default_rng(1).permutation(len(x))
    one, other = (bound(Case(model, x[rows], y[rows])).design for rows in (np.arange(len(x)), order))
    centres = one.experts[0][0][0].basis.centres  # type: ignore[attr-defined]
    np.testing.assert_allclose(other.experts[0][0][0].basis.centres, centres, atol=1e-12)  # type: ignore[attr-defined]
    points = one.scaling.standardise_x(x)

    def inertia(found: np.ndarray) -> float:
        return float(cdist(points, found, "sqeuclidean").min(axis=1).sum())

    best = min(inertia(kmeans2(points, 6, minit="++", seed=seed)[0]) for seed in range(30))
    assert inertia(centres) <= 1.15 * best


def test_many_rows_and_repeated_rows_have_centres() -> None:
    x = np.random.default_rng(3).normal(size=(5000, 2)).round(1)
    own = bound(Case(bm.MixtureOfExperts([bm.Expert(mu=bm.RBF(20))], bm.EqualGate()), x, x[:, 0] ** 2)).design
    assert np.linalg.matrix_rank(own.matrix(x)) == 21


def test_constant_columns_drop_out() -> None:
    x = np.column_stack([X[:, 0], np.full(70, 3.0)])
    with_constant = design(bm.RBF([[1.0, 3.0], [5.0, 3.0]]), x).matrix(x)
    alone = design(bm.RBF([[1.0], [5.0]]), x[:, :1]).matrix(x[:, :1])
    np.testing.assert_allclose(with_constant, alone, atol=1e-12)
    assert design(bm.Spline(4), x).width == 5
    assert design(bm.RBF(4), x[:, 1:]).width == 1


REFUSED = [
    (lambda: bm.Spline(2), r"Spline\.df: expected an integer from degree = 3"),
    (lambda: bm.Spline(True), r"Spline\.df: expected an integer"),
    (lambda: bm.Spline(6, 0), r"Spline\.degree: expected an integer from 1 to 5, got 0"),
    (lambda: bm.Spline(6, columns="x"), r"Spline\.columns: expected a tuple"),
    (lambda: bm.Spline(6, shared=1), r"Spline\.shared: expected True, False or a tuple"),
    (lambda: bm.RBF(0), r"RBF\.centres: expected a number from 1"),
    (lambda: bm.RBF("k-means"), r"RBF\.centres: expected a whole number or rows"),
    (lambda: bm.RBF([1.0, 2.0]), r"RBF\.centres: .*reshape\(-1, 1\)"),
    (lambda: bm.RBF([[1.0], [np.nan]]), r"RBF\.centres: .*finite numbers"),
    (lambda: bm.RBF([[1.0], [2.0, 3.0]]), r"RBF\.centres: expected a whole number or rows"),
    (lambda: bm.RBF([[1.0], [1.0]]), r"RBF\.centres: expected every centre once"),
    (lambda: bm.RBF(3, width=0.0), r"RBF\.width: expected a finite number above 0"),
    (lambda: design(bm.RBF([[1.0], [2.0]])), r"expected 2 numbers in a row, for columns \['x0', 'x1'\], got 1"),
    (lambda: design(bm.RBF(71)), r"RBF\.centres: expected at most 70"),
    (lambda: design(bm.Spline(5), X.round(-1)), r"Spline\.df: expected at most \d for column 'x0', which has \d dist"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_makes_no_basis_is_refused(case: int) -> None:
    make, message = REFUSED[case]
    with pytest.raises(bm.SpecError, match=message):
        make()


def test_a_fit_with_splines_is_saved_and_predicts_beyond_the_data(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["dose", "age"])
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.Spline(4))] * 2, bm.SoftmaxGate(bm.RBF(3)))
    fit = bm.fit(model, frame, Y, bm.EM(seed=1, starts=6), progress=False)
    posterior = fit.idata["posterior"]
    assert posterior["mu_feature"].values.tolist() == [f"{n}[bs{d}]" for n in ("dose", "age") for d in range(1, 5)]
    assert posterior["gate_feature"].values.tolist() == ["rbf[1]", "rbf[2]", "rbf[3]"]
    fit.save(tmp_path / "fit.nc")
    far = pd.DataFrame({"age": [-30.0, 0.0, 40.0], "dose": [-100.0, 3.0, 500.0]})
    again = bm.load(tmp_path / "fit.nc").predict(far)
    assert np.isfinite(again).all()
    np.testing.assert_array_equal(again, fit.predict(far))


def test_motorcycle_splines_follow_the_curve() -> None:
    data = bm.datasets.motorcycle()
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.Spline(6))] * 2)
    fit = bm.fit(model, data.X, data.y, bm.EM(seed=1, starts=12), progress=False)
    lines = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(seed=1, starts=12), progress=False)
    assert fit.log_likelihood > lines.log_likelihood + 30.0
    # quiet before the impact, -100 g or so at the trough
    means = np.asarray(fit.predict(np.array([[5.0], [21.0]])))
    assert abs(means[0]) < 12.0
    assert -130.0 < means[1] < -90.0
