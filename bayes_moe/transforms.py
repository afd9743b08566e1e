r"""Powers of the target: Normal experts of a power of y, with densities of y itself.

.. math:: z = T(y) = \frac{y^\lambda - 1}{\lambda}, \quad T(y) = \log y \text{ where } \lambda = 0, \qquad
   p(y \mid x) = p(z \mid x) \, T'(y), \quad T'(y) = y^{\lambda - 1}

Experts of the whole line leave some probability to z below the smallest value that a power has, :math:`-1/\lambda`. It
is that of y being 0: :math:`y = \max(0, 1 + \lambda z)^{1/\lambda}`. No expert is cut off and weighed anew, so that a
mixture of experts stays one; a row of y > 0 has the density above, and intervals may begin at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from .errors import SpecError

_LEAST, _MOST = 0.05, 2.0
_STEP = 0.05  # between the powers that are tried
_SLOPES = 10.0  # prior sd of the coefficients of the regression that judges powers, in units of the noise
_DOUBT = 0.5  # prior sd of a power around 1
_MOST_COLUMNS = 200  # of that regression


@dataclass(frozen=True)
class Power:
    r"""The experts are of a power of y, ``bm.MixtureOfExperts(..., target=bm.Power(0.5))``; y is above 0.

    .. math:: T(y) = (y^\lambda - 1) / \lambda

    Coefficients, sigma and priors "in the user's units" are those of T(y), which is standardised as y would be.
    Densities, distribution functions, quantiles, means, variances, samples and log likelihoods are of y itself.

    Parameters
    ----------
    power
        λ: 0 for the logarithm, else 0.05 to 2; 0.5 is the square root, 1 changes nothing but the claim that y is above
        0. None: learned from the training rows when the model meets them.

    Notes
    -----
    A learned power has the largest marginal likelihood of a regression of T(y) on all columns and their squares whose
    coefficients are integrated out (Box and Cox 1964, section 4), times a Normal(1, 0.5) prior that decides where y
    varies too little to say; it is a multiple of 0.05. It is chosen before the fit and held, as the centre and unit of
    y are: inside the fit it would change what every expert's sigma is measured in, and with flexible experts the
    likelihood rewards powers under which one expert fits a few rows closely.

    Raises
    ------
    SpecError
        If the power is neither None nor 0 nor between 0.05 and 2.

    References
    ----------
    Box and Cox (1964), An analysis of transformations, JRSS B 26.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Power(0.5).forward(np.array([1.0, 4.0]))
    array([0., 2.])
    >>> bm.Power(0.5).inverse(np.array([0.0, 2.0, -3.0]))
    array([1., 4., 0.])
    """

    power: float | None = None

    def __post_init__(self) -> None:
        value = self.power
        if value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not number or not (value == 0 or _LEAST <= value <= _MOST):
            raise SpecError(
                f"Power.power: expected None, 0 or a number from {_LEAST:g} to {_MOST:g}, got {value!r} → 0 is the "
                "logarithm, which powers near 0 come to; under negative powers of Normal experts y has no mean"
            )

    @property
    def known(self) -> float:
        """The power of a transform that has met its data."""
        assert self.power is not None
        return float(self.power)

    @property
    def least(self) -> float:
        """Smallest value of T: what lies below stands for y = 0."""
        return -1.0 / self.known if self.known else -np.inf

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Return T(y); of y <= 0 the smallest value of T."""
        power = self.known
        with np.errstate(divide="ignore"):
            logs = np.log(np.maximum(y, 0.0))
        return np.asarray(np.expm1(power * logs) / power if power else logs)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return y = max(0, 1 + λ z)^(1/λ)."""
        power = self.known
        with np.errstate(divide="ignore", over="ignore"):
            return np.asarray(np.exp(np.log1p(np.maximum(power * z, -1.0)) / power if power else z))

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """Return log T'(y) = (λ - 1) log y, for y > 0."""
        return np.asarray((self.known - 1.0) * np.log(y))

    def met(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Power:
        """Return the power that a model has on rows: this, or the one that is learned from them.

        ``x`` is (n, p) standardised, ``y`` (n,) above 0 in the user's units, ``weights`` (n,) positive.
        """
        if self.power is not None:
            return self
        powers = np.round(np.arange(0.0, _MOST + _STEP / 2, _STEP), 2)
        scores = profile(x, y, weights, powers) - 0.5 * ((powers - 1.0) / _DOUBT) ** 2
        return Power(float(powers[np.argmax(scores)]))


def profile(x: np.ndarray, y: np.ndarray, weights: np.ndarray, powers: np.ndarray) -> np.ndarray:
    r"""Return the log marginal likelihood of powers (L,) up to a constant, coefficients and noise integrated out.

    With y in units of its geometric mean, so that Jacobians are 1, and :math:`V = I + 100 X X'`,

    .. math:: \ell(\lambda) = -\tfrac n2 \log z_\lambda' V^{-1} z_\lambda

    where X holds the columns, standardised, and their squares; n is the sum of weights.
    """
    total = weights.sum()
    logs = np.log(y)
    logs = logs - weights @ logs / total
    z = np.array([np.expm1(power * logs) / power if power else logs for power in powers]).T
    root = np.sqrt(weights)[:, None]
    x = x[:, :_MOST_COLUMNS]
    columns = np.hstack([x, x**2])
    columns, z = (root * (part - weights @ part / total) for part in (columns, z))
    precision = columns.T @ columns + np.eye(columns.shape[1]) / _SLOPES**2
    both = columns.T @ z
    rest = (z**2).sum(axis=0) - (both * np.linalg.solve(precision, both)).sum(axis=0)
    return np.asarray(-0.5 * total * np.log(np.maximum(rest, np.finfo(float).tiny)))


def check_target(target: Any, owner: str) -> None:
    """Refuse anything but a power or None."""
    if target is not None and not isinstance(target, Power):
        raise SpecError(f"{owner}.target: expected bm.Power or None, got {target!r} → e.g. bm.Power(0.5) or bm.Power()")
