"""Standard errors of a point fit against textbook formulas and repeated samples."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import bayes_moe as bm
from bayes_moe.binding.scatter import scatter
from tests.cases import GENERAL, bound, some_points
from tests.family_cases import FAMILIES

RNG = np.random.default_rng(5)
N = 150
X = RNG.normal(size=(N, 2)) @ np.array([[2.0, 0.5], [0.0, 1.0]]) + 3.0
NOISE = RNG.normal(size=N) * (0.3 + np.abs(X[:, 0]))
Y = 40.0 + 3.0 * X[:, 0] - X[:, 1] + NOISE
DESIGN = np.column_stack([np.ones(N), X])
FLAT = bm.nearly_flat(bm.MixtureOfExperts(1))


def summary(
    model: bm.MixtureOfExperts,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> pd.DataFrame:
    return bm.fit(model, x, y, bm.EM(seed=1), weights=weights, groups=groups, progress=False).summary()


def least_squares(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return residuals, weighted variance's coefficients covariance and the bread of the sandwich."""
    bread = np.linalg.inv(DESIGN.T @ (weights[:, None] * DESIGN))
    residuals = Y - DESIGN @ (bread @ DESIGN.T @ (weights * Y))
    variance = (weights * residuals**2).sum() / weights.sum()
    return residuals, variance * bread, bread


@pytest.mark.parametrize("weights", [np.ones(N), 1.0 + np.arange(N) % 3], ids=["equal", "weighted"])
def test_one_normal_expert_has_the_errors_of_least_squares(weights: np.ndarray) -> None:
    """The classical ones and White's (HC0); sigma by its own information and by the fourth moment."""
    table = summary(FLAT, X, Y, weights=weights)
    residuals, classical, bread = least_squares(weights)
    scores = DESIGN * residuals[:, None]
    white = bread @ (scores.T @ (weights[:, None] * scores)) @ bread
    sigma = np.sqrt((weights * residuals**2).sum() / weights.sum())
    total = weights.sum()
    names = ["mu_intercept[0]", "mu_slopes[0, x0]", "mu_slopes[0, x1]"]
    np.testing.assert_allclose(table.loc[names, "se"], np.sqrt(np.diag(classical)), rtol=2e-3)
    np.testing.assert_allclose(table.loc[names, "sandwich_se"], np.sqrt(np.diag(white)), rtol=2e-3)
    spread = (weights * ((residuals / sigma) ** 2 - 1.0) ** 2).sum()
    assert table.loc["sigma[0]", "se"] == pytest.approx(sigma / np.sqrt(2 * total), rel=5e-3)
    assert table.loc["sigma[0]", "sandwich_se"] == pytest.approx(sigma * np.sqrt(spread) / (2 * total), rel=5e-3)


def test_weights_are_repeated_rows() -> None:
    weights = 1.0 + np.arange(N) % 2
    again = np.repeat(np.arange(N), weights.astype(int))
    one = summary(bm.MixtureOfExperts(2), X, Y, weights=weights)
    other = summary(bm.MixtureOfExperts(2), X[again], Y[again])
    np.testing.assert_allclose(one.to_numpy(), other.to_numpy(), rtol=1e-4, atol=1e-6)


def test_groups_are_clusters() -> None:
    """With one expert the sandwich of grouped rows is that of clusters (Liang and Zeger 1986)."""
    codes = np.arange(N) // 5
    model = bm.MixtureOfExperts(1, gate=bm.SoftmaxGate(bm.Constant()))
    table = summary(bm.nearly_flat(model), X, Y, groups=codes)
    residuals, _, bread = least_squares(np.ones(N))
    scores = np.add.reduceat(DESIGN * residuals[:, None], np.arange(0, N, 5))
    expected = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))
    names = ["mu_intercept[0]", "mu_slopes[0, x0]", "mu_slopes[0, x1]"]
    np.testing.assert_allclose(table.loc[names, "sandwich_se"], expected, rtol=2e-3)


def test_one_poisson_expert() -> None:
    x = X[:, :1]
    counts = RNG.negative_binomial(2, 0.3, size=N)
    model = bm.nearly_flat(bm.MixtureOfExperts([bm.Expert(bm.Poisson())]))
    fit = bm.fit(model, x, counts, bm.EM(seed=1), progress=False)
    design = np.column_stack([np.ones(N), x])
    rate = fit.predict(x).values
    bread = np.linalg.inv(design.T @ (rate[:, None] * design))
    scores = design * (counts - rate)[:, None]
    table = fit.summary()
    np.testing.assert_allclose(table["se"].iloc[:2], np.sqrt(np.diag(bread)), rtol=2e-3)
    white = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))
    np.testing.assert_allclose(table["sandwich_se"].iloc[:2], white, rtol=2e-3)


EVERY = FAMILIES | GENERAL
CONDITIONAL = [name for name, case in EVERY.items() if not isinstance(case.model.gate, bm.GaussianGate)]


@pytest.mark.parametrize("name", CONDITIONAL)
def test_scatter_is_that_of_differences(name: str) -> None:
    case = EVERY[name]
    here = bound(case)
    density = here.density
    q = here.parameters.prior_loc + 0.4 * some_points(case, 1, seed=6)[0]
    steps = 1e-5 * np.eye(len(q))
    slopes = np.array([(density.row_log_density(q + e) - density.row_log_density(q - e)) / 2e-5 for e in steps])
    if here.members is not None:
        totals = here.members.summed(here.general_density.weights * np.ones(slopes.shape[1]))
        slopes = slopes[:, here.members.starts] * totals
        expected = slopes @ slopes.T
    else:
        expected = (slopes * density.weights) @ slopes.T
    found = scatter(here.general_density, q)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_an_answer_that_is_no_mode_says_why_it_has_none() -> None:
    model = bm.mixture_density_network(2, hidden=(4,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        fit = bm.fit(model, X, Y, bm.Training(seed=1), progress=False)
    table = fit.summary()
    assert list(table.columns) == ["mode"]
    assert "features were learned" in table.attrs["no_standard_errors"]


@pytest.mark.full
def test_errors_cover_the_truth() -> None:
    """Over 300 samples of two separated experts, 95 % intervals hold the truth as often as binomial error allows."""
    count, inside = 300, np.zeros((2, 2))
    model = bm.nearly_flat(bm.MixtureOfExperts(2, gate=bm.SoftmaxGate(bm.Constant())))
    truth = np.array([2.0, -1.0])
    for seed in range(count):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, 400)
        label = rng.random(400) < 0.4
        y = np.where(label, 5.0 + truth[0] * x, -5.0 + truth[1] * x) + rng.normal(size=400)
        fit = bm.fit(model, x, y, bm.EM(starts=4, seed=seed), progress=False)
        table = fit.summary()
        order = np.argsort(-table.loc[["mu_intercept[0]", "mu_intercept[1]"], "mode"].to_numpy())
        slopes = table.loc[[f"mu_slopes[{k}, x0]" for k in order]]
        for column, name in enumerate(["se", "sandwich_se"]):
            inside[:, column] += np.abs(slopes["mode"].to_numpy() - truth) < 1.959964 * slopes[name].to_numpy()
    low, high = binom.ppf([0.001, 0.999], count, 0.95)
    assert np.all((low <= inside) & (inside <= high))
