"""The M-step against SciPy: every part of it is the maximum of the expected complete-data log posterior."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

from bayes_moe import Linear, MixtureOfExperts, SoftmaxGate, priors
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.binding.maximise import _solved
from bayes_moe.log_density import Expectation
from tests.cases import CASES, KERNELS, bound, simulated, some_points
from tests.oracle import Oracle, zero_sum

_WIDE = priors.Normal(0, 2.0)
CONSTANT_SIGMA = [name for name, case in KERNELS.items() if not bound(case).density.sigma_varies]


def places(density: MixtureDensity, *starts: str) -> np.ndarray:
    """Return positions in q of the variables whose names begin with one of ``starts``."""
    slices = density.parameters.slices
    chosen = [np.arange(where.start, where.stop) for name, where in slices.items() if name.startswith(starts)]
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=int)


def scipy_maximum(density: MixtureDensity, q: np.ndarray, given: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return q with the ``free`` positions where SciPy finds ``expected`` largest, the others as they are."""

    def whole(values: np.ndarray) -> np.ndarray:
        out = q.copy()
        out[free] = values
        return out

    def negative(values: np.ndarray) -> float:
        return -density.expected(whole(values), given)

    def slope(values: np.ndarray) -> np.ndarray:
        at = whole(values)
        out = []
        for i in free:
            h = 1e-4 * (1.0 + abs(at[i])) * np.eye(len(at))[i]
            f = [density.expected(at + m * h, given) for m in (1, -1, 2, -2)]
            out.append(-(8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h.max()))
        return np.array(out)

    found = minimize(negative, q[free], jac=slope, method="BFGS", options={"gtol": 1e-7, "maxiter": 500})
    return whole(found.x)


