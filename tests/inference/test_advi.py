"""Variational inference against closed forms, and what it says when it cannot be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from scipy import special

from bayes_moe.datasets import motorcycle, true_moe
from bayes_moe.errors import InterruptedFit, NumericalError, SpecError
from bayes_moe.inference.advi import ADVI, base_draws
from bayes_moe.inference.ascent import ascend
from bayes_moe.inference.em import EM
from bayes_moe.inference.guides import FullRank, Guide, MeanField, anchor_at
from bayes_moe.inference.importance import smooth
from bayes_moe.inference.outcome import Outcome, Status
from bayes_moe.inference.progress import Advance, Report
from bayes_moe.mixture import MixtureOfExperts
from tests.inference.densities import (
    Cauchy,
    Gaussian,
    Interrupting,
    LogGamma,
    correlated,
    hamiltonian,
    mixture,
)

GUIDES = pytest.mark.parametrize("guide", [FullRank(), MeanField()], ids=["full_rank", "mean_field"])


def ratios(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.sample_stats["log_p"] - outcome.sample_stats["log_q"]).ravel()


def moments(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the guide itself, from its log density at draws: a quadratic through them."""
    q, log_q = outcome.draws[0], outcome.sample_stats["log_q"][0]
    rows, columns = np.triu_indices(q.shape[1])
    middle, unit = q.mean(axis=0), q.std(axis=0)
    z = (q - middle) / unit
    terms = np.column_stack([np.ones(len(z)), z, z[:, rows] * z[:, columns]])
    solution, *_ = np.linalg.lstsq(terms, log_q)
    precision = np.zeros((q.shape[1], q.shape[1]))
    precision[rows, columns] = -solution[1 + q.shape[1] :]
    precision = precision + precision.T
    covariance = np.linalg.inv(precision)
    return middle + unit * (covariance @ solution[1 : 1 + q.shape[1]]), covariance * np.outer(unit, unit)


# ---- closed forms


@pytest.mark.parametrize("told", [1.0, 0.3, 5.0])
def test_full_rank_meets_a_gaussian_exactly(told: float) -> None:
    """Also when it starts from a curvature that is wrong."""
    density = correlated(5, seed=1, log_mass=-7.25, told=told)
    outcome = ADVI(seed=1, tol=1e-12).run(density, start=density.mean + 0.5)
    mean, covariance = moments(outcome)
    scale = np.sqrt(np.diag(density.covariance))
    assert outcome.status is Status.CONVERGED
    assert np.abs((mean - density.mean) / scale).max() < 1e-4
    assert np.abs((covariance - density.covariance) / np.outer(scale, scale)).max() < 1e-3
    assert outcome.facts["elbo"] == pytest.approx(-7.25, abs=1e-5)
    assert outcome.facts["elbo_error"] < 1e-5
    assert outcome.facts["k_hat"] < 0.7


@pytest.mark.parametrize("told", [1.0, 0.3])
def test_mean_field_has_the_conditional_variances(told: float) -> None:
    """The optimum for precision Λ: the true mean, variances 1/Λ_ii, and a bound that is short by a known gap."""
    density = correlated(5, seed=1, log_mass=2.0, told=told)
    outcome = ADVI(seed=1, guide=MeanField(), tol=1e-10, draws=4000).run(density, start=density.mean - 0.4)
    mean, covariance = moments(outcome)
    assert mean == pytest.approx(density.mean, abs=1e-3)
    assert np.diag(covariance) == pytest.approx(1.0 / np.diag(density.precision), rel=1e-3)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-6
    logdet = np.linalg.slogdet(density.covariance)[1]
    gap = 0.5 * (logdet + np.sum(np.log(np.diag(density.precision))))
    assert outcome.history["elbo"][-1] == pytest.approx(2.0 - gap, abs=1e-6)
    assert abs(outcome.facts["elbo"] - (2.0 - gap)) < 4 * outcome.facts["elbo_error"]


