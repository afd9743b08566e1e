"""Comparison of fits: who may be compared, and what is said of estimates that cannot be relied on."""

from __future__ import annotations

import warnings

import pytest

import bayes_moe as bm

DATA = bm.datasets.two_lines(60, seed=1)


def sampled(y=DATA.y, experts: int = 2) -> bm.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        return bm.fit(bm.MixtureOfExperts(experts), DATA.X, y, bm.Laplace(draws=200, seed=1), progress=False)


def test_estimates_with_high_k_hats_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = sampled(experts=1), sampled()
    scores = {id(good): good.loo(), id(bad): bad.loo()}
    for score in scores.values():
        score.pareto_k[:] = 0.1
    monkeypatch.setattr(bm.Fit, "loo", lambda fit: scores[id(fit)])
    bm.compare({"good": good, "bad": bad})  # warnings are errors here
    scores[id(bad)].pareto_k[3] = 2.0
    with pytest.warns(bm.FitWarning, match=r"leave-one-out of \['bad'\]"):
        table = bm.compare({"good": good, "bad": bad})
    assert "1 k" in table.loc["bad", "diag_elpd"]


@pytest.mark.parametrize(
    ("fits", "message"),
    [
        ({}, "expected at least two fits by name"),
        ([1, 2], "expected at least two fits by name"),
        ({"one": 1, "two": 2}, r"fits\['one'\]: expected a Fit, got int"),
    ],
)
def test_what_is_no_fit_is_refused(fits: object, message: str) -> None:
    with pytest.raises(bm.InputError, match=message):
        bm.compare(fits)  # type: ignore[arg-type]


def test_another_target_is_refused() -> None:
    with pytest.raises(bm.InputError, match="expected the target of 'a', got another y"):
        bm.compare({"a": sampled(), "b": sampled(DATA.y + 1.0)})


def test_what_cannot_be_compared_is_named() -> None:
    em = bm.fit(bm.MixtureOfExperts(1), DATA.X, DATA.y, bm.EM(seed=1), progress=False)
    with pytest.raises(bm.NotFittedError, match=r"fits\['em'\]: loo: expected posterior draws, got a point fit"):
        bm.compare({"laplace": sampled(experts=1), "em": em})
    counts, engine = abs(DATA.y).round(), bm.Laplace(draws=100, seed=1)
    poisson, normal = (
        bm.fit(bm.MixtureOfExperts([bm.Expert(family)]), DATA.X, counts, engine, progress=False)
        for family in (bm.Poisson(), bm.Normal())
    )
    with pytest.raises(bm.SpecError, match=r"fits\['b'\]: expected probabilities of y as 'a' has, got densities"):
        bm.compare({"a": poisson, "b": normal})


def test_engines_and_groups_are_compared_row_by_row_and_group_by_group() -> None:
    groups, model = [i // 3 for i in range(60)], bm.MixtureOfExperts(1, bm.EqualGate())
    by_group, plain = (
        bm.fit(model, DATA.X, DATA.y, bm.Laplace(draws=200, seed=1), groups=each, progress=False)
        for each in (groups, None)
    )
    again = bm.fit(model, DATA.X, DATA.y, bm.ADVI(draws=200, seed=1), groups=groups, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)  # of k-hats, which 200 draws of an approximation may have
        table = bm.compare({"laplace": by_group, "advi": again})
    assert by_group.loo().n_data_points == 20
    assert table["elpd_diff"].abs().max() < 1.0
    with pytest.raises(bm.InputError, match="got another y, other weights or other groups"):
        bm.compare({"groups": by_group, "rows": plain})
