"""EM never goes down, ends at a certified maximum of the posterior, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import bayes_moe.inference.em as em_module
from bayes_moe import EM, EMDecreased, Expert, InterruptedFit, Linear, MixtureOfExperts, SpecError, nearly_flat
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.datasets import two_lines
from bayes_moe.inference.climb import SLACK, climb, monotone_step
from bayes_moe.inference.outcome import Outcome, Status
from bayes_moe.inference.stopping import Gain
from tests.cases import CASES, Case, bound, simulated
from tests.inference.problems import SPOILS, problem
from tests.oracle import Oracle
from tests.tiers import long

LINES = two_lines(80, seed=5)
EASY = Case(MixtureOfExperts(2), LINES.X, LINES.y)


def from_random_labels(density: MixtureDensity, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 3])
    return density.fit_labels(rng.dirichlet(np.full(density.experts, 0.3), size=len(density.weights)))


def floor(value: float) -> float:
    """Return what the log posterior must not fall below after one step from ``value``."""
    return value - SLACK * (1.0 + abs(value))


def derivative(function: Callable[[np.ndarray], Any], q: np.ndarray, step: float | np.ndarray) -> np.ndarray:
    """Return the derivative of a function by four-point central differences, q's axis first."""
    out = []
    for i, size in enumerate(np.broadcast_to(step, q.shape)):
        f = [function(q + m * size * np.eye(len(q))[i]) for m in (1, -1, 2, -2)]
        out.append((8.0 * (f[0] - f[1]) - (f[2] - f[3])) / (12.0 * size))
    return np.array(out)


# -- never down ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenth", range(10))
def test_monotone_on_random_problems(tenth: int) -> None:
    """Twenty problems each: every step, every phase, accelerated or not, and the closed forms alone."""
    for seed in range(20 * tenth, 20 * tenth + 20):
        density = bound(problem(seed)).density
        start = from_random_labels(density, seed)
        expectation = density.e_step(start)
        for _ in range(6 * density.phases):
            before = density.logp(expectation.q)
            closed = density.logp(density.m_step(expectation, damping=0.0))
            assert closed >= floor(before), f"problem {seed}: the closed forms alone lower the log posterior"
            expectation = monotone_step(density, expectation)
            after = density.logp(expectation.q)
            assert after == pytest.approx(expectation.log_posterior, rel=1e-12)
            assert after >= floor(before), f"problem {seed}"
        last, trace = climb(density, start, 30, Gain(1e-8))
        steps = np.array(trace)
        assert np.all(steps[1:] >= [floor(value) for value in steps[:-1]]), f"problem {seed}"
        assert trace[0] == pytest.approx(density.logp(start), rel=1e-12)
        assert trace[-1] == pytest.approx(density.logp(last.q), rel=1e-12)


def test_the_random_problems_are_of_all_kinds() -> None:
    problems = [problem(seed) for seed in range(200)]
    assert {len(p.model.experts) for p in problems} == {1, 2, 3, 5}
    assert sum(p.weights is not None for p in problems) > 50
    assert {p.X.shape[1] for p in problems} == {0, 1, 2}
    assert len(SPOILS) == 8
    np.testing.assert_array_less(19, [len(p.y) for p in problems])


def test_steps_climb_all_the_way() -> None:
    """EM steps alone, without acceleration or Newton's finish, reach the optimum that the engine reports."""
    density = bound(EASY).density
    best = EM(seed=0, starts=6).run(density)
    expectation = density.e_step(best.mode + 0.05)
    for _ in range(400):
        expectation = monotone_step(density, expectation)
    assert expectation.log_posterior == pytest.approx(best.optima[0].log_posterior, abs=1e-6)


def test_acceleration_saves_steps() -> None:
    density = bound(CASES["linear gate, 3"]).density
    start = from_random_labels(density, 1)
    expectation, trace = climb(density, start, 400, Gain(1e-10))
    plain = density.e_step(start)
    for _ in range(len(trace) - 1):
        plain = monotone_step(density, plain)
    assert expectation.log_posterior > plain.log_posterior