@GUIDES
def test_a_skewed_density_has_a_known_optimum(guide: Guide) -> None:
    """For ``a q − exp q`` the best Gaussian has variance 1/a and mean log a − 1/(2a)."""
    shapes = np.array([3.0, 8.0])
    outcome = ADVI(seed=1, guide=guide, batch=4096, draws=2000).run(LogGamma(shapes))
    mean, covariance = moments(outcome)
    assert mean == pytest.approx(np.log(shapes) - 0.5 / shapes, abs=0.02)
    assert np.diag(covariance) == pytest.approx(1.0 / shapes, rel=0.04)
    best = np.sum(shapes * np.log(shapes) - shapes + 0.5 * np.log(2 * np.pi / shapes))
    assert outcome.history["elbo"][-1] == pytest.approx(best, abs=0.01)
    # a lower bound of the evidence, which is Γ(a), and importance sampling closes the gap
    truth = special.gammaln(shapes).sum()
    assert outcome.facts["elbo"] < truth
    assert special.logsumexp(ratios(outcome)) - np.log(2000) == pytest.approx(truth, abs=0.03)


def test_the_standard_error_of_the_bound_is_honest() -> None:
    shapes = np.array([1.0, 2.0])
    runs = [ADVI(seed=s, draws=400, batch=600).run(LogGamma(shapes)) for s in range(25)]
    final = np.array([run.facts["elbo"] - run.history["elbo"][-1] for run in runs])
    assert 0.6 < final.std() / np.mean([run.facts["elbo_error"] for run in runs]) < 1.6
    assert abs(final.mean()) < 4 * final.std() / np.sqrt(25) + 0.01


@GUIDES
def test_gradient_of_the_bound(guide: Guide) -> None:
    rng = np.random.default_rng(4)
    density, base = LogGamma(np.array([2.0, 3.0, 4.0])), base_draws(20, 3, rng)
    root = rng.standard_normal((3, 3))
    bound = guide.bind(anchor_at(np.log(density.shapes), -(root @ root.T + np.eye(3))))

    def value(phi: np.ndarray) -> float:
        return float(np.mean([density.logp(q) for q in bound.draws(phi, base)]) + bound.entropy(phi))

    phi = bound.start + 0.3 * rng.standard_normal(len(bound.start))
    gradients = np.array([density.gradient(q) for q in bound.draws(phi, base)])
    steps = 1e-5 * np.eye(len(phi))
    differences = [(value(phi + h) - value(phi - h)) / 2e-5 for h in steps]
    assert bound.pull_back(phi, base, gradients) == pytest.approx(np.array(differences), abs=1e-7)


@GUIDES
def test_entropy_and_log_density_belong_together(guide: Guide) -> None:
    rng = np.random.default_rng(5)
    bound = guide.bind(anchor_at(rng.standard_normal(3), -np.diag([1.0, 2.0, 5.0])))
    phi = bound.start + 0.3 * rng.standard_normal(len(bound.start))
    base = base_draws(500, 3, rng)
    assert -bound.log_density(phi, base).mean() == pytest.approx(bound.entropy(phi), abs=1e-9)
    narrow = bound.narrowed(phi, 0.5)
    assert bound.entropy(narrow) == pytest.approx(bound.entropy(phi) - 3 * np.log(2))
    centre = bound.draws(phi, np.zeros((1, 3)))
    assert bound.draws(narrow, base) - centre == pytest.approx(0.5 * (bound.draws(phi, base) - centre))


# ---- base draws and the ascent


def silent(done: int, note: str) -> None:
    """Show nothing."""


@pytest.mark.parametrize(("count", "size"), [(64, 3), (20, 10), (6, 10)])
def test_base_draws_have_the_moments_of_a_standard_normal(count: int, size: int) -> None:
    base = base_draws(count, size, np.random.default_rng(1))
    assert base.shape == (count, size)
    assert np.abs(base.sum(axis=0)).max() < 1e-12
    assert np.abs((base**3).sum(axis=0)).max() < 1e-12
    assert np.mean(base**2, axis=0) == pytest.approx(np.ones(size))
    if count >= 2 * size:
        assert np.abs(base.T @ base / count - np.eye(size)).max() < 1e-12


