"""Several outputs: the multivariate normal family."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

import bayes_moe as bm
from bayes_moe.families import Role
from tests.families.graphs import compiled

FULL = bm.MvNormal(3)
DIAGONAL = bm.MvNormal(3, bm.Covariance.DIAGONAL)


def drawn(family: bm.MvNormal, rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {name: rng.normal(0.0, 1.0, rows) for name in family.predicted}


@pytest.mark.parametrize("family", [FULL, DIAGONAL, bm.MvNormal(1)])
def test_density_is_that_of_scipy(family: bm.MvNormal, rng: np.random.Generator) -> None:
    predicted, count = drawn(family, rng, 60), family.outputs or 0
    y = rng.normal(0.0, 3.0, (60, count))
    mean, covariance = family.mean(**predicted), family.covariance_matrix(**predicted)
    expected = [
        stats.multivariate_normal(m, c, allow_singular=True).logpdf(at)
        for m, c, at in zip(mean, covariance, y, strict=True)
    ]
    density = family.log_density(y, **predicted)
    np.testing.assert_allclose(density, expected, rtol=1e-7)
    np.testing.assert_allclose(family.variance(**predicted), np.diagonal(covariance, axis1=1, axis2=2), rtol=1e-13)
    below = stats.norm(mean, np.sqrt(family.variance(**predicted))).cdf(y)
    np.testing.assert_allclose(family.marginal_cdf(y, **predicted), below, rtol=1e-12)
    value = compiled(family)(y, predicted)
    np.testing.assert_allclose(value.density, density, rtol=1e-10)
    step = 1e-5
    for i, name in enumerate(family.predicted):
        up, down = (compiled(family)(y, predicted | {name: predicted[name] + s}) for s in (step, -step))
        size = 1.0 + np.abs(value.gradient).max(axis=0) + np.abs(value.hessian).max(axis=(0, 1))
        assert np.all(np.abs((up.density - down.density) / (2 * step) - value.gradient[i]) < 1e-6 * size)
        assert np.all(np.abs((up.gradient - down.gradient) / (2 * step) - value.hessian[i]) < 1e-6 * size)


def test_extremes_are_finite() -> None:
    family = bm.MvNormal(2)
    table = np.array(list(itertools.product((-1e3, 1e3), (0.0,), (-150.0, 0.0, 150.0), (-150.0, 150.0), (-800.0, 0.0))))
    value = compiled(family)(np.zeros((len(table), 2)), dict(zip(family.predicted, table.T, strict=True)))
    assert all(np.isfinite(part).all() for part in value)


def test_density_moves_and_stretches_with_y(rng: np.random.Generator) -> None:
    """Every output by an amount of its own: ``lower`` has no units."""
    predicted, y = drawn(FULL, rng, 30), rng.normal(size=(30, 3))
    shift, stretch = np.array([3.0, -1.0, 10.0]), np.array([0.1, 5.0, 40.0])
    moved = dict(predicted)
    for parameter in FULL.parameters:
        assert parameter.name != "lower" or parameter.role is Role.FREE
        for label, column in zip(parameter.labels, parameter.columns, strict=True):
            if parameter.role is not Role.FREE:
                i = int(label)
                moved[column] = parameter.role.to_user(predicted[column][:, None], shift[i], stretch[i])[:, 0]
    np.testing.assert_allclose(
        FULL.log_density(shift + stretch * y, **moved),
        FULL.log_density(y, **predicted) - np.log(stretch).sum(),
        rtol=1e-9,
    )


def test_draws(rng: np.random.Generator) -> None:
    """Whitened draws are standard normal; the covariance within six standard errors."""
    one = {name: np.full(20_000, value) for name, value in drawn(FULL, rng, 1).items()}
    y = FULL.draw(rng, **one)
    assert y.shape == (20_000, 3)
    factor = np.linalg.cholesky(FULL.covariance_matrix(**one)[0])
    z = np.linalg.solve(factor, (y - FULL.mean(**one)).T)
    assert np.all(np.abs(z @ z.T / 20_000 - np.eye(3)) < 6 * np.sqrt(2 / 20_000))
    assert all(stats.kstest(row, "norm").pvalue > 1e-4 for row in z)


def test_shapes_broadcast() -> None:
    predicted = {name: np.zeros((4, 5)) for name in FULL.predicted}
    assert FULL.log_density(np.zeros((4, 1, 3)), **predicted).shape == (4, 5)
    assert FULL.mean(**predicted).shape == (4, 5, 3)
    assert FULL.covariance_matrix(**predicted).shape == (4, 5, 3, 3)


def test_outputs_are_met() -> None:
    y = np.arange(6.0).reshape(3, 2)
    assert bm.MvNormal().meet(y, np.ones(3)) == bm.MvNormal(2)
    assert bm.MvNormal().parameters[0].labels == ()
    assert DIAGONAL.predicted == ("mu_0", "mu_1", "mu_2", "log_diag_0", "log_diag_1", "log_diag_2")
    assert FULL.predicted[6:] == ("lower_1_0", "lower_2_0", "lower_2_1")
    assert bm.MvNormal(1).predicted == ("mu_0", "log_diag_0")
    with pytest.raises(bm.InputError, match=r"expected a table of 3 columns .* got shape \(3, 2\)"):
        FULL.meet(y, np.ones(3))
    with pytest.raises(bm.InputError, match=r"expected a table of a column per output .* got shape \(3,\)"):
        bm.MvNormal().meet(y[:, 0], np.ones(3))
    with pytest.raises(bm.InputError, match=r"expected finite numbers .* \(row 1\)"):
        bm.MvNormal().meet(np.array([[0.0, 1.0], [np.nan, 2.0]]), np.ones(2))
    with pytest.raises(bm.SpecError, match="use marginal_cdf"):
        FULL.cdf(y)
    with pytest.raises(bm.SpecError, match="call meet"):
        bm.MvNormal().mean(mu=np.zeros(1))
