"""Held-out scores: against closed forms, against sums written out, and on simulated truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

import bayes_moe as bm
from bayes_moe.posterior.blend import Blend
from bayes_moe.posterior.ranked import crps_of_counts, crps_of_numbers
from tests.fits import QUICK, TWO, X, Y, fit
from tests.posterior.doubles import CAUCHY, GAMMA, Arrays, ScipyFamily, log_softmax, normal_arrays

SCORES = (bm.scores.log_score, bm.scores.crps, bm.scores.pit, bm.scores.coverage)


@pytest.fixture(scope="module")
def two() -> bm.Fit:
    return fit()


def normal_crps(weight: np.ndarray, mu: np.ndarray, sigma: np.ndarray, y: float) -> float:
    """Return the score of a mixture of Normals: E|Y - y| - E|Y - Y'| / 2, each term in closed form."""

    def distance(gap: Any, sd: Any) -> Any:
        return gap * (2 * stats.norm.cdf(gap / sd) - 1) + 2 * sd * stats.norm.pdf(gap / sd)

    between = distance(mu[:, None] - mu, np.hypot(sigma[:, None], sigma))
    return float(weight @ distance(y - mu, sigma) - 0.5 * weight @ between @ weight)


@pytest.mark.parametrize("spread", [0.3, 2.0, 40.0])
def test_crps_is_the_closed_form_of_normals(spread: float) -> None:
    arrays = normal_arrays(30, 6, 3, seed=2, spread=spread)
    y = np.array([-500.0, -spread, 0.0, 0.1, spread, 60.0])
    found = crps_of_numbers(arrays.mixture(), y)
    for row in range(6):
        weight = np.exp(arrays.log_gate[:, row]).ravel() / 30
        mu = arrays.parameters["mu"][:, row].ravel()
        sigma = np.broadcast_to(np.exp(arrays.parameters["log_sigma"]), arrays.log_gate.shape)[:, row].ravel()
        assert found[row] == pytest.approx(normal_crps(weight, mu, sigma, y[row]), rel=2e-5)


def test_crps_of_an_average_of_fits() -> None:
    parts = [normal_arrays(s, 3, k, seed=s) for s, k in ((1, 2), (70, 1))]
    shares, y = np.array([0.3, 0.7]), np.array([0.0, 1.0, 4.0])
    found = crps_of_numbers(Blend(tuple(part.mixture() for part in parts), shares), y)
    for row in range(3):
        pieces = [
            (
                share * np.exp(part.log_gate[:, row]).ravel() / len(part.log_gate),
                part.parameters["mu"][:, row].ravel(),
                np.broadcast_to(np.exp(part.parameters["log_sigma"]), part.log_gate.shape)[:, row].ravel(),
            )
            for share, part in zip(shares, parts, strict=True)
        ]
        weight, mu, sigma = (np.concatenate(each) for each in zip(*pieces, strict=True))
        assert found[row] == pytest.approx(normal_crps(weight, mu, sigma, y[row]), rel=2e-5)


@pytest.mark.parametrize(("draws", "wide"), [(1, 1e2), (1, 1e4), (1, 1e6), (64, 1e6)])
def test_crps_sees_a_narrow_expert_beside_a_wide_one(draws: int, wide: float) -> None:
    """Scales of 1e-4, 1 and up to 1e6 in one row, y in the body, beside it and in the tail."""
    y = np.array([0.0, 1e-4, -2.0, 3.0, 0.1 * wide, -5.0 * wide])
    rng = np.random.default_rng(4)
    weight = np.array([0.5, 0.49, 0.01])
    mu = np.array([0.0, 0.3, 0.02 * wide]) * np.ones((draws, 6, 1)) + 1e-5 * rng.normal(size=(draws, 6, 3))
    log_sigma = np.log([1e-4, 1.0, wide]) * np.ones((draws, 6, 1))
    arrays = Arrays(np.log(weight) * np.ones((draws, 6, 1)), {"mu": mu, "log_sigma": log_sigma})
    found = crps_of_numbers(arrays.mixture(), y)
    for row in range(6):
        parts = np.tile(weight / draws, draws), mu[:, row].ravel(), np.exp(log_sigma[:, row]).ravel()
        assert found[row] == pytest.approx(normal_crps(*parts, y[row]), rel=1e-5)


def test_crps_of_spikes_with_gaps_between() -> None:
    """Draws so narrow that F is a staircase: between two points of a rule there are many steps."""
    rng = np.random.default_rng(8)
    mu, log_gate = rng.normal(size=(60, 4, 2)), log_softmax(rng.normal(size=(60, 4, 2)))
    found = crps_of_numbers(Arrays(log_gate, {"mu": mu, "log_sigma": np.full_like(mu, -14.0)}).mixture(), np.zeros(4))
    for row in range(4):
        weight, sigma = np.exp(log_gate[:, row]).ravel() / 60, np.full(120, np.exp(-14.0))
        assert found[row] == pytest.approx(normal_crps(weight, mu[:, row].ravel(), sigma, 0.0), rel=1e-5)


