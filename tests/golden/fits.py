"""The fits that were saved, a kind of parts in each; ``python -m tests.golden.fits RELEASE`` writes those of a release.

Files of a release that is out are never written again: they are what its users have.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayes_moe as bm

HERE = Path(__file__).parent
ROWS = 5
Made = tuple[bm.Fit, Any]


def _columns(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return two columns, and two lines on the first with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return x, np.where(rng.random(n) < 0.5, 1.0 + 2.0 * x[:, 0], 4.0 - x[:, 0]) + 0.3 * rng.normal(size=n)


def formula_with_categories() -> Made:
    """Return a fit by EM of a formula with a factor, a spline and a gate of its own."""
    x, y = _columns(1)
    frame = pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "site": np.tile(["north", "south", "west"], 20), "y": y})
    model = bm.MixtureOfExperts(2)
    formula = "y ~ bs(x, df=4) + C(site) | z"
    return bm.fit(model, data=frame, formula=formula, engine=bm.EM(starts=2, seed=1), progress=False), frame[:ROWS]


def draws_of_chains() -> Made:
    """Return draws by NUTS of two Normal experts with sigma linear in x."""
    x, y = _columns(2)
    model = bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear())] * 2)
    return bm.fit(model, x, y, bm.NUTS(draws=20, tune=100, chains=2, seed=1), progress=False), x[:ROWS]


def tree_of_counts() -> Made:
    """Return Laplace's draws of Poisson experts under a tree."""
    x, _ = _columns(3)
    y = np.random.default_rng(3).poisson(np.exp(0.5 + 0.5 * x[:, 0]))
    model = bm.hierarchical_moe((2, 2), bm.Expert(bm.Poisson()))
    return bm.fit(model, x, y, bm.Laplace(draws=20, seed=1), progress=False), x[:ROWS]


def labels_and_weights() -> Made:
    """Return a fit of text labels with row weights."""
    x, y = _columns(4)
    labels, weights = np.where(y > 2, "high", np.where(y > 0, "middle", "low")), 0.5 + np.arange(60) % 3
    model = bm.MixtureOfExperts([bm.Expert(bm.Categorical())] * 2)
    return bm.fit(model, x, labels, bm.EM(starts=2, seed=1), weights=weights, progress=False), x[:ROWS]


def rows_in_groups() -> Made:
    """Return a fit of rows that share a label by groups, under sticks."""
    x, y = _columns(5)
    model = bm.MixtureOfExperts(3, gate=bm.StickBreakingGate(bm.Constant()))
    fit = bm.fit(model, x, y, bm.EM(starts=2, seed=1), groups=np.repeat(np.arange(20), 3), progress=False)
    return fit, x[:ROWS]


def network() -> Made:
    """Return a trained network."""
    x, y = _columns(6)
    model = bm.MixtureOfExperts(2, features=bm.MLP((4,)))
    return bm.fit(model, x, y, bm.Training(seed=1), progress=False), x[:ROWS]


def shared_mean_of_a_power() -> Made:
    """Return a fit with a kernel mean, of the logarithm of y."""
    x, y = _columns(7)
    model = bm.MixtureOfExperts(2, mean=bm.KernelMean(), target=bm.Power(0.0))
    return bm.fit(model, x, np.exp(0.3 * y), bm.EM(starts=2, seed=1), progress=False), x[:ROWS]


def coefficients_integrated_out() -> Made:
    """Return a fit by variational EM, with precisions by evidence."""
    x, y = _columns(8)
    return bm.fit(bm.MixtureOfExperts(2), x, y, bm.VariationalEM(starts=2, seed=1), progress=False), x[:ROWS]


CASES: tuple[Callable[[], Made], ...] = (
    formula_with_categories,
    draws_of_chains,
    tree_of_counts,
    labels_and_weights,
    rows_in_groups,
    network,
    shared_mean_of_a_power,
    coefficients_integrated_out,
)


def predictions(fit: bm.Fit, rows: Any) -> dict[str, Any]:
    """Return what a fit says of rows, as JSON has it."""
    out = {"gate": fit.gate(rows), "predict": fit.predict(rows)}
    if isinstance(fit.model.experts[0].family, bm.Categorical):
        out["predict_proba"] = fit.predict_proba(rows)
    else:
        out["quantile"] = fit.quantile(rows, [0.1, 0.9])
    return {name: values.values.tolist() for name, values in out.items()}


def rows_of(rows: Any) -> Any:
    """Return rows as JSON has them."""
    return {"frame": rows.to_dict("list")} if isinstance(rows, pd.DataFrame) else {"array": rows.tolist()}


def main(release: str) -> None:
    """Write the files of a release."""
    for case in CASES:
        fit, rows = case()
        fit.save(HERE / f"{case.__name__}-{release}.nc")
        said = {"rows": rows_of(rows), "converged": fit.status.converged, "predictions": predictions(fit, rows)}
        (HERE / f"{case.__name__}-{release}.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
