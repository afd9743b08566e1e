"""Seeded simulators: rows from a mixture of experts, and the mixture they came from.

The same seed gives the same mixture whatever ``n`` is, and the first rows of a longer sample are the shorter
sample; so ``true_moe(1500, seed=1)`` cut at 1000 is a training and a test set from one truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayes_moe.datasets.truth import NormalMixture
from bayes_moe.errors import InputError

Seed = int | np.random.Generator | None


@dataclass(frozen=True, eq=False)
class Simulation:
    """Simulated rows and the truth behind them.

    Parameters
    ----------
    X
        Inputs, shape (n, d).
    y
        Outputs, shape (n,).
    labels
        The expert that made each row, shape (n,), counted from 0 in the order of ``truth``.
    truth
        The mixture the rows were drawn from.
    feature_names
        One name for each column of ``X``.
    target_name
        The name of ``y``.
    """

    X: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    labels: NDArray[np.intp] = field(repr=False)
    truth: NormalMixture
    feature_names: tuple[str, ...]
    target_name: str = "y"

    def log_density(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return the exact log p(y | x) of each row, shape (n,): no fit does better on average."""
        return self.truth.log_density(X, y)


def two_lines(n: int = 300, seed: Seed = None) -> Simulation:
    """Draw from two crossing lines of which the gate comes to prefer the second as x grows.

    x is uniform on (0, 10); expert 0 is ``y = 8 - 0.8 x`` with sd 0.5, expert 1 is ``y = 1 + 0.6 x`` with
    sd 0.8, and the log odds of expert 1 are ``0.5 (x - 5)``.

    Parameters
    ----------
    n
        Number of rows.
    seed
        An integer, a NumPy generator, or None for a new sample at each call.

    Returns
    -------
    Simulation
        With one feature, ``x``.

    Raises
    ------
    InputError
        If ``n`` is below 1.

    Examples
    --------
    >>> from bayes_moe import datasets
    >>> data = datasets.two_lines(200, seed=1)
    >>> data.X.shape, data.truth.mu_slopes[:, 0].tolist()
    ((200, 1), [-0.8, 0.6])
    >>> bool(data.log_density(data.X, data.y).mean() > -2.0)
    True
    """
    truth = NormalMixture(
        gate_intercept=np.array([1.25, -1.25]),
        gate_slopes=np.array([[-0.25], [0.25]]),
        mu_intercept=np.array([8.0, 1.0]),
        mu_slopes=np.array([[-0.8], [0.6]]),
        sigma_intercept=np.log([0.5, 0.8]),
        sigma_slopes=np.zeros((2, 1)),
    )
    return _simulate(truth, _positive("n", n), low=0.0, high=10.0, generator=np.random.default_rng(seed), names=("x",))


def heteroscedastic(n: int = 500, seed: Seed = None) -> Simulation:
    """Draw from two experts whose spread changes along x, one growing while the other shrinks.

    x is uniform on (-2, 2); expert 0 is ``y = 1 + x`` with log sd ``-1 + 0.6 x``, expert 1 is
    ``y = -1 - 0.5 x`` with log sd ``-0.5 - 0.4 x``, and the log odds of expert 1 are ``-x``.

    Parameters
    ----------
    n
        Number of rows.
    seed
        An integer, a NumPy generator, or None for a new sample at each call.

    Returns
    -------
    Simulation
        With one feature, ``x``.

    Raises
    ------
    InputError
        If ``n`` is below 1.

    Examples
    --------
    >>> from bayes_moe import datasets
    >>> data = datasets.heteroscedastic(100, seed=1)
    >>> data.truth.expert_sigmas([[-2.0], [2.0]])
    array([[0.1108, 1.3499],
           [1.2214, 0.2725]])
    """
    truth = NormalMixture(
        gate_intercept=np.zeros(2),
        gate_slopes=np.array([[0.5], [-0.5]]),
        mu_intercept=np.array([1.0, -1.0]),
        mu_slopes=np.array([[1.0], [-0.5]]),
        sigma_intercept=np.array([-1.0, -0.5]),
        sigma_slopes=np.array([[0.6], [-0.4]]),
    )
    return _simulate(truth, _positive("n", n), low=-2.0, high=2.0, generator=np.random.default_rng(seed), names=("x",))


def true_moe(n: int = 1000, features: int = 2, experts: int = 3, seed: Seed = None) -> Simulation:
    """Draw a mixture of linear normal experts at random, and rows from it.

    Inputs are uniform on (-1, 1). Gate coefficients are normal with sd 3 and centred over the experts, means'
    coefficients normal with sd 2, standard deviations 0.3, 0.5 and 0.8 in turn and constant along x.

    Parameters
    ----------
    n
        Number of rows.
    features
        Number of columns of ``X``.
    experts
        Number of experts.
    seed
        An integer, a NumPy generator, or None for a new mixture and sample at each call.

    Returns
    -------
    Simulation
        With features ``x1``, ``x2``, ...

    Raises
    ------
    InputError
        If ``n``, ``features`` or ``experts`` is below 1.

    Examples
    --------
    >>> from bayes_moe import datasets
    >>> data = datasets.true_moe(1500, features=2, experts=3, seed=1)
    >>> train, test = slice(0, 1000), slice(1000, None)
    >>> data.X[train].shape, data.feature_names
    ((1000, 2), ('x1', 'x2'))
    >>> data.log_density(data.X[test], data.y[test]).shape
    (500,)
    """
    n, features, experts = _positive("n", n), _positive("features", features), _positive("experts", experts)
    parameters, rows = np.random.default_rng(seed).spawn(2)
    gate = parameters.normal(scale=3.0, size=(experts, features + 1))
    gate -= gate.mean(axis=0)
    mu = parameters.normal(scale=2.0, size=(experts, features + 1))
    truth = NormalMixture(
        gate_intercept=gate[:, 0],
        gate_slopes=gate[:, 1:],
        mu_intercept=mu[:, 0],
        mu_slopes=mu[:, 1:],
        sigma_intercept=np.log(np.resize([0.3, 0.5, 0.8], experts)),
        sigma_slopes=np.zeros((experts, features)),
    )
    names = tuple(f"x{column}" for column in range(1, features + 1))
    return _simulate(truth, n, low=-1.0, high=1.0, generator=rows, names=names)


def _simulate(
    truth: NormalMixture,
    n: int,
    *,
    low: float,
    high: float,
    generator: np.random.Generator,
    names: tuple[str, ...],
) -> Simulation:
    """Draw rows; inputs, labels and noise have a stream each, so that a short sample begins a longer one."""
    inputs, choices, noise = generator.spawn(3)
    X = inputs.uniform(low, high, size=(n, truth.features))
    below = truth.gate(X).cumsum(axis=1) < choices.random((n, 1))
    labels = np.minimum(below.sum(axis=1), truth.experts - 1)
    rows = np.arange(n)
    y = truth.expert_means(X)[rows, labels] + truth.expert_sigmas(X)[rows, labels] * noise.standard_normal(n)
    return Simulation(X=X, y=y, labels=labels, truth=truth, feature_names=names)


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name}: expected a whole number of at least 1, got {value!r} → pass 1, 2, ...")
    return int(value)
