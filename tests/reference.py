"""The published results to reach: data, model and best known plain log likelihood, for tests and benchmarks.

"Best known" is the best optimum found without a collapsed expert by independent programs from many starts; the
packages named beside it print less, or the same, in their own manuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import bayes_moe as bm

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
        The data set and its columns: the names of some, or of one.
    model
        The model, under its default priors.
    best
        Best known plain log likelihood.
    standardised
        Whether x and y are standardised first.
    """

    file: str
    x: str | tuple[str, ...]
    y: str | tuple[str, ...]
    model: bm.MixtureOfExperts
    best: float
    standardised: bool = False

    def read(self, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | pd.Series]:
        """Return covariates and target."""
        table = pd.read_csv(folder / "classic" / self.file)
        x = table[[self.x] if isinstance(self.x, str) else list(self.x)].astype(float)
        y = table[self.y if isinstance(self.y, str) else list(self.y)].astype(float)
        if self.standardised:
            x, y = ((values - values.mean()) / values.std(ddof=0) for values in (x, y))
        return x, y


def _lidar(experts: int, best: float) -> Row:
    return Row("semipar_lidar.csv", "range", "logratio", bm.MixtureOfExperts(experts), best, standardised=True)


def _mcycle(model: bm.MixtureOfExperts, best: float) -> Row:
    return Row("MASS_mcycle.csv", "times", "accel", model, best)


def _two_targets(gate: bm.SoftmaxGate) -> bm.MixtureOfExperts:
    family = bm.Joint({"yn": bm.Normal(), "yp": bm.Poisson()})
    expert = bm.Expert(family, yn_mu=bm.Polynomial(2, columns=("x",)), yp_mu=bm.Linear(columns=("x",)))
    return bm.MixtureOfExperts([expert] * 2, gate)


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
    # one expert holds 9.6 rows, beside another among the same times
    "mcycle, 5": _mcycle(bm.MixtureOfExperts(5), -537.908),
    "lidar, 2": _lidar(2, 23.767),
    "lidar, 3": _lidar(3, 48.685),
    "lidar, 4": _lidar(4, 59.344),
    # mclust prints -1034.002
    "faithful": Row(
        "datasets_faithful.csv",
        (),
        "waiting",
        bm.MixtureOfExperts([bm.Expert(mu=bm.Constant(), sigma=bm.Constant(shared=True))] * 2, PLAIN),
        -1034.0018,
    ),
    # flexmix prints -197.6753
    "patent": Row(
        "flexmix_patent.csv",
        ("lgRD", "RDS"),
        "Patents",
        bm.MixtureOfExperts(
            [bm.Expert(bm.Poisson(), mu=bm.Linear(columns=("lgRD",)))] * 3, bm.SoftmaxGate(bm.Linear(columns=("RDS",)))
        ),
        -197.6750,
    ),
    # flexmix prints -1044.7678
    "NPreg, two targets": Row("flexmix_NPreg.csv", "x", ("yn", "yp"), _two_targets(PLAIN), -1044.7555),
    # flexmix prints -1085.995
    "NPreg, two targets, gate": Row(
        "flexmix_NPreg.csv",
        ("x", "yb"),
        ("yn", "yp"),
        _two_targets(bm.SoftmaxGate(bm.Linear(columns=("yb",)))),
        -1044.7120,
    ),
    # meteorits prints 89.98
    "tempanomalies, skew-normal": Row(
        "tempanomalies.csv", "Year", "AnnualAnomaly", bm.MixtureOfExperts([bm.Expert(bm.SkewNormal())] * 2), 102.9463
    ),
}


def sound(fit: bm.Fit) -> bool:
    """Whether every expert holds more rows than it has coefficients, and none has a vanishing sigma."""
    sizes = fit.responsibilities().sum("obs").values
    posterior = fit.idata["posterior"].to_dataset().isel(chain=0, draw=0)
    coefficients = 1 + max(
        (posterior.sizes[dim] for dim in posterior.sizes if str(dim).endswith("mu_feature")), default=0
    )
    sigmas = [posterior[name].values for name in posterior if str(name).endswith("sigma")]
    return bool(np.all(sizes > coefficients + 1) and all(np.all(s > 0.01 * s.max()) for s in sigmas))