def test_crps_sees_a_wild_draw() -> None:
    """One draw of 200, which is not among those that the quantiles are first looked for with."""
    mu, sigma = np.zeros((200, 1, 1)), np.ones((200, 1, 1))
    mu[13], sigma[13] = 1e5, 1e6
    found = crps_of_numbers(Arrays(np.zeros_like(mu), {"mu": mu, "log_sigma": np.log(sigma)}).mixture(), np.ones(1))
    exact = normal_crps(np.full(200, 1 / 200), mu.ravel(), sigma.ravel(), 1.0)
    assert found[0] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("shape", [0.01, 0.3, 4.0])
@pytest.mark.parametrize("y", [1e-6, 0.5, 4.0, 900.0])
def test_crps_of_a_gamma_is_its_closed_form(shape: float, y: float) -> None:
    arrays = Arrays(np.zeros((1, 1, 1)), {"shape": np.full((1, 1, 1), shape), "scale": np.full((1, 1, 1), 2.0)})
    below, more = stats.gamma.cdf(y, shape, scale=2.0), stats.gamma.cdf(y, shape + 1, scale=2.0)
    exact = y * (2 * below - 1) - 2.0 * shape * (2 * more - 1) - 2.0 / special.beta(0.5, shape)
    assert crps_of_numbers(arrays.mixture(GAMMA), np.array([y]))[0] == pytest.approx(exact, rel=1e-5)


def test_crps_of_tails_and_bounds_is_what_scipy_integrates() -> None:
    student = ScipyFamily(lambda shape, scale: stats.t(shape, scale=scale))
    beta = ScipyFamily(lambda shape, scale: stats.beta(shape, scale))
    for family, first, second, y in ((student, [2.1, 3.0], [1.0, 1e4], 0.5), (beta, [0.05, 300.0], [0.4, 2e4], 0.2)):
        gate, parameters = np.log([[[0.8, 0.2]]]), {"shape": np.array([[first]]), "scale": np.array([[second]])}
        found = crps_of_numbers(Arrays(gate, parameters).mixture(family), np.array([y]))[0]

        def square(u: float, family: Any = family, first: Any = first, second: Any = second, y: float = y) -> float:
            t = y + np.sinh(u)
            cdf = float(np.array([0.8, 0.2]) @ family.cdf(t, shape=np.array(first), scale=np.array(second)))
            return (cdf - (t >= y)) ** 2 * np.cosh(u)

        ends = np.arcsinh([-y, 1.0 - y]) if family is beta else np.array([-20.0, 20.0])
        points = np.sort(np.concatenate([[0.0], np.arcsinh(np.linspace(0.005, 0.03, 6) - y)]))
        exact = integrate.quad(square, *ends, points=points, limit=1000, epsrel=1e-9)[0]
        assert found == pytest.approx(exact, rel=1e-5)


def test_crps_without_a_mean() -> None:
    """A Cauchy density has no mean, and a score: of 0 seen, log 4 / pi (by hand, and by SciPy's quadrature)."""
    arrays = Arrays(np.zeros((1, 1, 1)), {"shape": np.zeros((1, 1, 1)), "scale": np.ones((1, 1, 1))})
    assert crps_of_numbers(arrays.mixture(CAUCHY), np.zeros(1))[0] == pytest.approx(np.log(4) / np.pi, rel=1e-4)


@pytest.mark.parametrize("mu", [0.2, 7.0, 300.0])
def test_crps_of_counts_is_a_sum(mu: float) -> None:
    gate = log_softmax(np.array([[[0.0, 0.5]], [[1.0, 0.0]]]))
    scale = np.array([[[1.0, 2.0]], [[1.2, 1.9]]])
    arrays = Arrays(gate, {"log_mu": np.log(mu * scale)})
    counts = np.arange(2000)
    cdf = (np.exp(gate) * stats.poisson.cdf(counts[:, None, None, None], mu * scale)).sum(axis=(1, 2, 3)) / 2
    for y in (0.0, np.round(mu), np.round(3 * mu) + 2):
        expected = np.sum((cdf - (counts >= y)) ** 2)
        assert crps_of_counts(arrays.mixture(bm.Poisson()), np.array([y]))[0] == pytest.approx(expected, rel=1e-5)


COUNTS = {
    "a few huge": (bm.Poisson(), {"log_mu": np.log([5.0, 6e4])}),
    "rates of a million": (bm.Poisson(), {"log_mu": np.log([0.2, 1e6])}),
    "tiny dispersion": (
        bm.NegativeBinomial(),
        {"log_mu": np.log([3.0, 900.0]), "log_dispersion": np.log([50.0, 0.02])},
    ),
    "zeros": (bm.ZeroInflated(bm.Poisson()), {"log_mu": np.log([40.0, 2e4]), "logit_zero": np.array([2.0, -1.0])}),
}