def test_the_ascent_climbs_a_curved_ridge_and_never_falls() -> None:
    def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
        bend = x[1] - x[0] ** 2
        value = -((1 - x[0]) ** 2 + 100 * bend**2)
        return value, np.array([2 * (1 - x[0]) + 400 * x[0] * bend, -200 * bend])

    def climb(steps: int) -> Any:
        return ascend(
            rosenbrock,
            np.array([-1.2, 1.0]),
            curvature=np.ones(2),
            steps=steps,
            tol=1e-10,
            advance=silent,
        )

    ended = climb(200)
    assert ended.converged
    assert ended.x == pytest.approx([1.0, 1.0], abs=1e-4)
    assert np.all(np.diff(ended.history) >= 0)
    short = climb(5)
    assert not short.converged
    assert len(short.history) == 6


def test_the_ascent_backs_off_from_undefined_values() -> None:
    def walled(x: np.ndarray) -> tuple[float, np.ndarray]:
        if x[0] >= 1:
            return np.nan, np.full(1, np.nan)
        return float(np.log(1 - x[0]) + 5 * x[0]), 5 - 1 / (1 - x)

    ended = ascend(walled, np.zeros(1), curvature=np.full(1, 0.1), steps=100, tol=1e-10, advance=silent)
    assert ended.converged
    assert ended.x[0] == pytest.approx(0.8, abs=1e-5)


# ---- mixtures


def test_full_rank_on_a_mixture_agrees_with_a_plain_sampler() -> None:
    """Predictive means within 0.25 sd and sds within 0.5 to 1.2."""
    data = true_moe(500, 2, 3, seed=1)
    density = mixture(MixtureOfExperts(3), data.X, data.y)
    mode = EM(seed=1, starts=16).run(density).mode
    assert mode is not None
    outcome = ADVI(seed=1, draws=3000).run(density, start=mode)
    assert outcome.status.converged
    assert np.all(np.diff(outcome.history["elbo"]) >= 0)
    sampled = hamiltonian(density, mode, 5000, seed=1)[500:]
    means, reference = ([predictive_mean(density, q) for q in draws] for draws in (outcome.draws[0], sampled))
    sd = np.std(reference, axis=0)
    assert np.abs((np.mean(means, axis=0) - np.mean(reference, axis=0)) / sd).max() < 0.25
    ratio = np.std(means, axis=0) / sd
    assert ratio.min() > 0.5
    assert ratio.max() < 1.2
    # a bound: below the evidence that importance sampling finds, and well above mean field's
    evidence = special.logsumexp(ratios(outcome)) - np.log(3000)
    assert outcome.facts["elbo"] < evidence < outcome.facts["elbo"] + 2.0
    narrow = ADVI(seed=1, guide=MeanField()).run(density, start=mode)
    assert narrow.facts["elbo"] < outcome.facts["elbo"] - 2.0
    assert "vi_unreliable" in [notice.code for notice in narrow.notices]


def predictive_mean(density: Any, q: np.ndarray) -> np.ndarray:
    experts = density.experts
    eta = density.table @ density.parameters.coefficients(q).T
    return np.asarray(np.sum(special.softmax(eta[:, :experts], axis=1) * eta[:, experts : 2 * experts], axis=1))


def test_motorcycle_from_em_to_draws() -> None:
    data = motorcycle()
    density = mixture(MixtureOfExperts(3), data.X, data.y)
    outcome = ADVI(seed=1, starts=8).run(density)
    assert outcome.status.converged
    assert outcome.draws.shape == (1, 1000, density.size)
    assert np.isfinite(outcome.draws).all()
    assert outcome.optima[0].log_posterior == pytest.approx(density.logp(outcome.mode))
    assert len(outcome.table["start_recipe"]) == 8
    assert len(outcome.history["em_log_posterior"]) > 0
    assert len(outcome.history["elbo"]) == outcome.facts["steps"] + 1
    assert outcome.facts["elbo"] == pytest.approx(outcome.history["elbo"][-1], abs=1.0)
    assert outcome.facts["k_hat"] == pytest.approx(smooth(ratios(outcome)).k_hat)
    again = ADVI(seed=1, starts=8).run(density)
    assert np.array_equal(outcome.draws, again.draws)


# ---- what it says


def test_heavy_tails_are_called_unreliable() -> None:
    outcome = ADVI(seed=1, draws=4000, guide=MeanField()).run(Cauchy(16), start=np.full(16, 0.1))
    assert outcome.facts["k_hat"] > 0.7
    assert outcome.status is Status.UNRELIABLE
    (notice,) = outcome.notices
    assert notice.code == "vi_unreliable"
    assert "unreliable" in notice.message
    assert f"k-hat {outcome.facts['k_hat']:.2f}" in notice.message
    assert "bm.NUTS()" in notice.message


