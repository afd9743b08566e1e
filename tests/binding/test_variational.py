"""The evidence lower bound: that it is one, that no round lowers it, and that naming and units change nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal, norm

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.binding.ridge import SPREAD
from bayes_moe.log_density import Approximation
from tests.cases import Case, bound
from tests.tiers import seeds

CURVED = bm.Sum((bm.Linear((0, 1)), bm.Spline(4, columns=(0, 1)), bm.Products((0, 1))))
EXPERT = bm.Expert(mu=CURVED, sigma=bm.Linear((0, 1)))


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, 2)) * [2.0, 0.1] + [5.0, 0.0]
    y = np.where(x[:, 0] > 5.0, 3.0 * np.sin(x[:, 0]), -20.0 * x[:, 1]) + 0.3 * rng.normal(size=n)
    return x, 10.0 + y


def case(experts: int, n: int, seed: int, expert: bm.Expert = EXPERT, **options: object) -> Case:
    x, y = rows(n, seed)
    gate = options.pop("gate", bm.SoftmaxGate(bm.Linear((0, 1))))
    weights = options.pop("weights", None)
    return Case(bm.MixtureOfExperts([expert] * experts, gate, **options), x, y, weights)  # type: ignore[arg-type]


def shares(n: int, experts: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(experts, 0.3), size=n)


def ascended(whole: Bound, responsibilities: np.ndarray, rounds: int) -> list[Approximation]:
    density = whole.variational_density
    found = [density.begin(responsibilities)]
    for _ in range(rounds):
        found.append(density.ascend(found[-1]))
    return found


KINDS: dict[str, Callable[[int], Case]] = {
    "curves": lambda seed: case(3, 60, seed),
    "more columns than rows": lambda seed: case(2, 12, seed),
    "one expert": lambda seed: case(1, 40, seed),
    "equal weights": lambda seed: case(2, 40, seed, gate=bm.EqualGate()),
    "a plain mixture": lambda seed: case(2, 40, seed, gate=bm.SoftmaxGate(bm.Constant())),
    "weights": lambda seed: case(2, 40, seed, weights=np.arange(40) % 4),
    "a power of y": lambda seed: case(2, 40, seed, target=bm.Power(0.5)),
    "a shared mean": lambda seed: case(2, 40, seed, mean=bm.KernelMean()),
    "shared sigma": lambda seed: case(2, 40, seed, bm.Expert(mu=CURVED, sigma=bm.Constant(shared=True))),
    "partly shared sigma": lambda seed: case(3, 40, seed, bm.Expert(mu=CURVED, sigma=bm.Linear((0, 1), shared=(1,)))),
    "stated priors": lambda seed: case(
        2,
        40,
        seed,
        bm.Expert(mu=bm.Sum((bm.Linear((0, 1), slopes=bm.priors.Normal(1.0, 0.5)), bm.Spline(4, columns=(0, 1))))),
    ),
    "different experts": lambda seed: Case(
        bm.MixtureOfExperts([EXPERT, EXPERT, bm.Expert(mu=bm.Constant()), bm.Expert()]), *rows(50, seed)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", seeds(1, 12))
def test_no_round_lowers_the_bound(kind: str, seed: int) -> None:
    row = KINDS[kind](seed)
    whole = bound(row)
    found = ascended(whole, shares(len(whole.counted), len(row.model.experts), seed), 40)
    elbo = np.array([each.elbo for each in found])
    assert np.isfinite(elbo).all()
    assert (np.diff(elbo) >= -1e-9 * np.abs(elbo[1:])).all()


@pytest.mark.parametrize("kind", ["curves", "weights", "a power of y", "stated priors"])
def test_the_bound_is_its_formula(kind: str) -> None:
    """Labels, coefficients and points term by term, with q's entropy, in place of the collapsed form."""
    row = KINDS[kind](5)
    whole = bound(row)
    experts = len(row.model.experts)
    found = ascended(whole, shares(len(whole.counted), experts, 5), 3)[-1]
    parameters, density = whole.parameters, whole.variational_density
    posterior = density.posterior(found)
    eta = density.table @ parameters.coefficients(found.q).T
    gate, mean, log_sigma = np.split(eta, 3, axis=1)
    scale, y, weights = np.exp(log_sigma), density.outcomes.y, density.outcomes.weights
    expected = norm(mean, scale).logpdf(y[:, None]) - 0.5 * posterior.variances(density.table) / scale**2
    log_gate = np.log(softmax(gate, axis=1))
    r = softmax(log_gate + expected, axis=1)
    np.testing.assert_allclose(found.responsibilities, r, atol=1e-12)
    entropy = -np.sum(r * np.log(np.maximum(r, 1e-300)), axis=1)
    total = weights @ (np.sum(r * (log_gate + expected), axis=1) + entropy - density.outcomes.log_units)
    points = np.ones(parameters.size, dtype=bool)
    for expert, prior in enumerate(density.priors):
        term = next(t for t in parameters.terms if expert in t.experts and t.parameter.name == "mu")
        places = term.places[term.experts.index(expert)]
        points[places] = False
        before = multivariate_normal(prior.loc, np.diag(1.0 / prior.precision(posterior.log_precisions[expert])))
        after = multivariate_normal(found.q[places], posterior.roots[expert] @ posterior.roots[expert].T)
        gap = before.mean - after.mean
        cross = np.linalg.solve(before.cov, after.cov)
        inside = np.trace(cross) + gap @ np.linalg.solve(before.cov, gap) - len(gap) - np.linalg.slogdet(cross)[1]
        total -= 0.5 * inside
        total += norm(prior.centre, SPREAD).logpdf(posterior.log_precisions[expert]).sum()
    total += norm(parameters.prior_loc, parameters.prior_scale).logpdf(found.q)[points].sum()
    assert found.elbo == pytest.approx(total, rel=1e-10)


