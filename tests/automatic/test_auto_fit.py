"""The verb that needs no choice: what it chooses, what it says, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.automatic import search
from bayes_moe.automatic.search import Search


def auto_fit(x: Any, y: Any, engine: Any = None, seed: int = 1) -> bm.Fit | bm.FitAverage:
    return bm.auto_fit(x, y, engine, seed, progress=False)


def curve(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table with text and a constant, and y above 0 whose spread grows with its mean."""
    rng = np.random.default_rng([seed, rows])
    frame = pd.DataFrame(
        {"dose": rng.uniform(-2, 2, rows), "site": rng.choice(["a", "b"], rows), "unit": np.ones(rows)}
    )
    root = 4.0 + np.sin(2.0 * frame["dose"]) + 0.8 * (frame["site"] == "b") + 0.15 * rng.standard_t(4, rows)
    return frame, np.asarray(root**2)


FRAME, Y = curve(48, 1)
NEW, SEEN = curve(400, 2)


@pytest.fixture(scope="module")
def found() -> bm.Fit | bm.FitAverage:
    return auto_fit(FRAME, Y)


def test_it_finds_the_curve_and_says_so(found: bm.FitAverage) -> None:
    gauss = -0.5 * np.log(2 * np.pi * Y.var()) - 0.5 * (SEEN - Y.mean()) ** 2 / Y.var()
    assert found.log_density(NEW, SEEN).mean() > gauss.mean() + 0.7
    assert 0.88 < bm.scores.coverage(found, NEW, SEEN, 0.95).mean() <= 1.0
    lines = found.report.splitlines()
    assert lines[0].startswith("Chosen: a kernel mean and a mixture of what it leaves: ")
    assert lines[1].startswith("Target: the square root of y; it leads")
    assert lines[2].startswith("Why: mean log density a row of training rows left out: y alone ")
    assert "[constant_column]" in found.report
    assert lines[-1] == "Engine: EM."


def test_its_fits_share_one_mean(found: bm.FitAverage) -> None:
    assert isinstance(found, bm.FitAverage)
    assert len({id(fit.data.mean) for fit in found.fits.values()}) == 1
    assert lines_of_html(found) >= set(found.report.split(", ")[:1])


def lines_of_html(fit: bm.Fit | bm.FitAverage) -> set[str]:
    shown = fit._repr_html_().replace("&gt;", ">").replace("&#x27;", "'")
    return {part for part in fit.report.split(", ") if part.splitlines()[0] in shown}


def test_it_is_saved_with_its_report_and_its_one_mean(found: bm.FitAverage, tmp_path: Path) -> None:
    found.save(tmp_path / "auto.nc")
    again = bm.load(tmp_path / "auto.nc")
    assert isinstance(again, bm.FitAverage)
    assert again.report == found.report
    assert repr(again) == repr(found)
    assert again.predict(NEW).identical(found.predict(NEW))
    assert len({id(fit.data.mean) for fit in again.fits.values()}) == 1


def test_it_widens_and_stays_finite_far_away(found: bm.FitAverage) -> None:
    rows = pd.DataFrame({"dose": [0.0, 4.0, 40.0, 4e6], "site": "a", "unit": 1.0})
    ends = np.asarray(found.interval(rows, 0.95))
    wide = ends[:, 1] - ends[:, 0]
    assert np.all(np.isfinite(ends))
    assert np.all(np.diff(wide) > 0)
    assert np.all(np.isfinite(found.predict(rows)))


def of_noise(rows: int, columns: int, seed: int) -> tuple[bm.Fit | bm.FitAverage, float]:
    """Return a fit of columns that say nothing, and by how much it is worse than a Normal of y alone on new rows."""
    rng = np.random.default_rng([seed, rows])
    x, y, new, seen = (rng.normal(size=shape) for shape in ((rows, columns), rows, (500, columns), 500))
    fit = auto_fit(x, y)
    gauss = -0.5 * np.log(2 * np.pi * y.var()) - 0.5 * (seen - y.mean()) ** 2 / y.var()
    return fit, float(gauss.mean() - fit.log_density(new, seen).mean())


@pytest.mark.full
@pytest.mark.parametrize(("rows", "columns"), [(30, 2), (60, 3), (300, 5)])
def test_columns_that_say_nothing_cost_nothing_on_average(rows: int, columns: int) -> None:
    assert np.mean([of_noise(rows, columns, seed)[1] for seed in range(8)]) < 0.02


def test_columns_that_say_nothing_leave_y_alone(tmp_path: Path) -> None:
    fit, behind = of_noise(30, 2, 1)
    assert behind < 0.02
    assert isinstance(fit, bm.Fit)
    assert fit.report.startswith("Chosen: y alone.\n")
    assert fit.report.splitlines()[0] in fit._repr_html_()
    fit.save(tmp_path / "alone.nc")
    assert bm.load(tmp_path / "alone.nc").report == fit.report


def test_no_columns_leave_y_alone() -> None:
    fit = auto_fit(np.empty((30, 0)), np.arange(30.0))
    assert fit.report.startswith("Chosen: y alone.")


