"""``groups=`` from the data to predictions: labels read, labels shared, scores by group (D37, D38)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import log_softmax, logsumexp, softmax

import bayes_moe as bm
from bayes_moe.data import read_training
from bayes_moe.groups import Groups
from tests.data_cases import FRAME, LINE, N, X, Y

GROUPS = 24
RNG = np.random.default_rng(11)
WHO = np.array([f"p{i:02d}" for i in RNG.permutation(np.repeat(np.arange(GROUPS), 5))])
KIND = {f"p{i:02d}": i % 2 for i in range(GROUPS)}
LABEL = np.array([KIND[who] for who in WHO])
T = RNG.normal(size=len(WHO))
TABLE = pd.DataFrame({"t": T, "who": WHO})
TARGET = np.where(LABEL == 1, 0.4 + 0.5 * T, -0.4 - 0.5 * T) + 0.7 * RNG.normal(size=len(WHO))
MODEL = bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(columns=("t",)))] * 2, bm.SoftmaxGate(bm.Constant()))
FIT = bm.fit(MODEL, TABLE, TARGET, bm.EM(seed=1), groups="who", progress=False)
LAPLACE = bm.fit(MODEL, TABLE, TARGET, bm.Laplace(seed=1, draws=200), groups="who", progress=False)


def read(groups: Any, x: Any = X, **options: Any) -> Groups | None:
    return read_training(x, Y, groups=groups, experts=2, parameters=0, **options).groups


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a"] * 20, ("a", "b")),
        (np.array([7, 3] * 20), (3, 7)),
        ([7.0, 3.0] * 20, (3, 7)),
        (pd.Series(["b", "a"] * 20, dtype="category"), ("a", "b")),
        (pl.Series(["b", "a"] * 20), ("a", "b")),
        (pd.DataFrame({"who": ["b", "a"] * 20}), ("a", "b")),
        ([1.5, 0.5] * 20, ("0.5", "1.5")),
        ([True, False] * 20, ("False", "True")),
        ([("x", 1), ("a", 2)] * 20, ("('a', 2)", "('x', 1)")),
        ([2, "a"] * 20, ("2", "a")),
    ],
)
def test_labels_of_every_kind(labels: Any, expected: tuple[Any, ...]) -> None:
    groups = read(labels)
    assert groups is not None
    assert groups.labels == expected
    first = groups.codes[0]
    np.testing.assert_array_equal(groups.codes, [first, 1 - first] * 20)


def test_a_column_of_groups_is_no_covariate() -> None:
    for frame in (FRAME.assign(who=["b", "a"] * 20), pl.from_pandas(FRAME.assign(who=["b", "a"] * 20))):
        data = read_training(frame, Y, groups="who", experts=2, parameters=0)
        assert data.table.names == ("age", "dose")
        assert data.groups is not None
        assert data.groups.column == "who"
    assert read(None) is None


def test_rows_left_out_leave_their_groups() -> None:
    labels = np.repeat(np.arange(8), 5)
    holes = np.where(labels[:, None] == 3, np.nan, X)
    groups = read(labels, holes, missing=bm.Missing.DROP)
    assert groups is not None
    assert groups.labels == (0, 1, 2, 4, 5, 6, 7)
    np.testing.assert_array_equal(np.array(groups.labels)[groups.codes], labels[labels != 3])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "D37 missing": (
        lambda: read(np.where(LINE > 0.9, None, "a")),
        r"groups: expected a label in every row, got none \(rows 38, 39\) → give each",
    ),
    "NaN": (lambda: read(np.where(LINE > 0.9, np.nan, 1.0)), r"got none \(rows 38, 39\)"),
    "D38 name": (
        lambda: read("whom", FRAME.assign(who=1)),
        r"groups: expected the name of a column of X, one of \['age', 'dose', 'who'\], got 'whom'; .*'who'",
    ),
    "no names": (lambda: read("who"), r"groups: expected the name of a column of X, one of \[\]"),
    "length": (lambda: read([1, 2]), r"groups: expected 40 labels, one per row of X, got 2"),
    "scalar": (lambda: read(3), r"groups: expected one label for each row, got int"),
    "table": (lambda: read(X), r"groups: expected one label for each row, got ndarray"),
    "aligned": (
        lambda: read(pd.Series(np.arange(N) // 4)[::-1], FRAME),
        r"groups: expected the row labels of X, got 39 for 0",
    ),
    "gate": (
        lambda: bm.fit(bm.MixtureOfExperts(2), FRAME, Y, groups=np.arange(N) // 2),
        r"groups: expected gate columns that are constant within every group, got column 'age' that varies in 0, 1, 2",
    ),
    "none": (
        lambda: bm.fit(MODEL, TABLE[["t"]], TARGET, bm.EM(seed=1, starts=1), progress=False).predict(
            TABLE[["t"]], groups=WHO
        ),
        r"groups: expected None, since the fit was made without groups",
    ),
    "unsaid": (lambda: FIT.predict(TABLE), r"groups: .*X has the column 'who', got None → pass groups='who'"),
    "new missing": (lambda: FIT.predict(TABLE[["t"]], groups=[None] * len(WHO)), r"groups: expected a label in every"),
    "new length": (lambda: FIT.predict(TABLE[["t"]], groups=["p01"]), r"groups: expected 120 labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    attempt, message = REFUSED[case]
    with pytest.raises((bm.InputError, bm.SpecError), match=message):
        attempt()


def test_few_groups_are_noticed() -> None:
    data = read_training(X, Y, groups=np.arange(N) % 3, experts=2, parameters=0)
    assert [notice.code for notice in data.notices] == ["few_groups"]


def test_groups_tell_labels_that_rows_do_not() -> None:
    """Single rows overlap widely; five together seldom do, and EM finds the two kinds."""
    shares = FIT.responsibilities().values
    one = int(shares[LABEL == 1, 1].mean() > 0.5)
    assert np.mean((shares[:, one] > 0.5) == (LABEL == 1)) > 0.9
    alone = bm.fit(MODEL, TABLE[["t"]], TARGET, bm.EM(seed=1, starts=4), progress=False).responsibilities().values
    assert np.abs(shares - 0.5).mean() > np.abs(alone - 0.5).mean() + 0.05
    for who in ("p00", "p07"):
        np.testing.assert_array_equal(np.ptp(shares[who == WHO], axis=0), 0.0)


def by_hand(fit: bm.Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for every draw: log weights (S, K), intercepts, slopes and sigmas (S, K)."""
    posterior = fit.idata["posterior"].to_dataset().stack(sample=("chain", "draw")).transpose("sample", ...)
    gate = log_softmax(posterior["gate_intercept"].values, axis=1)
    return gate, posterior["mu_intercept"].values, posterior["mu_slopes"].values[..., 0], posterior["sigma"].values


