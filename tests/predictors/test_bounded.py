"""Lines that go on level beyond the training rows."""

from __future__ import annotations

import numpy as np
import pytest

import bayes_moe as bm

RNG = np.random.default_rng(21)
X = RNG.uniform(-2.0, 3.0, size=(80, 2))
Y = 1.0 + 2.0 * X[:, 0] - X[:, 1] + 0.3 * np.exp(0.4 * X[:, 0]) * RNG.normal(size=80)
BEYOND = np.array([[9.0, -7.0], [-50.0, 1e6]])


def fitted(*experts: bm.Expert) -> bm.Fit:
    model = bm.MixtureOfExperts(experts, bm.EqualGate())
    return bm.fit(model, X, Y, bm.EM(seed=1, starts=3), progress=False)


def test_beyond_the_training_rows_a_bounded_line_is_what_it_is_at_their_end() -> None:
    one = fitted(bm.Expert(mu=bm.Linear(bounded=True)))
    ends = np.clip(BEYOND, X.min(axis=0), X.max(axis=0))
    np.testing.assert_allclose(one.predict(BEYOND), one.predict(ends), rtol=1e-12)


def test_among_the_training_rows_it_is_the_line() -> None:
    bounded, line = fitted(bm.Expert(mu=bm.Linear(bounded=True))), fitted(bm.Expert())
    np.testing.assert_allclose(bounded.predict(X), line.predict(X), rtol=1e-8)
    np.testing.assert_allclose(bounded.summary()["mode"], line.summary()["mode"], rtol=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_a_line_and_a_bounded_line_of_one_column_stay_apart(first: bool) -> None:
    """Their columns are equal at every training row, where the design would else keep one for both."""
    both = fitted(bm.Expert(mu=bm.Linear(bounded=first), sigma=bm.Linear(bounded=not first)))
    mixture = both.mixture(BEYOND)
    _, found = mixture.components(slice(0, 2), slice(0, 1))
    _, ends = both.mixture(np.clip(BEYOND, X.min(axis=0), X.max(axis=0))).components(slice(0, 2), slice(0, 1))
    level, steep = ("mu", "log_sigma") if first else ("log_sigma", "mu")
    np.testing.assert_allclose(found[level], ends[level], rtol=1e-12)
    assert np.all(np.abs(found[steep] - ends[steep]) > 0.5)


@pytest.mark.full
def test_the_pymc_model_has_the_same_density() -> None:
    model = bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear(bounded=True))] * 2, bm.SoftmaxGate(bm.Linear(bounded=True)))
    fit = bm.fit(model, X, Y, bm.EM(seed=1, starts=3), progress=False)
    built = bm.build(model, X, Y)
    logp = built.compile_logp(jacobian=False)(fit.point)
    assert np.isclose(float(logp), fit.log_posterior, rtol=1e-8)


def test_bounded_is_true_or_false() -> None:
    with pytest.raises(bm.SpecError, match=r"Linear\.bounded: expected True or False, got 1"):
        bm.Linear(bounded=1)  # type: ignore[arg-type]
