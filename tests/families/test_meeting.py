"""What families say about targets and arguments they cannot use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.families import Family, check_trials

REFUSED: dict[str, tuple[Family, list[float], str]] = {
    "a negative count": (
        bm.Poisson(),
        [0, 3, -1, 2],
        r"y: expected whole numbers from 0 for bm\.Poisson\(\), got -1 \(row 2\) → use bm\.Normal",
    ),
    "fractions": (
        bm.NegativeBinomial(),
        [0.5, 1, 1.5, 2.5, 3.5, 4.5, 5.5],
        r"got 0\.5, 1\.5, 2\.5, 3\.5, 4\.5 and 1 more \(rows 0, 2, 3, 4, 5 and 1 more\)",
    ),
    "a huge count": (
        bm.Poisson(),
        [1e15, 3],
        r"expected counts up to 1e\+09 .* got 1e\+15 \(row 0\) → count in larger",
    ),
    "not a number": (bm.Poisson(), [np.nan, 3], r"got nan \(row 0\)"),
    "infinitely many": (bm.Poisson(), [np.inf, 3], r"got inf \(row 0\)"),
    "a base that refuses": (bm.ZeroInflated(), [0, -2], r"whole numbers from 0"),
    "successes that are no count": (bm.Binomial("n"), [0, 0.5], r"for bm\.Binomial\('n'\), got 0\.5 \(row 1\)"),
    "-1 and 1": (
        bm.Bernoulli(),
        [-1, 1, -1],
        r"expected the levels 0 and 1 for bm\.Bernoulli\(\), got the levels -1, 1 .*rows 0, 2\) → pass y == 1",
    ),
    "1 and 2": (bm.Bernoulli(), [1, 2], r"got the levels 1, 2 .* → pass y == 2"),
    "three levels": (bm.Bernoulli(), [0, 1, 2], r"got the levels 0, 1, 2 .* → pass bm\.Categorical"),
    "a zero": (bm.Gamma(), [0, 1], r"expected numbers above 0 for bm\.Gamma\(\), got 0 \(row 0\) → leave"),
    "a negative time": (bm.Weibull(), [1, -2], r"for bm\.Weibull\(\), got -2 \(row 1\)"),
    "log of 0": (bm.LogNormal(), [0, 0, 1], r"for bm\.LogNormal\(\), got 0 \(rows 0, 1\)"),
    "a share of 1": (bm.Beta(), [0.5, 1.0, 0.0], r"both excluded for bm\.Beta\(\), got 0, 1 \(rows 1, 2\) → divide"),
    "a gap": (bm.Ordinal(), [0, 2, 3], r"codes 0, 1, \.\.\. without gaps .* got 2 and no 1 → name all levels"),
    "a gap of classes": (bm.Categorical(), [0, 2], r"without gaps .* → name all classes"),
    "an unknown code": (bm.Ordinal(("a", "b")), [0, 2], r"expected codes 0, 1, \.\.\. to 1 .* got 2 \(row 1\)"),
    "a fractional code": (bm.Categorical(), [0, 0.5], r"got 0\.5 \(row 1\)"),
    "one class": (bm.Categorical(), [0, 0], r"expected two classes or more .* got only 0"),
    "outside given bounds": (
        bm.Uniform(0.0, 1.0),
        [0.5, 2],
        r"expected numbers from 0 to 1 .* got 2 \(row 1\) → widen",
    ),
    "a constant": (bm.Uniform(), [2, 2], r"expected values that vary for bm\.Uniform\(\), got 2 to 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_outside_the_support(case: str) -> None:
    family, y, message = REFUSED[case]
    with pytest.raises(bm.InputError, match=message):
        family.meet(np.array(y, dtype=float), np.ones(len(y)))


def test_booleans_are_binary() -> None:
    y = np.array([True, False])
    assert bm.Bernoulli().meet(y, np.ones(2)) == bm.Bernoulli()
    assert np.isfinite(bm.Bernoulli().centre(y, np.ones(2))["logit_p"])


def test_trials() -> None:
    check_trials(np.array([0.0, 3.0]), np.array([0.0, 3.0]))
    with pytest.raises(bm.InputError, match=r"at most as many successes as trials .* got 5 \(row 1\)"):
        check_trials(np.array([3.0, 5.0]), np.array([3.0, 4.0]))
    with pytest.raises(
        bm.InputError, match=r"trials: expected whole numbers from 0 .* got -1, 0\.5, nan \(rows 0, 1, 2\)"
    ):
        check_trials(np.zeros(3), np.array([-1.0, 0.5, np.nan]))
    binomial, half = bm.Binomial("n"), np.array(0.0)
    assert binomial.log_density(np.array(5.0), logit_p=half, trials=np.array(4.0)) == -np.inf
    assert binomial.log_density(np.array(0.0), logit_p=half, trials=np.array(0.0)) == 0.0
    assert binomial.given == {"trials": "n"}


def test_uniform_learns_its_bounds_from_rows_that_count() -> None:
    y, weights = np.array([0.0, 10.0, 3.0]), np.array([1.0, 1.0, 2.0])
    assert bm.Uniform().meet(y, weights) == bm.Uniform(-0.5, 10.5)
    assert bm.Uniform(high=20.0).meet(y, weights) == bm.Uniform(-0.5, 20.0)
    with pytest.raises(bm.SpecError, match="call meet"):
        bm.Uniform().log_density(y)


def test_centres() -> None:
    ones = np.ones(4)
    counts = np.array([0.0, 4.0, 6.0, 10.0])
    assert bm.Poisson().centre(counts, ones)["log_mu"] == pytest.approx(np.log(20.5 / 4))
    assert np.isfinite(bm.Poisson().centre(np.zeros(4), ones)["log_mu"])
    assert bm.Bernoulli().centre(ones, ones)["logit_p"] == pytest.approx(np.log(9.0))
    assert bm.Gamma().centre(counts + 1, ones)["log_mu"] == pytest.approx(np.log(6.0))
    assert bm.LogNormal().centre(np.exp(counts), ones)["mu"] == pytest.approx(5.0)
    assert bm.Beta().centre(np.full(4, 0.2), ones)["logit_mu"] == pytest.approx(np.log(0.25))
    twice = bm.Poisson().centre(np.repeat(counts, [1, 2, 1, 1]), np.ones(5))
    assert bm.Poisson().centre(counts, np.array([1.0, 2.0, 1.0, 1.0])) == pytest.approx(twice)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "exposure": (lambda: bm.Poisson(3), r"Poisson\.exposure: expected the name of a column or None, got 3"),  # type: ignore[arg-type]
    "trials": (lambda: bm.Binomial(None), r"Binomial\.trials: expected the name of a column, got None"),  # type: ignore[arg-type]
    "base": (lambda: bm.ZeroInflated(bm.Gamma()), r"ZeroInflated\.base: expected bm\.Poisson"),  # type: ignore[arg-type]
    "one label": (lambda: bm.Categorical(("a",)), r"expected two different labels or more"),
    "twice the same": (lambda: bm.Ordinal(("a", "a")), r"name every one once"),
    "a label that is a number": (lambda: bm.Ordinal((1, 2)), r"expected labels as text, got 1 → write '1'"),  # type: ignore[arg-type]
    "text": (lambda: bm.Categorical("ab"), r"expected a tuple of labels"),  # type: ignore[arg-type]
    "no outputs": (lambda: bm.MvNormal(0), r"MvNormal\.outputs: expected a whole number from 1"),
    "a word": (lambda: bm.MvNormal(2, "full"), r"expected a member of bm\.Covariance, got 'full'"),  # type: ignore[arg-type]
    "bounds": (lambda: bm.Uniform(2.0, 1.0), r"expected low below high"),
    "a bound": (lambda: bm.Uniform(low=np.inf), r"Uniform\.low: expected a finite number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arguments_without_a_meaning(case: str) -> None:
    make, message = WRONG[case]
    with pytest.raises(bm.SpecError, match=message):
        make()
