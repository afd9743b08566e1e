"""The table of modes: masses against quadrature, who has seen what, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayes_moe as bm
from bayes_moe.errors import FitWarning, InputError, NotFittedError
from bayes_moe.fitting import assemble
from bayes_moe.inference.masses import log_mass
from bayes_moe.posterior.modes import Mode, modes_notices, modes_of, symmetry, table_of_modes
from tests.fits import X, Y, fit
from tests.inference.densities import TwoModes
from tests.tiers import long

SIGMA, SPREAD = 0.3, 0.02
LINES = bm.MixtureOfExperts(
    [
        bm.Expert(
            mu=bm.Constant(),
            sigma=bm.Constant(shared=True, intercept=bm.priors.Normal(np.log(SIGMA), SPREAD)),
        )
    ]
    * 2,
    gate=bm.EqualGate(),
)
"""Two constants and one sigma under equal weights: three numbers, and no scale to learn."""
QUANTILES = stats.norm.ppf((np.arange(4) + 0.5) / 4)
THREE = np.concatenate([center + 0.35 * QUANTILES for center in (-3.0, 0.0072, 3.0)])
"""Three heaps for two experts: the one in the middle goes with the left one or with the right one."""
NONE = np.empty((len(THREE), 0))


def true_shares() -> np.ndarray:
    """Return the two modes' masses, larger first, by quadrature of a density that shares nothing with the package."""
    centre, scale = THREE.mean(), THREE.std()
    grid = np.linspace(-1.6, 1.6, 201)
    log_sigma = np.log(SIGMA / scale) + np.linspace(-5 * SPREAD, 5 * SPREAD, 15)
    one, other, u = np.meshgrid(grid, grid, log_sigma, indexing="ij")
    log_p = stats.norm.logpdf(one, 0, 2.5) + stats.norm.logpdf(other, 0, 2.5)
    log_p = log_p + stats.norm.logpdf(u, np.log(SIGMA / scale), SPREAD)
    for y in (THREE - centre) / scale:
        terms = [stats.norm.logpdf(y, mu, np.exp(u)) for mu in (one, other)]
        log_p = log_p + np.log(0.5) + np.logaddexp(*terms)
    mass = np.exp(log_p - log_p.max()) * (one < other)
    left = mass[(one + other) < 0].sum() / mass.sum()
    return np.sort([left, 1 - left])[::-1]


@pytest.fixture(scope="module")
def three() -> bm.Fit:
    return bm.fit(LINES, NONE, THREE, bm.NUTS(draws=250, tune=200, seed=3), progress=False)


# ---------------------------------------------------------------------------------------------------- masses


def test_masses_are_those_of_quadrature(three: bm.Fit) -> None:
    expected = true_shares()
    np.testing.assert_allclose(expected, [0.7, 0.3], atol=0.02)
    table = three.modes()
    np.testing.assert_allclose(table["share"][:2], expected, atol=0.1)


def test_a_gaussian_has_its_mass_exactly() -> None:
    """Of two Gaussians that do not touch, masses are their weights; what the density leaves out is in both."""
    density = TwoModes(weight=0.7)
    modes = [Mode(q, density.logp(q), 1, collapsed=False) for q in density.centres]
    table = table_of_modes(modes, density)
    np.testing.assert_allclose(table["share"], [0.7, 0.3], atol=1e-6)
    np.testing.assert_allclose(table["log_mass"], np.log([0.7, 0.3]) + density.constant, atol=1e-6)


def test_copies_of_a_symmetric_mode_are_fewer() -> None:
    density = TwoModes(weight=0.5)
    modes = [Mode(q, density.logp(q), 1, collapsed=False) for q in density.centres]
    np.testing.assert_allclose(table_of_modes(modes, density, [1, 2])["share"], [2 / 3, 1 / 3], atol=1e-6)


def test_no_maximum_has_no_mass() -> None:
    density = TwoModes(weight=0.5)
    one, other = density.parts
    along = np.linspace(0.0, 1.0, 2001)[:, None] * (other.mean - one.mean) + one.mean
    heights = [abs(one.logp(q) - other.logp(q)) for q in along]
    between = along[int(np.argmin(heights))]
    assert np.isnan(log_mass(density, between))
    table = table_of_modes([Mode(q, density.logp(q), 1, collapsed=False) for q in (between, *density.centres)], density)
    assert table["status"].values.tolist() == ["maximum", "maximum", "no maximum"]
    assert np.isnan(table["share"].values[2])


# --------------------------------------------------------------------------------------- who has seen what


