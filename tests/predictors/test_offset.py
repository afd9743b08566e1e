"""Columns that are added as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, poisson

import bayes_moe as bm
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.graph.graded import PLAIN
from tests.cases import Case, bound

RNG = np.random.default_rng(13)
FRAME = pd.DataFrame(
    {"x": RNG.normal(size=90), "base": 500.0 + 60.0 * RNG.normal(size=90), "log_spread": RNG.normal(size=90)}
)
Y = (2.0 + 3.0 * FRAME["x"] + FRAME["base"] + np.exp(0.5 * FRAME["log_spread"]) * RNG.normal(size=90)).to_numpy()
BOTH = [bm.Expert(mu=bm.Linear(offset="base"), sigma=bm.Constant(offset="log_spread"))]


def test_reported_coefficients_are_those_of_the_rest() -> None:
    """Means are intercept + slope x + offset in units of y, spreads exp(intercept + offset)."""
    model = bm.MixtureOfExperts(BOTH * 2, bm.EqualGate())
    fit = bm.fit(model, FRAME, Y, bm.EM(seed=1, starts=4), progress=False)
    found = fit.idata["posterior"].to_dataset().isel(chain=0, draw=0)
    assert found["mu_feature"].values.tolist() == ["x"]
    slopes = found["mu_slopes"].values[:, 0]
    means = found["mu_intercept"].values + np.outer(FRAME["x"], slopes) + FRAME[["base"]].to_numpy()
    spreads = found["sigma"].values * np.exp(FRAME[["log_spread"]].to_numpy())
    np.testing.assert_allclose(fit.predict(FRAME), means.mean(axis=1), rtol=1e-10)
    density = norm.pdf(Y[:, None], means, spreads).mean(axis=1)
    np.testing.assert_allclose(fit.log_density(FRAME, Y), np.log(density), rtol=1e-9, atol=1e-9)


def test_an_offset_of_the_mean_is_taken_from_y(tmp_path: Path) -> None:
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(offset="base"))] * 2, bm.SoftmaxGate(bm.Linear(("x",))))
    own = bound(Case(model, FRAME[["x", "base"]], Y))
    assert isinstance(own.density, MixtureDensity)
    frame = FRAME[["base", "x"]]
    fit = bm.fit(model, frame, Y, bm.EM(seed=1, starts=6), progress=False)
    rest = bm.fit(
        bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Linear(("x",)))),
        frame[["x"]],
        Y - frame["base"].to_numpy(),
        bm.EM(seed=1, starts=6),
        progress=False,
    )
    assert fit.log_likelihood == pytest.approx(rest.log_likelihood, abs=1.0)  # priors differ in scale
    new = pd.DataFrame({"x": [0.0, 0.0], "base": [100.0, 900.0]})
    np.testing.assert_allclose(np.diff(fit.predict(new)), 800.0, rtol=1e-9)
    np.testing.assert_allclose(np.diff(fit.quantile(new, 0.9)), 800.0, rtol=1e-6)
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bm.load(tmp_path / "fit.nc").predict(new), fit.predict(new))


def test_counts_may_have_a_log_exposure_as_offset() -> None:
    days = RNG.uniform(1.0, 200.0, size=90)
    frame = pd.DataFrame({"x": FRAME["x"], "days": days, "log_days": np.log(days)})
    y = RNG.poisson(days * np.exp(0.3 + 0.5 * frame["x"])).astype(float)
    offset = bm.MixtureOfExperts([bm.Expert(bm.Poisson(), mu=bm.Linear(offset="log_days"))])
    exposure = bm.MixtureOfExperts([bm.Expert(bm.Poisson(exposure="days"))])
    one = bm.fit(offset, frame[["x", "log_days"]], y, bm.EM(seed=1), progress=False)
    other = bm.fit(exposure, frame[["x", "days"]], y, bm.EM(seed=1), progress=False)
    for name in ("log_mu_intercept", "log_mu_slopes"):
        np.testing.assert_allclose(one.idata["posterior"][name], other.idata["posterior"][name], atol=0.01)
    b = one.idata["posterior"]["log_mu_intercept"].item(), one.idata["posterior"]["log_mu_slopes"].item()
    expected = poisson.logpmf(y, np.exp(b[0] + b[1] * frame["x"] + frame["log_days"]))
    np.testing.assert_allclose(one.log_density(frame[["x", "log_days"]], y), expected, rtol=1e-8)


def test_the_graph_has_it_too() -> None:
    model = bm.MixtureOfExperts(BOTH * 2)
    own = bound(Case(model, FRAME, Y))
    assert isinstance(own.density, GeneralDensity)
    built = own.pymc_model()
    logp = built.compile_fn(built.logp(), mode=PLAIN)
    q = own.parameters.prior_loc + 0.3 * RNG.normal(size=own.density.size)
    assert float(logp(own.parameters.named(q))) == pytest.approx(own.density.logp(q), rel=1e-10)


def fitted(mu: Any, gate: Any = None, frame: pd.DataFrame = FRAME) -> Any:
    return bm.fit(bm.MixtureOfExperts([bm.Expert(mu=mu)] * 2, gate), frame, Y, progress=False)


REFUSED = [
    (lambda: bm.Linear(offset=2), bm.SpecError, r"Linear\.offset: expected the name of a column of X or None, got 2"),
    (lambda: fitted(bm.Constant(offset="bse")), bm.SpecError, r"Constant\.offset: .*got 'bse'; did you mean 'base'"),
    (lambda: fitted(bm.Linear(), bm.SoftmaxGate(bm.Linear(offset="x"))), bm.SpecError, "changes no weight"),
    (
        lambda: fitted(bm.Linear(offset="base"), frame=FRAME.assign(base=np.where(FRAME["x"] > 1, np.nan, 1.0))),
        bm.InputError,
        "base",
    ),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_is_no_offset_is_refused(case: int) -> None:
    make, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        make()


def test_new_rows_need_the_offset() -> None:
    fit = fitted(bm.Linear(offset="base"))
    with pytest.raises(bm.InputError, match="base"):
        fit.predict(FRAME.drop(columns="base"))
    with pytest.raises(bm.InputError, match="base"):
        fit.predict(FRAME.assign(base=np.nan))
