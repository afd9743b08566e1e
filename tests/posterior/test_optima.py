"""The table of optima: what it says of each, and experts that repeat another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.fitting import assemble
from bayes_moe.posterior.optima import duplicates, optima_rows

COLUMNS = (
    *("log_posterior", "gap", "hits", "share", "recipe", "iterations", "gradient_norm", "decrement"),
    *("smallest_eigenvalue", "collapsed", "duplicates"),
)


@pytest.fixture(scope="module")
def fit() -> bm.Fit:
    data = bm.datasets.motorcycle()
    return bm.fit(bm.MixtureOfExperts(4), data.X, data.y, bm.EM(starts=20, seed=1), progress=False)


def test_every_optimum_has_a_row(fit: bm.Fit) -> None:
    table = fit.optima()
    assert tuple(table.columns) == COLUMNS
    assert len(table) == len(fit.outcome.optima) > 1
    assert table["log_posterior"][0] == pytest.approx(fit.log_posterior, abs=1e-9)
    np.testing.assert_allclose(table["gap"], table["log_posterior"][0] - table["log_posterior"])
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["hits"].sum() == table.attrs["long_runs"]
    assert table.attrs["starts"] == 20
    assert table.attrs["moves"] > 0
    sound = table[(table["smallest_eigenvalue"] > 0) & (table["collapsed"] == 0)]
    assert (sound["gradient_norm"] < 1e-3).all()
    assert (sound["decrement"] <= 1e-6).all()


def test_the_table_survives_a_file(fit: bm.Fit, tmp_path: Path) -> None:
    fit.save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc").optima()
    assert again.equals(fit.optima())
    assert again.attrs == fit.optima().attrs


def test_the_verdict_tells_of_the_search(fit: bm.Fit) -> None:
    table = fit.optima()
    others = int((table["collapsed"][1:] == 0).sum())
    text = str(fit.status)
    assert f"reached by {table['hits'][0]} of {table.attrs['long_runs']} runs brought to the end" in text
    assert f"(20 starts, {table.attrs['moves']} moves)" in text
    assert f"{others} other optim{'um' if others == 1 else 'a'}, the next" in text


def test_a_training_that_was_stopped_has_none(fit: bm.Fit) -> None:
    with pytest.raises(bm.NotFittedError, match="stopped early → fit its output layer"):
        optima_rows(fit.bound, replace(fit.outcome, optima=()))


def alike(columns: tuple[int, ...]) -> tuple[bm.Fit, np.ndarray]:
    """Return a fit of three experts and a point where the second has the coefficients of one of them."""
    data = bm.datasets.two_lines(150, seed=4)
    fit = bm.fit(bm.MixtureOfExperts(3), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    q = fit.outcome.optima[0].q.copy()
    parameters = fit.bound.parameters
    for name in ("mu_intercept_z", "mu_slopes_z", "log_sigma_z"):
        values = q[parameters.slices[name]].reshape(3, -1)
        values[columns[1]] = values[columns[0]]
        q[parameters.slices[name]] = values.ravel()
    return fit, q


@pytest.mark.parametrize("same", [(0, 1), (2, 1), (1, 0)])
def test_equal_experts_are_duplicates_whatever_their_gates(same: tuple[int, int]) -> None:
    fit, q = alike(same)
    assert duplicates(fit.bound, q) == [tuple(sorted(same))]
    assert duplicates(fit.bound, fit.outcome.optima[0].q) == []


def test_a_point_with_equal_experts_has_a_notice() -> None:
    fit, q = alike((0, 1))
    found = bm.EM(seed=1, max_iter=1)
    density = fit.bound.density
    outcome = found.run(density, start=q)
    best = replace(outcome.optima[0], q=q)
    outcome = replace(outcome, draws=q[None, None, :], mode=q, optima=(best,))
    status = assemble(fit.bound, found, outcome).status
    assert "duplicate_experts" in status.codes
    assert "[0, 1]" in str(status)
