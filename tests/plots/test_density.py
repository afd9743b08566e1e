"""The heat map of counts, and of what cannot go below 0 or above 1."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from scipy import special, stats

import bayes_moe as bm
from bayes_moe.plots.along import along

N = 90
RNG = np.random.default_rng(1)
X = pd.DataFrame({"x": np.linspace(-2.0, 2.0, N)})
TRIALS = RNG.integers(1, 9, N)
RATE = np.exp(0.4 + 0.6 * X.x.values)
COUNTS = RNG.poisson(RATE)
POSITIVE = np.exp(1.0 + X.x.values + 0.5 * RNG.normal(size=N))


def fitted(family: bm.Family, y: Any, X: Any = X, experts: int = 1) -> bm.Fit:
    model = bm.MixtureOfExperts([bm.Expert(family)] * experts)
    return bm.fit(model, X, y, bm.EM(seed=1, starts=2), progress=False)


@cache
def binomial() -> bm.Fit:
    successes = np.random.default_rng(2).binomial(TRIALS, special.expit(X.x))
    return fitted(bm.Binomial("n"), successes, X.assign(n=TRIALS))


def mesh(ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Return heights and values (heights, places) of the map, drawn to see that it can be."""
    ax.figure.canvas.draw()
    (drawn,) = (each for each in ax.collections if isinstance(each, QuadMesh))
    values, y = np.asarray(drawn.get_array()), drawn.get_coordinates()[:, 0, 1]
    return (0.5 * (y[1:] + y[:-1]) if len(y) > len(values) else y), values  # of cells, their middles


def colour_bar(ax: Axes) -> str:
    return ax.figure.axes[-1].get_ylabel()


def assert_probabilities(fit: Any, y: np.ndarray, values: np.ndarray, column: str = "x") -> None:
    table = pd.DataFrame(along(fit, column, points=values.shape[1]).table, columns=list(fit.data.own.names))
    for place in (0, 77, 199):
        own = fit.log_density(table.iloc[[place] * len(y)], y).values
        np.testing.assert_allclose(values[:, place], np.exp(own), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize(
    ("family", "y"),
    [
        (bm.Poisson(), COUNTS),
        (bm.NegativeBinomial(), COUNTS),
        (bm.ZeroInflated(), COUNTS * RNG.integers(0, 2, N)),
        (bm.Poisson(), np.zeros(N)),
    ],
)
def test_counts_have_a_row_of_cells_each(family: bm.Family, y: np.ndarray) -> None:
    fit = fitted(family, y, experts=1 + int(y.any()))
    ax = bm.plots.density(fit)
    at, values = mesh(ax)
    np.testing.assert_allclose(at, np.arange(len(at)), atol=1e-9)
    assert at[-1] > y.max()
    assert ax.get_ylim() == (-0.5, at[-1].round() + 0.5)
    assert_probabilities(fit, at.round(), values)
    assert np.all(values.sum(axis=0) < 1.0 + 1e-9)
    assert values.sum(axis=0).min() > 0.9
    assert colour_bar(ax) == "predictive probability"
    assert np.all(ax.get_yticks() == ax.get_yticks().round())


def test_many_counts_are_thinned_evenly() -> None:
    y = RNG.poisson(300.0 * RATE)
    fit = fitted(bm.Poisson(), y)
    ax = bm.plots.density(fit)
    at, values = mesh(ax)
    np.testing.assert_allclose(at, at.round(), atol=1e-9)
    (step,) = set(np.diff(at.round()))
    assert step > 1.0
    assert 100 < len(at) <= 200
    assert ax.get_ylim()[1] > y.max()
    x = along(fit, None, points=200).table[:, 0]
    intercept, slope = np.polyfit([0.0, 1.0], np.log(fit.predict(pd.DataFrame({"x": [0.0, 1.0]})).values), 1)[::-1]
    expected = stats.poisson.pmf(at.round()[:, None], np.exp(intercept + slope * x))
    np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-300)


def test_successes_end_at_the_trials() -> None:
    ax = bm.plots.density(binomial())
    at, values = mesh(ax)
    held = np.median(TRIALS).round()
    np.testing.assert_allclose(at, np.arange(binomial().data.y.max() + 1), atol=1e-9)
    assert np.all(values[at > held + 0.5] == 0.0)
    np.testing.assert_allclose(values.sum(axis=0), 1.0)
    assert_probabilities(binomial(), at.round(), values)


def test_along_trials_they_are_whole() -> None:
    at, values = mesh(bm.plots.density(binomial(), column="n"))
    path = along(binomial(), "n", points=200)
    np.testing.assert_array_equal(path.table[:, 1], path.x.round())
    np.testing.assert_allclose(values.sum(axis=0), 1.0)
    assert_probabilities(binomial(), at.round(), values, "n")


def test_trials_are_held_at_whole_numbers() -> None:
    trials = np.resize([3, 6], N)  # median 4.5: no number of trials
    y = np.random.default_rng(3).binomial(trials, 0.5)
    _, values = mesh(bm.plots.density(fitted(bm.Binomial("n"), y, X.assign(n=trials))))
    np.testing.assert_allclose(values.sum(axis=0), 1.0)


def test_along_exposures_they_stay_above_0() -> None:
    exposure = np.linspace(0.001, 5.0, N)
    fit = fitted(bm.Poisson(exposure="t"), RNG.poisson(exposure), X.assign(t=exposure))
    for plot in (bm.plots.density, bm.plots.predictive):
        assert 0.0 < plot(fit, column="t").get_xlim()[0] < 0.001


def test_one_count_of_several_outputs() -> None:
    y = pd.DataFrame({"height": X.x + RNG.normal(size=N), "visits": COUNTS, "ill": (COUNTS > 1).astype(float)})
    fit = fitted(bm.Joint({"height": bm.Normal(), "visits": bm.Poisson(), "ill": bm.Bernoulli()}), y)
    assert colour_bar(bm.plots.density(fit)) == "predictive density, per unit of y"
    for output, top in (("visits", 6), ("ill", 1)):
        ax = bm.plots.density(fit, output=output)
        at, values = mesh(ax)
        np.testing.assert_allclose(at, np.arange(len(at)), atol=1e-9)
        assert at.max() >= top
        assert colour_bar(ax) == "predictive probability"
        total = np.arange(len(at)) @ values  # the mean, as far as probabilities reach
        expected = fit.predict(along(fit, None, points=200).table).sel(output=output).values
        np.testing.assert_allclose(total, expected, rtol=0.05)


def test_an_average_of_fits_of_counts() -> None:
    both = bm.average([fitted(bm.Poisson(), COUNTS), fitted(bm.NegativeBinomial(), COUNTS)], weights=[1, 3])
    at, values = mesh(bm.plots.density(both))
    np.testing.assert_allclose(at, np.arange(len(at)), atol=1e-9)
    assert_probabilities(both, at.round(), values)


@pytest.mark.parametrize(
    ("family", "y", "most"),
    [
        (bm.Gamma(), POSITIVE, np.inf),
        (bm.Gamma(), RNG.gamma(0.4, 3.0, N), np.inf),  # infinite density at 0
        (bm.LogNormal(), POSITIVE, np.inf),
        (bm.Weibull(), POSITIVE, np.inf),
        (bm.Beta(), RNG.beta(0.5, 0.5, N), 1.0),
        (bm.Beta(), 0.5 + 0.01 * RNG.beta(2.0, 2.0, N), 0.52),
    ],
)
def test_heights_stay_where_y_can_be(family: bm.Family, y: np.ndarray, most: float) -> None:
    fit = fitted(family, y)
    ax = bm.plots.density(fit)
    at, values = mesh(ax)
    low, high = ax.get_ylim()
    assert (low, high) == (at[0], at[-1])
    assert low == pytest.approx(0.0) if y.min() < 0.4 else low > 0.4
    assert y.max() < high <= most
    assert np.all(np.isfinite(values))
    inside = slice(1, -1)
    assert_probabilities(fit, at[inside], values[inside])


def test_a_power_of_y_ends_at_0() -> None:
    model = bm.MixtureOfExperts(1, target=bm.Power(0.5))
    fit = bm.fit(model, X, POSITIVE, bm.EM(seed=1), progress=False)
    assert bm.plots.density(fit).get_ylim()[0] == 0.0


def test_the_whole_line_has_room_below_0() -> None:
    assert bm.plots.density(fitted(bm.Normal(), POSITIVE)).get_ylim()[0] < 0.0


def test_a_density_that_falls_between_the_places_is_said() -> None:
    X = pd.DataFrame({"x": RNG.normal(size=N)})
    fit = fitted(bm.Normal(), 2.0 * X.x + 1e-7 * RNG.normal(size=N), X)
    with pytest.raises(bm.NumericalError, match=r"^density: expected a highest value above 0 and finite, got 0 on 200"):
        bm.plots.density(fit)
    assert plt.get_fignums() == []