def test_other_modes_are_said(three: bm.Fit) -> None:
    table = three.modes()
    seen = table["draws"].to_numpy()
    assert seen[:2].tolist() == [1.0, 0.0], "the chains were expected to stay in the mode they started in"
    (message,) = [n.message for n in three.status.notices if n.code == "other_modes"]
    assert f"mode 1 ({table['share'][1]:.0%})" in message
    assert "other_modes" in str(three.idata["fit"].attrs["notices"])
    assert "mode 0 holds 70% and has 100% of the draws looked at, mode 1 holds 30% and has 0%" in str(three.status)


def test_a_fit_from_the_other_mode_stays_there(three: bm.Fit) -> None:
    engine = bm.NUTS(draws=250, tune=200, seed=4)
    other = bm.fit(LINES, NONE, THREE, engine, start=three.point_at(1), progress=False)
    np.testing.assert_allclose(other.modes()["log_posterior"], three.modes()["log_posterior"][1])
    assert "other_modes" not in other.status.codes  # who names a start was not looking for others


def test_draws_that_climb_above_em_are_said(three: bm.Fit) -> None:
    """An EM that had missed the best mode, planted: the check at run time of draws against EM."""
    best, worse = three.outcome.optima[:2]
    planted = replace(three.outcome, optima=(worse,), mode=worse.q)
    found = assemble(three.bound, three.engine, planted)
    assert found.modes()["hits"].tolist() == [0, worse.hits]
    (message,) = [n.message for n in found.status.notices if n.code == "better_mode"]
    gain = best.log_posterior - worse.log_posterior
    assert f"a log posterior {gain:.3g} above" in message
    assert "better_mode" not in three.status.codes


def test_the_limits_of_what_is_said() -> None:
    def table(share: float, gain: float) -> xr.Dataset:
        values = {"share": [1 - share, share], "draws": [1.0, 0.0], "hits": [3, 1], "log_posterior": [-5.0, -6.0]}
        if gain:
            values |= {"draws": [0.5, 0.5], "hits": [0, 3], "log_posterior": [-6.0 + gain, -6.0]}
        columns = {name: ("mode", np.array(value)) for name, value in values.items()}
        return xr.Dataset(columns | {"status": ("mode", np.array(["maximum"] * 2))}, attrs={"draws_looked_at": 20})

    assert [n.code for n in modes_notices(table(0.051, 0.0))] == ["other_modes"]
    assert not list(modes_notices(table(0.049, 0.0)))
    assert [n.code for n in modes_notices(table(0.5, 2e-3))] == ["better_mode"]
    assert not list(modes_notices(table(0.5, 5e-4)))


# ------------------------------------------------------------------------------------- every engine, and files


def test_a_point_fit_has_modes_and_says_nothing_of_draws() -> None:
    table = fit().modes()
    assert table["draws"].isna().all()
    assert table["share"].sum() == pytest.approx(1.0)
    assert list(table.columns) == ["log_posterior", "log_mass", "share", "hits", "draws", "status"]


def test_equal_experts_are_counted_once(three: bm.Fit) -> None:
    """A mode of two equal experts has half as many copies as one of two that differ."""
    apart = three.outcome.mode
    equal = np.array([apart[0], apart[0], apart[2]])
    assert symmetry(three.bound, apart) == 1
    assert symmetry(three.bound, equal) == 2


@pytest.mark.parametrize("engine", [bm.Laplace(draws=50, seed=1, starts=8), *long([bm.ADVI(draws=50, seed=1)])])
def test_modes_of_an_approximation_are_kept_in_its_file(engine: object, tmp_path: Path) -> None:
    found = bm.fit(LINES, NONE, THREE, engine, progress=False)
    found.save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc")
    assert "modes" in again.idata.children
    assert again.modes().equals(found.modes())
    np.testing.assert_array_equal(again.point_at(0)["mu_intercept_z"], found.point_at(0)["mu_intercept_z"])


@pytest.mark.parametrize("mode", [-1, 99, 0.5, True, "0"])
def test_a_mode_that_is_none_is_refused(mode: object) -> None:
    with pytest.raises(InputError, match="mode: expected a whole number from 0 to"):
        fit().point_at(mode)  # type: ignore[arg-type]


def test_a_network_has_no_modes() -> None:
    model = bm.MixtureOfExperts(2, features=bm.MLP((3,)))
    with pytest.warns(FitWarning):
        found = bm.fit(model, X, Y, bm.Training(epochs=2, seed=1), progress=False)
    assert modes_of(found.bound, found.outcome) is None
    with pytest.raises(NotFittedError, match="modes"):
        found.modes()
