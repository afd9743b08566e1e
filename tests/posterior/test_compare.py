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