def test_too_few_steps_are_not_converged() -> None:
    density = correlated(5, seed=1, told=0.05)
    outcome = ADVI(seed=1, steps=2).run(density, start=density.mean)
    assert outcome.status is Status.NOT_CONVERGED
    (notice,) = [n for n in outcome.notices if n.code == "vi_not_converged"]
    assert "after 2 steps" in notice.message
    assert notice.message.endswith("raise steps.")
    assert outcome.facts["steps"] == 2


def test_a_small_batch_is_noticed() -> None:
    density = LogGamma(np.full(20, 0.5))
    small = ADVI(seed=1, batch=40).run(density)
    assert "vi_batch_small" in [notice.code for notice in small.notices]
    assert small.history["elbo"][-1] > small.facts["elbo"] + 1.0
    large = ADVI(seed=1, batch=2000).run(density)
    assert "vi_batch_small" not in [notice.code for notice in large.notices]


def test_a_start_outside_the_support_is_narrowed() -> None:
    class Fenced(Gaussian):
        def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
            if np.abs(q).max() > 1.0:
                return -np.inf, np.full(len(q), np.nan)
            return super().logp_and_gradient(q)

    density = Fenced(np.zeros(2), np.eye(2))
    outcome = ADVI(seed=1).run(density)
    assert np.isfinite(outcome.history["elbo"]).all()
    assert np.isfinite(outcome.draws).all()


def test_nothing_finite_around_the_mode_is_refused() -> None:
    class Point(Gaussian):
        def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
            return (0.0 if not q.any() else -np.inf), np.zeros(len(q))

    with pytest.raises(NumericalError, match="ADVI: expected a finite log density and gradient around the mode"):
        ADVI(seed=1).run(Point(np.zeros(2), np.eye(2)))


def test_a_saddle_shaped_start_is_no_obstacle() -> None:
    density = correlated(4, seed=2, log_mass=1.0, told=-1.0)
    outcome = ADVI(seed=1, tol=1e-10).run(density, start=density.mean)
    assert outcome.facts["elbo"] == pytest.approx(1.0, abs=1e-3)
    assert outcome.facts["steps"] <= 3


def test_an_odd_batch_is_made_even() -> None:
    assert ADVI(seed=1, batch=33).run(LogGamma(np.array([1.0, 2.0]))).facts["batch"] == 34


class Recording(Report):
    """A report that remembers."""

    def __init__(self) -> None:
        object.__setattr__(self, "said", [])
        super().__init__(visible=False)

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        def advance(done: int, note: str) -> None:
            self.said.append((title, total, done, note))  # type: ignore[attr-defined]

        yield advance


def test_progress_is_told() -> None:
    report = Recording()
    outcome = ADVI(seed=1, steps=300).run(LogGamma(np.array([0.5, 2.0])), report=report)
    loaded, *said = report.said  # type: ignore[attr-defined]
    assert loaded[0].startswith("ADVI loads its code")
    assert {(title, total) for title, total, _, _ in said} == {("ADVI", 300)}
    taken = outcome.facts["steps"]
    assert [done for _, _, done, _ in said] == [*range(1, taken + 1), 300]
    assert said[0][3] == f"ELBO {outcome.history['elbo'][1]:.3f}"


# ---- seeds, interrupts, refusals


@GUIDES
def test_seeds(guide: Guide) -> None:
    density = LogGamma(np.array([1.0, 2.0]))

    def run(seed: Any) -> Outcome:
        return ADVI(draws=50, seed=seed, guide=guide).run(density)

    def draws(seed: Any) -> np.ndarray:
        return run(seed).draws

    # the base draws come from the seed, too
    assert run(3).history["elbo"][-1] != run(4).history["elbo"][-1]
    assert np.array_equal(draws(3), draws(3))
    assert not np.array_equal(draws(3), draws(4))
    assert np.array_equal(draws(np.random.default_rng(1)), draws(np.random.default_rng(1)))


