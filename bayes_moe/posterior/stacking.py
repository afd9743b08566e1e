"""Weights of fits by what they predict of rows left out (Yao, Vehtari, Simpson and Gelman 2018)."""

from __future__ import annotations

import numpy as np

_STEPS = 200
_GAP = 1e-6
"""Nats per row that better weights could bring at most, where rounding does not stop the search before."""
_NOTHING = 1e-5


def stacking_weights(log_densities: np.ndarray, concentration: float = 1.0) -> np.ndarray:
    r"""Return the weights (M,) under which rows left out are most probable.

    .. math:: \max_w \; \sum_i \log \sum_m w_m p_{m,-i}(y_i) + (\lambda - 1) \sum_m \log w_m,
        \quad w_m \ge 0, \; \sum_m w_m = 1

    The problem is concave, and at weights w the best value is at most :math:`\max_m \partial_m - n` higher. Steps of
    the EM algorithm for the proportions of a mixture of known densities come first, which never go down; where fits
    are so much alike that these are slow, sequential quadratic programming goes on.

    Parameters
    ----------
    log_densities
        (n, M) log predictive density of every row left out, under every fit.
    concentration
        λ ≥ 1 of a Dirichlet prior of the weights; above 1, fits that say the same get the same weight.

    Examples
    --------
    >>> import numpy as np
    >>> stacking_weights(np.log([[0.4, 0.1], [0.1, 0.4], [0.4, 0.1]])).round(3)
    array([0.778, 0.222])
    """
    top = log_densities.max(axis=1, keepdims=True)
    known = np.isfinite(top[:, 0])  # a row impossible under every fit says nothing
    density, prior = np.exp(log_densities[known] - top[known]), concentration - 1.0
    weights = np.full(density.shape[1], 1.0 / density.shape[1])
    if len(weights) > 1 and len(density):
        weights, done = _climbed(density, prior, weights)
        if not done:
            weights = _programmed(density, prior, weights)
    weights = np.where(weights < _NOTHING, 0.0, weights)
    return np.asarray(weights / weights.sum())


def _slopes(density: np.ndarray, prior: float, weights: np.ndarray) -> np.ndarray:
    slopes = (density / (density @ weights)[:, None]).sum(axis=0)
    return np.asarray(slopes + prior / weights if prior > 0.0 else slopes)


def _climbed(density: np.ndarray, prior: float, weights: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return weights after some steps of EM, and whether they are as good as any."""
    total = len(density) + len(weights) * prior
    for _ in range(_STEPS):
        slopes = _slopes(density, prior, weights)
        if slopes.max() / total - 1.0 <= _GAP:
            return weights, True
        weights = weights * slopes / total
    return weights, False


def _programmed(density: np.ndarray, prior: float, weights: np.ndarray) -> np.ndarray:
    """Return weights by sequential quadratic programming, unless those given are better."""
    from scipy.optimize import minimize  # a third of a second that `import bayes_moe` does not pay

    least = _NOTHING if prior > 0.0 else 0.0
    rows = len(density)

    def loss(w: np.ndarray) -> float:
        return -float(np.log(density @ w).sum() + (prior * np.log(w).sum() if prior > 0.0 else 0.0)) / rows

    found = minimize(
        loss,
        weights,
        jac=lambda w: -_slopes(density, prior, w) / rows,
        bounds=[(least, 1.0)] * len(weights),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        method="SLSQP",
        options={"ftol": 1e-10, "maxiter": 500},
    )
    proposed = np.clip(found.x, least, 1.0)
    proposed = proposed / proposed.sum()
    return np.asarray(proposed if loss(proposed) <= loss(weights) else weights)
