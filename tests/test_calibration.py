"""Simulation-based calibration in small, and that its judge sees what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from calibration.judge import judge, uniformity
from calibration.ranks import DRAWS, replicate
from calibration.report import band
from calibration.simulate import simulated
from calibration.studies import STUDIES


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
