"""What networks reach on two inverse problems, beside the density that none can exceed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bayes_moe as bm

NEW = 20_000


def held_out(fits: list[bm.Fit], data: bm.datasets.Inverse) -> tuple[list[float], float]:
    """Return how far each fit stays below the bound on new rows, and how far the average of their densities does."""
    rows = [fit.log_density(data.X, data.y).values for fit in fits]
    together = np.logaddexp.reduce(rows) - np.log(len(rows))
    return [float(data.bound - values.mean()) for values in rows], float(data.bound - together.mean())


def train(model: bm.MixtureOfExperts, data: bm.datasets.Inverse, seed: int) -> bm.Fit:
    return bm.fit(model, data.X, data.y, bm.Training(seed=seed), progress=False)


def thousand_rows(sample: int) -> tuple[list[float], float]:
    data = bm.datasets.bishop_inverse(1000, seed=sample)
    fits = [train(bm.mixture_density_network(10), data, seed) for seed in range(5)]
    return held_out(fits, bm.datasets.bishop_inverse(NEW, seed=1000))


def test_bishop_a_thousand_rows() -> None:
    gaps, together = thousand_rows(0)
    assert max(gaps) < 0.20, gaps
    assert together < 0.16, (gaps, together)


@pytest.mark.full
def test_bishop_a_thousand_rows_on_average_over_samples() -> None:
    # samples of a thousand rows are luckier or unluckier by 0.01
    found = [thousand_rows(sample) for sample in range(1, 6)]
    assert max(gap for gaps, _ in found for gap in gaps) < 0.20, found
    assert np.mean([together for _, together in found]) < 0.16, found


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2, 6))
def test_em_goes_up_from_a_trained_network(seed: int) -> None:
    """On learned features a sigma may go to 0 at single rows: EM gains all the same, and says where it ended.

    Which networks do depends on the last bit of the data, as training does.
    """
    data, model = bm.datasets.bishop_inverse(1000, seed=0), bm.mixture_density_network(10)
    trained = train(model, data, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        found = bm.fit(model, data.X, data.y, bm.EM(seed=1), start=trained, progress=False)
    assert found.log_posterior > trained.log_posterior
    assert found.status.converged or "not_stationary" in found.status.codes


@pytest.mark.full
@pytest.mark.parametrize("sample", range(4))
def test_bishop_ten_thousand_rows(sample: int) -> None:
    new, data = bm.datasets.bishop_inverse(NEW, seed=1000), bm.datasets.bishop_inverse(10_000, seed=sample)
    gaps, _ = held_out([train(bm.mixture_density_network(10), data, sample)], new)
    assert gaps[0] < 0.10


@pytest.mark.full
def test_sin_inverse_is_within_error_of_pytorch() -> None:
    # torch 2.13, two layers of 32, SiLU, 10 components, AdamW with a cosine schedule, gradient clipping, means begun
    # along y, 300 epochs, best weights by 1000 held-out rows; on these samples, once each, on average 0.0266 below the
    # bound with a first step of 0.003, 0.0294 with 0.01
    new = bm.datasets.sin_inverse(NEW, seed=1000)
    gaps = []
    for sample in range(3):
        data = bm.datasets.sin_inverse(10_000, seed=sample)
        gaps += [
            held_out([train(bm.mixture_density_network(10), data, seed)], new)[0][0] for seed in (sample, sample + 10)
        ]
    # both averages are uncertain: the last bit of the data moves the gap of one training by about 0.004
    error = np.std(gaps, ddof=1) * np.sqrt(1.0 / len(gaps) + 1.0 / 3.0)
    assert error < 0.006, gaps
    assert np.mean(gaps) < 0.0266 + 2.0 * error, gaps


@pytest.mark.parametrize("make", [bm.datasets.bishop_inverse, bm.datasets.sin_inverse])
def test_the_bound_is_the_expected_log_density(make: object) -> None:
    data = make(4000, seed=3)  # type: ignore[operator]
    values = data.log_density(data.X, data.y)
    assert abs(values.mean() - data.bound) < 4 * values.std() / np.sqrt(len(values))
    grid = np.linspace(*data.causes, 4001)
    inside = np.exp(data.log_density(np.full((4001, 1), 0.4), grid))
    assert np.trapezoid(inside, grid) == pytest.approx(1.0, abs=2e-2)
