"""Choosing between models: what is chosen and why, refits, interrupts, and what is refused before any fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.choosing.criteria import Score
from bayes_moe.choosing.refits import log_densities_left_out, units
from bayes_moe.graph import graded, terms
from bayes_moe.inference.outcome import Status
from bayes_moe.inference.progress import Report
from bayes_moe.posterior.draws import Draws
from tests.fits import QUICK, TWO, X, Y, fit
from tests.tiers import seeds

NETWORK = bm.mixture_density_network(1, hidden=(4,))
SILENT = Report(visible=False)
ONE = bm.MixtureOfExperts(1)
LAPLACE = bm.Laplace(draws=200, seed=1, starts=4)


def select(model: Any = ONE, experts: Any = None, engine: Any = QUICK, **options: Any) -> bm.Selection:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        return bm.select(model, X, Y, experts, engine, **({"progress": False} | options))


@pytest.fixture(scope="module")
def by_bic() -> bm.Selection:
    return select(experts=range(1, 5))


@pytest.fixture(scope="module")
def by_loo() -> bm.Selection:
    return select(experts=(1, 2, 3), engine=LAPLACE, criterion=bm.LOO(refits=3))


def scored(values: dict[int, np.ndarray], like: bm.Selection) -> bm.Selection:
    """Return a selection of these log densities of rows left out."""
    scores = {key: Score(float(each.sum()), {"elpd": float(each.sum())}, each) for key, each in values.items()}
    return bm.Selection({key: like.fits[key] for key in values}, scores, bm.KFold(2))


# ------------------------------------------------------------------------------------------------ what is chosen


def test_the_lowest_criterion_is_chosen(by_bic: bm.Selection) -> None:
    assert by_bic.chosen == min(by_bic.fits, key=lambda k: by_bic.fits[k].bic) == 2
    assert by_bic.best is by_bic.fits[2]
    np.testing.assert_allclose(by_bic.table["BIC"], [each.bic for each in by_bic.fits.values()])
    np.testing.assert_allclose(by_bic.table["ICL"], [each.icl for each in by_bic.fits.values()])
    assert by_bic.table.loc[2, "behind"] == 0
    by_icl = select(experts=range(1, 4), criterion=bm.ICL())
    assert by_icl.chosen == min(by_icl.fits, key=lambda k: by_icl.fits[k].icl)


def test_fits_are_those_of_fit(by_bic: bm.Selection) -> None:
    for count in (1, 3):
        np.testing.assert_array_equal(by_bic.fits[count].predict(X), fit(bm.MixtureOfExperts(count)).predict(X))


def test_the_smallest_within_one_standard_error_is_chosen(by_bic: bm.Selection, rng: np.random.Generator) -> None:
    base, noise = rng.normal(size=60), rng.normal(size=60)
    noise = (noise - noise.mean()) / noise.std()  # a difference with this noise has standard error sqrt(60)
    close = {1: base - 2.0, 2: base - 0.12 + noise, 3: base}
    assert scored(close, by_bic).chosen == 2
    assert scored(close, by_bic).leader == 3
    far = {1: base - 2.0, 2: base - 0.14 + noise, 3: base}
    assert scored(far, by_bic).chosen == 3
    table = scored(close, by_bic).table
    assert table.loc[2, "behind"] == pytest.approx(7.2)
    assert table.loc[2, "behind_se"] == pytest.approx(np.sqrt(60))


def test_differences_that_tell_nothing_do_not_count(by_bic: bm.Selection, rng: np.random.Generator) -> None:
    """Rows that say almost the same leave a standard error near zero, which is no evidence for the larger."""
    base = rng.normal(size=60)
    assert scored({1: base - 3.9 / 60, 3: base}, by_bic).chosen == 1
    assert scored({1: base - 4.1 / 60, 3: base}, by_bic).chosen == 3
    impossible = np.where(np.arange(60) == 3, -np.inf, base)
    assert scored({1: impossible, 3: base}, by_bic).chosen == 3
    assert scored({1: impossible, 3: impossible}, by_bic).chosen == 1


def test_what_was_chosen_is_said(by_bic: bm.Selection, by_loo: bm.Selection) -> None:
    assert repr(by_bic).startswith("2 experts, chosen among 4 models: the lowest BIC; ")
    assert "importance sampling" in repr(by_loo)
    rng = np.random.default_rng(1)
    base = rng.normal(size=60)
    close = scored({1: base - 0.01 + rng.normal(size=60) - 0.0, 3: base}, by_bic)
    assert "1 expert, chosen among 2 models: the smallest within one standard error, or 4 nats, of the" in repr(close)
    most = scored({1: base - 3.0, 3: base}, by_bic)
    assert "3 experts are the most that were tried: try more." in repr(most)
    html = by_loo._repr_html_()
    assert f"<tr style='font-weight:bold'><th>{by_loo.chosen}</th>" in html
    named = replace(by_bic, fits={"<b>": by_bic.fits[1]}, scores={"<b>": by_bic.scores[1]})
    assert "<b>" not in named._repr_html_()


def test_models_by_name() -> None:
    models = {"lines": TWO, "curves": bm.MixtureOfExperts([bm.Expert(mu=bm.Polynomial(2))] * 2)}
    found = select(models, criterion=bm.KFold(3))
    assert list(found.table.index) == ["lines", "curves"]
    assert list(found.table["experts"]) == [2, 2]
    assert found.chosen == "lines"
    grid = select(models, experts=(1, 2))
    assert list(grid.fits) == ["lines, 1 expert", "lines, 2 experts", "curves, 1 expert", "curves, 2 experts"]


def test_every_gate_can_have_one_expert() -> None:
    for gate in (bm.GaussianGate(), bm.StickBreakingGate(), bm.EqualGate()):
        assert select(bm.MixtureOfExperts(2, gate), experts=(1, 2)).fits.keys() == {1, 2}


def test_formulas_and_frames() -> None:
    frame = pd.DataFrame({"x": X[:, 0], "y": Y})
    found = bm.select(ONE, data=frame, formula="y ~ x", experts=(1, 2), engine=QUICK, progress=False)
    assert found.best.predict(frame.head(3)).sizes["obs"] == 3


# ------------------------------------------------------------------------------------------------ refits


def test_rows_of_high_k_hat_are_fitted_without(monkeypatch: pytest.MonkeyPatch) -> None:
    good = fit(ONE, engine=LAPLACE)
    found = good.loo()
    found.pareto_k[[3, 11, 40]] = 2.0
    monkeypatch.setattr(bm.Fit, "loo", lambda _: found)
    score = bm.LOO(refits=3).score(good, SILENT)
    assert score.columns["high_k"] == score.columns["refits"] == 3
    assert score.pointwise is not None
    for row in (3, 11, 40):
        rest = np.delete(np.arange(60), row)
        scaling = good.data.scaling
        alone = fit(ONE, x=X[rest], y=Y[rest], engine=LAPLACE, scaling=scaling, start=good)
        exact = float(alone.log_density(X[[row]], Y[[row]])[0])
        assert score.pointwise[row] == pytest.approx(exact, abs=1e-6)
    kept = np.delete(np.arange(60), [3, 11, 40])
    np.testing.assert_array_equal(score.pointwise[kept], found.elpd_i.values[kept])


def test_many_such_rows_share_the_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    good = fit(ONE, engine=LAPLACE)
    found = good.loo()
    found.pareto_k[:20] = np.nan
    monkeypatch.setattr(bm.Fit, "loo", lambda _: found)
    score = bm.LOO(refits=4).score(good, SILENT)
    assert score.columns["high_k"] == 20
    assert score.columns["refits"] == 4
    kept = bm.LOO(refits=0).score(good, SILENT)
    assert kept.columns["refits"] == 0
    np.testing.assert_array_equal(kept.pointwise, found.elpd_i.values)


def test_rows_of_no_weight_are_not_among_those_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.ones(60)
    weights[[0, 4, 30]] = 0.0
    counted = np.flatnonzero(weights)
    some = fit(ONE, engine=LAPLACE, weights=weights)
    found = some.loo()
    plain = found.elpd_i.values.copy()
    found.pareto_k[:], found.pareto_k[[3, 50]] = 0.1, 2.0
    monkeypatch.setattr(bm.Fit, "loo", lambda _: found)
    score = bm.LOO(refits=2).score(some, SILENT)
    assert score.pointwise is not None
    assert score.columns["se"] == pytest.approx(np.sqrt(57) * np.std(score.pointwise), rel=1e-12)
    exact = log_densities_left_out(some, [counted[[3]], counted[[50]]], SILENT, "")
    expected = np.where(np.isin(np.arange(57), [3, 50]), 0.0, plain)
    expected[[3, 50]] = np.concatenate(exact)
    np.testing.assert_allclose(score.pointwise, expected, rtol=1e-12)


def test_importance_sampling_and_fits_without_a_row_agree() -> None:
    """Of some rows of one expert here; of all rows of two, against fits of their own, in the long tier."""
    found = fit(ONE, engine=bm.NUTS(draws=1500, chains=2, seed=1))
    rows = np.array([0, 7, int(np.argmin(found.loo().elpd_i.values)), 41])
    left = np.concatenate(log_densities_left_out(found, [np.array([row]) for row in rows], SILENT, ""))
    weights = np.exp(-found.idata["log_likelihood"]["y"].values.reshape(3000, -1)[:, rows])
    error = weights.std(axis=0) / weights.mean(axis=0) / np.sqrt(1500)  # of the sampling by importance
    assert np.all(np.abs(left - found.loo().elpd_i.values[rows]) < 0.01 + 4 * error)


def test_a_weighted_row_is_left_out_whole() -> None:
    weights = np.ones(60)
    weights[[5, 9]] = [2.0, 0.0]
    found = fit(ONE, engine=LAPLACE, weights=weights)
    assert 9 not in units(found)
    (left,) = log_densities_left_out(found, [np.array([5])], SILENT, "")
    assert left[0] == pytest.approx(found.loo().elpd_i.values[5], abs=0.05)


def test_groups_are_left_out_whole() -> None:
    groups, alike = np.arange(60) // 3, bm.MixtureOfExperts(1, bm.EqualGate())
    found = fit(alike, engine=LAPLACE, groups=groups)
    blocks = [np.array([4, 2]), np.array([7])]
    left = log_densities_left_out(found, blocks, SILENT, "")
    rows = np.isin(groups, [4, 2])
    alone = fit(
        alike, x=X[~rows], y=Y[~rows], engine=LAPLACE, groups=groups[~rows], scaling=found.data.scaling, start=found
    )
    draws = Draws(found.bound, alone.outcome.draws, alone.labels.permutations)
    for place, group in enumerate((4, 2)):
        mixture = draws.mixture(X[groups == group])
        log_gate, values = mixture.components(slice(0, 3), slice(0, 200))
        by_draw = mixture.family.log_density(Y[groups == group][:, None], **values)[:, :, 0].sum(axis=1)
        expected = np.logaddexp.reduce(by_draw) - np.log(200)
        assert np.all(log_gate == 0)
        assert left[0][place] == pytest.approx(expected, abs=1e-6)


def test_k_fold_predicts_rows_by_fits_that_have_not_seen_them() -> None:
    found = fit(TWO)
    score = bm.KFold(4, seed=2).score(found, SILENT)
    assert score.pointwise is not None
    (row,) = np.flatnonzero(score.pointwise == score.pointwise.min())
    blocks: list[np.ndarray] = []
    original = log_densities_left_out

    def watched(fitted: bm.Fit, given: Any, *rest: Any) -> Any:
        blocks.extend(given)
        return original(fitted, given, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayes_moe.choosing.criteria.log_densities_left_out", watched)
        again = bm.KFold(4, seed=2).score(found, SILENT)
    np.testing.assert_array_equal(again.pointwise, score.pointwise)
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(60))
    (fold,) = [block for block in blocks if row in block]
    rest = np.setdiff1d(np.arange(60), fold)
    alone = fit(TWO, x=X[rest], y=Y[rest], scaling=found.data.scaling, start=found)
    assert float(alone.log_density(X[[row]], Y[[row]])[0]) == pytest.approx(score.pointwise[row], abs=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("seed", seeds(0, 2))
def test_loo_is_that_of_exact_refits(seed: int) -> None:
    """60 rows, each left out by a fit of its own that knows nothing of the first (reliability 4.8)."""
    data = bm.datasets.two_lines(60, seed=seed)
    engine = bm.NUTS(draws=1000, seed=seed)
    found = fit(TWO, x=data.X, y=data.y, engine=engine)
    loo = found.loo()
    assert float(loo.pareto_k.max()) < loo.good_k
    exact = np.empty(60)
    for row in range(60):
        rest = np.delete(np.arange(60), row)
        alone = fit(
            TWO,
            x=data.X[rest],
            y=data.y[rest],
            engine=replace(engine, seed=1000 + row),
            scaling=found.data.scaling,
        )
        exact[row] = float(alone.log_density(data.X[[row]], data.y[[row]])[0])
    gap = exact - loo.elpd_i.values
    assert abs(gap.sum()) <= min(1.0, 2.0 * float(loo.se))
    ours = bm.LOO(refits=60).score(found, SILENT)
    assert ours.value == pytest.approx(exact.sum(), abs=1.0)


@pytest.mark.full
def test_refits_mend_what_importance_sampling_cannot() -> None:
    """One row far from all others: its k-hat is high, and a fit without it says how improbable it is."""
    data = bm.datasets.two_lines(60, seed=1)
    y = data.y.copy()
    y[7] += 12.0
    engine = bm.NUTS(draws=1000, seed=1)
    found = fit(ONE, x=data.X, y=y, engine=engine)
    loo = found.loo()
    assert float(loo.pareto_k[7]) > loo.good_k
    rest = np.delete(np.arange(60), 7)
    alone = fit(ONE, x=data.X[rest], y=y[rest], engine=replace(engine, seed=2), scaling=found.data.scaling)
    exact = float(alone.log_density(data.X[[7]], y[[7]])[0])
    score = bm.LOO().score(found, SILENT)
    assert score.pointwise is not None
    assert score.pointwise[7] == pytest.approx(exact, abs=0.5)


@pytest.mark.full
def test_networks_are_chosen_by_rows_that_no_training_has_seen() -> None:
    data = bm.datasets.bishop_inverse(300, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        found = bm.select(
            bm.mixture_density_network(1, hidden=(16,)), data.X, data.y, (1, 3), bm.Training(seed=1), progress=False
        )
    assert found.criterion == bm.KFold(5)
    assert found.chosen == 3
    assert "Not converged" not in repr(found)


# ------------------------------------------------------------------------------------------------ compiled once


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count graphs that are compiled."""
    made: list[str] = []
    original: Callable[..., Any] = graded.Graded.__init__

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        made.append("graph")
        original(self, *arguments, **options)

    monkeypatch.setattr(terms.Graded, "__init__", counted)
    return made


