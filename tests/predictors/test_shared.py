"""Slopes that experts share while intercepts and other slopes are their own."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from tests.cases import Case, bound, some_points

RNG = np.random.default_rng(11)
LABEL = RNG.integers(2, size=120)
FRAME = pd.DataFrame({"dose": RNG.normal(size=120), "treated": RNG.integers(2, size=120)})
Y = np.where(LABEL, 2.0 + FRAME["dose"], -3.0 - 2.0 * FRAME["dose"]) + 1.5 * FRAME["treated"]
Y = Y.to_numpy() + 0.2 * RNG.normal(size=120)


def model(shared: Any) -> bm.MixtureOfExperts:
    return bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(shared=shared))] * 2, bm.SoftmaxGate(bm.Constant()))


def test_a_fixed_effect_is_found(tmp_path: Path) -> None:
    fit = bm.fit(model(["treated"]), FRAME, Y, bm.EM(seed=1, starts=8), progress=False)
    slopes = fit.idata["posterior"]["mu_slopes"].sel(mu_feature="treated").values.ravel()
    assert slopes[0] == slopes[1]
    assert slopes[0] == pytest.approx(1.5, abs=0.15)
    own = np.sort(fit.idata["posterior"]["mu_slopes"].sel(mu_feature="dose").values.ravel())
    np.testing.assert_allclose(own, [-2.0, 1.0], atol=0.15)
    assert fit.prior_summary().index.tolist()[:5] == [
        "mu_intercept_z[0]",
        "mu_intercept_z[1]",
        "mu_slopes_z[0, 0]",
        "mu_slopes_z[1, 0]",
        "mu_slopes_shared_z[0]",
    ]
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bm.load(tmp_path / "fit.nc").predict(FRAME), fit.predict(FRAME))


def test_what_is_shared_is_one_value() -> None:
    """Sharing everything but the intercept, column by column, is the unshared model at equal slopes."""
    one, many = (bound(Case(model(shared), FRAME, Y)) for shared in (("treated", "dose"), False))
    assert one.parameters.size == many.parameters.size - 2
    for q in some_points(Case(model(("treated", "dose")), FRAME, Y), 3, seed=2):
        point = one.parameters.named(q)
        shared = point.pop("mu_slopes_shared_z")
        point["mu_slopes_z"] = np.stack([shared, shared])
        wide = np.concatenate([np.ravel(point[name]) for name in many.parameters.slices])
        assert one.density.log_likelihood(q) == pytest.approx(many.density.log_likelihood(wide), rel=1e-12)


def test_a_column_of_text_is_shared_whole() -> None:
    frame = FRAME.assign(site=np.array(["a", "b", "c"])[np.arange(120) % 3])
    own = bound(Case(model(("site",)), frame, Y))
    basis = own.design.experts[0][0][0].basis
    assert [name for name, tied in zip(basis.names, basis.pooled(), strict=True) if tied] == ["site[b]", "site[c]"]


def test_posterior_engines_share() -> None:
    for engine in (bm.Laplace(draws=50, seed=1), bm.NUTS(draws=20, tune=60, chains=2, seed=1)):
        with pytest.warns(bm.FitWarning) if isinstance(engine, bm.NUTS) else nullcontext():
            fit = bm.fit(model((1,)), FRAME, Y, engine, progress=False)
        slopes = fit.idata["posterior"]["mu_slopes"].sel(mu_feature="treated").values
        np.testing.assert_array_equal(slopes[..., 0], slopes[..., 1])
        assert slopes.mean() == pytest.approx(1.5, abs=0.2)
        assert np.ptp(slopes) > 0


REFUSED = [
    (lambda: bm.Linear(shared="dose"), r"Linear\.shared: expected True, False or a tuple .*got 'dose' → e\.g\. \('dos"),
    (lambda: bm.Linear(shared=()), r"Linear\.shared: expected True, False or a tuple"),
    (lambda: bm.Polynomial(2, shared=("a", "a")), r"Polynomial\.shared: expected every column once"),
    (lambda: bm.Spline(3, shared=(True,)), r"Spline\.shared: expected names or positions"),
    (lambda: bm.RBF(3, shared=("a",)), r"RBF\.shared: expected True or False"),
    (lambda: bm.Constant(shared=("a",)), r"Constant\.shared: expected True or False"),
    (lambda: bm.SoftmaxGate(bm.Linear(shared=("a",))), r"SoftmaxGate\.predictor: expected coefficients per expert"),
    (lambda: bound(Case(model(("treted",)), FRAME, Y)), r"Linear\.shared: .*got 'treted'; did you mean 'treated'"),
    (lambda: bound(Case(model((2,)), FRAME, Y)), r"Linear\.shared: expected positions from 0 to 1, got 2"),
    (
        lambda: bound(Case(bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(("dose",), shared=(1,)))]), FRAME, Y)),
        r"Linear\.shared: expected columns that the predictor uses, \['dose'\], got 'treated'",
    ),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_cannot_be_shared_is_refused(case: int) -> None:
    make, message = REFUSED[case]
    with pytest.raises(bm.SpecError, match=message):
        make()
