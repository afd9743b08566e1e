"""Fits by variational EM: predictions with the coefficients' uncertainty in them, tables, files and refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import bayes_moe as bm
from bayes_moe.binding.variational import VariationalDensity
from benchmarks.uci import read, rich, rich_by_evidence
from tests.tiers import long

EVERY = (0, 1, 2)
CURVED = bm.Sum((bm.Linear(EVERY), bm.Spline(6, columns=EVERY), bm.Products(EVERY)))
MODEL = bm.MixtureOfExperts([bm.Expert(mu=CURVED, sigma=bm.Linear(EVERY))] * 2, bm.SoftmaxGate(bm.Linear(EVERY)))
QUICK = bm.VariationalEM(starts=3, seed=1)


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three columns, of which only the first says something of y."""
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, 3))
    y = np.where(x[:, 0] > 0, 3.0 * np.sin(2.0 * x[:, 0]), -2.0 * x[:, 0]) + 0.2 * rng.normal(size=n)
    return x, y + 8.0


def fitted(model: bm.MixtureOfExperts = MODEL, n: int = 120, engine: Any = QUICK, **options: Any) -> bm.Fit:
    return bm.fit(model, *rows(n), engine, **({"progress": False} | options))


@cache
def fit() -> bm.Fit:
    return fitted()


@cache
def of_a_root() -> bm.Fit:
    one = bm.MixtureOfExperts(MODEL.experts, MODEL.gate, target=bm.Power(0.5))
    return fitted(one)