def test_numbers_of_experts_and_refits_share_what_is_compiled(compiled: list[str]) -> None:
    model = bm.MixtureOfExperts([bm.Expert(bm.StudentT())], bm.StickBreakingGate())
    select(model, experts=(2,), criterion=bm.KFold(2))
    first = len(compiled)
    select(model, experts=(1, 3, 4), criterion=bm.KFold(2))
    assert len(compiled) == first


# ------------------------------------------------------------------------------------------------ interrupts, failures


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets the fit of so many experts be interrupted."""

    def arrange(count: int, *, failure: BaseException | None = None) -> None:
        import bayes_moe.choosing.select as module

        original = module.fit_bound

        def interrupted(bound: Any, *rest: Any) -> bm.Fit:
            if len(bound.model.experts) == count:
                raise failure or KeyboardInterrupt
            return original(bound, *rest)

        monkeypatch.setattr(module, "fit_bound", interrupted)

    return arrange


def test_an_interrupt_returns_what_is_finished(stopped_at: Any) -> None:
    stopped_at(3)
    found = select(experts=(1, 2, 3, 4))
    assert list(found.fits) == [1, 2]
    assert found.unfinished == (3, 4)
    assert "Interrupted before these were fitted and scored: 3 experts, 4 experts." in repr(found)


def test_an_interrupt_before_the_first_fit(stopped_at: Any) -> None:
    stopped_at(1)
    with pytest.raises(bm.InterruptedFit, match="select was interrupted before 1 expert was finished → call select"):
        select(experts=(1, 2))


def test_half_a_fit_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    import bayes_moe.choosing.select as module

    original = module.fit_bound

    def half(bound: Any, *rest: Any) -> bm.Fit:
        found = original(bound, *rest)
        done = len(bound.model.experts) < 2
        return found if done else replace(found, outcome=replace(found.outcome, status=Status.INTERRUPTED))

    monkeypatch.setattr(module, "fit_bound", half)
    assert list(select(experts=(1, 2)).fits) == [1]


def test_a_model_that_fails_is_named(stopped_at: Any) -> None:
    stopped_at(2, failure=bm.NumericalError("no maximum"))
    found = select(experts=(1, 2, 3))
    assert found.failed == {2: "no maximum"}
    assert "2 experts failed: no maximum" in repr(found)
    with pytest.raises(bm.NumericalError, match="expected one model that can be fitted, got none: no maximum"):
        select(experts=(2,))


def test_a_choice_that_did_not_converge_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    import bayes_moe.choosing.select as module

    original = module.fit_bound

    def loose(*arguments: Any) -> bm.Fit:
        found = original(*arguments)
        return replace(found, status=replace(found.status, converged=False, sentence="Not converged."))

    monkeypatch.setattr(module, "fit_bound", loose)
    with pytest.warns(bm.FitWarning, match="select: expected a fit that converged for 1, got: Not converged"):
        found = bm.select(ONE, X, Y, (1,), QUICK, progress=False)
    assert "Not converged, or unreliable: 1 expert." in repr(found)


# ------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 3}, "model: expected a bm.MixtureOfExperts, or several by name, got 3"),
        ({"model": {}}, "model: expected a bm.MixtureOfExperts, or several by name"),
        ({"model": {"a": 3}}, r"model\['a'\]: expected a bm.MixtureOfExperts, got int"),
        ({"model": bm.hierarchical_moe((2, 2))}, "experts: expected None for model with a bm.TreeGate"),
        ({"model": bm.MixtureOfExperts([bm.Expert(), bm.Expert(bm.StudentT())])}, "whose experts differ, got counts"),
        ({"experts": "12"}, "experts: expected numbers of experts, got '12'"),
        ({"experts": [1, 2.0]}, "experts: expected whole numbers from 1, got 2.0"),
        ({"experts": [True]}, "experts: expected whole numbers from 1, got True"),
        ({"experts": []}, r"experts: expected numbers that differ, got \[\]"),
        ({"experts": [2, 2]}, r"experts: expected numbers that differ, got \[2, 2\]"),
        ({"criterion": "bic"}, "criterion: expected bm.BIC"),
        ({"criterion": bm.LOO()}, r"criterion: expected bm.BIC\(\), bm.ICL\(\) or bm.KFold\(\) for point fits by EM"),
        ({"criterion": bm.BIC(), "engine": LAPLACE}, r"expected bm.LOO\(\) or bm.KFold\(\) for 1 expert by Laplace"),
        ({"engine": 4}, "engine: expected bm.EM"),
        *(
            (
                {"model": NETWORK, "criterion": each, "engine": None},
                r"criterion: expected bm.KFold\(\) for 1 expert, whose features",
            )
            for each in (bm.BIC(), bm.LOO())
        ),
        (
            {"engine": LAPLACE, "weights": np.full(60, 0.5)},
            r"criterion: expected bm.KFold\(\) for weights that are no whole numbers",
        ),
        (
            {"model": {"a": TWO, "b": bm.MixtureOfExperts(2, bm.GaussianGate())}},
            r"criterion: expected bm.KFold\(\) for b, whose gate models x too, beside a, got BIC\(\)",
        ),
        (
            {"model": {"a": ONE, "b": bm.MixtureOfExperts([bm.Expert(bm.Poisson())])}},
            r"model\['b'\]: expected densities of y as 'a' has, got probabilities",
        ),
    ],
)
def test_refused_before_any_fit(options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayes_moe.choosing.select.fit_bound", None)
    with pytest.raises(bm.SpecError, match=message):
        select(**options)


def test_too_few_rows_for_the_largest_are_refused_before_any_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayes_moe.choosing.select.fit_bound", None)
    with pytest.raises(bm.InputError, match="expected at least 12 rows of positive weight"):
        bm.select(ONE, X[:10], Y[:10], range(1, 7), progress=False)


@pytest.mark.parametrize("make", [lambda: bm.LOO(-1), lambda: bm.KFold(1), lambda: bm.KFold(3, seed=-1)])
def test_criteria_out_of_range(make: Callable[[], object]) -> None:
    with pytest.raises(bm.SpecError, match="expected a whole number"):
        make()


# ------------------------------------------------------------------------------------------------ stacking


def test_a_selection_can_be_stacked(by_loo: bm.Selection, by_bic: bm.Selection) -> None:
    stacked = bm.stack(by_loo)
    assert set(stacked.weights) == {"1", "2", "3"}
    assert by_loo.pointwise is not None
    inside = np.exp(by_loo.pointwise) @ np.array(list(stacked.weights.values()))
    assert np.log(inside).sum() >= max(score.value for score in by_loo.scores.values()) - 1e-6
    with pytest.raises(bm.NotFittedError, match="got one by an information criterion"):
        bm.stack(by_bic)


def test_stacked_fits_are_at_least_as_good_as_any() -> None:
    fits = {str(k): fit(bm.MixtureOfExperts(k), engine=LAPLACE) for k in (1,)}
    fits["curve"] = fit(bm.MixtureOfExperts([bm.Expert(mu=bm.Polynomial(3))]), engine=LAPLACE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        stacked = bm.stack(fits)
        table = bm.compare({**fits, "stack": stacked})
    assert sum(stacked.weights.values()) == pytest.approx(1.0)
    elpd = stacked.loo()
    assert elpd.elpd >= max(each.loo().elpd for each in fits.values()) - 1e-6
    assert elpd.p > 0
    assert table.index[0] == "stack" or table.loc["stack", "elpd_diff"] == 0


def test_stacking_is_refused_without_draws_or_another_target() -> None:
    with pytest.raises(bm.NotFittedError, match=r"fits\['fit 0'\]: loo: expected posterior draws"):
        bm.stack([fit(ONE), fit(TWO)])
    with pytest.raises(bm.NotFittedError, match="expected several fits, or one with several chains"):
        bm.stack(fit(ONE, engine=LAPLACE))
    with pytest.raises(bm.InputError, match="by: expected None for several fits"):
        bm.stack([fit(ONE)], by=[0])
    with pytest.raises(bm.InputError, match="got another y, other weights or other groups"):
        bm.stack([fit(ONE, engine=LAPLACE), fit(ONE, y=Y + 1.0, engine=LAPLACE)])


def test_chains_in_different_modes_are_weighted() -> None:
    """Two chains at the mode, one where a constant shift makes every prediction bad: it gets next to nothing."""
    good = fit(ONE, engine=LAPLACE)
    q = good.outcome.draws[0]
    shifted = q + 0.0
    where = good.bound.parameters.slices["mu_intercept_z"]
    shifted[:, where] += 3.0
    outcome = replace(good.outcome, draws=np.stack([q[:100], q[100:], shifted[:100]]), sample_stats={})
    chains = replace(good, outcome=outcome, engine=bm.NUTS(draws=100, chains=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        stacked = bm.stack(chains)
        joined = bm.stack(chains, by=["mode", "mode", "other"])
    assert stacked.weights["chain 2"] < 0.02
    assert joined.weights["mode"] > 0.98
    assert joined.fits["mode"].outcome.draws.shape[0] == 2
    np.testing.assert_allclose(joined.fits["other"].outcome.draws[0], shifted[:100])
    with pytest.raises(bm.InputError, match="by: expected 3 labels, one per chain, got 2"):
        bm.stack(chains, by=[0, 1])