@pytest.mark.parametrize("case", COUNTS)
def test_crps_of_counts_far_apart_is_a_sum(case: str) -> None:
    """The body and the tail are thousands of counts apart: y in either, between them and beyond."""
    family, parameters = COUNTS[case]
    y = np.array([0.0, 1.0, 5.0, 14.0, 300.0, 6e4, 2e6])
    gate = np.log([0.97, 0.03])
    arrays = Arrays(gate + np.zeros((1, 7, 1)), {name: a + np.zeros((1, 7, 1)) for name, a in parameters.items()})
    found = crps_of_counts(arrays.mixture(family), y)
    counts = np.arange(1.1e6 if case == "rates of a million" else 1e5)  # F is 1 beyond
    cdf = sum(np.exp(gate[k]) * family.cdf(counts, **{name: a[k] for name, a in parameters.items()}) for k in range(2))
    expected = [np.sum((cdf - (counts >= at)) ** 2) + max(0.0, at - len(counts)) for at in y]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_scores_are_what_the_fit_says(two: bm.Fit) -> None:
    np.testing.assert_array_equal(bm.scores.log_score(two, X, Y).values, two.log_density(X, Y).values)
    np.testing.assert_array_equal(bm.scores.pit(two, X, Y).values, two.cdf(X, Y).values)
    low, high = two.interval(X, 0.8).values.T
    np.testing.assert_array_equal(bm.scores.coverage(two, X, Y, 0.8).values, (low <= Y) & (high >= Y))
    np.testing.assert_allclose(bm.scores.width(two, X, 0.8).values, high - low)


def test_the_table_has_a_row_a_fit(two: bm.Fit) -> None:
    one = fit(bm.MixtureOfExperts(1))
    with pytest.raises(bm.InputError, match=r"probs: expected a list of probabilities, got 0\.9 → pass \[0\.9\]"):
        bm.scores.table(one, X, Y, probs=0.9)
    table = bm.scores.table({"one": one, "two": two, "both": bm.average([one, two])}, X, Y, probs=[0.9])
    assert list(table.index) == ["one", "two", "both"]
    assert table.loc["two", "crps"] == pytest.approx(float(bm.scores.crps(two, X, Y).mean()))
    scores = bm.scores.log_score(two, X, Y).values
    assert table.loc["two", "log_score_se"] == pytest.approx(scores.std(ddof=1) / np.sqrt(len(Y)))
    assert table.loc["both", "coverage_90%"] == float(bm.scores.coverage(bm.average([one, two]), X, Y).mean())


def test_several_outputs_are_scored_one_by_one(rng: np.random.Generator) -> None:
    y = pd.DataFrame({"a": Y, "b": rng.normal(size=len(Y))})
    several = fit(bm.MixtureOfExperts([bm.Expert(bm.MvNormal())]), y=y)
    for score in SCORES[1:]:
        assert score(several, X, y).dims == ("obs", "output")
    assert bm.scores.log_score(several, X, y).dims == ("obs",)
    first = several.mixture(X)
    expected = np.sqrt(several.variance(X).values[0, 0])
    assert first.outputs == 2
    gap = (Y[0] - several.predict(X).values[0, 0]) / expected
    exact = expected * (gap * (2 * stats.norm.cdf(gap) - 1) + 2 * stats.norm.pdf(gap) - 1 / np.sqrt(np.pi))
    assert bm.scores.crps(several, X, y).values[0, 0] == pytest.approx(exact, rel=1e-4)


def test_labels_have_a_log_score_alone() -> None:
    labels = np.where(np.median(Y) < Y, "high", "low")
    model = bm.MixtureOfExperts([bm.Expert(bm.Categorical())])
    found = fit(model, y=labels)
    assert list(bm.scores.table(found, X, labels).columns) == ["log_score", "log_score_se"]
    for score in SCORES[1:]:
        with pytest.raises(bm.SpecError, match="expected a target that is a number, got labels"):
            score(found, X, labels)


@pytest.mark.parametrize("score", SCORES)
def test_what_is_no_fit_is_refused(score: Any) -> None:
    with pytest.raises(bm.SpecError, match="fit: expected a fit, got int"):
        score(3, X, Y)


def test_counts_have_a_randomised_pit(rng: np.random.Generator) -> None:
    """Under the truth it is uniform, though counts are few; without the random numbers it would not be."""
    x = rng.uniform(-1, 1, (2000, 1))
    y = rng.poisson(np.exp(0.3 + 0.5 * x[:, 0]))
    found = fit(bm.MixtureOfExperts([bm.Expert(bm.Poisson())]), x=x, y=y, engine=bm.EM(starts=1, seed=1))
    values = bm.scores.pit(found, x, y, seed=3).values
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert stats.kstest(found.cdf(x, y).values, "uniform").pvalue < 1e-6
    np.testing.assert_array_equal(values, bm.scores.pit(found, x, y, seed=3).values)


def test_the_truth_is_calibrated_and_a_wrong_spread_is_not() -> None:
    train, new = bm.datasets.two_lines(400, seed=4), bm.datasets.two_lines(600, seed=5)
    found = fit(TWO, train.X, train.y, QUICK)
    values = bm.scores.pit(found, new.X, new.y).values
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert stats.kstest(bm.scores.pit(found, new.X, 1.5 * new.y).values, "uniform").pvalue < 1e-6
    assert float(bm.scores.crps(found, new.X, new.y).mean()) < float(bm.scores.crps(found, new.X, 1.2 * new.y).mean())