def settled_gate(density: MixtureDensity, q: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return q after M-steps under fixed responsibilities until the gate rests; the experts stay."""
    gate = np.arange(density.parameters.gate_start, density.size)
    for _ in range(400):
        expectation: Expectation = density._sums(q, given=density.rows.blocked(given))
        proposal = q.copy()
        proposal[gate] = density.m_step(expectation)[gate]
        if np.allclose(proposal, q, rtol=0, atol=1e-11):
            break
        q = proposal
    return q


def gate_of(density: MixtureDensity, q: np.ndarray) -> np.ndarray:
    eta = density.table @ density.parameters.coefficients(q)[: density.experts].T
    share = np.exp(eta - eta.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", CONSTANT_SIGMA)
def test_means_then_sigmas(name: str) -> None:
    """Means are best given sigma, then sigma is best given the new means."""
    density = bound(CASES[name]).density
    q = 0.5 * some_points(CASES[name], 1, seed=30)[0]
    given = density.responsibilities(q)
    proposal = density.m_step(density.e_step(q), damping=0.0)
    mu, sigma = places(density, "mu_"), places(density, "log_sigma")
    best = scipy_maximum(density, q, given, mu)
    np.testing.assert_allclose(proposal[mu], best[mu], rtol=1e-5, atol=1e-5)
    best = scipy_maximum(density, best, given, sigma)
    np.testing.assert_allclose(proposal[sigma], best[sigma], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(density.log_likelihood(proposal), density.log_likelihood(best), rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_closed_step_raises_the_expected_log_posterior(name: str) -> None:
    density = bound(CASES[name]).density
    for q in 0.5 * some_points(CASES[name], 3, seed=31):
        expectation = density.e_step(q)
        given = density.responsibilities(q)
        moved = density.m_step(expectation, damping=0.0)
        assert density.expected(moved, given) >= density.expected(q, given) - 1e-9
        small = density.m_step(expectation, damping=1e-3)
        assert density.expected(small, given) >= density.expected(moved, given) - 1e-9


SIGMA_VARIES = ["sigma of x", "sigma of x, weighted", "one sigma of x", "unlike experts", "priors in user units"]


@pytest.mark.parametrize("name", SIGMA_VARIES)
def test_sigmas_that_vary_reach_scipys_maximum(name: str) -> None:
    """Newton steps of alternating phases, under fixed responsibilities, end where SciPy ends."""
    density = bound(CASES[name]).density
    given = np.random.default_rng(32).dirichlet(np.full(density.experts, 0.5), size=len(density.y))
    q, blocked = density.parameters.prior_loc.copy(), density.rows.blocked(given)
    gate = np.arange(density.parameters.gate_start, density.size)
    for round_ in range(300):
        moved = density.m_step(density._sums(q, given=blocked, sigma_phase=round_ % 2 == 1))
        moved[gate] = q[gate]
        q = moved
    experts = places(density, "mu_", "log_sigma")
    best = scipy_maximum(density, q, given, experts)
    assert density.expected(best, given) <= density.expected(q, given) + 1e-8
    np.testing.assert_allclose(q[experts], best[experts], atol=1e-5)
    start = density.parameters.prior_loc + 0.1
    far = scipy_maximum(density, np.where(np.isin(np.arange(density.size), experts), start, q), given, experts)
    assert density.expected(far, given) <= density.expected(q, given) + 1e-8


GATES = {
    "linear gate, 2": CASES["linear gate, 2"],
    "linear gate, 3": CASES["linear gate, 3"],
    "polynomial gate": CASES["polynomial gate"],
    "constant gate": CASES["constant gate"],
    "weighted, gate_X": CASES["weighted, gate_X"],
    "fixed gate prior": CASES["fixed gate prior"],
    "fixed gate prior, standardised": CASES["fixed gate prior, standardised"],
    "known gate scale": CASES["known gate scale"],
    "learned gate scale": CASES["learned gate scale"],
    "flat": CASES["flat"],
}


@pytest.mark.parametrize("name", GATES)
def test_the_gate_reaches_scipys_maximum(name: str) -> None:
    """The weighted multinomial problem with its ridge, from soft responsibilities."""
    density = bound(GATES[name]).density
    given = np.random.default_rng(33).dirichlet(np.full(density.experts, 0.7), size=len(density.y))
    gate = np.arange(density.parameters.gate_start, density.size)
    q = settled_gate(density, density.parameters.prior_loc.copy(), given)
    best = scipy_maximum(density, q, given, gate)
    np.testing.assert_allclose(gate_of(density, q), gate_of(density, best), atol=1e-6)
    assert density.expected(best, given) <= density.expected(q, given) + 1e-8
    far = q.copy()
    far[gate] = 0.3 * np.random.default_rng(34).normal(size=len(gate))
    far = scipy_maximum(density, far, given, gate)
    assert density.expected(far, given) <= density.expected(q, given) + 1e-8
    np.testing.assert_allclose(gate_of(density, q), gate_of(density, far), atol=1e-5)


def test_known_labels_are_ridge_regression_by_hand() -> None:
    """With hard labels and a fixed prior the gate is a penalised multinomial regression, written out here."""
    model = MixtureOfExperts(3, SoftmaxGate(Linear(slopes=priors.Normal(0, 0.8, standardised=True), intercept=_WIDE)))
    case = simulated(model, 35, rows=60, weighted=True)
    here = bound(case)
    density = here.density
    labels = np.random.default_rng(35).integers(3, size=60)
    labels[case.X[:, 0] > np.quantile(case.X[:, 0], 0.7)] = 2
    kept = case.weights > 0
    x = case.X[kept, 0]
    w, z = case.weights[kept], labels[kept]
    x = (x - np.average(x, weights=w)) / math.sqrt(np.average((x - np.average(x, weights=w)) ** 2, weights=w))
    back = np.array([zero_sum(axis) for axis in np.eye(2)])

    def negative(values: np.ndarray) -> float:
        a, b = values[:2] @ back, values[2:] @ back
        total = 0.5 * float(values[:2] @ values[:2]) / 2.0**2 + 0.5 * float(values[2:] @ values[2:]) / 0.8**2
        for i in range(len(x)):
            eta = a + b * x[i]
            total -= w[i] * (eta[z[i]] - math.log(sum(math.exp(e) for e in eta)))
        return total

    found = minimize(negative, np.zeros(4), method="BFGS", options={"gtol": 1e-6}).x
    q = settled_gate(density, density.parameters.prior_loc.copy(), np.eye(3)[z])
    gate = density.parameters.coefficients(q)[:3]
    np.testing.assert_allclose(gate[:, 0], found[:2] @ back, atol=1e-5)
    np.testing.assert_allclose(gate[:, 1], found[2:] @ back, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["linear gate, 3", "cubic means, two columns, weighted", "unlike experts", "equal gate"]
)
def test_fitted_labels_are_near_the_maximum(name: str) -> None:
    """What starts begin from is close to the best q for the labels: within a nat of where SciPy ends."""
    density = bound(CASES[name]).density
    given = np.random.default_rng(36).dirichlet(np.full(density.experts, 0.3), size=len(density.y))
    q = density.fit_labels(given)
    best = scipy_maximum(density, q, given, np.arange(density.size))
    assert density.expected(q, given) <= density.expected(best, given) + 1e-9
    assert density.expected(best, given) - density.expected(q, given) < 1.0


@pytest.mark.parametrize("name", CASES)
def test_expected_of_the_oracle_is_what_rises(name: str) -> None:
    """The M-step raises the expected log posterior of the independent density too."""
    here = bound(CASES[name])
    density, oracle = here.density, Oracle(CASES[name])
    q = 0.5 * some_points(CASES[name], 1, seed=37)[0]
    named = here.parameters.named
    given = oracle.terms(named(q)).counted.responsibilities()
    moved = density.m_step(density.e_step(q), damping=0.0)
    before, after = (oracle.terms(named(p)).counted.expected(given) for p in (q, moved))
    assert after >= before - 1e-9
    if not np.array_equal(moved, q):
        assert after > before


def test_chunks_add_up() -> None:
    """Sums of two halves of the rows are the sums of all rows, so M-steps can be shared out."""
    case = CASES["several blocks of rows"]
    whole = bound(case).density
    q = some_points(case, 1, seed=38)[0]
    sums = whole.e_step(q).statistics
    parts = [_part(whole, slice(0, 100)).e_step(q), _part(whole, slice(100, None)).e_step(q)]
    for field in ("sizes", "scores", "pairs", "moments"):
        total = sum(getattr(part.statistics, field) for part in parts)
        np.testing.assert_allclose(getattr(sums, field), total, rtol=1e-9, atol=1e-9)


def _part(density: MixtureDensity, rows: slice) -> MixtureDensity:
    columns = (density.table, density.y, density.weights, density.log_units)
    return MixtureDensity(density.design, density.parameters, *(column[rows] for column in columns))


def gain_of_means(*, careful: bool, seed: int) -> float:
    """Return what a step of means gains on learned features where sigma falls to e^-22 within a few rows.

    The step is floating point's, its gain on the quadratic of these rows that of fractions.
    """
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1.0, 1.0, 80))
    features = np.column_stack([np.ones(80), np.tanh(2.0 * np.outer(x, rng.normal(size=7)) + rng.normal(size=7))])
    precision = np.exp(5.0 + 40.0 * np.clip(x - 0.3, 0.0, None) ** 2 / 0.49)
    residual = rng.normal(size=80) / np.sqrt(precision)
    a = (features * precision[:, None]).T @ features + 0.2 * np.eye(8)
    b = features.T @ (precision * residual)
    step = [Fraction(float(each)) for each in _solved(a[None], b[None], careful=careful)[0]]
    gain = -sum(each * each for each in step) * Fraction(0.2) / 2
    for row, weight, error in zip(features, precision, residual, strict=True):
        moved = sum(Fraction(float(value)) * each for value, each in zip(row, step, strict=True))
        gain += Fraction(float(weight)) * moved * (Fraction(float(error)) - moved / 2)
    return float(gain)


def test_a_careful_step_is_uphill_where_digits_are_lost() -> None:
    assert min(gain_of_means(careful=False, seed=seed) for seed in range(8)) < -1.0, "else care is not needed"
    assert min(gain_of_means(careful=True, seed=seed) for seed in range(8)) > 0.0
