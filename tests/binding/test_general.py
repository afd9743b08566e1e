"""The density of any families: equal to the kernels' for Normal experts, exact in its derivatives for the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln

import bayes_moe as bm
from bayes_moe.binding.bind import bind, target_of
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.binding.outcomes import Outcomes
from bayes_moe.data import read_training
from bayes_moe.graph.graded import PLAIN
from tests.cases import KERNELS, bound, some_points


def general(name: str) -> GeneralDensity:
    found = bound(KERNELS[name])
    d = found.density
    outcomes = Outcomes(d.y, d.weights, {}, None, d.log_units)
    return GeneralDensity(d.design, d.parameters, found.groups, d.table, outcomes)


@pytest.mark.parametrize("name", KERNELS)
def test_normal_experts_have_one_density(name: str) -> None:
    fast, slow = bound(KERNELS[name]).density, general(name)
    for q in some_points(KERNELS[name], 2, seed=5):
        value, gradient = fast.logp_and_gradient(q)
        found, slope = slow.logp_and_gradient(q)
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-10 * (1 + np.abs(gradient).max()))
        hessian = fast.hessian(q)
        np.testing.assert_allclose(slow.hessian(q), hessian, rtol=1e-8, atol=1e-9 * (1 + np.abs(hessian).max()))
        for mine, others in zip(slow.by_row(q), fast.by_row(q), strict=True):
            np.testing.assert_allclose(mine, others, rtol=1e-9, atol=1e-12)
        start = slow.e_step(q)
        assert start.log_posterior == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(start.gradient, gradient, rtol=1e-9, atol=1e-10 * (1 + np.abs(gradient).max()))


def target(family: bm.families.Family, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    level = np.where(rng.random(len(x)) < 0.5, x, -0.5 * x)
    if family.support is bm.families.Support.REAL:
        return 3.0 + 2.0 * level + rng.normal(size=len(x))
    if family.support is bm.families.Support.POSITIVE:
        return np.exp(0.5 * level + 0.3 * rng.normal(size=len(x)))
    if family.support is bm.families.Support.UNIT:
        return 1.0 / (1.0 + np.exp(-level - rng.normal(size=len(x))))
    if family.support is bm.families.Support.BINARY:
        return (rng.random(len(x)) < 1.0 / (1.0 + np.exp(-2.0 * level))).astype(float)
    return rng.poisson(np.exp(1.0 + 0.5 * level)).astype(float)


SLOW_GRAPHS = (bm.Beta, bm.SkewNormal)  # whose second derivatives take PyTensor long

FAMILIES = [
    bm.StudentT(),
    bm.SkewNormal(),
    bm.LogNormal(),
    bm.Gamma(),
    bm.Weibull(),
    bm.Beta(),
    bm.Poisson(),
    bm.NegativeBinomial(),
    bm.ZeroInflated(),
    bm.Bernoulli(),
]


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=pytest.mark.full) if type(f) in SLOW_GRAPHS else f for f in FAMILIES],
    ids=lambda family: type(family).__name__,
)
def test_derivatives_and_em(family: bm.families.Family) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 1))
    model = bm.MixtureOfExperts([bm.Expert(family)] * 2)
    data = read_training(x, target(family, x[:, 0], rng), experts=2, parameters=0, target=target_of(model))
    density = bind(model, data).density
    assert isinstance(density, GeneralDensity)
    q = density.parameters.prior_loc + 0.3 * rng.normal(size=density.size)
    steps = 1e-5 * np.eye(density.size)
    slope = np.array([(density.logp(q + e) - density.logp(q - e)) / 2e-5 for e in steps])
    np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-5, atol=1e-5)
    curved = np.array([(density.gradient(q + e) - density.gradient(q - e)) / 2e-5 for e in steps])
    np.testing.assert_allclose(density.hessian(q), curved, rtol=1e-4, atol=1e-4)
    model_of_pymc = bind(model, data).pymc_model()
    logp = model_of_pymc.compile_fn(model_of_pymc.logp(), mode=PLAIN)
    assert float(logp(density.parameters.named(q))) == pytest.approx(density.logp(q), rel=1e-10)
    outcome = bm.EM(seed=1, starts=8).run(density)
    assert outcome.status.converged
    assert outcome.facts["decrement"] <= 1e-6


def test_families_of_one_kind_mix_and_predict() -> None:
    data = bm.datasets.two_lines(150, seed=2)
    model = bm.MixtureOfExperts([bm.Expert(bm.Normal()), bm.Expert(bm.StudentT())])
    fit = bm.fit(model, data.X, data.y, bm.EM(seed=1, starts=12), progress=False)
    samples = fit.sample(data.X[:4], draws=40_000, seed=3).values
    error = 5.0 * samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - fit.predict(data.X[:4]).values) < error)
    middle = fit.quantile(data.X[:4], 0.5).values
    np.testing.assert_allclose(fit.cdf(data.X[:4], middle).values, 0.5, atol=1e-8)
    assert fit.log_likelihood == pytest.approx(float(fit.log_density(data.X, data.y).sum()), rel=1e-9)


def test_mixed_supports_are_refused() -> None:
    with pytest.raises(bm.SpecError, match="expected experts for one kind of target, got Normal"):
        bm.MixtureOfExperts([bm.Expert(bm.Normal()), bm.Expert(bm.Poisson())])


def test_rows_without_trials_say_nothing() -> None:
    rng = np.random.default_rng(4)
    x, n = rng.normal(size=60), rng.integers(1, 9, size=60)
    y = rng.binomial(n, 1 / (1 + np.exp(-x)))
    model = bm.MixtureOfExperts([bm.Expert(bm.Binomial(trials="n"))])
    table, more = pd.DataFrame({"x": x, "n": n}), pd.DataFrame({"x": np.r_[-1.0, 1.0, x], "n": np.r_[0, 0, n]})
    without = bm.fit(model, table, y, bm.EM(seed=1), progress=False)
    fit = bm.fit(model, more, np.r_[0, 0, y], bm.EM(seed=1), scaling=without.data.scaling, progress=False)
    np.testing.assert_allclose(fit.log_density(more[:2], [0, 0]), 0.0)
    np.testing.assert_allclose(fit.predict(table), without.predict(table), rtol=1e-6)
    assert fit.log_posterior == pytest.approx(without.log_posterior, rel=1e-12)
    draws = bm.fit(model, more, np.r_[0, 0, y], bm.NUTS(seed=1), progress=False)
    assert draws.status.converged, draws.status


def test_exposures_and_trials_enter_the_density() -> None:
    rng = np.random.default_rng(4)
    x, days = rng.normal(size=80), rng.uniform(1.0, 50.0, size=80)
    y = rng.poisson(days * np.exp(0.3 + 0.5 * x)).astype(float)
    model = bm.MixtureOfExperts([bm.Expert(bm.Poisson(exposure="days"))])
    table = pd.DataFrame({"x": x, "days": days})
    fit = bm.fit(model, table, y, bm.EM(seed=1), progress=False)
    ours = fit.idata["posterior"]
    b = np.array([ours["log_mu_intercept"].item(), ours["log_mu_slopes"].item()])
    assert ours["log_mu_slopes"].shape[-1] == 1
    direct = y * (b[0] + b[1] * x + np.log(days)) - days * np.exp(b[0] + b[1] * x) - gammaln(y + 1)
    np.testing.assert_allclose(fit.log_density(table, y).values, direct, rtol=1e-9)
    np.testing.assert_allclose(b, [0.3, 0.5], atol=0.1)
    trials = np.full(80, 12.0)
    successes = rng.binomial(12, 1 / (1 + np.exp(-x))).astype(float)
    binomial = bm.MixtureOfExperts([bm.Expert(bm.Binomial(trials="n"))])
    fit = bm.fit(binomial, pd.DataFrame({"x": x, "n": trials}), successes, bm.EM(seed=1), progress=False)
    np.testing.assert_allclose(fit.predict(pd.DataFrame({"x": [0.0], "n": [12.0]})).values, 6.0, atol=0.6)
    with pytest.raises(bm.InputError, match="trials"):
        bm.fit(binomial, pd.DataFrame({"x": x, "n": trials - 10}), successes, bm.EM(seed=1), progress=False)
    with pytest.raises(bm.SpecError, match="expected the name of a column of X"):
        bm.fit(binomial, x[:, None], successes, bm.EM(seed=1), progress=False)
