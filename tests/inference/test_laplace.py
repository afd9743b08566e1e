"""Laplace's approximation against closed forms and quadrature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special

from bayes_moe.binding.density import MixtureDensity
from bayes_moe.datasets import two_lines
from bayes_moe.errors import InterruptedFit, NumericalError, SpecError
from bayes_moe.inference.laplace import Laplace
from bayes_moe.inference.outcome import Outcome, Status
from bayes_moe.log_density import LogDensity
from bayes_moe.mixture import MixtureOfExperts
from tests.inference.densities import (
    LOG_2PI,
    Cauchy,
    Gaussian,
    Hierarchy,
    Interrupting,
    Known,
    LogGamma,
    correlated,
    hamiltonian,
    mixture,
)

SMALL = np.random.default_rng(3).normal(0.0, 2.0, 8)


def ratios(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.sample_stats["log_p"] - outcome.sample_stats["log_q"]).ravel()


# ---- exact cases


def test_a_gaussian_is_met_exactly() -> None:
    density = correlated(5, seed=1, log_mass=-7.25)
    outcome = Laplace(draws=20_000, seed=1).run(density)
    assert outcome.status is Status.CONVERGED
    assert not outcome.notices
    assert outcome.mode == pytest.approx(density.mean, abs=1e-8)
    assert outcome.facts["log_evidence"] == pytest.approx(-7.25, abs=1e-9)
    assert ratios(outcome) == pytest.approx(np.full(20_000, -7.25), abs=1e-8)
    assert outcome.facts["k_hat"] == 0.0
    # the draws themselves: whitened by the truth they are standard normal
    white = np.linalg.solve(np.linalg.cholesky(density.covariance), (outcome.draws[0] - density.mean).T)
    assert np.abs(white.mean(axis=1)).max() < 4.5 / np.sqrt(20_000)
    assert np.abs(white @ white.T / 20_000 - np.eye(5)).max() < 0.05


def test_evidence_of_a_skewed_density_is_stirlings() -> None:
    shapes = np.array([2.0, 5.0, 30.0])
    outcome = Laplace(seed=1).run(LogGamma(shapes))
    stirling = np.sum(shapes * np.log(shapes) - shapes + 0.5 * np.log(2 * np.pi / shapes))
    assert outcome.facts["log_evidence"] == pytest.approx(stirling, abs=1e-7)
    truth = special.gammaln(shapes).sum()
    error = truth - outcome.facts["log_evidence"]
    assert error == pytest.approx(np.sum(1.0 / (12.0 * shapes)), rel=0.05)
    # importance sampling with the stored log densities mends it
    assert special.logsumexp(ratios(outcome)) - np.log(1000) == pytest.approx(truth, abs=0.1)


def test_log_q_is_a_density_and_draws_follow_it() -> None:
    density = Gaussian(np.array([0.3]), np.array([[0.49]]), log_mass=2.0)
    outcome = Laplace(draws=500, seed=4).run(density)
    q = outcome.draws[0, :, 0]
    assert outcome.sample_stats["log_q"][0] == pytest.approx(
        -0.5 * ((q - 0.3) / 0.7) ** 2 - np.log(0.7) - 0.5 * LOG_2PI, abs=1e-9
    )
    assert outcome.sample_stats["log_p"].shape == outcome.draws.shape[:2] == (1, 500)


def test_heavy_tails_are_called_unreliable() -> None:
    outcome = Laplace(seed=1).run(Cauchy(8), start=np.full(8, 0.1))
    assert outcome.facts["k_hat"] > 0.7
    assert outcome.status is Status.UNRELIABLE
    (notice,) = outcome.notices
    assert notice.code == "laplace_unreliable"
    assert f"k-hat {outcome.facts['k_hat']:.2f}" in notice.message
    assert "bm.NUTS()" in notice.message


# ---- one learned scale


def marginal_moments(density: Hierarchy) -> tuple[float, float, float]:
    """Evidence, mean and sd of t by quadrature."""
    t = np.linspace(-8.0, 6.0, 20_001)
    weights = np.exp(density.log_marginal(t))
    mass = integrate.trapezoid(weights, t)
    mean = integrate.trapezoid(weights * t, t) / mass
    return np.log(mass), mean, np.sqrt(integrate.trapezoid(weights * (t - mean) ** 2, t) / mass)


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_a_learned_scale_is_integrated(noise: float) -> None:
    density = Hierarchy(SMALL, noise)
    outcome = Laplace(draws=4000, seed=2).run(density, start=np.full(9, 0.5))
    log_evidence, mean, sd = marginal_moments(density)
    assert outcome.facts["approximation"] == "nested"
    assert outcome.facts["log_evidence"] == pytest.approx(log_evidence, abs=1e-3)
    assert special.logsumexp(ratios(outcome)) - np.log(4000) == pytest.approx(log_evidence, abs=0.05)
    assert outcome.facts["k_hat"] < 0.5
    # between the nodes too: the ratios hardly vary
    assert np.std(ratios(outcome)) < 0.022
    t = outcome.draws[0, :, -1]
    assert len(np.unique(t)) == 4000
    assert t.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(4000) + 0.02 * sd)
    assert t.std() == pytest.approx(sd, rel=0.06)
    # e^t z, which is what the data speak about, given the exact Gaussian conditional
    at = np.linspace(-8.0, 6.0, 4001)
    weights = special.softmax(density.log_marginal(at))
    exact = weights @ (np.exp(2 * at)[:, None] * SMALL / (np.exp(2 * at)[:, None] + noise**2))
    found = np.exp(t)[:, None] * outcome.draws[0, :, :-1]
    assert np.abs(found.mean(axis=0) - exact).max() < 0.1 * noise


def test_a_gaussian_at_the_joint_mode_is_far_from_a_learned_scale() -> None:
    """The reason for the grid: the same density without a named scale."""
    density = Hierarchy(SMALL, 0.1)
    density.scale = None  # type: ignore[assignment]
    outcome = Laplace(seed=2).run(density, start=np.full(9, 0.5))
    assert outcome.facts["approximation"] == "gaussian"
    assert abs(outcome.facts["log_evidence"] - marginal_moments(density)[0]) > 1.0


def test_a_scale_without_a_marginal_top_falls_back() -> None:
    class Rising(Known):
        """Proper at the joint mode, but given large t its rest has no maximum."""

        size, scale = 2, 1

        def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
            x, t = q
            return -0.5 * (x**2 * (1 - t) + t**2), np.array([-x * (1 - t), 0.5 * x**2 - t])

        def hessian(self, q: np.ndarray) -> np.ndarray:
            return np.array([[-(1 - q[1]), q[0]], [q[0], -1.0]])

    outcome = Laplace(draws=100, seed=1).run(Rising())
    assert outcome.facts["approximation"] == "gaussian"
    assert np.isfinite(outcome.draws).all()


# ---- mixtures


def test_one_expert_meets_quadrature() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(200, 1))
    y = 3.0 + 2.0 * X[:, 0] + rng.normal(scale=0.7, size=200)
    density = mixture(MixtureOfExperts(1), X, y)
    outcome = Laplace(draws=4000, seed=1).run(density)
    # integrate log sigma over the evidence of the conjugate regression, all written out anew
    y_scale = y.std()
    response, design = (y - y.mean()) / y_scale, np.column_stack([np.ones(200), (X - X.mean()) / X.std()])
    log_sigma = np.linspace(-2.0, 0.0, 201)
    logs = np.empty(201)
    for i, u in enumerate(log_sigma):
        covariance = np.exp(2 * u) * np.eye(200) + 2.5**2 * design @ design.T
        logs[i] = -0.5 * (200 * LOG_2PI + np.linalg.slogdet(covariance)[1])
        logs[i] -= 0.5 * response @ np.linalg.solve(covariance, response)
        logs[i] -= 0.5 * ((u - np.log(0.5)) / 0.75) ** 2 + np.log(0.75) + 0.5 * LOG_2PI
    weights = special.softmax(logs)
    evidence = special.logsumexp(logs) + np.log(log_sigma[1] - log_sigma[0]) - 200 * np.log(y_scale)
    assert outcome.facts["log_evidence"] == pytest.approx(evidence, abs=0.03)
    sigma = np.exp(log_sigma) * y_scale
    mean = weights @ sigma
    sd = np.sqrt(weights @ (sigma - mean) ** 2)
    found = density.expand(outcome.draws[0])["sigma"].ravel()
    assert abs(found.mean() - mean) < 0.2 * sd
    assert 0.9 < found.std() / sd < 1.1
    assert outcome.status is Status.CONVERGED


@dataclass(frozen=True, eq=False)
class Named(MixtureDensity):
    """The mixture's density, naming the position of the gate's learned scale or not."""

    position: int | None

    @property
    def scale(self) -> int | None:
        return self.position


def test_separated_experts_within_the_bounds_of_agreement() -> None:
    """Means within 0.2 sd and sds within 0.8 to 1.25 of a plain sampler's.

    Along the gate's scale that sampler hardly moves (a dozen effective draws), so there importance sampling is asked.
    """
    data = two_lines(2000, seed=5)
    plain = mixture(MixtureOfExperts(2), data.X, data.y)
    parts = (plain.design, plain.parameters, plain.table, plain.y, plain.weights, plain.log_units)
    density = Named(*parts, position=plain.size - 1)
    outcome = Laplace(draws=4000, seed=1, starts=12).run(density)
    assert outcome.facts["approximation"] == "nested"
    assert outcome.status is Status.CONVERGED
    assert outcome.mode is not None
    sampled = hamiltonian(plain, outcome.mode, 5000, seed=1)[500:]
    reference, found = density.expand(sampled), density.expand(outcome.draws[0])
    weights, log_scale = special.softmax(ratios(outcome)), np.log(found.pop("gate_scale"))
    mean = weights @ log_scale
    assert 0.9 < log_scale.std() / np.sqrt(weights @ (log_scale - mean) ** 2) < 1.1
    assert abs(log_scale.mean() - mean) < 0.1 * log_scale.std()
    reference.pop("gate_scale")
    for name, values in reference.items():
        mean, sd = values.mean(axis=0), values.std(axis=0)
        assert np.all(np.abs(found[name].mean(axis=0) - mean) < 0.2 * sd), name
        ratio = found[name].std(axis=0) / sd
        assert np.all((ratio > 0.8) & (ratio < 1.25)), name
    # the Gaussian at the joint mode is nowhere near
    joint = Named(*parts, position=None)
    gaussian = plain.expand(Laplace(draws=1000, seed=1).run(joint, start=outcome.mode).draws[0])
    assert np.all(gaussian["gate_slopes"].std(axis=0) > 3 * found["gate_slopes"].std(axis=0))


# ---- seeds, interrupts, refusals


@pytest.mark.parametrize("density", [correlated(3, seed=2), Hierarchy(SMALL, 1.0)], ids=["gaussian", "nested"])
def test_seeds(density: LogDensity) -> None:
    def draws(seed: Any) -> np.ndarray:
        return Laplace(draws=50, seed=seed).run(density, start=np.full(density.size, 0.5)).draws

    assert np.array_equal(draws(3), draws(3))
    assert not np.array_equal(draws(3), draws(4))
    assert np.array_equal(draws(np.random.default_rng(1)), draws(np.random.default_rng(1)))
    assert np.array_equal(draws(np.random.SeedSequence(1)), draws(np.random.SeedSequence(1)))


def test_a_drawn_seed_is_recorded() -> None:
    density = correlated(3, seed=2)
    first = Laplace(draws=50).run(density)
    assert np.array_equal(first.draws, Laplace(draws=50, seed=first.facts["seed"]).run(density).draws)


def test_an_interrupt_keeps_the_finished_draws() -> None:
    whole = Laplace(draws=200, seed=1).run(correlated(3, seed=2), start=np.zeros(3))
    counted = Interrupting(correlated(3, seed=2), call=0)
    Laplace(draws=200, seed=1).run(counted, start=np.zeros(3))
    cut = Laplace(draws=200, seed=1).run(
        Interrupting(correlated(3, seed=2), call=counted.calls - 80), start=np.zeros(3)
    )
    assert cut.status is Status.INTERRUPTED
    assert not cut.status.converged
    assert cut.draws.shape == (1, 119, 3)
    assert np.array_equal(cut.draws, whole.draws[:, :119])
    assert all(values.shape == (1, 119) for values in cut.sample_stats.values())


def test_an_interrupt_on_the_grid_returns_the_gaussian() -> None:
    counted = Interrupting(Hierarchy(SMALL, 1.0), call=0)
    Laplace(draws=100, seed=1).run(counted, start=np.full(9, 0.5))
    density = Interrupting(Hierarchy(SMALL, 1.0), call=counted.calls - 120)
    cut = Laplace(draws=100, seed=1).run(density, start=np.full(9, 0.5))
    assert cut.status is Status.INTERRUPTED
    assert cut.facts["approximation"] == "gaussian"
    assert cut.draws.shape == (1, 100, 9)


def test_an_interrupt_before_there_is_anything() -> None:
    with pytest.raises(InterruptedFit, match=r"Laplace was interrupted before it found the mode"):
        Laplace().run(Interrupting(correlated(3, seed=2), call=2))
    counted = Interrupting(correlated(3, seed=2), call=0)
    Laplace(draws=10).run(counted)
    with pytest.raises(InterruptedFit, match=r"before its first draw → call fit again"):
        Laplace(draws=10).run(Interrupting(correlated(3, seed=2), call=counted.calls - 9))


def test_a_flat_direction_is_refused() -> None:
    class Flat(Gaussian):
        def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
            return -0.5 * float(q[0] ** 2), np.array([-q[0], 0.0])

        def hessian(self, q: np.ndarray) -> np.ndarray:
            return np.diag([-1.0, 0.0])

    with pytest.raises(NumericalError, match=r"Laplace: expected a positive definite Hessian .* eigenvalue of .*0: "):
        Laplace().run(Flat(np.zeros(2), np.eye(2)))


def test_a_start_without_density_is_refused() -> None:
    density = correlated(2, seed=1, log_mass=np.nan)
    with pytest.raises(NumericalError, match="Laplace: expected a finite log density at zero, got nan"):
        Laplace().run(density)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "100", None, 10**9])
def test_draws_are_checked(value: Any) -> None:
    with pytest.raises(SpecError, match=rf"^Laplace\.draws: expected .* got {re.escape(repr(value))} → "):
        Laplace(draws=value)


@pytest.mark.parametrize("value", [0, -3, 1.0, False])
def test_starts_are_checked(value: Any) -> None:
    with pytest.raises(SpecError, match=rf"^Laplace\.starts: expected .* got {re.escape(repr(value))} → "):
        Laplace(starts=value)


@pytest.mark.parametrize("value", [-1, 1.5, "1", 2**64, True])
def test_seeds_are_checked(value: Any) -> None:
    with pytest.raises(SpecError, match=r"^Laplace\.seed: expected "):
        Laplace(seed=value)


def test_numpy_set_to_raise_changes_nothing() -> None:
    density = LogGamma(np.array([0.5, 2.0]))
    with np.errstate(all="raise"):
        strict = Laplace(draws=100, seed=1).run(density)
    assert np.array_equal(strict.draws, Laplace(draws=100, seed=1).run(density).draws)
