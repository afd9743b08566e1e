"""What a column does to predictions is what predictions at changed rows say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.errors import InputError

ROWS = 90


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    columns = {"a": rng.normal(size=ROWS), "site": rng.choice(["n", "s", "w"], ROWS), "same": np.ones(ROWS)}
    return pd.DataFrame(columns | {"b": rng.exponential(size=ROWS)})


@pytest.fixture(scope="module")
def y(table: pd.DataFrame) -> np.ndarray:
    noise = np.random.default_rng(4).normal(size=ROWS) * np.exp(0.4 * table["b"])
    return (5.0 + 2.0 * table["a"] - 3.0 * (table["site"] == "s") + 0.3 * noise).to_numpy()


def fitted(model: bm.MixtureOfExperts, X: pd.DataFrame, y: np.ndarray) -> bm.Fit:
    return bm.fit(model, X, y, bm.EM(starts=2, seed=1), progress=False)


def by_hand(fit: bm.Fit | bm.FitAverage, X: pd.DataFrame, column: str, end: object) -> tuple[float, float]:
    """Return mean and sd at rows that have one column at ``end``, by the public predictions."""
    moved = X.assign(**{column: end})
    return float(fit.predict(moved).mean()), float(np.sqrt(fit.variance(moved)).mean())


@pytest.mark.parametrize(
    "model",
    [
        bm.MixtureOfExperts(2),
        bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear())], target=bm.Power(0.5)),
        bm.MixtureOfExperts([bm.Expert(mu=bm.Constant())], mean=bm.KernelMean(additive=False)),
    ],
    ids=["mixture", "square root", "shared mean"],
)
def test_effects_are_predictions_at_changed_rows(
    model: bm.MixtureOfExperts, table: pd.DataFrame, y: np.ndarray
) -> None:
    values = y - y.min() + 1.0
    fit = fitted(model, table, values)
    found = fit.effects(0.6)
    assert sorted(found.index) == ["a", "b", "site", "site"]  # without the constant one
    assert list(found["change"].abs()) == sorted(found["change"].abs(), reverse=True)
    for column, row in found.iterrows():
        if column != "site":
            np.testing.assert_allclose([row["low"], row["high"]], np.quantile(table[column], [0.2, 0.8]))
        for place in ("low", "high"):
            mean, sd = by_hand(fit, table, str(column), row[place])
            assert row[f"mean_at_{place}"] == pytest.approx(mean, rel=1e-9)
            assert row[f"sd_at_{place}"] == pytest.approx(sd, rel=1e-9)
        assert row["change"] == row["mean_at_high"] - row["mean_at_low"]


@pytest.mark.parametrize("distinct", [60, 260], ids=["few rows", "many rows"])
def test_a_row_counts_as_often_as_its_weight_says(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    table = pd.DataFrame({"a": rng.exponential(size=distinct), "b": rng.normal(size=distinct)})
    y = (np.exp(table["a"] / 3.0) + table["a"] * table["b"]).to_numpy() + rng.normal(size=distinct)
    table["site"] = np.where(table["a"] > 1.0, "n", "s")
    weights = np.where(table["a"] > 1.0, 7, rng.integers(0, 3, distinct))
    rows = rng.permutation(np.repeat(np.arange(distinct), weights))
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.Polynomial(2), sigma=bm.Linear())])
    weighted = bm.fit(model, table, y, bm.EM(starts=1, seed=1), weights=weights, progress=False)
    repeated = fitted(model, table.iloc[rows].reset_index(drop=True), y[rows])
    found, expected = weighted.effects(0.7), repeated.effects(0.7)
    assert list(found.index) == list(expected.index)
    for column, row in found.iterrows():
        for name, value in expected.loc[column].items():
            assert row[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), (column, name)
    np.testing.assert_allclose(
        found.loc["a", ["low", "high"]].astype(float), np.quantile(table["a"].iloc[rows], [0.15, 0.85]), rtol=1e-12
    )
    moved = table.iloc[rows].assign(a=found.loc["a", "high"])
    assert found.loc["a", "mean_at_high"] == pytest.approx(
        float(weighted.predict(moved).mean()), rel=1e-9 if distinct < 200 else 0.02
    )


def test_weights_of_fractions_have_effects_too(table: pd.DataFrame, y: np.ndarray) -> None:
    """Averages are weighted ones, whatever the unit of the weights."""
    X, weights = table[["a", "b"]], np.random.default_rng(5).exponential(size=ROWS)
    effects = {}
    for unit in (0.001, 1.0, 1000.0):
        fit = bm.fit(bm.MixtureOfExperts(1), X, y, bm.EM(seed=1), weights=weights * unit, progress=False)
        found = effects[unit] = fit.effects()
        for place in ("low", "high"):
            means = fit.predict(X.assign(a=found.loc["a", place])).values
            assert found.loc["a", f"mean_at_{place}"] == pytest.approx(np.average(means, weights=weights), rel=1e-9)
            below = weights[X["a"] <= found.loc["a", place]].sum() / weights.sum()
            assert below == pytest.approx({"low": 0.1, "high": 0.9}[place], abs=0.05)
    assert effects[1.0].loc["a", "low"] == pytest.approx(effects[1000.0].loc["a", "low"], abs=0.1)


def test_effects_of_an_average_have_the_spread_between_fits(table: pd.DataFrame, y: np.ndarray) -> None:
    fits = {f"{k}": fitted(bm.MixtureOfExperts(k), table, y) for k in (1, 2)}
    both = bm.average(fits, weights=[3, 1])
    row = both.effects().loc["a"]
    mean, sd = by_hand(both, table, "a", row["high"])
    assert (row["mean_at_high"], row["sd_at_high"]) == pytest.approx((mean, sd), rel=1e-9)
    smooth = fitted(bm.MixtureOfExperts([bm.Expert(mu=bm.Constant())], mean=bm.KernelMean(additive=False)), table, y)
    for unlike in (bm.average([fits["2"], smooth]), bm.average([smooth, fits["2"]])):
        row = unlike.effects().loc["b"]
        assert (row["mean_at_low"], row["sd_at_low"]) == pytest.approx(
            by_hand(unlike, table, "b", row["low"]), rel=1e-9
        )
    summary = both.summary()
    assert list(summary.index) == ["1", "2"]
    assert list(summary["weight"]) == [0.75, 0.25]
    assert list(summary["experts"]) == [1, 2]
    assert summary["converged"].all()


def test_what_has_no_effects_is_refused(table: pd.DataFrame, y: np.ndarray) -> None:
    fit = fitted(bm.MixtureOfExperts(1), table[["a", "b"]], y)
    with pytest.raises(InputError, match=r"^prob: expected a number between 0 and 1, got 1 "):
        fit.effects(1)
    labelled = bm.MixtureOfExperts([bm.Expert(bm.Categorical())])
    labels = fitted(labelled, table[["a", "b"]], table["site"].to_numpy())
    with pytest.raises(InputError, match=r"^effects: expected y to be one number, got labels"):
        labels.effects()
    with_formula = bm.fit(
        bm.MixtureOfExperts(1), data=table.assign(y=y), formula="y ~ a + b", engine=bm.EM(seed=1), progress=False
    )
    with pytest.raises(InputError, match=r"^effects: expected columns of X, got those of a formula"):
        with_formula.effects()
