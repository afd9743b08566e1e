"""Closed forms of log densities and derivatives are those of the families' graphs."""

from __future__ import annotations

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.binding.closed_terms import ClosedTermsFunction, terms_of
from bayes_moe.families import Family
from bayes_moe.graph.terms import TermsFunction, terms_function
from tests.families.cases import CASES

CLOSED = {name: case for name, case in CASES.items() if type(case.family).closed_form is not Family.closed_form}


def test_most_families_have_one() -> None:
    assert len(CLOSED) >= 12


@pytest.mark.parametrize("name", CLOSED)
def test_terms_are_those_of_the_graph(name: str) -> None:
    case, rng = CLOSED[name], np.random.default_rng(1)
    predicted = case.parameters(rng, 120)
    y = case.target(rng, predicted)[:, None]
    etas = [predicted[key].reshape(-1, 1) + rng.normal(0.0, 0.1, (120, 3)) for key in case.family.predicted]
    given = [predicted[key][:, None] for key in case.family.given]
    found = ClosedTermsFunction(case.family)(y, etas, given, bends=True)
    expected = terms_function(case.family, vector=False)(y, etas, given, bends=True)
    _close(found.value, expected.value)
    _close(found.slopes, expected.slopes)
    assert found.bends is not None
    assert expected.bends is not None
    _close(found.bends, expected.bends)


def test_categorical_terms_are_those_of_the_graph() -> None:
    family, rng = bm.Categorical(("a", "b", "c", "d")), np.random.default_rng(2)
    etas = [rng.normal(0.0, 30.0, (50, 2)) for _ in range(4)]
    y = rng.integers(4, size=(50, 1)).astype(float)
    found = terms_of(family, vector=False)(y, etas, bends=True)
    expected = terms_function(family, vector=False)(y, etas, bends=True)
    for mine, other in zip((found.value, found.slopes, found.bends), _parts(expected), strict=True):
        _close(mine, other)


@pytest.mark.parametrize("name", CLOSED)
def test_the_graph_stands_in_at_extremes(name: str) -> None:
    """Where a closed form overflows, the terms are the graph's."""
    case = CLOSED[name]
    given = [np.full((1, 1), case.extremes[key][0]) for key in case.family.given]
    keys = case.family.predicted
    for corner in range(2):
        etas = [np.full((1, 1), case.extremes[key][-corner]) for key in keys]
        y = np.full((1, 1), case.points[-1])
        found = terms_of(case.family, vector=False)(y, etas, given)
        assert not np.isnan(found.value).any()
        assert not np.isnan(found.slopes).any()


def _parts(terms: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return terms.value, terms.slopes, terms.bends  # type: ignore[attr-defined]


def _close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * (1.0 + np.abs(expected).max()))


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.family.predicted])
def test_numba_says_the_same(name: str) -> None:
    """What runs once there is much work is what runs at first."""
    case, rng = CASES[name], np.random.default_rng(3)
    predicted = case.parameters(rng, 60)
    y = case.target(rng, predicted)[:, None]
    etas = [predicted[key].reshape(-1, 1) + rng.normal(0.0, 0.1, (60, 2)) for key in case.family.predicted]
    given = [predicted[key][:, None] for key in case.family.given]
    function = TermsFunction(case.family.logpdf, len(etas), len(given), vector=False)
    plain = function(y, etas, given)
    fast = function.hurried()(y, etas, given)
    _close(fast.value, plain.value)
    _close(fast.slopes, plain.slopes)
