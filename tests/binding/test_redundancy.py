"""Coefficients that no row tells apart, counted by the rank of the derivatives of all linear predictors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.binding.redundancy import redundant_coefficients
from tests.cases import KERNELS, Case, bound, some_points


def counted_by_rank(case: Case, design: np.ndarray) -> int:
    """What moves coefficients, less what moves linear predictors at the rows, by singular values."""
    met = bound(case)
    parameters, (q,) = met.parameters, some_points(case, 1)
    jacobian = parameters.jacobian(q).reshape(parameters.rows, parameters.width, parameters.size)
    reached = np.einsum("np,rpq->rnq", design, jacobian).reshape(-1, parameters.size)
    # a gate's scale moves coefficients in a direction that its other values move them in as well
    return int(np.linalg.matrix_rank(jacobian.reshape(-1, parameters.size)) - np.linalg.matrix_rank(reached))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("repeated", [0, 1, 2])
def test_as_many_as_the_rank_says(name: str, repeated: int) -> None:
    case = KERNELS[name]
    met = bound(case)
    if met.parameters.gate.joint:
        pytest.skip("a joint gate has no linear predictors")
    table = np.array(met.general_density.table)
    rng = np.random.default_rng(repeated)
    for _ in range(min(repeated, table.shape[1] - 1)):
        one, other = rng.integers(1, table.shape[1], 2)
        table[:, one] = 0.5 * table[:, other] - 0.25 if one != other else 0.0
    assert redundant_coefficients(met.parameters, table) == counted_by_rank(case, table)


def fitted(X: pd.DataFrame, y: np.ndarray, mu: bm.Predictor | None = None) -> bm.Fit:
    return bm.fit(bm.MixtureOfExperts([bm.Expert(mu=mu)] if mu else 1), X, y, bm.EM(seed=1), progress=False)


def collinear(fit: bm.Fit) -> list[str]:
    return [notice.message.split(".")[0] for notice in fit.status.notices if notice.code == "collinear"]


def data() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    x, b = rng.uniform(-2, 2, 200), (rng.random(200) < 0.4).astype(float)
    return pd.DataFrame({"x": x, "b": b, "g": rng.choice(list("abc"), 200)}), 1 + x + 0.5 * b + rng.normal(0, 0.3, 200)


def test_a_column_twice_costs_nothing() -> None:
    X, y = data()
    once = fitted(X[["x", "b"]], y)
    twice = fitted(X[["x", "b"]].assign(c=3 - 2 * X["b"]), y)
    assert collinear(twice) == ["Columns of X depend linearly on each other: 'b', 'c'"]
    assert collinear(once) == []
    assert twice.bic + 2 * twice.log_likelihood == pytest.approx(once.bic + 2 * once.log_likelihood, abs=1e-9)
    assert once.bic == pytest.approx(-2 * once.log_likelihood + 4 * np.log(200), abs=1e-9)


def test_what_a_predictor_computes_twice_is_named_and_costs_nothing() -> None:
    X, y = data()
    X = X[["x"]].assign(z=X["x"] ** 2)
    model = bm.Sum((bm.Linear(), bm.Polynomial(2, columns=("x",))))
    fit = fitted(X, y, model)
    assert collinear(fit) == ["Columns that a predictor computes depend linearly on each other: 'z', 'x', 'x^2'"]
    assert fit.bic == pytest.approx(-2 * fit.log_likelihood + 4 * np.log(200), abs=1e-9)


def test_powers_and_products_that_say_nothing_are_not_there() -> None:
    X, y = data()
    fit = fitted(X, y, bm.Sum((bm.Polynomial(3), bm.Products())))
    posterior = fit.idata["posterior"].to_dataset()
    slopes = posterior["mu_slopes"].isel(chain=0, draw=0, expert=0)
    names = [str(name) for name in slopes["mu_feature"].values]
    singles = ["x", "b", "g[b]", "g[c]", "x^2", "x^3"]
    assert names == [*singles, "x:b", "x:g[b]", "x:g[c]", "b:g[b]", "b:g[c]"]
    columns = {"x": X["x"], "b": X["b"], "g[b]": X["g"] == "b", "g[c]": X["g"] == "c"}
    columns = {name: np.asarray(column, dtype=float) for name, column in columns.items()}
    products = [
        np.prod([columns[part] - columns[part].mean() for part in pair.split(":")], axis=0) for pair in names[6:]
    ]
    design = np.column_stack([*columns.values(), columns["x"] ** 2, columns["x"] ** 3, *products])
    means = float(posterior["mu_intercept"].squeeze()) + design @ slopes.values
    np.testing.assert_allclose(fit.predict(X).values, means, rtol=1e-9)
