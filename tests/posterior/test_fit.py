"""What a fit answers: predictions with the right rows and numbers, criteria by hand, and what it cannot say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from scipy.stats import norm

import bayes_moe as bm
from tests.cases import Case
from tests.fits import QUICK, TWO, N, X, Y, fit
from tests.oracle import Oracle


@pytest.fixture(scope="module")
def framed() -> bm.Fit:
    """A fit with named columns, gate columns and weights."""
    frame = pd.DataFrame({"dose": X[:, 0], "age": np.cos(X[:, 0])})
    gate = pd.DataFrame({"place": X[:, 0] ** 2})
    return fit(x=frame, gate_X=gate, weights=1.0 + np.arange(N) % 2)


def rows(count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    x = np.linspace(1, 9, count)
    return pd.DataFrame({"dose": x, "age": np.cos(x)}), pd.DataFrame({"place": x**2})


@pytest.mark.parametrize("count", [0, 1, 2, N, 500])
def test_predictions_have_the_rows_of_their_x(framed: bm.Fit, count: int) -> None:
    x, gate = rows(count)
    y = np.linspace(0, 5, count)
    answers = {
        "predict": framed.predict(x, gate_X=gate),
        "hard": framed.predict(x, gate_X=gate, hard=True),
        "variance": framed.variance(x, gate_X=gate),
        "log_density": framed.log_density(x, y, gate_X=gate),
        "cdf": framed.cdf(x, y, gate_X=gate),
        "one quantile": framed.quantile(x, 0.3, gate_X=gate),
    }
    for name, answer in answers.items():
        assert answer.dims == ("obs",), name
        assert answer.shape == (count,), name
        assert np.isfinite(answer).all(), name
    for answer in (
        framed.gate(x, gate_X=gate),
        framed.expert_means(x, gate_X=gate),
        framed.responsibilities(x, y, gate_X=gate),
    ):
        assert answer.dims == ("obs", "expert")
        assert answer.shape == (count, 2)
    quantiles = framed.quantile(x, [0.1, 0.9], gate_X=gate)
    assert quantiles.dims == ("obs", "quantile")
    assert quantiles.shape == (count, 2)
    assert quantiles["quantile"].values.tolist() == [0.1, 0.9]
    interval = framed.interval(x, 0.8, gate_X=gate)
    assert interval.dims == ("obs", "bound")
    np.testing.assert_allclose(interval, quantiles, atol=1e-9)
    draws = framed.sample(x, 7, seed=1, gate_X=gate)
    assert draws.dims == ("sample", "obs")
    assert draws.shape == (7, count)


def test_s17_columns_by_name(framed: bm.Fit) -> None:
    x, gate = rows(9)
    expected = framed.predict(x, gate_X=gate)
    xr.testing.assert_equal(framed.predict(x[["age", "dose"]], gate_X=gate), expected)
    xr.testing.assert_equal(framed.predict(pl.from_pandas(x), gate_X=pl.from_pandas(gate)), expected)
    xr.testing.assert_equal(framed.predict(pd.concat([gate, x], axis=1)), expected)
    with pytest.raises(bm.InputError, match=r"^X: expected the training columns, got none named 'dose'"):
        framed.predict(x[["age"]], gate_X=gate)
    with pytest.raises(bm.InputError, match=r"^X: .*got also 'weight' → leave it out"):
        framed.predict(x.assign(weight=1.0), gate_X=gate)
    with pytest.raises(bm.InputError, match=r"^gate_X: expected columns 'place' for the gate, got None"):
        framed.predict(x)
    with pytest.raises(bm.InputError, match=r"^y: expected 9 values, one per row of X, got 8"):
        framed.log_density(x, np.zeros(8), gate_X=gate)
    with pytest.raises(bm.InputError, match=r"^X: .*'low' in column 'dose'"):
        framed.predict(x.assign(dose="low"), gate_X=gate)


def test_predictions_are_those_of_the_oracle(framed: bm.Fit) -> None:
    """Gate, density, mean and variance at the training rows, from the independent density's terms."""
    frame = pd.DataFrame({"dose": X[:, 0], "age": np.cos(X[:, 0])})
    gate = pd.DataFrame({"place": X[:, 0] ** 2})
    terms = Oracle(Case(TWO, frame, Y, 1.0 + np.arange(N) % 2, gate.to_numpy())).terms(framed.point)
    np.testing.assert_allclose(framed.gate(frame, gate_X=gate), np.exp(terms.gate), atol=1e-10)
    np.testing.assert_allclose(framed.log_density(frame, Y, gate_X=gate), terms.rows, rtol=1e-9)
    np.testing.assert_allclose(framed.responsibilities(frame, Y, gate_X=gate), terms.responsibilities(), atol=1e-9)
    means = framed.expert_means(frame, gate_X=gate).values
    sigma = framed.idata["posterior"]["sigma"].values[0, 0]
    np.testing.assert_allclose(norm.logpdf(Y[:, None], means, sigma), terms.experts, rtol=1e-8, atol=1e-8)
    share = np.exp(terms.gate)
    mean = (share * means).sum(axis=1)
    np.testing.assert_allclose(framed.predict(frame, gate_X=gate), mean, rtol=1e-10)
    variance = (share * (sigma**2 + means**2)).sum(axis=1) - mean**2
    np.testing.assert_allclose(framed.variance(frame, gate_X=gate), variance, rtol=1e-8)
    below = (share * norm.cdf(Y[:, None], means, sigma)).sum(axis=1)
    np.testing.assert_allclose(framed.cdf(frame, Y, gate_X=gate), below, atol=1e-10)


