"""Faults planted into the chains of a whole fit: each is found, by name, and none stops the fit from being judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.fitting import assemble
from bayes_moe.inference.outcome import Outcome
from bayes_moe.posterior.draws import Draws, label_draws
from tests.binding.test_invariances import block_orders, renamed
from tests.cases import CASES, bound
from tests.fits import X, Y
from tests.tiers import long

CHAINS, DRAWS = 4, 500
MANY = [range(1), *long([range(1, 101)])]
FAULTS = {
    "constant": {"stuck_chain"},
    "stuck": {"r_hat", "ess_bulk", "stuck_chain"},
    "nan": {"not_finite"},
    "all_nan": {"not_finite"},
    "infinite": {"not_finite"},
    "foreign": {"foreign_mode", "r_hat"},
    "copied": {"identical_chains"},
}


@pytest.fixture(scope="module")
def approximate() -> bm.Fit:
    """Draws that are independent by construction, of a posterior that is nearly Gaussian."""
    return bm.fit(bm.MixtureOfExperts(2), X, Y, bm.Laplace(draws=CHAINS * DRAWS, seed=2), progress=False)


def chains(fit: bm.Fit, seed: int, fault: str | None = None) -> Outcome:
    """Return the draws in random order as chains of a sampler, with a fault in one of them."""
    rng = np.random.default_rng(seed)
    flat, size = fit.outcome.draws[0], fit.outcome.draws.shape[-1]
    q = flat[rng.permutation(len(flat))].reshape(CHAINS, DRAWS, size)
    bad, at = int(rng.integers(CHAINS)), int(rng.integers(20, DRAWS - 100))
    if fault == "constant":
        q[bad] = q[bad, :1]
    elif fault == "stuck":
        q[bad, at:] = q[bad, at]
    elif fault == "nan":
        q[bad, at:] = np.nan
    elif fault == "all_nan":
        q[bad] = np.nan
    elif fault == "infinite":
        q[bad, at, int(rng.integers(size))] = np.inf
    elif fault == "copied":
        q[bad] = q[(bad + 1) % CHAINS]
    elif fault == "foreign":
        # around another point, with the same spread
        q[bad] += rng.choice([-1.0, 1.0], size) * 6.0 * flat.std(axis=0)
    with np.errstate(all="ignore"):
        logp = np.array([[fit.bound.density.logp(one) for one in chain] for chain in q])
    none = np.zeros((CHAINS, DRAWS), dtype=bool)
    energy = rng.standard_normal((CHAINS, DRAWS))
    stats = {"logp": logp, "diverging": none, "maxdepth_reached": none, "energy": energy}
    return replace(fit.outcome, draws=q, sample_stats=stats, optima=())


def judged(fit: bm.Fit, seed: int, fault: str | None = None) -> bm.Fit:
    return assemble(fit.bound, bm.NUTS(seed=seed), chains(fit, seed, fault))


@pytest.mark.parametrize("seeds", MANY, ids=len)
def test_sound_chains_pass(approximate: bm.Fit, seeds: range) -> None:
    passed = [judged(approximate, seed).status.converged for seed in seeds]
    assert np.mean(passed) >= 0.97


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seeds", MANY, ids=len)
def test_every_planted_fault_is_found(approximate: bm.Fit, fault: str, seeds: range) -> None:
    for seed in seeds:
        status = judged(approximate, seed, fault).status
        assert not status.converged, (seed, status)
        assert FAULTS[fault] & set(status.codes), (seed, status)


def test_draws_without_a_number_keep_the_labels_of_the_others(approximate: bm.Fit) -> None:
    outcome = chains(approximate, 1)
    flat = outcome.draws.reshape(-1, outcome.draws.shape[-1])
    whole = label_draws(approximate.bound, flat, outcome.mode)
    spoiled = flat.copy()
    spoiled[::7] = np.nan
    found = label_draws(approximate.bound, spoiled, outcome.mode)
    kept = np.isfinite(spoiled).all(axis=1)
    np.testing.assert_array_equal(found.permutations[kept], whole.permutations[kept])
    np.testing.assert_array_equal(found.permutations[~kept], [[0, 1]] * int((~kept).sum()))
    assert label_draws(approximate.bound, np.full_like(flat, np.nan), outcome.mode).ambiguous


FLAT = ["linear gate, 3", "linear gate, 5, two columns", "equal gate", "unlike experts", "no columns"]


@pytest.mark.parametrize("name", FLAT)
def test_planted_renamings_are_found(name: str) -> None:
    """Draws around a point, each under a random renaming: all come back, experts and gate alike."""
    case = CASES[name]
    own = bound(case)
    experts = len(case.model.experts)
    rng = np.random.default_rng(6)
    mode = own.density.fit_labels(rng.dirichlet(np.full(experts, 0.05), size=len(own.density.weights)))
    every = block_orders(case)
    plain = mode + 0.02 * rng.normal(size=(100, len(mode)))
    planted = [every[i] for i in rng.integers(len(every), size=100)]
    q = []
    for one, order in zip(plain, planted, strict=True):
        point = renamed(case, own.parameters.named(one), order)
        q.append(np.concatenate([np.ravel(point[key]) for key in own.parameters.slices]))
    labels = label_draws(own, np.array(q), mode)
    undone = [np.array(order[""])[found] for order, found in zip(planted, labels.permutations, strict=True)]
    np.testing.assert_array_equal(undone, np.tile(np.arange(experts), (100, 1)))
    back, expected = Draws(own, np.array(q)[None], labels.permutations), Draws(own, plain[None], np.array(undone))
    np.testing.assert_allclose(back.coefficients, expected.coefficients, atol=1e-10)
