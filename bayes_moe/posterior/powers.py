"""Families of a power of y, read as densities of y itself.

The change of variables gives densities; distribution functions and draws follow y = max(0, 1 + λ z)^(1/λ). Means and
variances are integrals over z: Gauss-Legendre quadrature in asinh((z - mu) / sigma) on both sides of mu, from where y
is 0. What lies below is an atom at 0. Student-t tails are summed beyond the last node as the power law that they are
there; moments that do not exist are infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..families import Family, LogNormal, Normal, StudentT, Support
from ..transforms import Power

Floats = NDArray[np.float64]

_NODES = 32  # on each side of mu: ten digits of most moments, five where y^(1/power) or a strong skew has a kink
_REACH = 12.0  # sigmas to either side that Normal tails are followed
_FAR = 12.0  # asinh of the reach of Student-t tails: 80 000 sigmas
_MOST_NODES = 2_000_000  # density values at once


@dataclass(frozen=True)
class Powered:
    """A family of z = T(y) as one of y.

    Parameters
    ----------
    family
        The family of z, in the units of z: Normal, Student-t or skew-normal.
    power
        The transform T, its power known.
    """

    family: Family
    power: Power

    @property
    def predicted(self) -> tuple[str, ...]:
        """Names of the linear predictors."""
        return self.family.predicted

    @property
    def given(self) -> Mapping[str, str]:
        """Further columns that the functions take."""
        return self.family.given

    @property
    def support(self) -> Support:
        """Where z lives."""
        return self.family.support

    @property
    def discrete(self) -> bool:
        """Whether y is always a whole number: never."""
        return False

    def log_density(self, y: Floats, **predicted: Floats) -> Floats:
        """Return the log density of y, -inf from 0 down."""
        inside = np.asarray(y) > 0
        some = np.where(inside, y, 1.0)
        found = self.family.log_density(self.power.forward(some), **predicted) + self.power.log_slope(some)
        return np.where(inside, found, -np.inf)

    def cdf(self, y: Floats, **predicted: Floats) -> Floats:
        """Return P(Y <= y); at 0 it is the probability of being 0."""
        return np.where(np.asarray(y) < 0, 0.0, self.family.cdf(self.power.forward(y), **predicted))

    def draw(self, rng: np.random.Generator, **predicted: Floats) -> Floats:
        """Return one draw for every element of the parameters."""
        return self.power.inverse(self.family.draw(rng, **predicted))

    def mean(self, **predicted: Floats) -> Floats:
        """Return the mean of y."""
        if self._log_normal:
            return LogNormal().mean(**predicted)
        return self._moments(predicted)[0]

    def variance(self, **predicted: Floats) -> Floats:
        """Return the variance of y."""
        if self._log_normal:
            return LogNormal().variance(**predicted)
        return self._moments(predicted)[1]

    @property
    def _log_normal(self) -> bool:
        return type(self.family) is Normal and self.power.power == 0

    def _moments(self, predicted: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        arrays = np.broadcast_arrays(*predicted.values())
        flat = {name: array.ravel() for name, array in zip(predicted, arrays, strict=True)}
        mean, variance = np.empty((2, arrays[0].size))
        step = max(1, _MOST_NODES // (2 * _NODES))
        for start in range(0, mean.size, step):
            some = slice(start, start + step)
            mean[some], variance[some] = self._integrals({name: values[some] for name, values in flat.items()})
        return mean.reshape(arrays[0].shape), variance.reshape(arrays[0].shape)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
    def _integrals(self, predicted: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Return mean and variance for parameters (n,)."""
        column = {name: values[:, None] for name, values in predicted.items()}
        mu, sigma = column["mu"], np.exp(column["log_sigma"])
        heavy = isinstance(self.family, StudentT)
        last = np.full_like(mu, _FAR) if heavy else np.arcsinh(self._reach(sigma))
        first = np.clip(np.arcsinh((self.power.least - mu) / sigma), -last, last)
        middle = np.clip(0.0, first, last)
        at, steps = (np.hstack(pair) for pair in zip(_panel(first, middle), _panel(middle, last), strict=True))
        at, steps = np.hstack([at, last]), np.hstack([steps, np.zeros_like(last)])  # the end, for tails
        z = mu + sigma * np.sinh(at)
        y = self.power.inverse(z)
        density = sigma * np.cosh(at) * np.exp(self.family.log_density(z, **column))
        below = self.family.cdf(mu + sigma * np.sinh(first), **column)[:, 0]
        tails = self._tails(column) if heavy else np.full((2, len(mu)), np.inf)
        mean = (steps * density * y).sum(axis=1) + _rest(density[:, -1] * y[:, -1], tails[0])
        square = (y - mean[:, None]) ** 2
        spread = (steps * density * square).sum(axis=1) + below * mean**2
        spread += _rest(density[:, -1] * square[:, -1], tails[1])
        exists, spreads = tails[0] > 0, tails[1] > 0
        return np.where(exists, mean, np.inf), np.where(spreads, spread, np.inf)

    def _reach(self, sigma: Floats) -> Floats:
        """Return how many sigmas from mu y may matter: large y count by more than their density."""
        power = self.power.known
        return _REACH + (2.0 * sigma if power == 0 else np.full_like(sigma, 2.0 / np.sqrt(power)))

    def _tails(self, column: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Return at what rate the integrands of the first two moments fall in asinh((z - mu) / sigma)."""
        nu, power = 2.0 + np.exp(column["log_nu_minus_2"][:, 0]), self.power.known
        if power == 0:
            return np.full_like(nu, -np.inf), np.full_like(nu, -np.inf)
        return nu - 1.0 / power, nu - 2.0 / power


def _rest(end: Floats, rate: Any) -> Any:
    """Return the integral of ``end exp(-rate t)`` over t > 0, infinite where it does not fall."""
    return np.where(rate > 0, end / np.where(rate > 0, rate, 1.0), np.inf)


def _panel(start: Floats, stop: Floats) -> tuple[Floats, Floats]:
    """Return nodes (n, m) and weights of the integral between start and stop (n, 1)."""
    nodes, weights = _rule()
    half = 0.5 * (stop - start)
    return start + half * (1.0 + nodes), half * weights


@cache
def _rule() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights
