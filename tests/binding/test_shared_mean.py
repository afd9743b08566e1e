"""A mean that all experts share: what it adds, what it refuses, and what it must not give away."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.fitting import Fit

_STILL = bm.priors.Normal(0.0, 0.15, standardised=True)


def model(count: int = 2, **options: bm.KernelMean) -> bm.MixtureOfExperts:
    expert = bm.Expert(bm.Normal(), mu=bm.Linear(slopes=_STILL), sigma=bm.Constant())
    return bm.MixtureOfExperts([expert] * count, mean=options.get("mean", bm.KernelMean()))


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, 2)) * [3.0, 0.1] + [10.0, 0.0]
    return x, 100.0 + 20.0 * np.sin(x[:, 0]) + 50.0 * x[:, 1] + rng.normal(size=n)


def fitted(specification: bm.MixtureOfExperts, x: object, y: np.ndarray) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        return bm.fit(specification, x, y, bm.EM(starts=3, seed=1), progress=False)


@cache
def two() -> Fit:
    return fitted(model(), *rows(80, 1))


def test_one_expert_without_slopes_is_the_gaussian_process() -> None:
    tight = bm.priors.Normal(0.0, 1e-4, standardised=True)
    expert = bm.Expert(bm.Normal(), mu=bm.Constant(intercept=tight), sigma=bm.Constant(intercept=tight))
    fit = fitted(bm.MixtureOfExperts([expert], mean=bm.KernelMean()), *rows(60, 2))
    mean, (new, _) = fit.data.mean, rows(7, 3)
    assert mean is not None
    columns = mean.extended(new)[:, -2:]
    scaling = fit.data.scaling
    shift = scaling.unit()[0] - scaling.x_center[-2]
    np.testing.assert_allclose(fit.predict(new), columns[:, 0] + shift, rtol=1e-4)
    ratio = np.sqrt(fit.variance(new).values) / np.exp(columns[:, 1])
    np.testing.assert_allclose(ratio, scaling.unit()[1] / np.exp(scaling.x_center[-1]), rtol=1e-3)


def test_it_predicts_rows_it_has_not_seen() -> None:
    x, y = rows(200, 4)
    fit = two()
    assert np.sqrt(np.mean((fit.predict(x) - y) ** 2)) < 0.4 * y.std()
    low, high = np.moveaxis(fit.interval(x, 0.9).values, -1, 0)
    assert 0.75 < np.mean((y > low) & (y < high)) <= 1.0


def test_densities_integrate_to_one() -> None:
    fit, (x, _) = two(), rows(3, 5)
    for row in x:
        centre, sd = float(fit.predict(row[None]).values[0]), float(np.sqrt(fit.variance(row[None]).values[0]))
        grid = np.linspace(centre - 15 * sd, centre + 15 * sd, 40_001)
        density = np.exp(fit.log_density(np.tile(row, (len(grid), 1)), grid))
        assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-3)


def test_far_from_training_predictions_are_finite_and_wide() -> None:
    fit = two()
    far, near = np.array([[1e4, -1e3]]), rows(1, 6)[0]
    assert np.all(np.isfinite(fit.interval(far).values))
    assert fit.variance(far).values[0] > 10 * fit.variance(near).values[0]


def _beyond_a_gaussian(seed: int, expert: bm.Expert) -> float:
    """Return what a row's log density gains over a Gaussian of y alone, where columns say nothing."""
    rng = np.random.default_rng([seed, 60])
    x, y, new, other = (rng.normal(size=shape) for shape in ((60, 3), 60, (500, 3), 500))
    fit = fitted(bm.MixtureOfExperts([expert], mean=bm.KernelMean()), x, y)
    plain = -0.5 * np.log(2 * np.pi * y.var()) - 0.5 * (other - y.mean()) ** 2 / y.var()
    return float(fit.log_density(new, other).mean() - plain.mean())


