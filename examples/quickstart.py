"""Does a head struck in a crash slow down by one law all along, or by several that take turns?

133 measurements of head acceleration after a simulated motorcycle impact (Silverman 1985) stand for data of your own:
a table X and a column y. A mixture of experts answers with a few straight lines, each with a spread of its own, and a
gate that says how probable each is at a given time. Here EM chooses how many, NUTS samples the posterior, and ADVI
and Laplace stand beside it. Run it with ``make demo``, or ``python examples/quickstart.py --out some/folder``.
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

import bayes_moe as bm

SEED = 1
NUTS = bm.NUTS(draws=1500, target_accept=0.99, seed=SEED)  # short steps: the gate is almost a step itself


def held_out_scores(model: bm.MixtureOfExperts, X: pd.DataFrame, y: pd.Series, folds: int = 5) -> pd.Series:
    """Score predictions of rows that the fit has not seen: each row is held out once."""
    fold = np.arange(len(y)) % folds
    rows = []
    for held_out in (fold == f for f in range(folds)):
        fit = bm.fit(model, X[~held_out], y[~held_out], NUTS, progress=False)
        new = X[held_out], y[held_out]
        scores = {"log score": bm.scores.log_score(fit, *new).values, "CRPS": bm.scores.crps(fit, *new).values}
        for prob in (0.5, 0.9):
            scores[f"coverage of {prob:.0%} intervals"] = bm.scores.coverage(fit, *new, prob).values
        rows.append(pd.DataFrame(scores))
    return pd.concat(rows).mean()


def draw(out: Path, em: bm.Fit, posteriors: dict[str, bm.Fit]) -> None:
    """Write every plot of the NUTS fit, how each engine converged, and four plots on one page."""
    plt.switch_backend("agg")  # to files
    nuts = posteriors["NUTS"]
    for plot in (bm.plots.predictive, bm.plots.gate, bm.plots.experts, bm.plots.responsibilities, bm.plots.density):
        plot(nuts).figure.savefig(out / f"{plot.__name__}.png", dpi=130)
    for name, fit in {"EM": em, **posteriors}.items():
        bm.plots.convergence(fit).savefig(out / f"convergence_{name.lower()}.png", dpi=130)
    page, axes = plt.subplots(2, 2, figsize=(11.0, 7.0), layout="constrained", sharex=True)
    bm.plots.predictive(nuts, ax=axes[0, 0])
    bm.plots.density(nuts, ax=axes[0, 1])
    bm.plots.gate(nuts, ax=axes[1, 0])
    bm.plots.responsibilities(nuts, ax=axes[1, 1])
    page.savefig(out / "overview.png", dpi=100)
    plt.close("all")


def main(out: Path) -> None:
    """Fit, print, draw and save."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    data = bm.datasets.motorcycle()
    X = pd.DataFrame(data.X, columns=["time after impact (ms)"])
    y = pd.Series(data.y, name="head acceleration (g)")

    choice = bm.select(bm.MixtureOfExperts(1), X, y, range(1, 7), bm.EM(seed=SEED))
    print(f"\nHow many experts? (smaller BIC and ICL are better)\n{choice}")
    em = choice.best
    engines = {
        "NUTS": NUTS,
        "ADVI": bm.ADVI(seed=SEED),
        "Laplace": bm.Laplace(seed=SEED),
    }
    posteriors = {name: bm.fit(em.model, X, y, engine, start=em) for name, engine in engines.items()}

    print(f"\nParameters, by NUTS, in the units of the data\n{posteriors['NUTS'].summary().round(2).to_string()}")
    for name, fit in {"EM": em, **posteriors}.items():
        print(f"\n{name}: {fit.status}")
    straight_line = bm.fit(bm.MixtureOfExperts(1), X, y, bm.Laplace(seed=SEED), progress=False)
    comparison = bm.compare({**posteriors, "one expert": straight_line})
    print(f"\nLeave-one-out comparison\n{comparison.to_string()}")
    print("Rows with k̂ above its limit: importance sampling cannot stand in for refitting, do not rely on that elpd.")
    print(f"\nRows held out, five folds, {len(em.model.experts)} experts by NUTS")
    print(held_out_scores(em.model, X, y).round(3).to_string())

    draw(out, em, posteriors)
    bm.plots.selection(choice).figure.savefig(out / "selection.png", dpi=130)
    posteriors["NUTS"].save(out / "motorcycle_nuts.nc")
    print(f"\nFigures and motorcycle_nuts.nc (bm.load reads it) are in {out.resolve()}/")
    print(f"{time.perf_counter() - began:.0f} seconds.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fit a mixture of experts to the motorcycle data four ways.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for figures and the netCDF file")
    main(parser.parse_args().out)
