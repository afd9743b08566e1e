"""Pictures of a choice and of calibration: what is drawn is what was found."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

import bayes_moe as bm
from bayes_moe.plots.calibration import band
from bayes_moe.plots.canvas import ALARM
from tests.fits import QUICK, X, Y, fit


@pytest.fixture(scope="module")
def by_bic() -> bm.Selection:
    return bm.select(bm.MixtureOfExperts(1), X, Y, range(1, 4), QUICK, progress=False)


@pytest.fixture(scope="module")
def by_name() -> bm.Selection:
    models = {"lines": bm.MixtureOfExperts(2), "one": bm.MixtureOfExperts(1)}
    return bm.select(models, X, Y, engine=QUICK, criterion=bm.KFold(2), progress=False)


def test_criteria_are_drawn_less_their_lowest(by_bic: bm.Selection) -> None:
    ax = bm.plots.selection(by_bic)
    for name in ("BIC", "ICL"):
        (line,) = (line for line in ax.lines if line.get_label() == name)
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        values = by_bic.table[name].to_numpy()
        np.testing.assert_allclose(line.get_ydata(), values - values.min())
    assert ax.get_title(loc="left") == "2 experts, chosen among 3 models"


def test_differences_have_their_standard_errors(by_name: bm.Selection) -> None:
    ax = bm.plots.selection(by_name)
    behind, error = by_name.scores["one"].behind(by_name.scores["lines"])
    ends = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == -1.0]
    np.testing.assert_allclose(ends[-1], [-behind - error, -behind + error])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["lines", "one"]


def test_a_fit_that_did_not_converge_is_hollow(by_bic: bm.Selection) -> None:
    loose = by_bic.fits[3]
    loose = replace(loose, status=replace(loose.status, converged=False))
    ax = bm.plots.selection(replace(by_bic, fits={**by_bic.fits, 3: loose}))
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert {(float(line.get_xdata()[0]), line.get_color()) for line in hollow} == {(3.0, ALARM)}


def test_what_is_no_selection_is_refused() -> None:
    with pytest.raises(bm.SpecError, match="choice: expected a selection, got int"):
        bm.plots.selection(3)  # type: ignore[arg-type]


def test_bands_hold_uniform_numbers_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    levels = np.arange(1, 100) / 100
    for rows in (20, 300):
        low, high = band(rows, 0.9)
        draws = np.sort(rng.random((2000, rows)), axis=1)
        share = np.array([np.searchsorted(each, levels, side="right") for each in draws]) / rows
        inside = np.all((share >= low) & (share <= high), axis=1).mean()
        assert inside == pytest.approx(0.9, abs=0.03)


def test_the_curves_are_those_of_the_scores() -> None:
    found = fit()
    left, right = bm.plots.calibration(found, X, Y).axes
    values = bm.scores.pit(found, X, Y).values
    (curve,) = (line for line in left.lines if line.get_label() == "share of rows")
    levels = curve.get_xdata()
    expected = stats.ecdf(values).cdf.evaluate(levels) - levels
    np.testing.assert_allclose(curve.get_ydata(), expected)
    (curve,) = (line for line in right.lines if line.get_label() == "share of rows")
    for level, share in list(zip(levels, curve.get_ydata(), strict=True))[9::20]:
        assert share == float(bm.scores.coverage(found, X, Y, float(level)).mean())


def test_what_is_wrong_is_said() -> None:
    data = bm.datasets.two_lines(300, seed=5)
    found = fit()
    residual = data.y - found.predict(data.X).values
    narrow = bm.plots.calibration(found, data.X, data.y + 3 * residual).axes
    assert "too narrow" in narrow[1].get_title()
    assert "leaves" in narrow[0].get_title()
    wide = bm.plots.calibration(found, data.X, data.y - 0.9 * residual).axes[1]
    assert "too wide" in wide.get_title()


def test_every_output_has_a_curve_and_averages_are_drawn_too(rng: np.random.Generator) -> None:
    y = pd.DataFrame({"a": Y, "b": rng.normal(size=len(Y))})
    found = fit(bm.MixtureOfExperts([bm.Expert(bm.MvNormal())]), y=y)
    figure = Figure()
    assert bm.plots.calibration(bm.average([found]), X, y, figure=figure) is figure
    names = [line.get_label() for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert names == ["a", "b"]


def test_labels_are_refused() -> None:
    labels = np.where(np.median(Y) < Y, "high", "low")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        found = fit(bm.MixtureOfExperts([bm.Expert(bm.Categorical())]), y=labels)
    with pytest.raises(bm.SpecError, match="pit: expected a target that is a number"):
        bm.plots.calibration(found, X, labels)
