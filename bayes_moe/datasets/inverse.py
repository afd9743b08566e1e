"""Two inverse problems: given an effect, what was the cause? Several causes answer, and so the mean answers nothing.

Both are drawn forwards, from cause to effect with noise, and handed out backwards. The exact density of the cause
given the effect is known, by Bayes' rule with an integral over one dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayes_moe.datasets.simulate import Seed, _positive
from bayes_moe.errors import InputError

Array = NDArray[np.float64]

_CELLS = 5_000  # of the integral over causes
_CHUNK = 200


@dataclass(frozen=True, eq=False)
class Inverse:
    """Rows of an inverse problem, and the exact density behind them.

    Parameters
    ----------
    X
        Effects, shape (n, 1).
    y
        Causes, shape (n,), uniform on ``causes``.
    bound
        The expected log density of a row under the exact conditional density, in nats: no fit does better on average.
    causes
        Smallest and largest cause.
    effect
        The effect of a cause without noise.
    log_noise
        Log density of the noise.
    feature_names
        The name of the column of ``X``.
    target_name
        The name of ``y``.
    """

    X: Array = field(repr=False)
    y: Array = field(repr=False)
    bound: float
    causes: tuple[float, float]
    effect: Callable[[Array], Array] = field(repr=False)
    log_noise: Callable[[Array], Array] = field(repr=False)
    feature_names: tuple[str, ...] = ("x",)
    target_name: str = "y"

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return the exact log p(y | x) of each row, shape (n,), by the midpoint rule over 5000 causes.

        Raises
        ------
        InputError
            If ``X`` is not (n, 1) or ``y`` not (n,).
        """
        x, target = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != 1 or target.shape != (len(x),):
            raise InputError(f"X, y: expected shapes (n, 1) and (n,), got {x.shape} and {target.shape} → pass rows")
        low, high = self.causes
        width = (high - low) / _CELLS
        levels = self.effect(low + width * (np.arange(_CELLS, dtype=np.float64) + 0.5))
        total = np.empty(len(x))
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            total[rows] = width * np.exp(self.log_noise(x[rows] - levels)).sum(axis=1)
        inside = (target >= low) & (target <= high)
        with np.errstate(divide="ignore"):
            found: Array = np.where(inside, self.log_noise(x[:, 0] - self.effect(target)), -np.inf) - np.log(total)
        return found


def bishop_inverse(n: int = 1000, seed: Seed = None) -> Inverse:
    """Draw Bishop's inverse problem: ``x = t + 0.3 sin(2πt) + noise`` with t uniform on (0, 1), and t is asked.

    The noise is uniform on (-0.1, 0.1). In the middle three stretches of t explain the same x.

    Parameters
    ----------
    n
        Number of rows.
    seed
        An integer, a NumPy generator, or None for a new sample at each call.

    Returns
    -------
    Inverse
        With x as the feature and t as y; its ``bound`` is 1.28236 nats.

    Raises
    ------
    InputError
        If ``n`` is below 1.

    References
    ----------
    Bishop (1994), Mixture density networks, Aston University NCRG/94/004.

    Examples
    --------
    >>> from bayes_moe import datasets
    >>> data = datasets.bishop_inverse(1000, seed=1)
    >>> data.X.shape, data.bound
    ((1000, 1), 1.28236)
    """
    causes, noise = np.random.default_rng(seed).spawn(2)
    t = causes.uniform(size=_positive("n", n))
    x = _bishop(t) + noise.uniform(-0.1, 0.1, size=n)
    return Inverse(x[:, None], t, 1.28236, (0.0, 1.0), _bishop, _log_uniform, target_name="t")


def sin_inverse(n: int = 1000, seed: Seed = None) -> Inverse:
    """Draw the inverse of a bent sine: ``x = 7 sin(0.75 y) + 0.5 y + noise`` with y uniform on (-10.5, 10.5).

    The noise is standard normal. Up to five stretches of y explain the same x.

    Parameters
    ----------
    n
        Number of rows.
    seed
        An integer, a NumPy generator, or None for a new sample at each call.

    Returns
    -------
    Inverse
        Its ``bound`` is -1.28801 nats.

    Raises
    ------
    InputError
        If ``n`` is below 1.

    Examples
    --------
    >>> from bayes_moe import datasets
    >>> data = datasets.sin_inverse(500, seed=1)
    >>> bool(abs(data.log_density(data.X, data.y).mean() - data.bound) < 0.1)
    True
    """
    causes, noise = np.random.default_rng(seed).spawn(2)
    y = causes.uniform(-10.5, 10.5, size=_positive("n", n))
    x = _bent_sine(y) + noise.standard_normal(n)
    return Inverse(x[:, None], y, -1.28801, (-10.5, 10.5), _bent_sine, _log_normal)


def _bishop(t: Array) -> Array:
    return t + 0.3 * np.sin(2.0 * np.pi * t)


def _bent_sine(y: Array) -> Array:
    return 7.0 * np.sin(0.75 * y) + 0.5 * y


def _log_uniform(noise: Array) -> Array:
    return np.where(np.abs(noise) <= 0.1, math.log(5.0), -math.inf)


def _log_normal(noise: Array) -> Array:
    return -0.5 * noise**2 - 0.5 * math.log(2.0 * math.pi)
