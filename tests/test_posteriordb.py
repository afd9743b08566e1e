"""The mixing operation under another model's priors: posteriordb's low_dim_gauss_mix.

``y ~ θ Normal(μ₁, σ₁) + (1 - θ) Normal(μ₂, σ₂)``, ``μ₁ < μ₂ ~ Normal(0, 2)``, ``σ ~ HalfNormal(2)``,
``θ ~ Beta(5, 5)``; 10 000 reference draws by Stan. The long tier samples the model and compares moments. Always,
Stein's identities hold the density's gradient g against the reference draws without sampling anything: with u
unconstrained, ``E[g] = 0`` and ``E[(u - E u) gᵀ] = -I``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from arviz_stats.base import array_stats
from pytensor.compile.mode import Mode
from scipy.special import logit
from scipy.stats import beta, norm

from bayes_moe.graph.mixing import mix_log_densities, normal_mixture

pytestmark = pytest.mark.data
NAMES = ("mu[1]", "mu[2]", "sigma[1]", "sigma[2]", "theta")


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return data_dir / "posteriordb" / "low_dim_gauss_mix-low_dim_gauss_mix"


@pytest.fixture(scope="module")
def y(folder: Path) -> np.ndarray:
    return np.array(json.loads((folder / "data.json").read_text())["y"])


@pytest.fixture(scope="module")
def reference(folder: Path) -> np.ndarray:
    """Return the reference draws (chain, draw, parameter)."""
    with np.load(folder / "reference_draws.npz") as stored:
        return np.stack([stored[name] for name in NAMES], axis=-1)


def rows(y: np.ndarray, mu: pt.TensorVariable, log_sigma: pt.TensorVariable, log_odds: pt.TensorVariable) -> list:
    """Return the log density of every row by the general operation and by the one for Normal experts."""
    logits = pt.stack([log_odds, pt.zeros_like(log_odds)])[None, :] * np.ones((len(y), 1))
    centre = mu[None, :] * np.ones((len(y), 1))
    half_log_2pi = 0.5 * np.log(2 * np.pi)
    densities = -half_log_2pi - log_sigma - 0.5 * ((y[:, None] - centre) * pt.exp(-log_sigma)) ** 2
    return [mix_log_densities(logits, densities), normal_mixture(logits, centre, log_sigma, y)]


def unconstrained(draws: np.ndarray) -> np.ndarray:
    """Return (μ₁, log(μ₂ - μ₁), log σ₁, log σ₂, logit θ) of draws (n, 5)."""
    gap = np.log(draws[:, 1] - draws[:, 0])
    return np.column_stack([draws[:, 0], gap, np.log(draws[:, 2]), np.log(draws[:, 3]), logit(draws[:, 4])])


def log_posterior(y: np.ndarray, u: pt.TensorVariable) -> list[pt.TensorVariable]:
    """Return the log posterior of u, with the Jacobian, by both operations."""
    mu = pt.stack([u[0], u[0] + pt.exp(u[1])])
    log_sigma, log_odds = u[2:4], u[4]
    prior = -0.125 * (mu**2).sum() - 0.125 * pt.exp(2 * log_sigma).sum()
    prior += -5 * pt.softplus(-log_odds) - 5 * pt.softplus(log_odds)
    jacobian = u[1] + log_sigma.sum()
    return [values.sum() + prior + jacobian for values in rows(y, mu, log_sigma, log_odds)]


def test_steins_identities(y: np.ndarray, reference: np.ndarray) -> None:
    draws = unconstrained(reference.reshape(-1, 5)[::10])
    u = pt.dvector("u")
    general, normal = log_posterior(y, u)
    mode = Mode(linker="py", optimizer="fast_compile")
    function = pytensor.function([u], [general, normal, pytensor.grad(general, u), pytensor.grad(normal, u)], mode=mode)
    gradients, shifts = [], []
    for draw in draws:
        first, second, slope, other = function(draw)
        assert first == pytest.approx(second, rel=1e-12)
        np.testing.assert_allclose(slope, other, rtol=1e-7, atol=1e-7)
        gradients.append(slope)
        shifts.append(first - plain_log_posterior(y, draw))
    np.testing.assert_allclose(shifts, shifts[0], atol=1e-8)
    g = np.array(gradients)
    products = (draws - draws.mean(axis=0))[:, :, None] * g[:, None, :] + np.eye(5)
    for values in (g, products.reshape(len(g), -1)):
        error = values.std(axis=0) / np.sqrt(len(values))
        z = np.abs(values.mean(axis=0)) / error
        assert z.max() < 4.15, f"z = {z.round(2)}, from {len(g)} draws"  # 1 in 1000 over 30 comparisons


def plain_log_posterior(y: np.ndarray, u: np.ndarray) -> float:
    """Return the same by SciPy."""
    mu, sigma, theta = (u[0], u[0] + np.exp(u[1])), np.exp(u[2:4]), 1 / (1 + np.exp(-u[4]))
    value = norm.logpdf(mu, 0, 2).sum() + norm.logpdf(sigma, 0, 2).sum() + beta.logpdf(theta, 5, 5)
    density = theta * norm.pdf(y, mu[0], sigma[0]) + (1 - theta) * norm.pdf(y, mu[1], sigma[1])
    value += np.log(density).sum()
    return float(value + u[1] + u[2] + u[3] + np.log(theta * (1 - theta)))


@pytest.mark.full
def test_moments_are_those_of_the_reference(y: np.ndarray, reference: np.ndarray) -> None:
    with pm.Model():
        mu = pm.Normal("mu", 0, 2, shape=2, transform=pm.distributions.transforms.ordered, initval=[-1.0, 1.0])
        sigma = pm.HalfNormal("sigma", 2, shape=2)
        theta = pm.Beta("theta", 5, 5)
        pm.Potential("y", rows(y, mu, pt.log(sigma), pt.log(theta) - pt.log1p(-theta))[0].sum())
        sampled = pm.sample(2500, chains=4, cores=1, random_seed=1, nuts_sampler="nutpie", progressbar=False)
    posterior = sampled["posterior"]
    parts = [posterior[name].values.reshape(4, -1, width) for name, width in (("mu", 2), ("sigma", 2), ("theta", 1))]
    ours = np.concatenate(parts, axis=-1)
    lines, worst = [], 0.0
    for j, name in enumerate(NAMES):
        here, there = ours[:, :, j], reference[:, :, j]
        ess = min(float(array_stats.ess(values, chain_axis=0, draw_axis=1)) for values in (here, there))
        assert ess >= 4000, f"{name}: {ess:.0f} effective draws"
        for method, summary in (("mean", np.mean), ("sd", np.std)):
            errors = [array_stats.mcse(values, chain_axis=0, draw_axis=1, method=method) for values in (here, there)]
            z = abs(summary(here) - summary(there)) / np.hypot(*errors)
            lines.append(f"{method} of {name}: {summary(here):.4f} and {summary(there):.4f}, z = {z:.2f}")
            worst = max(worst, float(z))
    assert worst <= 3.9, "\n".join(lines)  # 1 in 1000 over 10 comparisons
