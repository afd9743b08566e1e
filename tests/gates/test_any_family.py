"""Every gate over experts that are not normal, through every verb of a fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.graph.graded import PLAIN

GATES = {
    "tree": bm.TreeGate(((1, 1), 1)),
    "sticks": bm.StickBreakingGate(),
    "regions": bm.GaussianGate(),
}


def counts(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(rows, 2))
    rate = np.where(x[:, 0] > 0.7, 8.0, np.where(x[:, 0] < -0.7, 3.0, 0.4)) * np.exp(0.2 * x[:, 1])
    return x, rng.poisson(rate).astype(float)


@pytest.fixture(params=GATES)
def fit(request: pytest.FixtureRequest) -> bm.Fit:
    x, y = counts(150)
    model = bm.MixtureOfExperts([bm.Expert(bm.Poisson())] * 3, GATES[request.param])
    return bm.fit(model, x, y, bm.EM(seed=1, starts=4), progress=False)


def test_every_verb(fit: bm.Fit, tmp_path: Any) -> None:
    x, y = counts(150)
    assert fit.status.converged
    np.testing.assert_allclose(fit.gate(x).values.sum(axis=1), 1.0)
    mean, variance = fit.predict(x[:4]).values, fit.variance(x[:4]).values
    samples = fit.sample(x[:4], draws=40_000, seed=3).values
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=5.0 * float(np.sqrt(variance.max() / 40_000)))
    np.testing.assert_allclose(samples.var(axis=0), variance, rtol=0.1)
    many = np.arange(200.0)
    masses = [fit.log_density(np.tile(row, (200, 1)), many).values for row in x[:4]]
    np.testing.assert_allclose(np.exp(masses).sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(fit.cdf(x[:4], [2.0] * 4).values, np.exp(masses)[:, :3].sum(axis=1), atol=1e-9)
    joint = fit.responsibilities(x, y).values
    np.testing.assert_allclose(joint.sum(axis=1), 1.0)
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bm.load(tmp_path / "fit.nc").gate(x).values, fit.gate(x).values)
    for plot in (bm.plots.gate, bm.plots.experts, bm.plots.responsibilities):
        plot(fit).figure.clear()


def test_pymc_has_the_same_density(fit: bm.Fit) -> None:
    x, y = counts(150)
    model = bm.build(fit.model, x, y)
    logp = model.compile_fn(model.logp(), mode=PLAIN)
    assert float(logp(fit.point)) == pytest.approx(fit.log_posterior, rel=1e-10)
    density, rng = fit.bound.density, np.random.default_rng(12)
    q = fit.outcome.mode + 0.1 * rng.normal(size=density.size)
    assert float(logp(density.parameters.named(q))) == pytest.approx(density.logp(q), rel=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_groups_have_one_label(name: str) -> None:
    """Rows of a group share a label under every gate: exact derivatives, PyMC's density, and EM's ascent."""
    x, y = counts(90)
    site = np.repeat(np.arange(30), 3)
    x[:, 0] = x[::3, 0][site]
    gate = replace(GATES[name], predictor=bm.Linear(columns=("x0",)))
    model = bm.MixtureOfExperts([bm.Expert(bm.Poisson(), mu=bm.Linear(columns=("x1",)))] * 3, gate)
    table = pd.DataFrame(x, columns=["x0", "x1"])
    fit = bm.fit(model, table, y, bm.EM(seed=1, starts=4), groups=site, progress=False)
    assert fit.status.converged
    density = fit.bound.density
    q = fit.outcome.mode + 0.1 * np.random.default_rng(13).normal(size=density.size)
    steps = 1e-5 * np.eye(density.size)
    slope = np.array([(density.logp(q + e) - density.logp(q - e)) / 2e-5 for e in steps])
    np.testing.assert_allclose(density.gradient(q), slope, rtol=1e-5, atol=1e-5)
    bend = np.array([(density.gradient(q + e) - density.gradient(q - e)) / 2e-5 for e in steps])
    np.testing.assert_allclose(density.hessian(q), bend, rtol=1e-4, atol=1e-4)
    built = bm.build(model, table, y, groups=site)
    logp = built.compile_fn(built.logp(), mode=PLAIN)
    assert float(logp(density.parameters.named(q))) == pytest.approx(density.logp(q), rel=1e-10)