def drawn(found: bm.Fit, new: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gates (n, K), means (draws, n, K) of coefficients from their posteriors and sigmas (n, K), in units of y.

    Of y, or of the power of it that the experts are of.
    """
    rng, parameters, scaling = np.random.default_rng(7), found.bound.parameters, found.data.scaling
    posterior, q = found.outcome.posterior, found.outcome.draws[0, 0]
    assert posterior is not None
    design = found.bound.design.matrix(new)
    coefficients = parameters.coefficients(q)
    means = []
    for expert, (positions, root) in enumerate(zip(posterior.positions, posterior.roots, strict=True)):
        centre = coefficients[2 + expert, positions]
        beta = centre + rng.normal(size=(draws, len(centre))) @ root.T
        means.append(scaling.y_center + scaling.y_scale * beta @ design[:, positions].T)
    return found.gate(new).values, np.stack(means, axis=-1), np.exp(design @ coefficients[4:].T) * scaling.y_scale


@pytest.mark.parametrize("made", [fit, of_a_root])
def test_predictions_are_averages_over_coefficients(made: Any) -> None:
    """Density, distribution function and, where there is no power, moments against draws of the coefficients."""
    found, draws = made(), 40_000
    new, _ = rows(8, seed=3)
    new[:3] *= 1.5  # where the coefficients' uncertainty counts
    seen = found.quantile(new, [0.2, 0.7]).values[:, 0]
    gate, means, sigma = drawn(found, new, draws)
    power = found.data.scaling.y_power
    z = seen if power is None else power.forward(seen)
    slope = 0.0 if power is None else power.log_slope(seen)
    densities = np.sum(gate * norm(means, sigma).pdf(z[:, None]), axis=2) * np.exp(slope)
    below = np.sum(gate * norm(means, sigma).cdf(z[:, None]), axis=2)
    for ours, theirs in ((np.exp(found.log_density(new, seen)), densities), (found.cdf(new, seen), below)):
        error = theirs.std(axis=0) / np.sqrt(draws)
        assert (np.abs(ours.values - theirs.mean(axis=0)) < 5.0 * error + 1e-12).all()
    if power is None:
        mean = np.sum(gate * means.mean(axis=0), axis=1)
        square = np.sum(gate * ((means - mean[:, None]) ** 2 + sigma**2), axis=2)
        error = square.std(axis=0) / np.sqrt(draws)
        assert (np.abs(found.variance(new).values - square.mean(axis=0)) < 5.0 * error).all()


def test_the_bound_rises_and_is_reported() -> None:
    trace = fit().idata["fit"]["elbo"].values
    assert (np.diff(trace) >= 0).all()
    assert fit().outcome.facts["elbo"] == trace[-1]
    assert fit().status.converged
    assert f"Evidence lower bound {trace[-1]:.4f}" in str(fit().status)
    assert len(fit().idata["fit"]["start_elbo"]) == 3


def test_columns_of_noise_are_shrunk_away() -> None:
    table = fit().shrinkage().reset_index().groupby("group", sort=False)
    assert list(table.groups)[1:3] == ["x0[bs1], ..., x0[bs6]", "x1[bs1], ..., x1[bs6]"]
    used = table["effective"].idxmax().iloc[1] // 5  # the other expert holds no rows
    found = fit().shrinkage().loc[used]
    assert found["effective"].iloc[1] > 3.0
    assert (found["effective"].iloc[[2, 3, 4]] < 2.7).all()
    assert found["prior_sd"].iloc[1] > 10.0 * found["prior_sd"].iloc[[2, 3, 4]].max()
    assert (fit().shrinkage()["effective"] <= fit().shrinkage()["columns"]).all()


def test_stated_priors_are_kept() -> None:
    stated = bm.priors.Normal(0.0, 0.3, standardised=True)
    mu = bm.Sum((bm.Linear(EVERY, slopes=stated), bm.Spline(6, columns=EVERY)))
    found = fitted(bm.MixtureOfExperts([bm.Expert(mu=mu)] * 2, MODEL.gate))
    assert "x0, ..., x2" not in found.shrinkage().reset_index()["group"].tolist()
    assert len(found.shrinkage()) == 6


def test_the_summary_has_posterior_deviations_of_coefficients_alone() -> None:
    table = fit().summary()
    of_means = table.index.str.startswith("mu_")
    assert np.isfinite(table["sd"][of_means]).all()
    assert (table["sd"][of_means] > 0).all()
    assert table["sd"][~of_means].isna().all()


def test_deviations_of_a_line_are_those_of_ridge_regression() -> None:
    x, y = rows(60)
    slopes = bm.priors.Normal(0.0, 2.5, standardised=True)
    found = bm.fit(bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(slopes=slopes))]), x, y, QUICK, progress=False)
    sigma = float(found.summary()["mean"]["sigma[0]"])
    z, unit = (x - x.mean(axis=0)) / x.std(axis=0), y.std()
    design = np.column_stack([np.ones(60), z])
    covariance = np.linalg.inv(design.T @ design / (sigma / unit) ** 2 + np.eye(4) / 2.5**2)
    expected = unit * np.sqrt(np.diag(covariance)[1:]) / x.std(axis=0)
    sd = found.summary()["sd"]
    np.testing.assert_allclose(sd[sd.index.str.startswith("mu_slopes")], expected, rtol=1e-6)


def test_far_away_the_variance_grows_as_the_coefficients_know_less() -> None:
    model = bm.MixtureOfExperts([bm.Expert(mu=CURVED)] * 2, MODEL.gate)
    found = fitted(model)
    far = np.outer([1.0, 5.0, 50.0], np.ones(3))
    variance = found.variance(far).values
    assert np.isfinite(variance).all()
    assert (np.diff(variance) > 0).all()


@pytest.mark.parametrize("n", [14, *long([8, 30])])
def test_more_columns_than_rows(n: int) -> None:
    x, y = rows(n)
    mu = bm.Sum((bm.Linear(EVERY), bm.Spline(5, columns=EVERY), bm.Products(EVERY)))
    expert = bm.Expert(mu=mu, sigma=bm.Linear(EVERY))
    model = bm.MixtureOfExperts([expert] * 3, MODEL.gate)
    found = bm.fit(model, x, y, QUICK, progress=False)
    new, seen = rows(50, seed=9)
    assert found.status.converged
    assert np.isfinite(found.log_density(new, seen)).all()
    assert float(found.variance(x).min()) > 1e-4 * y.var()  # sigma has not collapsed onto the rows


def test_noise_alone_is_predicted_as_noise() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    found = bm.fit(MODEL, x, y, QUICK, progress=False)
    new, seen = rng.normal(size=(500, 3)), rng.normal(size=500)
    plain = norm(y.mean(), y.std()).logpdf(seen).mean()
    assert float(found.log_density(new, seen).mean()) > plain - 0.25


def test_a_saved_fit_is_the_same(tmp_path: Path) -> None:
    fit().save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc")
    assert isinstance(again, bm.Fit)
    x, y = rows(30, seed=5)
    np.testing.assert_array_equal(again.log_density(x, y), fit().log_density(x, y))
    np.testing.assert_array_equal(again.variance(x), fit().variance(x))
    assert again.shrinkage().equals(fit().shrinkage())
    assert again.engine == fit().engine


def test_it_averages_and_starts_other_fits() -> None:
    x, y = rows(30, seed=5)
    mean = bm.average({"one": fit(), "two": fitted(engine=bm.VariationalEM(starts=2, seed=5))})
    assert np.isfinite(mean.log_density(x, y)).all()
    again = fitted(start=fit())
    assert again.outcome.facts["elbo"] >= fit().outcome.facts["elbo"] - 1e-3
    assert list(fit().point) == list(again.point)


def test_the_same_seed_gives_the_same_fit() -> None:
    np.testing.assert_array_equal(fitted().outcome.draws, fit().outcome.draws)


@pytest.mark.parametrize("rounds", [0, 3, 40])
def test_an_interrupt_returns_the_best_so_far(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, ascend = [], VariationalDensity.ascend

    def interrupted(density: VariationalDensity, before: Any) -> Any:
        taken.append(before)
        if len(taken) > rounds:
            raise KeyboardInterrupt
        return ascend(density, before)

    monkeypatch.setattr(VariationalDensity, "ascend", interrupted)
    with pytest.warns(bm.FitWarning, match=r"Interrupted"):
        found = fitted()
    assert not found.status.converged
    assert np.isfinite(found.predict(rows(5)[0])).all()


def test_an_interrupt_before_anything_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(VariationalDensity, "begin", interrupted)
    with pytest.raises(bm.InterruptedFit, match=r"before its first round"):
        fitted()


def test_too_few_rounds_are_named() -> None:
    with pytest.warns(bm.FitWarning, match=r"still rose by"):
        found = fitted(engine=bm.VariationalEM(starts=1, max_iter=2, seed=1))
    assert [notice.code for notice in found.status.notices] == ["bound_still_rises"]


def test_progress_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayes_moe.inference.progress.time.monotonic", iter(np.arange(0.0, 1e5, 10.0)).__next__)
    fitted(progress=True)
    told = capsys.readouterr().err
    assert re.search(r"variational EM starts, K = 2: 3/3,? .*best bound", told)
    assert "variational EM: " in told or "variational EM, run 1" in told


LINES = [bm.Expert()] * 2
REFUSED = {
    "another family": (bm.MixtureOfExperts([bm.Expert(bm.StudentT())] * 2), r"experts\[0\]: expected bm.Normal\(\)"),
    "another gate": (bm.MixtureOfExperts(LINES, bm.StickBreakingGate()), "gate: expected bm.SoftmaxGate"),
    "a network": (bm.mixture_density_network(2, (4,)), "without networks"),
    "shared means": (bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(shared=True))] * 2), r"experts\[0\].mu: .*shared"),
    "a process": (bm.MixtureOfExperts([bm.Expert(mu=bm.HSGP(4, columns=(0,)))] * 2), "hyperparameters of their own"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_closed_form_is_refused(case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(bm.SpecError, match=message):
        fitted(model)


def test_groups_are_refused() -> None:
    with pytest.raises(bm.InputError, match=r"groups: expected None for bm.VariationalEM"):
        fitted(bm.MixtureOfExperts(2, bm.EqualGate()), groups=np.arange(120) // 2)


@pytest.mark.parametrize("bad", [{"starts": 0}, {"max_iter": 0}, {"tol": 0.0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(bm.SpecError, match=f"VariationalEM.{next(iter(bad))}"):
        bm.VariationalEM(**bad)


@pytest.mark.parametrize("asked", ["bic", "icl", "log_likelihood", "log_posterior"])
def test_what_needs_a_mode_is_refused(asked: str) -> None:
    with pytest.raises(bm.NotFittedError, match=rf"{asked}: .*facts\['elbo'\]"):
        getattr(fit(), asked)


def test_other_tables_are_refused_by_name() -> None:
    with pytest.raises(bm.NotFittedError, match=r"optima: "):
        fit().optima()
    with pytest.raises(bm.NotFittedError, match=r"modes: .*VariationalEM"):
        fit().modes()
    plain = bm.fit(bm.MixtureOfExperts(1), *rows(30), bm.EM(seed=1), progress=False)
    with pytest.raises(bm.NotFittedError, match=r"shrinkage: expected a fit by bm.VariationalEM"):
        plain.shrinkage()


def test_models_are_chosen_by_rows_left_out() -> None:
    x, y = rows(60)
    models = {"lines": bm.MixtureOfExperts(1), "curves": bm.MixtureOfExperts(MODEL.experts[:1])}
    chosen = bm.select(models, x, y, engine=bm.VariationalEM(seed=1), progress=False)
    assert isinstance(chosen.criterion, bm.KFold)
    assert chosen.chosen == "curves"
    for criterion in (bm.LOO(), bm.BIC()):
        with pytest.raises(bm.SpecError, match=r"criterion: expected .*bm.KFold"):
            bm.select(models, x, y, engine=bm.VariationalEM(seed=1), criterion=criterion, progress=False)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::bayes_moe.errors.FitWarning")
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("name", ["yacht", "energy", "concrete"])
def test_it_beats_curves_at_a_mode_on_published_data(name: str) -> None:
    x, y, new, seen = read(name, 0)
    ours = rich_by_evidence(x, y, 0)
    assert float(ours.log_density(new, seen).mean()) > float(rich(x, y, 0).log_density(new, seen).mean())


def test_its_ascent_can_be_drawn() -> None:
    plots = pytest.importorskip("bayes_moe.plots")
    left, right = plots.convergence(fit()).axes
    assert left.get_title() == "evidence lower bound"
    assert "3 short runs" in right.get_title()


def test_rows_without_noise_end_in_a_notice() -> None:
    x, _ = rows(60)
    found = bm.fit(bm.MixtureOfExperts(2), x, 2.0 * x[:, 0] + 1.0, QUICK, progress=False)
    assert "exact_rows" in [notice.code for notice in found.status.notices]
    np.testing.assert_allclose(found.predict(x, hard=True), 2.0 * x[:, 0] + 1.0, atol=1e-5)


def test_posteriors_of_another_shape_are_not_saved(tmp_path: Path) -> None:
    posterior = fit().outcome.posterior
    assert posterior is not None
    for part, wrong, message in (
        ("roots", posterior.roots[:1], "roots: expected 2 entries, got 1"),
        ("roots", tuple(root[1:] for root in posterior.roots), r"roots.0: expected shape \(\d+, \d+\)"),
        (
            "effective",
            tuple(one[:-1] for one in posterior.effective),
            r"effective.0: expected shape \(5,\), got \(4,\)",
        ),
    ):
        outcome = replace(fit().outcome, posterior=replace(posterior, **{part: wrong}))
        with pytest.raises(bm.SaveFileError, match=f"outcome.posterior.{message}"):
            replace(fit(), outcome=outcome).save(tmp_path / "fit.nc")
