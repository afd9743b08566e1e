"""NUTS against quadrature and EM, its seeds, its interrupts and its settings."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from arviz_stats.base import array_stats

import bayes_moe as bm
from bayes_moe.binding.bind import bind
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.data import read_training
from bayes_moe.inference import nuts
from bayes_moe.inference.charts import Centring, Recentred
from bayes_moe.inference.newton import newton
from bayes_moe.inference.outcome import Status
from bayes_moe.inference.progress import Report
from bayes_moe.inference.sampler import Chains, Sampled, _read

PLAIN = bm.MixtureOfExperts([bm.Expert(mu=bm.Constant())], gate=bm.SoftmaxGate(bm.Constant()))


def density_of(model: bm.MixtureOfExperts, x: np.ndarray, y: np.ndarray) -> MixtureDensity:
    return bind(model, read_training(x, y, experts=len(model.experts), parameters=0)).density


@pytest.fixture(scope="module")
def two_lines() -> MixtureDensity:
    data = bm.datasets.two_lines(200, seed=4)
    return density_of(bm.MixtureOfExperts(2), data.X, data.y)


def test_one_expert_equals_quadrature(rng: np.random.Generator) -> None:
    """Mean and log sigma of twelve numbers: moments on a grid that holds the whole posterior."""
    density = density_of(PLAIN, np.empty((12, 0)), rng.standard_normal(12))
    assert density.size == 2
    mu, log_sigma = np.meshgrid(np.linspace(-2.5, 2.5, 400), np.linspace(-1.6, 1.6, 400), indexing="ij")
    points = np.stack([mu.ravel(), log_sigma.ravel()], axis=1)
    logs = np.array([density.logp(q) for q in points])
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    outcome = bm.NUTS(draws=2500, chains=4, seed=1).run(density)
    for index in range(2):
        draws = outcome.draws[:, :, index]
        mean = weight @ points[:, index]
        sd = np.sqrt(weight @ (points[:, index] - mean) ** 2)
        ess = float(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="mean"))
        assert ess > 1000, f"{ess:.0f} effective draws"
        assert abs(draws.mean() - mean) < 4.4 * sd / np.sqrt(ess), f"ess {ess:.0f}, mean {mean:.4f}"
        assert draws.std() == pytest.approx(sd, rel=4.4 / np.sqrt(ess))


def test_same_seed_same_draws_for_any_number_of_cores(two_lines: MixtureDensity) -> None:
    mode = bm.EM(seed=1, starts=8).run(two_lines).mode
    runs = [bm.NUTS(draws=30, tune=50, chains=2, seed=5, cores=c).run(two_lines, start=mode).draws for c in (1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    other = bm.NUTS(draws=30, tune=50, chains=2, seed=6).run(two_lines, start=mode).draws
    assert not np.array_equal(runs[0], other)
    assert not np.array_equal(runs[0][0], runs[0][1])


def test_draws_agree_with_em(two_lines: MixtureDensity) -> None:
    """No draw climbs to a higher mode than EM's, and draws lie as far below it as their number of values says."""
    best = bm.EM(seed=1).run(two_lines)
    outcome = bm.NUTS(draws=300, chains=2, seed=2).run(two_lines, start=best.mode)
    logp = np.array([two_lines.logp(q) for q in outcome.draws.reshape(-1, two_lines.size)])
    reported = outcome.sample_stats["logp"].ravel()
    np.testing.assert_allclose(reported - reported[0], logp - logp[0], atol=1e-6)
    highest = outcome.draws.reshape(-1, two_lines.size)[np.argsort(logp)[-5:]]
    for q in highest:
        assert newton(two_lines, q).log_density <= best.optima[0].log_posterior + 1e-3
    depth = (best.optima[0].log_posterior - logp.mean()) / (two_lines.size / 2)
    assert 0.5 < depth < 2.0