@pytest.mark.parametrize("fit", [FIT, LAPLACE], ids=["EM", "Laplace"])
def test_predictions_use_what_training_says_of_a_group(fit: bm.Fit) -> None:
    log_gate, a, b, sigma = by_hand(fit)
    mean = a[:, None] + b[:, None] * T[:, None]
    log_density = (
        -0.5 * np.log(2 * np.pi) - np.log(sigma[:, None]) - 0.5 * ((TARGET[:, None] - mean) / sigma[:, None]) ** 2
    )
    joint = np.stack([log_gate + log_density[:, who == WHO].sum(axis=1) for who in KIND], axis=1)
    shares = softmax(joint, axis=2)
    rows = fit.idata["log_likelihood"]["y"]
    assert rows.dims == ("chain", "draw", "group")
    assert rows["group"].values.tolist() == list(KIND)
    np.testing.assert_allclose(rows.values.reshape(-1, GROUPS), logsumexp(joint, axis=2), rtol=1e-8)
    place = np.array([list(KIND).index(who) for who in WHO])
    np.testing.assert_allclose(fit.responsibilities(), shares.mean(axis=0)[place], atol=1e-10)
    np.testing.assert_allclose(fit.gate(TABLE, groups="who"), shares.mean(axis=0)[place], atol=1e-10)
    expected = (shares[:, place] * mean).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(fit.predict(TABLE, groups="who"), expected, rtol=1e-8, atol=1e-10)
    from_gate = (np.exp(log_gate)[:, None] * mean).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(fit.predict(TABLE[["t"]]), from_gate, rtol=1e-8, atol=1e-10)
    mixed = [who if i % 2 else "nobody" for i, who in enumerate(WHO)]
    chosen = np.where(np.arange(len(WHO)) % 2, expected, from_gate)
    np.testing.assert_allclose(fit.predict(TABLE[["t"]], groups=mixed), chosen, rtol=1e-8, atol=1e-10)
    weighted = logsumexp(np.log(shares[:, place]) + log_density, axis=(0, 2)) - np.log(len(shares))
    np.testing.assert_allclose(fit.log_density(TABLE, TARGET, groups="who"), weighted, rtol=1e-8)
    updated = logsumexp(np.log(shares[:, place]) + log_density, axis=0)
    np.testing.assert_allclose(fit.responsibilities(TABLE, TARGET, groups="who"), softmax(updated, axis=1), atol=1e-8)