def test_the_target_is_not_given_away_where_columns_say_nothing() -> None:
    """The mean of the other rows falls as y rises: a slope on it would find y, were it not in units of y."""
    sought = bm.Linear(columns=("mean",), slopes=bm.priors.Normal(0.0, 1.0, standardised=True))
    for mu in (bm.Constant(), sought):
        gains = [_beyond_a_gaussian(seed, bm.Expert(bm.Normal(), mu=mu)) for seed in range(4)]
        assert np.mean(gains) > -0.05


def test_it_is_saved(tmp_path: Path) -> None:
    fit, (new, y) = two(), rows(9, 8)
    fit.save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc")
    assert again.model == fit.model
    np.testing.assert_array_equal(again.log_density(new, y), fit.log_density(new, y))


def test_units_of_columns_and_target_play_no_part() -> None:
    x, y = rows(80, 1)
    other, (new, at) = fitted(model(), x * [10.0, 1e-3] + 5.0, 1e3 * y - 7.0), rows(9, 8)
    found = other.log_density(new * [10.0, 1e-3] + 5.0, 1e3 * at - 7.0) + np.log(1e3)
    np.testing.assert_allclose(found, two().log_density(new, at), rtol=1e-3, atol=1e-3)


def test_columns_by_name_in_frames_with_levels() -> None:
    x, y = rows(60, 9)
    frame = pd.DataFrame({"dose": x[:, 0], "site": np.where(x[:, 1] > 0, "a", "b"), "flat": 1.0})
    expert = bm.Expert(bm.Normal(), mu=bm.Constant(), sigma=bm.Linear(columns=("log_sd",), slopes=_STILL))
    gate = bm.SoftmaxGate(bm.Linear(columns=("mean", "dose")))
    fit = fitted(bm.MixtureOfExperts([expert] * 2, gate, mean=bm.KernelMean()), frame, y)
    assert fit.data.own.names == ("dose", "site[b]", "flat")
    np.testing.assert_array_equal(fit.predict(frame), fit.predict(frame[["site", "flat", "dose"]]))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: bm.KernelMean(additive=1), "KernelMean.additive: expected True or False"),
        (lambda: bm.MixtureOfExperts(2, mean=3), "mean: expected bm.KernelMean"),
        (lambda: bm.MixtureOfExperts([bm.Expert(bm.Poisson())], mean=bm.KernelMean()), "location on the real line"),
        (lambda: bm.MixtureOfExperts(2, features=bm.MLP((3,)), mean=bm.KernelMean()), "None beside networks"),
        (lambda: bm.MixtureOfExperts(2, bm.GaussianGate(), mean=bm.KernelMean()), "density of its own"),
    ],
)
def test_specifications_without_meaning_are_refused(build, words: str) -> None:
    with pytest.raises(bm.SpecError, match=words):
        build()


@pytest.mark.parametrize("argument", ["weights", "groups", "gate_X"])
def test_data_without_meaning_are_refused(argument: str) -> None:
    x, y = rows(20, 10)
    given = {"weights": np.ones(20), "groups": np.repeat(range(10), 2), "gate_X": x}[argument]
    with pytest.raises(bm.InputError, match=f"^{argument}: expected None with a shared mean"):
        bm.fit(model(), x, y, progress=False, **{argument: given})


def test_taken_names_and_offsets_are_refused() -> None:
    x, y = rows(20, 11)
    with pytest.raises(bm.InputError, match="no column 'mean'"):
        bm.fit(model(), pd.DataFrame(x, columns=["mean", "b"]), y, progress=False)
    moved = bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(offset="x0"))], mean=bm.KernelMean())
    with pytest.raises(bm.SpecError, match="without offset"):
        bm.fit(moved, x, y, progress=False)


@pytest.mark.full
def test_plots_draw_along_columns_of_x() -> None:
    for plot in (bm.plots.predictive, bm.plots.density, bm.plots.gate, bm.plots.experts, bm.plots.responsibilities):
        assert plot(two()).get_xlabel().startswith("x0")