def sabotage(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Make the M-step walk away once it was called ``after`` times."""
    calls, honest = [0], MixtureDensity.m_step

    def m_step(self: MixtureDensity, expectation: Any, *, damping: float = 1.0) -> np.ndarray:
        calls[0] += 1
        moved = honest(self, expectation, damping=damping)
        return moved if calls[0] <= after else moved + 3.0

    monkeypatch.setattr(MixtureDensity, "m_step", m_step)


def test_a_decrease_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    density = bound(EASY).density
    start = from_random_labels(density, 0)
    sabotage(monkeypatch, after=4)
    with pytest.raises(
        EMDecreased, match=r"EM: expected a log posterior of at least .* at iteration \d+, got "
    ) as caught:
        climb(density, start, 100, Gain(1e-8))
    error = caught.value
    assert error.after < error.before
    assert error.iteration >= 4
    assert density.logp(error.point) == pytest.approx(error.before)


def test_a_decrease_ends_the_engine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch, after=60)
    with pytest.raises(EMDecreased):
        EM(seed=0, starts=4).run(bound(EASY).density)


def test_a_step_that_overshoots_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate step ten times too long is no error: it is halved until it helps."""
    density = bound(EASY).density
    start = from_random_labels(density, 0)
    honest = MixtureDensity.m_step
    asked: list[float] = []

    def m_step(self: MixtureDensity, expectation: Any, *, damping: float = 1.0) -> np.ndarray:
        asked.append(damping)
        return honest(self, expectation, damping=10.0 * damping)

    monkeypatch.setattr(MixtureDensity, "m_step", m_step)
    expectation = density.e_step(start)
    for _ in range(10):
        before = expectation.log_posterior
        expectation = monotone_step(density, expectation)
        assert expectation.log_posterior >= floor(before)
    assert min(asked) < 1.0


# -- where it ends ---------------------------------------------------------------------------------------------

STATIONARY = [
    "linear gate, 2",
    "constant gate",
    "weighted, gate_X",
    "sigma of x",
    "unlike experts",
    "priors in user units",
]


@pytest.mark.parametrize("name", STATIONARY)
def test_stationary_for_the_oracle(name: str) -> None:
    """Gradient and Hessian of the independent density certify the optimum, and SciPy finds nothing higher nearby."""
    here = bound(CASES[name])
    oracle, density = Oracle(CASES[name]), here.density
    outcome = EM(seed=0).run(density, start=from_random_labels(density, 2))
    q = outcome.mode

    def value(p: np.ndarray) -> float:
        return oracle.log_posterior(here.parameters.named(p))

    assert outcome.optima[0].log_posterior == pytest.approx(value(q), rel=1e-10)
    gradient = derivative(value, q, 1e-3)
    hessian = density.hessian(q)
    decrement = gradient @ np.linalg.solve(-hessian, gradient)
    assert np.linalg.eigvalsh(-hessian)[0] > 0
    assert 0 <= decrement <= 1e-6
    found = minimize(lambda p: -value(p), q, jac=lambda p: -derivative(value, p, 1e-3), method="L-BFGS-B")
    assert -found.fun <= value(q) + 1e-6


def test_hessian_of_the_oracle_at_the_optimum() -> None:
    """Also the curvature is independent here: differences of differences of the oracle."""
    case = CASES["linear gate, 2"]
    here = bound(case)
    oracle = Oracle(case)
    q = EM(seed=0, starts=4).run(here.density).mode

    def slope(p: np.ndarray) -> np.ndarray:
        return derivative(lambda at: oracle.log_posterior(here.parameters.named(at)), p, 1e-3)

    hessian = derivative(slope, q, 1e-3)
    np.testing.assert_allclose(hessian, here.density.hessian(q), rtol=1e-5, atol=1e-5 * np.abs(hessian).max())
    assert slope(q) @ np.linalg.solve(-hessian, slope(q)) <= 1e-6
    assert np.linalg.eigvalsh(-hessian)[0] > 0


@pytest.mark.parametrize("name", CASES)
def test_every_model_ends_at_a_certified_maximum(name: str) -> None:
    density = bound(CASES[name]).density
    outcome = EM(seed=0).run(density, start=from_random_labels(density, 3))
    best = outcome.optima[0]
    step = 1e-3 / np.sqrt(-np.diag(density.hessian(best.q)))
    gradient = derivative(density.logp, best.q, step)
    hessian = derivative(density.gradient, best.q, step)
    values = np.linalg.eigvalsh(-0.5 * (hessian + hessian.T))
    assert values[0] > 0
    assert best.smallest_eigenvalue == pytest.approx(values[0], rel=1e-3, abs=1e-5)
    assert gradient @ np.linalg.solve(-hessian, gradient) <= 1e-6
    assert outcome.status.converged
    assert best.decrement <= 1e-6


@pytest.mark.parametrize("name", ["one expert", "one expert, weighted"])
def test_one_expert_is_scipys_optimum(name: str) -> None:
    here = bound(CASES[name])
    oracle = Oracle(CASES[name])

    def value(p: np.ndarray) -> float:
        return oracle.log_posterior(here.parameters.named(p))

    start = np.zeros(here.density.size)
    found = minimize(
        lambda p: -value(p), start, jac=lambda p: -derivative(value, p, 1e-3), method="BFGS", options={"gtol": 1e-8}
    )
    outcome = EM(seed=0).run(here.density)
    assert outcome.optima[0].log_posterior == pytest.approx(-found.fun, abs=1e-8)
    np.testing.assert_allclose(outcome.mode, found.x, atol=1e-7)
    assert outcome.status is Status.CONVERGED


def test_degenerate_problems_end_well() -> None:
    """Spikes, perfect lines, separated gates: a finite, certified maximum each time."""
    for seed in (1, 3, 4, 6, 7, 12, 14, 20, 22, 30):
        density = bound(problem(seed)).density
        outcome = EM(seed=0).run(density, start=from_random_labels(density, seed))
        assert outcome.status.converged, f"problem {seed}"
        assert np.isfinite(outcome.mode).all()
        assert np.isfinite(outcome.optima[0].log_posterior)


@pytest.mark.parametrize("name", ["linear gate, 3", *long(["linear gate, 5, two columns", "unlike experts"])])
def test_more_starts_never_do_worse(name: str) -> None:
    """A maximum without a collapsed expert is better than one with."""
    density = bound(CASES[name]).density
    few, many = (EM(seed=0, starts=starts).run(density).optima[0] for starts in (2, 8))
    assert (not many.collapsed, many.log_posterior + 1e-6) >= (not few.collapsed, few.log_posterior)


# -- what it says ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def easy() -> Outcome:
    return EM(seed=1, starts=6).run(bound(EASY).density)


def test_the_outcome_tells_the_whole_story(easy: Outcome) -> None:
    density, best = bound(EASY).density, easy.optima[0]
    assert easy.status is Status.CONVERGED
    assert easy.point
    assert easy.draws.shape == (1, 1, density.size)
    np.testing.assert_array_equal(easy.draws[0, 0], easy.mode)
    np.testing.assert_array_equal(easy.mode, best.q)
    assert best.log_posterior == pytest.approx(density.logp(best.q), rel=1e-12)
    trace = easy.history["em_log_posterior"]
    assert trace[-1] == pytest.approx(best.log_posterior)
    assert np.all(trace[1:] >= [floor(value) for value in trace[:-1]])
    starts = easy.table["start_log_posterior"]
    assert len(starts) == len(easy.table["start_recipe"]) == 6
    assert starts.max() <= best.log_posterior + 1e-6
    values = [optimum.log_posterior for optimum in easy.optima]
    assert values == sorted(values, reverse=True)
    assert np.all(np.diff(values) < 0)
    assert easy.facts["hits"] == best.hits >= 1
    assert easy.facts["seed"] == 1
    assert sum(optimum.hits for optimum in easy.optima) == easy.facts["long_runs"]


def test_a_start_is_taken_instead_of_a_search(easy: Outcome) -> None:
    density = bound(EASY).density
    again = EM(seed=3).run(density, start=easy.mode + 0.01)
    assert again.optima[0].recipe == "start"
    assert again.facts["long_runs"] == 1
    assert again.optima[0].log_posterior == pytest.approx(easy.optima[0].log_posterior, abs=1e-9)
    assert len(again.table["start_log_posterior"]) == 0


def test_collapsed_optima_are_listed_and_not_chosen() -> None:
    """Five rows of a perfect line, apart from the others: the flat posterior loves them."""
    rng = np.random.default_rng(8)
    x = rng.uniform(0, 10, size=60)
    y = 2.0 + 0.5 * x + np.where(rng.random(60) < 0.5, 3.0, 0.0) + 0.4 * rng.normal(size=60)
    x[:5] = np.linspace(20.0, 21.0, 5)
    y[:5] = 1.0 + 2.0 * x[:5]
    density = bound(Case(nearly_flat(MixtureOfExperts(3)), x[:, None], y)).density
    outcome = EM(seed=0, starts=20).run(density)
    best, *others = outcome.optima
    assert not best.collapsed
    higher = [optimum for optimum in others if optimum.log_posterior > best.log_posterior]
    assert higher, "the data should have a collapsed optimum above the sound one"
    assert all(optimum.collapsed for optimum in higher)
    notice = next(notice for notice in outcome.notices if notice.code == "collapsed_optima")
    assert f"{len(higher)} optima" in notice.message
    assert f"up to {higher[0].log_posterior - best.log_posterior:.3g} more" in notice.message
    assert outcome.status is Status.NOTICED


def test_collapsed_means_few_rows_or_a_vanishing_sigma() -> None:
    density = bound(EASY).density
    slices, q = density.parameters.slices, np.zeros(density.size)
    assert density.collapsed(density.e_step(q)) == ()
    narrow = q.copy()
    narrow[slices["log_sigma_z"]] = [0.0, np.log(0.009)]
    assert 1 in density.collapsed(density.e_step(narrow))
    narrow[slices["log_sigma_z"]] = [0.0, np.log(0.011)]
    narrow[slices["mu_intercept_z"]] = [0.0, 0.0]
    empty = q.copy()
    empty[slices["mu_intercept_z"]] = [0.0, 50.0]
    assert density.collapsed(density.e_step(empty)) == (1,)


def test_too_few_iterations_are_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the vector is too long for Newton's method, EM alone must be certified."""
    monkeypatch.setattr(em_module, "_NEWTON_SIZE", 0)
    density = bound(CASES["linear gate, 3"]).density
    outcome = EM(seed=0, max_iter=3).run(density, start=from_random_labels(density, 0))
    assert outcome.status is Status.NOT_CONVERGED
    assert not outcome.status.converged
    assert [notice.code for notice in outcome.notices] == ["not_stationary"]
    assert "raise max_iter or starts" in outcome.notices[0].message
    enough = EM(seed=0, max_iter=5000, tol=1e-13).run(density, start=from_random_labels(density, 0))
    assert enough.status.converged


# -- seeds, settings, interrupts -------------------------------------------------------------------------------


def test_same_seed_same_numbers() -> None:
    density = bound(simulated(MixtureOfExperts([Expert(sigma=Linear())] * 3), 71, rows=40)).density
    one, two = (EM(seed=7, starts=3).run(density) for _ in range(2))
    np.testing.assert_array_equal(one.mode, two.mode)
    assert [o.log_posterior for o in one.optima] == [o.log_posterior for o in two.optima]
    np.testing.assert_array_equal(one.history["em_log_posterior"], two.history["em_log_posterior"])
    other = EM(seed=8, starts=3).run(density)
    assert not np.array_equal(one.table["start_log_posterior"], other.table["start_log_posterior"])


def test_a_longer_search_begins_with_the_shorter() -> None:
    density = bound(EASY).density
    few, more = (EM(seed=7, starts=n).run(density).table for n in (3, 5))
    np.testing.assert_array_equal(few["start_log_posterior"], more["start_log_posterior"][:3])
    np.testing.assert_array_equal(few["start_recipe"], more["start_recipe"][:3])


@pytest.mark.parametrize(
    "seed",
    [0, 2**63 - 1, np.int64(5), np.random.SeedSequence(3), np.random.default_rng(3), None],
    ids=lambda seed: type(seed).__name__,
)
def test_seeds_are_recorded(seed: Any) -> None:
    density = bound(EASY).density
    outcome = EM(seed=seed, starts=1).run(density)
    again = EM(seed=int(outcome.facts["seed"]), starts=1).run(density)
    np.testing.assert_array_equal(outcome.mode, again.mode)
    np.testing.assert_array_equal(outcome.table["start_log_posterior"], again.table["start_log_posterior"])
    if isinstance(seed, int):
        assert outcome.facts["seed"] == seed


SETTINGS = {
    "starts": [0, -1, 1.5, True, "3", 10**9, np.nan],
    "max_iter": [0, -5, 2.0, None, "many", 10**9],
    "tol": [0, -1e-8, 1.0, np.nan, np.inf, None, "tiny", True],
    "seed": [-1, 1.5, "1", True, 2**64, np.pi, [1, 2]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
def test_settings_are_checked(name: str, value: Any) -> None:
    with pytest.raises(SpecError, match=rf"^EM\.{name}: expected .*, got .* → "):
        EM(**{name: value})


def test_an_engine_is_a_value() -> None:
    assert EM(starts=3, seed=1) == EM(starts=3, seed=1)
    assert EM(starts=np.int64(3)).starts == 3
    with pytest.raises(AttributeError):
        EM().starts = 4  # type: ignore[misc]


def interrupt(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Let Ctrl-C meet the ``call``-th E-step."""
    calls, honest = [0], MixtureDensity.e_step

    def e_step(self: MixtureDensity, *args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return honest(self, *args, **options)

    monkeypatch.setattr(MixtureDensity, "e_step", e_step)


def test_an_interrupt_returns_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    density, found = bound(EASY).density, []
    finish = EM._finish

    def counted(self: EM, *args: Any) -> Any:
        if len(found) == 2:
            raise KeyboardInterrupt
        found.append(finish(self, *args))
        return found[-1]

    monkeypatch.setattr(EM, "_finish", counted)
    outcome = EM(seed=1, starts=6).run(density)
    assert outcome.status is Status.INTERRUPTED
    assert not outcome.status.converged
    # two runs may end at the same optimum but for the last digit; the first of them is kept
    assert any(np.array_equal(outcome.mode, optimum.q) for optimum, _ in found)
    best = max(optimum.log_posterior for optimum, _ in found)
    assert outcome.optima[0].log_posterior == pytest.approx(best, abs=1e-8)
    assert outcome.optima[0].log_posterior == pytest.approx(density.logp(outcome.mode))


def test_an_interrupt_among_short_runs_finishes_the_best_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    density = bound(EASY).density
    interrupt(monkeypatch, call=100)
    outcome = EM(starts=64, seed=1).run(density)
    assert outcome.status is Status.INTERRUPTED
    assert outcome.facts["long_runs"] == 1
    assert 1 <= len(outcome.table["start_log_posterior"]) < 64
    assert outcome.optima[0].log_posterior >= outcome.table["start_log_posterior"].max() - 1e-9


def test_an_interrupt_before_there_is_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    density = bound(EASY).density
    interrupt(monkeypatch, call=1)
    with pytest.raises(InterruptedFit, match=r"interrupted before its first run ended → call fit again"):
        EM(seed=1, starts=6).run(density)
    monkeypatch.undo()
    assert EM(seed=1, starts=1).run(density).status.converged


def test_numpy_set_to_raise_changes_nothing(easy: Outcome) -> None:
    with np.errstate(all="raise"):
        again = EM(seed=1, starts=6).run(bound(EASY).density)
    np.testing.assert_array_equal(again.mode, easy.mode)
