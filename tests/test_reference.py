"""The published results that EM must reach from every seed, compared as plain log likelihoods under flat priors.

"Best known" is the best optimum found without a collapsed expert by independent programs from many starts; the
packages named beside it print less, or the same, in their own manuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from tests.tiers import seeds

SLACK = 0.02
PLAIN = bm.SoftmaxGate(bm.Constant())
CURVE = bm.Expert(mu=bm.Polynomial(2))
ONE_SIGMA = bm.Expert(sigma=bm.Constant(shared=True))


@dataclass(frozen=True)
class Row:
    """One published result.

    Parameters
    ----------
    file, x, y
        The data set and its two columns.
    model
        The model, under its default priors.
    best
        Best known plain log likelihood.
    standardised
        Whether x and y are standardised first.
    """

    file: str
    x: str
    y: str
    model: bm.MixtureOfExperts
    best: float
    standardised: bool = False

    def read(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return x (n, 1) and y (n,)."""
        table = pd.read_csv(folder / "classic" / self.file)
        x, y = (table[name].to_numpy(dtype=float) for name in (self.x, self.y))
        if self.standardised:
            x, y = ((values - values.mean()) / values.std() for values in (x, y))
        return x[:, None], y


def _lidar(experts: int, best: float) -> Row:
    return Row("semipar_lidar.csv", "range", "logratio", bm.MixtureOfExperts(experts), best, standardised=True)


def _mcycle(model: bm.MixtureOfExperts, best: float) -> Row:
    return Row("MASS_mcycle.csv", "times", "accel", model, best)


ROWS = {
    # flexmix prints -642.5451
    "NPreg": Row("flexmix_NPreg.csv", "x", "yn", bm.MixtureOfExperts([CURVE] * 2, PLAIN), -642.5320),
    # mixtools and MoEClust print -66.93977
    "CO2data, 2": Row("CO2data.csv", "GNP", "CO2", bm.MixtureOfExperts(2, PLAIN), -66.93977),
    # MoEClust prints -65.937
    "CO2data, 3, equal": Row(
        "CO2data.csv", "GNP", "CO2", bm.MixtureOfExperts([ONE_SIGMA] * 3, bm.EqualGate()), -65.9373
    ),
    "CO2data, 2, gate": Row("CO2data.csv", "GNP", "CO2", bm.MixtureOfExperts(2), -66.297),
    "NOdata": Row("NOdata.csv", "NO", "Equivalence", bm.MixtureOfExperts(2), 123.62059),
    "tonedata": Row("tonedata.csv", "stretchratio", "tuned", bm.MixtureOfExperts(2, PLAIN), 141.1984),
    "tonedata, gate": Row("tonedata.csv", "stretchratio", "tuned", bm.MixtureOfExperts(2), 142.8480),
    # meteorits prints 102.722
    "tempanomalies": Row("tempanomalies.csv", "Year", "AnnualAnomaly", bm.MixtureOfExperts(2), 102.9425),
    # meteorits prints -551.41 with t experts
    "mcycle, curves": _mcycle(bm.MixtureOfExperts([CURVE] * 4), -537.626),
    "mcycle, 4": _mcycle(bm.MixtureOfExperts(4), -550.290),
    "mcycle, 5": _mcycle(bm.MixtureOfExperts(5), -538.413),
    "lidar, 2": _lidar(2, 23.767),
    "lidar, 3": _lidar(3, 48.685),
    "lidar, 4": _lidar(4, 59.344),
}


UNREACHED = {"mcycle, 5"}
"""Rows whose best known value no search here has reached: -541.034 is the best of 1000 starts and every move."""


@pytest.mark.parametrize("seed", seeds(5, 20))
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason="best found: -541.034", strict=True))
        if name in UNREACHED
        else name
        for name in ROWS
    ],
)
def test_best_known_is_reached(name: str, seed: int, data_dir: Path) -> None:
    row = ROWS[name]
    x, y = row.read(data_dir)
    fit = bm.fit(bm.nearly_flat(row.model), x, y, bm.EM(seed=seed), progress=False)
    assert fit.status.converged
    assert "collapsed_expert" not in fit.status.codes
    assert _sound(fit)
    assert fit.log_likelihood >= row.best - SLACK


def _sound(fit: bm.Fit) -> bool:
    """Whether every expert holds more rows than it has coefficients, and none has a vanishing sigma."""
    sizes = fit.responsibilities().sum("obs").values
    posterior = fit.idata["posterior"].to_dataset().isel(chain=0, draw=0)
    coefficients = 1 + posterior.sizes["mu_feature"]
    sigma = posterior["sigma"].values
    return bool(np.all(sizes > coefficients + 1) and np.all(sigma > 0.01 * sigma.max()))


@pytest.mark.parametrize("seed", seeds(2, 20))
@pytest.mark.parametrize(("experts", "best"), [(3, -159.3605), (4, -155.7539)])
def test_centres_of_one_label_each(experts: int, best: float, seed: int, data_dir: Path) -> None:
    """Binomial experts with one effect of treatment and an intercept each, one label a centre.

    flexmix prints -159.3605 for three experts; for four, -158.2465 in one manual and -155.754 in another.
    """
    table = pd.read_csv(data_dir / "classic" / "flexmix_betablocker.csv")
    expert = bm.Expert(bm.Binomial(trials="Total"), p=bm.Linear(shared=("Treatment",)))
    model = bm.nearly_flat(bm.MixtureOfExperts([expert] * experts, PLAIN))
    X, y = table[["Total", "Treatment", "Center"]], table["Deaths"]
    fit = bm.fit(model, X, y, bm.EM(seed=seed), groups="Center", progress=False)
    assert fit.status.converged
    assert "collapsed_expert" not in fit.status.codes
    assert fit.idata["posterior"]["p_feature"].values.tolist() == ["Treatment[Treated]"]
    assert fit.log_likelihood == pytest.approx(best, abs=1e-3)