@pytest.mark.parametrize("base", [0.0, 1.0])
def test_recentred_density_is_the_same_density(
    two_lines: MixtureDensity, rng: np.random.Generator, base: float
) -> None:
    """A change of variables: values differ by the log Jacobian, gradients are those of the values."""
    funnel = two_lines.funnel
    assert funnel is not None
    count = funnel.values.stop - funnel.values.start
    centring = Centring(np.linspace(0.5, 3.0, count), np.full(count, base), np.full(count, 0.7 + base))
    recentred = Recentred(two_lines, funnel, centring)
    q = 0.3 * rng.standard_normal((5, two_lines.size))
    c = recentred.from_q(q)
    np.testing.assert_allclose(recentred.to_q(c), q, rtol=1e-12)
    for point in c:
        numeric = np.empty(two_lines.size)
        jacobian = np.empty((two_lines.size, two_lines.size))
        for j in range(two_lines.size):
            step = np.zeros(two_lines.size)
            step[j] = 1e-6
            numeric[j] = (recentred.logp(point + step) - recentred.logp(point - step)) / 2e-6
            jacobian[:, j] = (recentred.to_q(point + step) - recentred.to_q(point - step)) / 2e-6
        np.testing.assert_allclose(recentred.gradient(point), numeric, rtol=1e-4, atol=1e-4)
        expected = two_lines.logp(recentred.to_q(point)) + np.linalg.slogdet(jacobian)[1]
        assert recentred.logp(point) == pytest.approx(expected, rel=1e-7)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_keeps_what_is_finished(two_lines: MixtureDensity) -> None:
    mode = bm.EM(seed=1, starts=8).run(two_lines).mode
    bm.NUTS(draws=5, tune=5, chains=1, seed=1).run(two_lines, start=mode)
    timer = threading.Timer(3.0, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    try:
        outcome = bm.NUTS(draws=10**6, chains=2, seed=1).run(two_lines, start=mode)
    finally:
        timer.cancel()
    assert time.monotonic() - began < 3.0 + 5.0
    assert outcome.status is Status.INTERRUPTED
    assert [notice.code for notice in outcome.notices] == ["interrupted"]
    assert np.all(np.isfinite(outcome.draws))
    assert outcome.draws.shape[1] == outcome.sample_stats["diverging"].shape[1] > 0
    assert np.all(outcome.draws[:, -1] != 0.0)


def chains(divergences: int, *, finished: bool = True) -> Sampled:
    flags = np.zeros((2, 20), dtype=bool)
    flags[0, :divergences] = True
    return Sampled(np.zeros((2, 20, 2)), {"diverging": flags}, finished)


@pytest.mark.parametrize(
    ("first", "second", "kept", "again"),
    [
        (chains(0), None, 0, False),
        (chains(3), chains(1), 1, True),
        (chains(3), chains(5), 3, False),
        (chains(3), chains(0, finished=False), 3, False),
        (chains(3, finished=False), None, 3, False),
    ],
    ids=["none", "fewer", "more", "interrupted again", "interrupted"],
)
def test_chains_that_diverge_run_once_more(
    first: Sampled, second: Sampled | None, kept: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shorter steps and twice the warm-up; the run with fewer divergences counts, and the facts say which."""
    plans: list[Chains] = []

    def sample(*given: Any) -> Sampled:
        plans.append(given[2])
        found = (first, second)[len(plans) - 1]
        assert found is not None
        return found

    monkeypatch.setattr(nuts, "sample", sample)
    plan = Chains(draws=20, tune=10, chains=2, cores=None, seed=1, target_accept=0.8, max_treedepth=10)
    sampled, facts = nuts._sampled(None, None, plan, Report(visible=False))  # type: ignore[arg-type]
    assert sampled.divergences == kept
    assert len(plans) == 1 + (second is not None)
    if second is not None:
        assert (plans[1].target_accept, plans[1].tune) == (0.99, 20)
    assert ("divergences_before" in facts) == again
    assert facts["target_accept"] == (0.99 if again else 0.8)


class Trace:
    """What nutpie hands over after an interrupt: chains of their own lengths, the last draws of which diverged."""

    def __init__(self, lengths: tuple[int, ...], diverging: tuple[int, ...]) -> None:
        self.batches, self.stats = [], []
        for chain, (length, cut) in enumerate(zip(lengths, diverging, strict=True)):
            draws = [[100.0 * chain + i, -1.0] for i in range(length)]
            self.batches.append(pa.record_batch({"u": pa.array(draws, type=pa.list_(pa.float64()))}))
            self.stats.append(pa.record_batch({"diverging": pa.array([i >= length - cut for i in range(length)])}))

    def get_arrow_trace(self) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
        return self.batches, self.stats


def test_draws_that_an_interrupt_cut_short_are_left_out() -> None:
    """Stopping the chains ends their last trajectories as divergences, which are none."""
    plan = Chains(draws=50, tune=10, chains=2, cores=None, seed=1, target_accept=0.8, max_treedepth=10)
    draws, stats = _read(Trace((30, 33), (2, 1)), 2, plan, cut=True)
    np.testing.assert_array_equal(draws[:, :, 0], [np.arange(10.0, 28.0), np.arange(110.0, 128.0)])
    assert not stats["diverging"].any()
    draws, stats = _read(Trace((30, 30), (2, 1)), 2, plan, cut=False)
    assert draws.shape == (2, 20, 2)
    assert stats["diverging"].sum() == 3


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_in_warm_up_says_so(two_lines: MixtureDensity) -> None:
    mode = bm.EM(seed=1, starts=8).run(two_lines).mode
    timer = threading.Timer(2.0, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(bm.InterruptedFit, match="warm-up"):
            bm.NUTS(draws=10, tune=10**6, chains=2, seed=1).run(two_lines, start=mode)
    finally:
        timer.cancel()


def test_compiling_is_announced(two_lines: MixtureDensity) -> None:
    titles = []

    class Heard(Report):
        @contextmanager
        def task(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
            titles.append(title)
            yield lambda *_: None

    mode = bm.EM(seed=1, starts=8).run(two_lines).mode
    bm.NUTS(draws=5, tune=5, chains=1, seed=1).run(two_lines, start=mode, report=Heard())
    assert any("compiled once" in title for title in titles)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, r"NUTS.draws: expected a whole number from 1"),
        ({"draws": 2.5}, r"NUTS.draws: .* got 2.5"),
        ({"tune": -1}, r"NUTS.tune"),
        ({"chains": True}, r"NUTS.chains: .* got True"),
        ({"chains": 10**9}, r"NUTS.chains"),
        ({"target_accept": 1.0}, r"NUTS.target_accept: expected a number between 0 and 1"),
        ({"max_treedepth": 50}, r"NUTS.max_treedepth"),
        ({"cores": 0}, r"NUTS.cores"),
        ({"seed": -1}, r"NUTS.seed"),
        ({"seed": 1.5}, r"NUTS.seed"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(bm.SpecError, match=message):
        bm.NUTS(**settings)  # type: ignore[arg-type]


def test_a_density_without_gradient_is_refused() -> None:
    with pytest.raises(bm.SpecError, match="expected a density with a gradient"):
        bm.NUTS().run(object())  # type: ignore[arg-type]