def test_coefficients_are_in_the_users_units(framed: bm.Fit) -> None:
    """Raw columns times reported coefficients give the experts' means and the gate."""
    posterior = framed.idata["posterior"].to_dataset().isel(chain=0, draw=0)
    assert posterior["mu_feature"].values.tolist() == ["dose", "age"]
    assert posterior["gate_feature"].values.tolist() == ["place"]
    x, gate = rows(7)
    mu = posterior["mu_intercept"].values + x.to_numpy() @ posterior["mu_slopes"].values.T
    np.testing.assert_allclose(framed.expert_means(x, gate_X=gate), mu, rtol=1e-9)
    logits = posterior["gate_intercept"].values + gate.to_numpy() @ posterior["gate_slopes"].values.T
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(framed.gate(x, gate_X=gate), share / share.sum(axis=1, keepdims=True), rtol=1e-9)


def test_the_point_feeds_the_density_and_pymcs_names(framed: bm.Fit) -> None:
    bound = framed.bound
    q = np.concatenate([np.ravel(framed.point[name]) for name in bound.parameters.slices])
    np.testing.assert_array_equal(q, framed.outcome.mode)
    assert framed.log_posterior == bound.density.logp(q)
    assert framed.log_posterior == pytest.approx(framed.log_likelihood + bound.density.log_prior(q), rel=1e-12)
    model = bm.build(TWO, X, Y)
    assert [variable.name for variable in model.value_vars] == list(fit().point)


def test_bic_and_icl_by_hand(framed: bm.Fit) -> None:
    """Two lines on two columns, two sigmas and a gate of intercept and one slope: 6 + 2 + 2 coefficients."""
    bound = framed.bound
    case = Case(TWO, bound.data.table.values[:, :2], Y, bound.data.weights, bound.data.table.values[:, 2:])
    terms = Oracle(case).terms(framed.point)
    bic = -2.0 * terms.log_likelihood + 10 * np.log(bound.data.weights.sum())
    assert framed.log_likelihood == pytest.approx(terms.log_likelihood, rel=1e-10)
    assert framed.bic == pytest.approx(bic, rel=1e-10)
    r = terms.responsibilities()
    entropy = -np.sum(bound.data.weights[:, None] * np.where(r > 0, r * np.log(np.where(r > 0, r, 1.0)), 0.0))
    assert entropy > 0.01
    assert framed.icl == pytest.approx(bic + 2.0 * entropy, rel=1e-9)


