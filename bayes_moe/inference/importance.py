"""Draws from an approximation, weighed against the density they approximate.

Pareto-smoothed importance sampling says whether the draws can stand for the posterior: its k-hat estimates
how heavy the tail of the ratios density / approximation is. It sees only what the draws reach: another mode that
no draw comes near leaves k-hat as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..log_density import LogDensity
from .arviz import statistics

KHAT_LIMIT = 0.7
"""An approximation whose Pareto k-hat is above this is unreliable."""

_FEWEST = 25
_ROUNDING = 64.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Pareto-smoothed importance weights.

    Parameters
    ----------
    k_hat
        Shape of the ratios' upper tail: 1/k moments exist. Infinity where it cannot be estimated, never NaN.
    log_weights
        (draws,) logs of the smoothed weights, which sum to 1; not smoothed where k-hat cannot be estimated.
    """

    k_hat: float
    log_weights: np.ndarray


def smooth(log_ratios: ArrayLike) -> Smoothed:
    """Return k-hat and the smoothed weights of importance ratios density / approximation, given as logs.

    Ratios that are all the same (to rounding) give k-hat 0: the approximation is exact.

    Parameters
    ----------
    log_ratios
        Logs at independent draws from the approximation, of any shape, up to a constant; -inf is a ratio of
        0.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, JMLR 25.

    Examples
    --------
    >>> import numpy as np
    >>> smooth(np.zeros(1000)).k_hat
    0.0
    """
    logs = np.asarray(log_ratios, dtype=np.float64).ravel()
    if not logs.size or not np.all(logs < np.inf) or not logs.max() > -np.inf:
        return Smoothed(np.inf, np.full(logs.size, -np.log(max(logs.size, 1))))
    raw = _normalised(logs)
    if logs.size < _FEWEST:
        return Smoothed(np.inf, raw)
    if np.isfinite(logs.min()) and np.ptp(logs) <= _ROUNDING * (1.0 + np.abs(logs).max()):
        return Smoothed(0.0, raw)
    array_stats = statistics().base.array_stats
    with np.errstate(all="ignore"):
        try:
            # psislw takes the logs of what the ratios divide by, as leave-one-out does
            weights, k_hat = array_stats.psislw(-logs, r_eff=1.0)
        except ValueError:  # all ratios of the tail are the same
            return Smoothed(np.inf, raw)
    if not np.isfinite(k_hat):
        return Smoothed(np.inf, raw)
    return Smoothed(float(k_hat), _normalised(np.asarray(weights)))


def psis_khat(log_ratios: ArrayLike) -> float:
    """Return the Pareto k-hat alone; see `smooth`.

    Examples
    --------
    >>> import numpy as np
    >>> psis_khat(0.1 * np.random.default_rng(1).standard_normal(2000)) < 0.7
    True
    """
    return smooth(log_ratios).k_hat


@dataclass(frozen=True, eq=False)
class Weighed:
    """Draws from an approximation with both log densities.

    Parameters
    ----------
    q
        (draws, size) the draws.
    log_p, log_q
        (draws,) log posterior (not normalised) and log density of the approximation.
    complete
        Whether all draws were weighed; False after an interrupt, when the rest is left out.
    """

    q: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    complete: bool

    @property
    def log_ratios(self) -> np.ndarray:
        """Logs of the importance ratios (draws,)."""
        return np.asarray(self.log_p - self.log_q)

    @property
    def sample_stats(self) -> dict[str, np.ndarray]:
        """Both log densities with dims (chain, draw), as ``loo_approximate_posterior`` wants them."""
        return {"log_p": self.log_p[None, :], "log_q": self.log_q[None, :]}


def weigh(density: LogDensity, q: np.ndarray, log_q: np.ndarray) -> Weighed:
    """Return draws with the log posterior at each.

    Parameters
    ----------
    density
        The log posterior.
    q
        (draws, size) draws from the approximation.
    log_q
        (draws,) its log density there.
    """
    function = density.compiled()
    log_p = np.empty(len(q))
    done = 0
    try:
        for row in q:
            log_p[done] = function(row)[0]
            done += 1
    except KeyboardInterrupt:
        return Weighed(q[:done], log_p[:done], log_q[:done], complete=False)
    return Weighed(q, log_p, log_q, complete=True)


def _normalised(logs: np.ndarray) -> np.ndarray:
    return np.asarray(logs - np.logaddexp.reduce(logs))
