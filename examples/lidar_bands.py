"""How wide must a band be where the noise of an instrument grows with distance?

LIDAR: light reflected from a mercury vapour, 221 rows (Sigrist 1994; Ruppert, Wand and Carroll 2003). Two experts with
one sigma each, against the same with a sigma that follows the distance, scored on rows that were held out.

    python examples/lidar_bands.py path/to/semipar_lidar.csv
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

import bayes_moe as bm

MODELS = {
    "one sigma per expert": bm.MixtureOfExperts([bm.Expert()] * 2),
    "sigma of the distance": bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear())] * 2),
}


def main(path: str, out: str = "out") -> None:
    """Score both models by cross-validation, and draw their bands."""
    table = pd.read_csv(path)
    X, y = table[["range"]], table["logratio"]
    fold = np.arange(len(y)) % 5
    _, axes = plt.subplots(1, 2, figsize=(13, 4.6), sharey=True, layout="constrained")
    for ax, (name, model) in zip(axes, MODELS.items(), strict=True):
        scores, inside = [], []
        for held_out in (fold == k for k in range(5)):
            fit = bm.fit(model, X[~held_out], y[~held_out], bm.EM(seed=1), progress=False)
            scores.append(fit.log_density(X[held_out], y[held_out]).values)
            low, high = fit.interval(X[held_out], 0.9).values.T
            far = X.loc[held_out, "range"] > 600
            inside.append(np.column_stack([far, (low <= y[held_out]) & (y[held_out] <= high)]))
        far, hit = np.concatenate(inside).astype(bool).T
        score = np.concatenate(scores).mean()
        near, distant = hit[~far].mean(), hit[far].mean()
        print(f"{name:22} held-out log density {score:.3f}; 90 % bands hold {near:.0%} near, {distant:.0%} far")
        whole = bm.fit(model, X, y, bm.EM(seed=1), progress=False)
        bm.plots.predictive(whole, ax=ax).set_title(name, loc="right", y=1.07)
    Path(out).mkdir(exist_ok=True)
    axes[0].figure.savefig(Path(out) / "lidar_bands.png", dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