PARAMETERS = {
    "one": (bm.MixtureOfExperts(1), 3),
    "two": (TWO, 6 + 2),
    "plain mixture of three": (bm.MixtureOfExperts(3, bm.SoftmaxGate(bm.Constant())), 9 + 2),
    "equal weights, one sigma": (
        bm.MixtureOfExperts([bm.Expert(sigma=bm.Constant(shared=True))] * 3, bm.EqualGate()),
        6 + 1,
    ),
    "curves": (bm.MixtureOfExperts([bm.Expert(mu=bm.Polynomial(2), sigma=bm.Linear())] * 2), 6 + 4 + 2),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_bic_counts_what_the_likelihood_sees(name: str) -> None:
    model, count = PARAMETERS[name]
    result = fit(model)
    assert result.bic == pytest.approx(-2 * result.log_likelihood + count * np.log(N), rel=1e-12)


def test_plain_facts_of_a_point_fit() -> None:
    result = fit()
    assert result.idata["posterior"].sizes["draw"] == 1
    assert result.model is TWO
    assert result.engine is QUICK
    assert len(result.idata["fit"]["start_log_posterior"]) == 2
    np.testing.assert_allclose(result.idata["log_likelihood"]["y"].values[0, 0], result.log_density(X, Y), rtol=1e-10)
    assert result.idata["log_likelihood"]["y"].values.sum() == pytest.approx(result.log_likelihood, rel=1e-10)
    np.testing.assert_array_equal(result.idata["observed_data"]["y"], Y)
    assert "Fit of 2 experts by EM to 60 rows x 1 column\n" in repr(result)
    assert result.summary().loc["sigma[0]", "mode"] > 0


def test_s16_what_a_point_fit_cannot_say() -> None:
    with pytest.raises(
        bm.NotFittedError, match=r"^loo: expected posterior draws, got a point fit.* → fit with bm\.NUTS"
    ):
        fit().loo()


def test_s16_what_draws_cannot_say() -> None:
    result = fit(engine=bm.Laplace(draws=30, seed=1, starts=2))
    for name in ("bic", "icl", "log_likelihood", "log_posterior"):
        with pytest.raises(
            bm.NotFittedError, match=rf"^{name}: expected a point fit, got draws from Laplace → use engine=bm\.EM"
        ):
            getattr(result, name)
    assert result.predict(X).shape == (N,)
    assert result.sample(X, seed=1).shape == (30, N)


def test_fractional_weights_cannot_be_left_out() -> None:
    result = fit(engine=bm.Laplace(draws=30, seed=1, starts=2), weights=np.full(N, 1.5))
    with pytest.raises(bm.NotFittedError, match=r"^loo: expected whole-number weights, got fractions → "):
        result.loo()


@pytest.mark.parametrize("draws", [0, -1, 2.5, True, "3"])
def test_samples_are_counted(draws: Any) -> None:
    with pytest.raises(bm.InputError, match=r"^draws: expected a whole number above 0 or None, got "):
        fit().sample(X, draws)


@pytest.mark.parametrize("prob", [0, 1, -0.1, 1.5, np.nan])
def test_probabilities_are_probabilities(prob: float) -> None:
    result = fit()
    with pytest.raises(bm.InputError, match=r"^prob"):
        result.interval(X, prob)
    with pytest.raises(bm.InputError, match=r"^prob"):
        result.summary(prob=prob)


def test_a_fit_holds_copies() -> None:
    """S20: what the user does to the arrays afterwards does not reach the fit."""
    x, y = X.copy(), Y.copy()
    result = fit(x=x, y=y)
    before = result.log_posterior, result.predict(X).values.copy()
    x[:], y[:] = 0.0, 0.0
    assert result.bound.density.logp(result.outcome.mode) == before[0]
    np.testing.assert_array_equal(result.predict(X), before[1])
    np.testing.assert_array_equal(result.idata["observed_data"]["y"], Y)