def test_every_prediction_takes_groups() -> None:
    some = TABLE[:6]
    middle = FIT.quantile(some, 0.5, groups="who")
    np.testing.assert_allclose(FIT.cdf(some, middle, groups="who"), 0.5, atol=1e-8)
    assert FIT.interval(some, groups="who").shape == (6, 2)
    np.testing.assert_allclose(
        FIT.sample(some, 40_000, seed=1, groups="who").mean("sample"), FIT.predict(some, groups="who"), atol=0.03
    )
    spread = FIT.sample(some, 40_000, seed=1, groups="who").std("sample")
    np.testing.assert_allclose(spread, np.sqrt(FIT.variance(some, groups="who")), rtol=0.03)
    np.testing.assert_array_equal(FIT.expert_means(some, groups="who"), FIT.expert_means(some[["t"]]))
    labels = WHO[:6].tolist()
    np.testing.assert_array_equal(FIT.predict(some[["t"]], groups=labels), FIT.predict(some, groups="who"))
    np.testing.assert_array_equal(FIT.predict(T[:6, None], groups=labels), FIT.predict(some, groups="who"))
    assert FIT.predict(some[:0], groups="who").shape == (0,)


def test_scores_are_of_groups() -> None:
    likelihood = FIT.idata["log_likelihood"]["y"].sum().item()
    assert FIT.log_likelihood == pytest.approx(likelihood, rel=1e-10)
    coefficients = 2 * 3 + 1
    assert FIT.bic == pytest.approx(-2 * likelihood + coefficients * np.log(len(WHO)))
    once = FIT.responsibilities().values[[int(np.flatnonzero(who == WHO)[0]) for who in KIND]]
    assert FIT.icl == pytest.approx(FIT.bic - 2 * np.sum(once * np.log(np.maximum(once, 1e-300))))
    score = LAPLACE.loo()
    assert score.n_data_points == GROUPS
    assert score.pareto_k.dims == ("group",)
    alone = bm.fit(MODEL, TABLE[["t"]], TARGET, bm.Laplace(seed=1, draws=200), progress=False)
    with pytest.raises(bm.InputError, match="expected the target of"):
        bm.compare({"groups": LAPLACE, "rows": alone})


def test_a_group_of_no_weight_counts_for_nothing() -> None:
    weights = np.where(WHO == "p03", 0.0, 1.0)
    fit = bm.fit(MODEL, TABLE, TARGET, bm.EM(seed=1, starts=6), groups="who", weights=weights, progress=False)
    rest = WHO != "p03"
    other = bm.fit(MODEL, TABLE[rest], TARGET[rest], bm.EM(seed=1, starts=6), groups="who", progress=False)
    assert fit.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-8)
    groups = fit.idata["log_likelihood"]["group"].values.tolist()
    assert groups == other.idata["log_likelihood"]["group"].values.tolist()
    assert "p03" not in groups
    assert fit.responsibilities().shape == (len(WHO), 2)
    mine = fit.predict(TABLE[~rest], groups="who")
    np.testing.assert_array_equal(mine, fit.predict(TABLE.loc[~rest, ["t"]]))


def test_saved_groups_come_back(tmp_path: Path) -> None:
    LAPLACE.save(tmp_path / "fit.nc")
    again = bm.load(tmp_path / "fit.nc")
    assert again.data.groups is not None
    assert again.data.groups.labels == tuple(KIND)
    np.testing.assert_array_equal(again.predict(TABLE, groups="who"), LAPLACE.predict(TABLE, groups="who"))
    np.testing.assert_array_equal(again.responsibilities(), LAPLACE.responsibilities())


def test_training_responsibilities_without_groups() -> None:
    fit = bm.fit(MODEL, TABLE[["t"]], TARGET, bm.EM(seed=1, starts=4), progress=False)
    np.testing.assert_allclose(fit.responsibilities(), fit.responsibilities(TABLE[["t"]], TARGET), atol=1e-12)


@pytest.mark.parametrize(
    "engine",
    [
        bm.ADVI(seed=1, draws=200),
        pytest.param(bm.NUTS(draws=600, tune=400, chains=2, seed=1), marks=pytest.mark.full),
    ],
    ids=["ADVI", "NUTS"],
)
def test_every_engine_has_the_same_posterior(engine: Any) -> None:
    fit = bm.fit(MODEL, TABLE, TARGET, engine, groups="who", progress=False)
    assert fit.status.converged
    apart = fit.predict(TABLE, groups="who") - LAPLACE.predict(TABLE, groups="who")
    assert float(np.abs(apart).max()) < 0.15
