"""Can two lines be found when a tenth of the rows is nonsense?

Musicians tuned a tone to a stretched one and followed one of two rules (Cohen 1980): two crossing lines. Ten rows far
off are added, as in the literature on robust mixtures. Normal experts follow them; Student-t experts, or a uniform
expert that takes what fits nowhere, do not.

    python examples/robust_tones.py path/to/tonedata.csv
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

import bayes_moe as bm

PLAIN = bm.SoftmaxGate(bm.Constant())
MODELS = {
    "Normal": [bm.Expert()] * 2,
    "Student-t": [bm.Expert(bm.StudentT())] * 2,
    "Normal and noise": [bm.Expert(), bm.Expert(), bm.Expert(bm.Uniform(0.0, 6.0))],
}


def main(path: str, out: str = "out") -> None:
    """Fit each model with and without the outliers, print the lines, and draw."""
    table = pd.read_csv(path)
    x, y = table["stretchratio"].to_numpy(), table["tuned"].to_numpy()
    spoiled = np.append(x, np.zeros(10) + 1.5), np.append(y, np.full(10, 5.0) + np.linspace(-0.2, 0.2, 10))
    _, axes = plt.subplots(1, 3, figsize=(16, 4.6), sharey=True, layout="constrained")
    for ax, (name, experts) in zip(axes, MODELS.items(), strict=True):
        model = bm.MixtureOfExperts(experts, PLAIN)
        for what, (a, b) in {"clean": (x, y), "spoiled": spoiled}.items():
            fit = bm.fit(model, a[:, None], b, bm.EM(seed=1), progress=False)
            slopes = np.sort(fit.idata["posterior"]["mu_slopes"].values.ravel()[:2])
            print(f"{name:17} {what:8} slopes {slopes.round(2)}   log likelihood {fit.log_likelihood:.1f}")
        bm.plots.experts(fit, ax=ax).set_title(name, loc="right", y=1.07)
    print("A musician who hears the octave has slope 0, one who hears the overtone slope 1.")
    Path(out).mkdir(exist_ok=True)
    axes[0].figure.savefig(Path(out) / "robust_tones.png", dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
