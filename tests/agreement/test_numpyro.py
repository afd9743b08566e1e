"""NUTS against hand-written NumPyro models: equal summaries within Monte-Carlo error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import bayes_moe as bm

from .problems import PROBLEMS, ROWS, Problem
from .summaries import PROBABILITIES, summarised

STORED = json.loads((Path(__file__).parent / "numpyro.json").read_text())
STATISTICS = ("mean", "sd", *(f"q{p:g}" for p in PROBABILITIES))
FALSE_ALARM = 1e-3
CONSTANT = bm.SoftmaxGate(bm.Constant())
MODELS = {
    "two lines, softmax gate": bm.MixtureOfExperts(2),
    "sigma linear in x, constant gate": bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear())] * 2, gate=CONSTANT),
    "Student-t experts": bm.MixtureOfExperts([bm.Expert(bm.StudentT())] * 2),
    "Poisson experts with exposures": bm.MixtureOfExperts([bm.Expert(bm.Poisson(exposure="exposure"))] * 2),
    "gamma experts, constant gate": bm.MixtureOfExperts([bm.Expert(bm.Gamma())] * 2, gate=CONSTANT),
    "tree of three": bm.MixtureOfExperts(3, gate=bm.TreeGate(((1, 1), 1))),
    "sticks of two": bm.MixtureOfExperts(2, gate=bm.StickBreakingGate()),
    "grouped binomial experts": bm.MixtureOfExperts([bm.Expert(bm.Binomial(trials="exposure"))] * 2, gate=CONSTANT),
}


def test_every_reference_converged() -> None:
    """No divergences, and effective draws enough for a tenth of a standard deviation."""
    assert set(STORED) == set(PROBLEMS)
    for name, stored in STORED.items():
        assert stored["divergences"] == 0, name
        for quantity, each in stored["quantities"].items():
            assert each["r_hat"] < 1.01, (name, quantity)
            assert each["ess"] > 4000, (name, quantity)


@pytest.mark.full
@pytest.mark.parametrize("name", PROBLEMS)
def test_summaries_are_those_of_numpyro(name: str) -> None:
    """All differences lie within Bonferroni's limit for a false alarm in a thousand runs."""
    problem, model = PROBLEMS[name], MODELS[name]
    fit = bm.fit(model, table(problem), problem.y, bm.NUTS(draws=3000, seed=3), groups=problem.codes, progress=False)
    ours, theirs = summarised(quantities(fit, problem)), STORED[name]["quantities"]
    assert set(ours) == set(theirs)
    limit = norm.isf(FALSE_ALARM / (2 * len(theirs) * len(STATISTICS)))
    far = {}
    for quantity, reference in theirs.items():
        for statistic in STATISTICS:
            error = np.hypot(ours[quantity][f"{statistic}_mcse"], reference[f"{statistic}_mcse"])
            z = (ours[quantity][statistic] - reference[statistic]) / error
            if abs(z) > limit:
                far[quantity, statistic] = z
    assert not far


def table(problem: Problem) -> dict[str, np.ndarray] | np.ndarray:
    import pandas as pd

    columns = {f"x{j}": column for j, column in enumerate(problem.X.T)}
    if problem.exposure is not None:
        columns["exposure"] = problem.exposure
    return pd.DataFrame(columns)


def quantities(fit: bm.Fit, problem: Problem) -> dict[str, np.ndarray]:
    """Return the quantities of the references; coefficients go back to the standardised scale by hand."""
    rows, posterior = fit.idata["log_likelihood"]["y"].values, fit.idata["posterior"]
    found = {f"log density of row {i}": rows[..., i] for i in range(ROWS)}
    found["log likelihood"] = rows.sum(axis=-1)
    name = next(
        str(v).removesuffix("_intercept")
        for v in posterior
        if str(v).endswith("mu_intercept") or v == "logit_p_intercept"
    )
    intercept, slopes = posterior[f"{name}_intercept"].values, posterior[f"{name}_slopes"].values
    centre, spread = problem.X.mean(axis=0), problem.X.std(axis=0)
    shift, unit = 0.0, 1.0
    if name == "mu":
        shift, unit = problem.y.mean(), problem.y.std()
    if isinstance(fit.model.experts[0].family, bm.Gamma):
        shift = np.log(problem.y).mean()
    a = (intercept + slopes @ centre - shift) / unit
    b = slopes[..., 0] * spread[0] / unit
    order = np.argsort(a, axis=-1)
    a, b = (np.take_along_axis(values, order, axis=-1) for values in (a, b))
    found |= {f"intercept {k}": a[..., k] for k in range(a.shape[-1])}
    return found | {f"slope {k}": b[..., k] for k in range(a.shape[-1])}