def test_y_with_few_values_gets_no_spikes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(48, 1))
    fit = auto_fit(x, rng.choice([1.0, 2.0, 3.0], 48))
    assert fit.log_density(np.repeat(x, 3, axis=0), np.tile([1.0, 2.0, 3.0], 48)).max() < 0.5
    assert "y has 3 different values" in fit.report


def test_a_column_that_is_called_mean_does_without_kernels() -> None:
    fit = auto_fit(FRAME.rename(columns={"dose": "mean"}), Y)
    assert "No kernel mean: X has a column 'mean'" in fit.report
    assert "one line" in fit.report


def test_many_rows_do_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_ROWS", 40)
    fit = auto_fit(FRAME[["dose"]], Y)
    assert "No kernel mean: it takes 40 rows at most." in fit.report
    assert "one line" in fit.report


@pytest.mark.full
def test_a_seed_repeats_it() -> None:
    x, y = np.asarray(FRAME[["dose"]])[:30], Y[:30]
    one, other = auto_fit(x, y), auto_fit(x, y)
    assert one.report == other.report
    assert one.predict(x).identical(other.predict(x))


@pytest.mark.parametrize(
    "engine", [bm.EM(starts=2), pytest.param(bm.Laplace(draws=50), marks=pytest.mark.full)], ids=["EM", "Laplace"]
)
def test_an_engine_fits_the_chosen_models_again(engine: bm.EM | bm.Laplace) -> None:
    fit = auto_fit(np.asarray(FRAME[["dose"]])[:25], Y[:25], engine)
    fits = list(fit.fits.values()) if isinstance(fit, bm.FitAverage) else [fit]
    assert all(one.engine == replace(engine, seed=1) for one in fits)
    assert fit.report.endswith(f"Engine: {type(engine).__name__}.")


@pytest.mark.full
def test_nuts_is_as_good_as_em_on_yacht_and_energy(data_dir: Path) -> None:
    for name in ("yacht", "energy"):
        folder = data_dir / "uci" / name
        table, columns = np.loadtxt(folder / "data.txt"), np.loadtxt(folder / "index_features.txt").astype(int)
        target = int(np.loadtxt(folder / "index_target.txt"))
        train, test = (np.loadtxt(folder / f"index_{part}_0.txt").astype(int) for part in ("train", "test"))
        em, nuts = (auto_fit(table[train][:, columns], table[train, target], e) for e in (None, bm.NUTS(chains=2)))
        new, seen = table[test][:, columns], table[test, target]
        # of the same models: what the posterior adds to the mode is about a hundredth of a nat
        assert nuts.log_density(new, seen).mean() > em.log_density(new, seen).mean() - 0.03


@pytest.mark.parametrize("step", ["_kernel", "_curves"])
def test_an_interrupt_returns_the_best_so_far(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Search) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, step, interrupted)
    fit = auto_fit(np.asarray(FRAME[["dose"]])[:32], Y[:32])
    assert "Interrupted: what stands here is the best" in fit.report
    assert fit.report.startswith("Chosen: y alone." if step == "_kernel" else "Chosen: a kernel mean")


def test_an_interrupt_before_any_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Search) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "_choose_power", interrupted)
    with pytest.raises(bm.InterruptedFit, match="before its first fit was finished"):
        auto_fit(np.asarray(FRAME[["dose"]]), Y)


def test_a_candidate_that_cannot_be_fitted_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    real = search.fit_once

    def failing(bound: Any, *rest: Any) -> bm.Fit:
        if bound.model.mean is not None:
            raise bm.NumericalError("the sky fell → look up")
        return real(bound, *rest)

    monkeypatch.setattr(search, "fit_once", failing)
    fit = auto_fit(np.asarray(FRAME[["dose"]])[:25], Y[:25])
    assert "Given up: kernel mean alone: it could not be fitted (the sky fell)." in fit.report
    assert fit.report.startswith("Chosen: y alone.")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((FRAME, Y, "EM"), bm.SpecError, r"^engine: expected bm\.EM\(\), .* got 'EM'"),
        ((FRAME, Y, bm.Training()), bm.SpecError, r"^engine: expected"),
        ((FRAME, Y, None, -1), bm.SpecError, r"^auto_fit\.seed: expected"),
        ((FRAME, Y[:5]), bm.InputError, r"^y: expected 48 values"),
        ((FRAME, np.ones(48)), bm.InputError, r"^y: expected values that vary"),
        ((FRAME, np.where(Y > 30, np.nan, Y)), bm.InputError, r"^y: expected"),
        ((FRAME, None), bm.InputError, r"^y: expected the values of y"),
        ((FRAME, ["a", "b"] * 24), bm.InputError, r"^y: expected real numbers"),
        ((FRAME[:1], Y[:1]), bm.InputError, r"expected at least 2 rows"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    arguments: tuple[Any, ...], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "fit_once", None)
    with pytest.raises(error, match=message):
        bm.auto_fit(*arguments, progress=False)


def test_progress_tells_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    fit = bm.auto_fit(np.asarray(FRAME[["dose"]])[:25], Y[:25], seed=1)
    assert fit.report in capsys.readouterr().err


def test_few_rows_are_no_counts() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(8, 1))
    fit = bm.auto_fit(x, x[:, 0] + rng.normal(0, 0.3, 8), seed=1, progress=False)
    assert "different values" not in fit.report
