"""Families of labels: categorical, ordinal, Bernoulli."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special, stats

import bayes_moe as bm
from bayes_moe.families import Role
from tests.families.graphs import compiled

FOUR = bm.Categorical(("a", "b", "c", "d"))
LEVELS = bm.Ordinal(("a", "b", "c", "d"))


def logits(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {name: rng.normal(0.0, 3.0, rows) for name in FOUR.predicted}


def test_categorical_is_the_softmax(rng: np.random.Generator) -> None:
    predicted, y = logits(rng, 200), rng.integers(0, 4, 200).astype(float)
    expected = special.log_softmax(np.array(list(predicted.values())), axis=0)
    np.testing.assert_allclose(
        FOUR.log_density(y, **predicted), expected[y.astype(int), np.arange(200)], rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(FOUR.probabilities(**predicted), np.exp(expected).T, rtol=1e-12)
    value = compiled(FOUR)(y, predicted)
    np.testing.assert_allclose(value.density, FOUR.log_density(y, **predicted), rtol=1e-12, atol=1e-14)
    shares = np.exp(expected)
    np.testing.assert_allclose(value.gradient, (np.arange(4)[:, None] == y) - shares, atol=1e-13)
    hessian = shares[:, None] * shares - np.eye(4)[..., None] * shares
    np.testing.assert_allclose(value.hessian, hessian, atol=1e-13)


def test_categorical_at_extreme_logits() -> None:
    table = np.array(list(itertools.product((0.0, 1.0, 2.0, 3.0), *[(-800.0, 0.0, 800.0)] * 4)))
    predicted = dict(zip(FOUR.predicted, table[:, 1:].T, strict=True))
    value = compiled(FOUR)(table[:, 0], predicted)
    assert all(np.isfinite(part).all() for part in value)
    np.testing.assert_allclose(value.gradient.sum(axis=0), 0.0, atol=1e-12)
    for outside in (-1.0, 0.5, 4.0, np.inf):
        value = compiled(FOUR)(np.full(len(table), outside), predicted)
        assert np.all(value.density == -np.inf)
        assert not value.gradient.any()
        assert not value.hessian.any()


def test_categorical_draws(rng: np.random.Generator) -> None:
    one = {name: np.full(20_000, value) for name, value in zip(FOUR.predicted, (0.0, 1.0, -2.0, 0.5), strict=True)}
    counts = np.bincount(FOUR.draw(rng, **one).astype(int), minlength=4)
    expected = 20_000 * special.softmax([0.0, 1.0, -2.0, 0.5])
    assert stats.chisquare(counts, expected).pvalue > 1e-4


@pytest.mark.parametrize("what", ["mean", "variance", "cdf"])
def test_unordered_labels_have_no_moments(what: str) -> None:
    with pytest.raises(bm.SpecError, match=r"expected an order of y .* use probabilities"):
        getattr(FOUR, what)(**({"y": np.zeros(1)} if what == "cdf" else {}), **logits(np.random.default_rng(1), 1))


def test_labels_are_met() -> None:
    y = np.array([0.0, 2.0, 1.0, 1.0])
    assert bm.Categorical().meet(y, np.ones(4)) == bm.Categorical(("0", "1", "2"))
    assert bm.Ordinal().meet(y, np.ones(4)) == bm.Ordinal(("0", "1", "2"))
    assert bm.Ordinal(["x", "y", "z", "w"]).meet(y, np.ones(4)) == bm.Ordinal(("x", "y", "z", "w"))  # type: ignore[arg-type]
    assert bm.Categorical().parameters[0].labels == ()
    assert [p.name for p in bm.Ordinal().parameters] == ["mu", "cutpoint", "gap"]
    assert [p.name for p in bm.Ordinal(("x", "y")).parameters] == ["mu", "cutpoint"]
    assert bm.Categorical(("x", "y")).parameters[0].zero_sum
    assert all(p.role is Role.FREE for p in LEVELS.parameters)
    assert all(p.default == bm.Constant(shared=True) for p in LEVELS.parameters[1:])
    for family in (bm.Categorical(), bm.Ordinal()):
        with pytest.raises(bm.SpecError, match="call meet"):
            family.logpdf(0.0, 0.0)


def test_two_levels_are_bernoulli(rng: np.random.Generator) -> None:
    mu, y = rng.normal(0.0, 3.0, 50), rng.integers(0, 2, 50).astype(float)
    two = bm.Ordinal(("no", "yes")).log_density(y, mu=mu, cutpoint=np.full(50, 0.3))
    np.testing.assert_allclose(two, bm.Bernoulli().log_density(y, logit_p=mu - 0.3), rtol=1e-12)


def test_probabilities_sum_to_one(rng: np.random.Generator) -> None:
    predicted = {name: rng.normal(0.0, 2.0, (5, 3)) for name in LEVELS.predicted}
    chances = LEVELS.probabilities(**predicted)
    assert chances.shape == (5, 3, 4)
    np.testing.assert_allclose(chances.sum(axis=-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(chances.cumsum(axis=-1)[..., 1], LEVELS.cdf(np.array(1.0), **predicted), rtol=1e-12)
    both = bm.Bernoulli().probabilities(logit_p=np.array([-800.0, 0.0, 3.0]))
    np.testing.assert_allclose(both.sum(axis=-1), 1.0, rtol=1e-15)


def test_narrow_levels_do_not_cancel() -> None:
    """A level of width 1e-30 has probability width times logistic density."""
    predicted = {"mu": 2.0, "cutpoint": 0.5, "log_gap_b": -30 * np.log(10.0), "log_gap_c": 0.0}
    at = {name: np.array([value]) for name, value in predicted.items()}
    value = compiled(LEVELS)(np.array([1.0]), at)
    np.testing.assert_allclose(value.density, predicted["log_gap_b"] + stats.logistic.logpdf(-1.5), rtol=1e-14)
    np.testing.assert_allclose(value.gradient[2], 1.0, rtol=1e-12)


def test_bernoulli_at_extreme_logits() -> None:
    value = compiled(bm.Bernoulli())(
        np.array([1.0, 0.0, 1.0, 0.0]), {"logit_p": np.array([-800.0, 800.0, 800.0, -800.0])}
    )
    np.testing.assert_array_equal(value.density, [-800.0, -800.0, 0.0, 0.0])
    np.testing.assert_array_equal(value.gradient[0], [1.0, -1.0, 0.0, 0.0])
