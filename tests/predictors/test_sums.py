"""Sums and products: what they are in the user's units, their columns, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from tests.fits import QUICK

RNG = np.random.default_rng(11)
TABLE = pd.DataFrame({"dose": 5.0 + 2.0 * RNG.normal(size=90), "age": 40.0 + 9.0 * RNG.normal(size=90)})
BOTH = ("dose", "age")


def interaction() -> np.ndarray:
    centred = TABLE - TABLE.mean()
    noise = 0.1 * np.random.default_rng(2).normal(size=90)
    return np.asarray(3.0 + 2.0 * centred["dose"] - centred["age"] + 0.5 * centred["dose"] * centred["age"] + noise)


def fit(mean: Any, y: np.ndarray | None = None) -> bm.Fit:
    model = bm.nearly_flat(bm.MixtureOfExperts([bm.Expert(mu=mean)]))
    return bm.fit(model, TABLE, interaction() if y is None else y, QUICK, progress=False)


def test_coefficients_are_those_of_the_centred_products() -> None:
    found = fit(bm.Sum((bm.Linear(), bm.Products())))
    posterior = found.idata["posterior"]
    np.testing.assert_allclose(posterior["mu_slopes"].values.ravel(), [2.0, -1.0, 0.5], atol=0.02)
    np.testing.assert_allclose(
        posterior["mu_intercept"].values.ravel(), 3.0 - 2.0 * TABLE["dose"].mean() + TABLE["age"].mean(), atol=0.3
    )


def test_a_sum_is_its_parts() -> None:
    """A sum of columns and products is a line in both, computed by hand."""
    both = bm.Sum((bm.Linear(BOTH), bm.Products(BOTH)))
    table = np.column_stack([TABLE, np.prod(TABLE - TABLE.mean(), axis=1)])
    by_hand = bm.fit(bm.nearly_flat(bm.MixtureOfExperts(1)), table, interaction(), QUICK, progress=False)
    np.testing.assert_allclose(fit(both).predict(TABLE), by_hand.predict(table), atol=1e-3)


def test_columns_that_a_part_names_are_its_own() -> None:
    apart = fit(bm.Sum((bm.Linear(), bm.Spline(4, columns=("age",)))))
    names = apart.idata["posterior"]["mu_feature"].values.tolist()
    assert [name for name in names if "dose" in name] == ["dose"]
    assert sum("age" in name for name in names) == 4


def test_sums_are_saved(tmp_path: Any) -> None:
    found = fit(bm.Sum((bm.Linear(BOTH), bm.RBF(3, columns=BOTH)), intercept=bm.priors.Normal(0.0, 9.0)))
    found.save(tmp_path / "fit.nc")
    assert bm.load(tmp_path / "fit.nc").predict(TABLE).identical(found.predict(TABLE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bm.Sum((bm.Linear(),)), r"Sum\.parts: expected two predictors or more"),
        (lambda: bm.Sum((bm.Linear(), bm.HSGP(4))), r"Sum\.parts\[1\]: expected one of \['Linear', .* got HSGP"),
        (lambda: bm.Sum((bm.Linear(offset="o"), bm.Products())), r"Sum\.parts\[0\]: expected a part without offset"),
        (lambda: bm.Sum((bm.Linear(shared=True), bm.Products())), "without shared, got True"),
        (
            lambda: bm.Sum((bm.Linear(slopes=bm.priors.LearnedScale()), bm.Products())),
            "expected priors.Normal for slopes",
        ),
        (
            lambda: bm.Expert(mu=bm.Sum((bm.Linear(), bm.Products()), slopes=bm.priors.LearnedScale())),
            "only a gate's slopes have a learned scale",
        ),
        (lambda: bm.Products(shared="dose"), r"Products\.shared: expected True or False"),
    ],
)
def test_what_is_no_sum_is_refused(make: Any, message: str) -> None:
    with pytest.raises(bm.SpecError, match=message):
        make()


def test_parts_of_the_same_columns_are_refused() -> None:
    with pytest.raises(bm.SpecError, match=r"Sum\.parts: expected parts that differ, got 'dose' in two of them"):
        fit(bm.Sum((bm.Linear(BOTH), bm.Polynomial(2, columns=BOTH))))


def test_a_gate_has_one_scale_for_all_slopes() -> None:
    part = bm.Linear(BOTH, slopes=bm.priors.Normal(0.0, 1.0))
    model = bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Sum((part, bm.Products(BOTH)))))
    with pytest.raises(bm.SpecError, match="gate: expected a sum whose parts have no priors of slopes"):
        bm.fit(model, TABLE, interaction(), QUICK, progress=False)


def test_products_of_one_column_are_none() -> None:
    one = bm.Products(("dose",))
    np.testing.assert_allclose(fit(one).predict(TABLE), interaction().mean(), rtol=0.05)


def test_too_many_pairs_are_refused() -> None:
    wide = RNG.normal(size=(150, 70))
    with pytest.raises(bm.SpecError, match=r"Products\.columns: expected at most 2000 pairs, got 2415 of 70 columns"):
        bm.fit(bm.MixtureOfExperts([bm.Expert(mu=bm.Products())]), wide, wide[:, 0], QUICK, progress=False)
