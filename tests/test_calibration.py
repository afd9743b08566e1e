"""Simulation-based calibration in small, and that its judge sees what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from calibration.__main__ import say
from calibration.judge import judge, uniformity
from calibration.ranks import DRAWS, replicate, unfinished
from calibration.report import band
from calibration.simulate import simulated
from calibration.studies import STUDIES
from calibration.widths import held, widths


def ranks(count: int, *, bias: float = 0.0, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return ranks of a normal truth among draws of a normal posterior with a wrong mean or standard deviation."""
    rng = np.random.default_rng(seed)
    draws = bias + spread * rng.normal(size=(count, DRAWS))
    return np.sum(draws < rng.normal(size=(count, 1)), axis=1)


def test_uniform_ranks_pass() -> None:
    p_values = np.array([uniformity(ranks(200, seed=seed)) for seed in range(60)])
    assert np.count_nonzero(p_values < 0.05) <= 9  # binomial, 99.9 %
    assert p_values.min() > 1e-4


@pytest.mark.parametrize(("bias", "spread"), [(0.4, 1.0), (0.0, 0.6), (0.0, 1.6)])
def test_wrong_ranks_do_not(bias: float, spread: float) -> None:
    found = [uniformity(ranks(500, bias=bias, spread=spread, seed=seed)) for seed in range(5)]
    assert max(found) < 1e-3


def test_a_verdict_names_the_quantity() -> None:
    good, wrong = ranks(300), ranks(300, bias=0.5, seed=2)
    rows = [{"index": i, "flags": [], "rank": {"a": int(a), "b": int(b)}, "z": {"a": 0.0, "b": 0.5}}
            for i, (a, b) in enumerate(zip(good, wrong, strict=True))]  # fmt: skip
    verdict = judge([*rows, {"index": 300, "refused": "y: constant"}])
    assert verdict.suspicious == ["b"]
    assert (verdict.replications, verdict.left_out, verdict.flagged) == (300, 1, 0.0)


def test_only_what_chains_did_wrong_is_flagged() -> None:
    """And fitted again by longer chains; a posterior with other modes has no fault of its chains."""
    flags: list[list[str]] = [[], ["other_modes"], ["r_hat", "other_modes"], ["few_effective_draws"]]
    rows = [{"index": i, "flags": each, "rank": {"a": 60 * i}, "z": {"a": 0.0}} for i, each in enumerate(flags)]
    verdict = judge(rows)
    assert (verdict.flagged, verdict.noticed) == (0.5, 0.5)
    assert [unfinished(row) for row in rows] == [False, False, True, True]
    assert not unfinished(rows[2] | {"longer": True})
    assert not unfinished({"index": 9, "refused": "y: constant"})


def test_an_impossible_z_does_not_make_the_mean() -> None:
    rows = [{"index": i, "flags": [], "rank": {"a": 100}, "z": {"a": 1e300 if i else 0.0}} for i in range(2)]
    assert judge(rows).z["a"] == pytest.approx(2.5)


def test_intervals_of_uniform_ranks_hold_what_they_say() -> None:
    every = np.arange(DRAWS + 1)
    for prob in (0.5, 0.9, 0.99):
        assert held(every, prob).mean() == pytest.approx(prob)
    assert not held(np.array([0, DRAWS]), 0.9).any()
    assert held(np.array([DRAWS // 2]), 0.5).all()


@pytest.mark.parametrize(("spread", "words"), [(1.0, "as wide"), (0.7, "too narrow"), (1.4, "too wide")])
def test_widths_are_measured(spread: float, words: str) -> None:
    """Draws with a wrong standard deviation: intervals say which share of the right one it is."""
    values = ranks(4000, spread=spread)
    z = {"mean at 0": 0.0}
    rows = [
        {"flags": ["laplace_unreliable"] if i % 2 else [], "rank": {"mean at 0": int(rank), "log posterior": 0}, "z": z}
        for i, rank in enumerate(values)
    ]
    (kind, found), *others = widths(rows).items()
    assert (kind, others) == ("predictions", [])
    assert found.share == pytest.approx(spread, abs=0.06)
    assert words in found.words
    assert "as wide" in next(iter(widths(rows[:30]).values())).words  # which may be chance
    assert found.sound == pytest.approx(found.held[1], abs=0.05)


def test_a_file_has_a_line_every_fifty(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(1, 121):
        say("nuts, Poisson", done, 120, 60.0)
    assert [line.split(",")[1] for line in capsys.readouterr().out.splitlines()] == [
        f" Poisson: {done} of 120" for done in (50, 100, 120)
    ]


def test_the_band_holds_uniform_lines_whole() -> None:
    grid = np.linspace(0, 1, 65)
    half, rng = band(100, grid), np.random.default_rng(5)
    inside = [
        np.all(np.abs(np.searchsorted(np.sort(rng.random(100)), grid, side="right") / 100 - grid) <= half + 1e-12)
        for _ in range(1000)
    ]
    assert np.mean(inside) > 0.977  # 0.99 less four standard errors


def test_parameters_come_from_the_prior() -> None:
    """Means and standard deviations of line, log sigma and the gate's scale are those of their priors."""
    q = np.concatenate([simulated("one normal expert", block).q for block in range(4)])
    priors = [(0, 2.5), (0, 2.5), (np.log(0.5), 0.75), (0, 1)]
    for column, (loc, scale) in zip(q.T, priors, strict=True):
        assert abs(column.mean() - loc) < 4 * scale / np.sqrt(len(q))
        assert abs(column.std() / scale - 1) < 4 / np.sqrt(2 * len(q))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["two normal experts", "Poisson"])
def test_fifty_replications_are_calibrated(name: str) -> None:
    """All quantities; false alarms are rarer than one in a hundred, by Holm's method."""
    verdict = judge([replicate(name, "nuts", index) for index in range(50)])
    assert verdict.replications + verdict.left_out == 50
    assert verdict.left_out <= 5
    assert not verdict.suspicious
    limit = norm.isf(0.0005 / len(verdict.z)) / np.sqrt(verdict.replications)
    assert max(map(abs, verdict.z.values())) < 1.5 * limit


def test_every_study_is_of_a_kind_of_its_own() -> None:
    assert len(STUDIES) >= 8
    assert len({study.model for study in STUDIES.values()}) >= len(STUDIES) - 1
