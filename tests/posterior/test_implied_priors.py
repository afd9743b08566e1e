"""What priors say of reported coefficients, beside the Normal distributions that lines imply."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import bayes_moe as bm
from bayes_moe.binding.describe import user_coefficients
from bayes_moe.posterior.implied_priors import implied_priors, prior_draws
from tests.cases import KERNELS, bound
from tests.family_cases import FAMILIES

# Monte-Carlo error of a 95 % point from 4000 draws, in standard deviations of a Normal
ERROR = np.sqrt(0.05 * 0.95 / 4000) / stats.norm.pdf(stats.norm.ppf(0.95))


def test_lines_have_the_priors_that_standardising_implies() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(50.0, 4.0, 80), rng.normal(900.0, 30.0, 80)
    prior = bm.priors.Normal(900, 100)
    model = bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(intercept=prior))], bm.EqualGate())
    table = bm.fit(model, x[:, None], y, bm.EM(seed=1), progress=False).prior_summary()
    assert table["prior"].tolist() == ["Normal"] * 3 + ["as reported"] * 3
    reported = table.iloc[3:]
    assert reported[["loc", "scale"]].isna().all().all()
    slope = 2.5 * y.std() / x.std()
    expected = {
        "mu_intercept[0]": (900.0, np.hypot(100.0, slope * x.mean())),
        "mu_slopes[0, x0]": (0.0, slope),
    }
    for name, (loc, scale) in expected.items():
        points = stats.norm.ppf([0.05, 0.5, 0.95], loc, scale)
        np.testing.assert_allclose(
            reported.loc[name, ["5%", "median", "95%"]].astype(float), points, atol=4 * ERROR * scale
        )
    sigma = y.std() * np.exp(stats.norm.ppf([0.05, 0.5, 0.95], np.log(0.5), 0.75))
    np.testing.assert_allclose(reported.loc["sigma[0]", ["5%", "median", "95%"]].astype(float), sigma, rtol=4 * ERROR)


@pytest.mark.parametrize("name", [*KERNELS, *FAMILIES])
def test_every_model_has_them(name: str) -> None:
    met = bound({**KERNELS, **FAMILIES}[name])
    found = implied_priors(met)
    shapes = user_coefficients(met.parameters, met.design, met.parameters.prior_loc)
    assert {key: values.shape for key, values in found.items()} == {
        key: (3, *np.shape(values)) for key, values in shapes.items()
    }
    for values in found.values():
        assert np.all(np.diff(values.values, axis=0)[np.isfinite(np.diff(values.values, axis=0))] >= 0)


def test_draws_follow_an_inverse_gamma_prior() -> None:
    model = bm.MixtureOfExperts(2, bm.GaussianGate())
    rng = np.random.default_rng(0)
    case = bm.fit(model, rng.normal(size=(60, 2)), rng.normal(size=60), bm.EM(seed=1, starts=2), progress=False)
    parameters = case.bound.parameters
    (free,) = {f.name: f for f in parameters.gate.free if f.inverse_gamma is not None}.values()
    draws = prior_draws(parameters, 4000, np.random.default_rng(3))[:, parameters.slices[free.value_name]]
    alpha, beta = (np.broadcast_to(each, free.value_shape).ravel() for each in free.inverse_gamma)
    for j in range(free.size):
        assert stats.kstest(np.exp(draws[:, j]), stats.invgamma(alpha[j], scale=beta[j]).cdf).pvalue > 1e-4
