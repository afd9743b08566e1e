"""NUTS where other packages' chains diverge or get stuck: LIDAR with lines, and three heaps under a random gate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayes_moe as bm
from tests.tiers import seeds

pytestmark = pytest.mark.filterwarnings("ignore::bayes_moe.errors.FitWarning")


def lidar(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(folder / "classic" / "semipar_lidar.csv", delimiter=",", skiprows=1)
    return rows[:, :1], rows[:, 1]


def three_heaps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the data of the test that brms left commented out, "because its chains get stuck"."""
    rng = np.random.default_rng([3, seed])
    y = np.concatenate([rng.normal(0, 1, 300), rng.normal(6, 1, 100), rng.normal(12, 1, 200)])
    return rng.standard_normal((600, 1)), y


HEAPS = bm.MixtureOfExperts([bm.Expert(mu=bm.Constant())] * 3, gate=bm.SoftmaxGate(bm.Linear()))


def worst_r_hat(fit: bm.Fit) -> float:
    """Return the largest R-hat of the relabelled parameters."""
    worst = 0.0
    for values in fit.idata["posterior"].to_dataset().data_vars.values():
        flat = values.values.reshape(*values.shape[:2], -1)
        moving = flat[:, :, np.ptp(flat, axis=(0, 1)) > 0]
        if moving.size:
            worst = max(worst, float(np.max(array_stats.rhat(np.moveaxis(moving, 2, 0), method="rank"))))
    return worst


def sound(fit: bm.Fit) -> None:
    assert fit.outcome.draws.shape[:2] == (4, 1000)
    assert fit.outcome.sample_stats["diverging"].sum() == 0
    assert worst_r_hat(fit) < 1.01
    assert fit.status.converged, fit.status


@pytest.mark.parametrize("seed", seeds(0, 10))
def test_lidar_with_three_lines(seed: int, data_dir: Path) -> None:
    sound(bm.fit(bm.MixtureOfExperts(3), *lidar(data_dir), bm.NUTS(seed=seed), progress=False))


@pytest.mark.parametrize("seed", seeds(0, 10))
def test_three_heaps_under_a_gate_on_noise(seed: int) -> None:
    fit = bm.fit(HEAPS, *three_heaps(seed), bm.NUTS(seed=seed), progress=False)
    sound(fit)
    np.testing.assert_allclose(np.sort(fit.summary()["mean"].filter(like="mu_intercept")), [0, 6, 12], atol=0.5)


@pytest.mark.parametrize("seed", seeds(0, 10))
def test_lidar_with_five_lines_names_its_modes(seed: int, data_dir: Path) -> None:
    """Two of five experts are not needed: what needs no labels has converged, or the verdict names the modes.

    It names modes that hold mass or draws, with both, as `Fit.modes` has them, and counts the others beyond four; and
    that is where the mass is.
    """
    fit = bm.fit(bm.MixtureOfExperts(5), *lidar(data_dir), bm.NUTS(seed=seed), progress=False)
    table, said = fit.modes(), fit.status.sentence
    if fit.status.converged:
        assert fit.outcome.sample_stats["diverging"].sum() == 0
        (r_hat,) = re.findall(r"largest R-hat (\d\.\d+) ", said)
        assert float(r_hat) < 1.01
        assert float(array_stats.rhat(fit.outcome.sample_stats["logp"], method="rank")) < 1.01
    else:
        assert said.startswith("Not converged: ")
        named = {
            int(mode): (int(share) / 100, int(draws) / 100)
            for mode, share, draws in re.findall(r"mode (\d+) holds (\d+)% and has (\d+)% of the draws", said)
        }
        told = table.index[(table["share"] >= 0.05) | (table["draws"] > 0)]
        more = re.search(r"draws looked at and (\d+) more\.", said)
        assert list(named) == list(told[: len(named)])
        assert len(named) + (int(more[1]) if more else 0) == len(told)
        assert len(named) >= min(4, len(told))
        for mode, (share, draws) in named.items():
            assert share == pytest.approx(table["share"][mode], abs=0.006)
            assert draws == pytest.approx(table["draws"][mode], abs=0.006)
        assert sum(share for share, _ in named.values()) > 0.9
    assert table["status"][0] == "maximum with a collapsed expert"
    assert table["share"][0] > 0.9
    assert table["draws"][0] >= 0.6, "some twenty draws are where the mass is"
    assert {"labels_ambiguous", "unused_experts"} <= set(fit.status.codes)