def test_a_drawn_seed_is_recorded() -> None:
    density = LogGamma(np.array([1.0, 2.0]))
    first = ADVI(draws=50).run(density)
    assert np.array_equal(first.draws, ADVI(draws=50, seed=first.facts["seed"]).run(density).draws)


def test_an_interrupt_returns_the_guide_so_far() -> None:
    def density() -> LogGamma:
        return LogGamma(np.array([0.3, 0.5, 2.0]))

    engine = ADVI(seed=1, draws=100, batch=200)
    whole = engine.run(density())
    counted = Interrupting(density(), call=0)
    engine.run(counted)
    first = counted.calls - 100 - 200 * 4
    cut = engine.run(Interrupting(density(), call=first))
    assert cut.status is Status.INTERRUPTED
    taken = len(cut.history["elbo"])
    assert 1 <= taken < len(whole.history["elbo"])
    assert np.array_equal(cut.history["elbo"], whole.history["elbo"][:taken])
    assert cut.draws.shape == (1, 100, 3)
    assert cut.facts["steps"] == taken - 1
    assert "vi_not_converged" not in [notice.code for notice in cut.notices]


def test_an_interrupt_among_the_draws_keeps_the_finished() -> None:
    density = correlated(3, seed=1)
    counted = Interrupting(density, call=0)
    whole = ADVI(seed=1, draws=100).run(counted)
    cut = ADVI(seed=1, draws=100).run(Interrupting(density, call=counted.calls - 30))
    assert cut.status is Status.INTERRUPTED
    assert np.array_equal(cut.draws, whole.draws[:, :69])
    with pytest.raises(InterruptedFit, match="ADVI was interrupted before its first draw"):
        ADVI(seed=1, draws=100).run(Interrupting(density, call=counted.calls - 99))


def test_an_interrupt_before_the_mode() -> None:
    with pytest.raises(InterruptedFit, match="ADVI was interrupted before it found the mode"):
        ADVI().run(Interrupting(correlated(3, seed=1), call=2))


@pytest.mark.parametrize("name", ["draws", "steps", "starts"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "100", 10**9])
def test_counts_are_checked(name: str, value: Any) -> None:
    with pytest.raises(SpecError, match=rf"^ADVI\.{name}: expected .* got {re.escape(repr(value))} → "):
        ADVI(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch", 1), ("batch", 8.0), ("tol", 0), ("tol", 1.5), ("tol", np.nan), ("tol", True), ("seed", 1.5)],
)
def test_numbers_are_checked(name: str, value: Any) -> None:
    with pytest.raises(SpecError, match=rf"^ADVI\.{name}: expected "):
        ADVI(**{name: value})


@pytest.mark.parametrize("value", ["fullrank", FullRank, None, True])
def test_the_guide_is_checked(value: Any) -> None:
    with pytest.raises(SpecError, match=r"^ADVI\.guide: expected FullRank\(\) or MeanField\(\), got "):
        ADVI(guide=value)


def test_a_batch_that_determines_no_covariance_is_refused_before_anything_runs() -> None:
    density = Interrupting(correlated(6, seed=1), call=1)
    with pytest.raises(
        SpecError, match=r"^ADVI\.batch: expected at least 12 draws for FullRank\(\) over 6 values, got 8"
    ):
        ADVI(batch=8).run(density)
    assert ADVI(batch=8, guide=MeanField(), seed=1).run(correlated(6, seed=1)).status.converged


def test_full_rank_refuses_what_it_cannot_hold() -> None:
    class Wide(Gaussian):
        def __post_init__(self) -> None:
            self.size = 2001

    with pytest.raises(SpecError, match=r"^ADVI\.guide: expected at most 2000 values .* got 2001 → use MeanField\(\)"):
        ADVI().run(Wide(np.zeros(1), np.eye(1)))


def test_numpy_set_to_raise_changes_nothing() -> None:
    density = LogGamma(np.array([0.5, 2.0]))
    with np.errstate(all="raise"):
        strict = ADVI(draws=100, seed=1).run(density)
    assert np.array_equal(strict.draws, ADVI(draws=100, seed=1).run(density).draws)


def test_a_guide_is_a_value() -> None:
    assert ADVI(guide=FullRank()) == ADVI()
    assert ADVI(guide=MeanField()) != ADVI()
