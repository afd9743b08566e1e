"""Do research-intensive firms turn spending into patents by another law than others?

Patents, R&D spending and sales of 70 pharmaceutical and biomedical firms in 1976 (Wang, Cockburn and Puterman 1998).
Poisson experts say how patents follow the log of R&D; a gate says, by the share of sales that goes into R&D, which law
holds.

    python examples/patents.py path/to/flexmix_patent.csv
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

import bayes_moe as bm


def main(path: str, out: str = "out") -> None:
    """Fit by EM and by Laplace, print how elastic patents are, and draw."""
    table = pd.read_csv(path)
    X, y = table[["lgRD", "RDS"]], table["Patents"]
    expert = bm.Expert(bm.Poisson(), mu=bm.Linear(columns=("lgRD",)))
    gate = bm.SoftmaxGate(bm.Linear(columns=("RDS",)))
    fits = {
        k: bm.fit(bm.MixtureOfExperts([expert] * k, gate), X, y, bm.EM(seed=1), progress=False) for k in (1, 2, 3, 4)
    }
    print("BIC by number of laws:", {k: round(fit.bic, 1) for k, fit in fits.items()})
    best = min(fits, key=lambda k: fits[k].bic)
    fit = fits[best]
    print(fit.status)
    slopes = fit.idata["posterior"]["log_mu_slopes"].values.ravel()
    for k, slope in enumerate(slopes):
        print(f"Law {k}: 10 % more R&D, {100 * (np.exp(slope * np.log(1.1)) - 1):.1f} % more patents")
    _, axes = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
    bm.plots.predictive(fit, column="lgRD", ax=axes[0]).set_ylim(0, 1.1 * y.max())
    bm.plots.gate(fit, column="RDS", ax=axes[1])
    Path(out).mkdir(exist_ok=True)
    axes[0].figure.savefig(Path(out) / "patents.png", dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