def test_it_is_a_lower_bound() -> None:
    """All 2^7 divisions of seven rows among two experts, each expert's rows integrated in closed form."""
    row = case(2, 7, 1, bm.Expert(mu=bm.Linear()))
    whole = bound(row)
    density, parameters = whole.variational_density, whole.parameters
    for found in ascended(whole, shares(7, 2, 1), 6)[1:]:
        eta = density.table @ parameters.coefficients(found.q).T
        log_gate = np.log(softmax(eta[:, :2], axis=1))
        scale = np.exp(eta[:, 4:])
        posterior = density.posterior(found)
        phi = density.table[:, posterior.positions[0]]
        evidence = []
        for labels in product(range(2), repeat=7):
            value = log_gate[np.arange(7), labels].sum()
            for expert, prior in enumerate(density.priors):
                own = np.array(labels) == expert
                if own.any():
                    spread = phi[own] / prior.precision(posterior.log_precisions[expert]) @ phi[own].T
                    law = multivariate_normal(phi[own] @ prior.loc, spread + np.diag(scale[own, expert] ** 2))
                    value += law.logpdf(density.outcomes.y[own])
            evidence.append(value)
        points = found.elbo - density.outcomes.weights @ -density.outcomes.log_units
        rest = density._log_prior(found.q) + sum(
            prior.log_prior(logs) for prior, logs in zip(density.priors, posterior.log_precisions, strict=True)
        )
        assert points - rest <= logsumexp(evidence) + 1e-9
        assert points - rest > logsumexp(evidence) - 6.0  # and not a vain one


def test_one_expert_ends_at_the_maximum_of_its_evidence() -> None:
    row = case(1, 40, 3, bm.Expert(mu=CURVED), gate=bm.EqualGate())
    whole = bound(row)
    found = ascended(whole, np.ones((40, 1)), 60)[-1]
    density = whole.variational_density
    (prior,), y = density.priors, density.outcomes.y
    posterior = density.posterior(found)
    phi = density.table[:, posterior.positions[0]]
    (sigma_at,) = np.flatnonzero(whole.parameters.prior_loc == np.log(0.5))
    sigma_prior = norm(np.log(0.5), whole.parameters.prior_scale[sigma_at])

    def evidence(at: np.ndarray) -> float:
        covariance = phi / prior.precision(at[1:]) @ phi.T + np.exp(2 * at[0]) * np.eye(40)
        law = multivariate_normal(phi @ prior.loc, covariance).logpdf(y)
        return -float(law + sigma_prior.logpdf(at[0]) + norm(prior.centre, SPREAD).logpdf(at[1:]).sum())

    ours = np.concatenate([[found.q[sigma_at]], posterior.log_precisions[0]])
    best = minimize(evidence, ours + 0.3, method="BFGS", options={"gtol": 1e-7})
    assert found.elbo + density.outcomes.log_units.sum() == pytest.approx(-evidence(ours), abs=1e-6)
    assert evidence(ours) <= best.fun + 1e-5
    np.testing.assert_allclose(ours, best.x, atol=0.01)


def test_names_of_experts_and_the_order_of_rows_change_nothing() -> None:
    row = case(3, 50, 2)
    r, rng = shares(50, 3, 2), np.random.default_rng(2)
    names, order = np.array([2, 0, 1]), rng.permutation(50)
    plain = ascended(bound(row), r, 8)[-1]
    renamed = ascended(bound(row), r[:, names], 8)[-1]
    assert renamed.elbo == pytest.approx(plain.elbo, rel=1e-8)
    np.testing.assert_allclose(renamed.responsibilities, plain.responsibilities[:, names], atol=1e-5)
    moved = ascended(bound(Case(row.model, row.X[order], row.y[order])), r[order], 8)[-1]
    assert moved.elbo == pytest.approx(plain.elbo, rel=1e-8)
    np.testing.assert_allclose(moved.responsibilities, plain.responsibilities[order], atol=1e-5)


def test_units_change_the_bound_by_their_logarithm() -> None:
    row, r = case(2, 50, 4), shares(50, 2, 4)
    plain = ascended(bound(row), r, 8)[-1]
    other = ascended(bound(Case(row.model, row.X * [10.0, -3.0] + [4.0, 1.0], 7.0 * row.y - 100.0)), r, 8)[-1]
    assert other.elbo == pytest.approx(plain.elbo - 50 * np.log(7.0), rel=1e-7)


def test_rows_twice_are_weights_of_two() -> None:
    row, r = case(2, 30, 6), shares(30, 2, 6)
    twice = Case(row.model, np.vstack([row.X, row.X]), np.concatenate([row.y, row.y]))
    weighted = ascended(bound(Case(row.model, row.X, row.y, np.full(30, 2.0))), r, 8)[-1]
    assert ascended(bound(twice), np.vstack([r, r]), 8)[-1].elbo == pytest.approx(weighted.elbo, rel=1e-8)
