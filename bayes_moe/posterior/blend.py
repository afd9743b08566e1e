"""Weighted averages of the predictive distributions of several fits.

Fit m has the predictive density p_m(y | x_i), itself a mixture over its draws and experts. With weights w_m that sum
to one,

    p(y | x_i) = Σ_m w_m p_m(y | x_i)

is a mixture again: densities, distribution functions and first moments are averaged, the variance has the spread
between fits in it, and quantiles invert the averaged distribution function (`bayes_moe.posterior.quantiles`). The
functions here take one fit's mixture as well: it is the average of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from . import labelled, mixtures, sampling
from .mixtures import Floats, MixtureDraws

Part = tuple[float, MixtureDraws]


@dataclass(frozen=True, eq=False)
class Blend:
    """The mixtures of several fits at the same rows, and how much each counts.

    Parameters
    ----------
    mixtures
        One per fit, all with the same rows and outputs.
    weights
        (M,) above 0, with sum 1.
    """

    mixtures: tuple[MixtureDraws, ...]
    weights: Floats

    def __post_init__(self) -> None:
        shapes = {(m.rows, m.outputs) for m in self.mixtures}
        if len(shapes) != 1 or len(self.mixtures) != len(self.weights):
            raise InputError(f"blend: expected mixtures of the same rows and outputs, got {sorted(shapes, key=str)}")

    @property
    def rows(self) -> int:
        """Number of rows n."""
        return self.mixtures[0].rows

    @property
    def outputs(self) -> int | None:
        """Number of outputs where y is several numbers a row."""
        return self.mixtures[0].outputs

    @property
    def parts(self) -> tuple[Part, ...]:
        """Weight and mixture of every fit."""
        return tuple(zip(self.weights.tolist(), self.mixtures, strict=True))


def parts_of(m: MixtureDraws | Blend) -> tuple[Part, ...]:
    """Return weights and mixtures; one mixture alone has weight 1."""
    return m.parts if isinstance(m, Blend) else ((1.0, m),)


def marginal(m: MixtureDraws | Blend, output: int) -> MixtureDraws | Blend:
    """Return the same of one output among several."""
    if isinstance(m, Blend):
        return Blend(tuple(mixtures.marginal(part, output) for part in m.mixtures), m.weights)
    return mixtures.marginal(m, output)


def predictive_mean(m: MixtureDraws | Blend) -> Floats:
    """Return the predictive mean (n,): Σ_m w_m E_m[y]."""
    return sum((weight * mixtures.predictive_mean(part) for weight, part in parts_of(m)), np.zeros(m.rows))


@np.errstate(all="ignore")
def predictive_moments(m: MixtureDraws | Blend) -> tuple[Floats, Floats]:
    """Return the predictive mean and variance, both (n,): Var[y] = Σ_m w_m (Var_m[y] + (E_m[y] − E[y])²)."""
    found = [(weight, *mixtures.predictive_moments(part)) for weight, part in parts_of(m)]
    if len(found) == 1:
        return found[0][1], found[0][2]
    mean = sum((weight * own for weight, own, _ in found), np.zeros(m.rows))
    variance = sum((weight * (own + (centre - mean) ** 2) for weight, centre, own in found), np.zeros(m.rows))
    return mean, np.where(np.isinf(mean), np.inf, variance)


def log_density(m: MixtureDraws | Blend, y: ArrayLike) -> Floats:
    """Return the log of the averaged density, log Σ_m w_m p_m(y_i), shape (n,)."""
    found = [np.log(weight) + mixtures.log_density(part, y) for weight, part in parts_of(m)]
    return reduce(np.logaddexp, found)


def cdf(m: MixtureDraws | Blend, y: ArrayLike) -> Floats:
    """Return the averaged distribution function, P(Y ≤ y_i) = Σ_m w_m F_m(y_i), shape (n,)."""
    total = sum((weight * mixtures.cdf(part, y) for weight, part in parts_of(m)), np.zeros(m.rows))
    return np.minimum(total, 1.0)


def class_probabilities(m: MixtureDraws | Blend, classes: int) -> Floats:
    """Return P(Y = label) (n, classes)."""
    start = np.zeros((m.rows, classes))
    return sum((weight * labelled.class_probabilities(part, classes) for weight, part in parts_of(m)), start)


def sample(m: MixtureDraws | Blend, size: int, rng: np.random.Generator) -> Floats:
    """Return draws from the predictive distribution (size, n) or (size, n, outputs): a fit, then a draw of it.

    One sample is one fit and one of its draws for all rows together, as in `bayes_moe.posterior.sampling.sample`.
    """
    if not isinstance(m, Blend):
        return sampling.sample(m, size, rng)
    counts = rng.multinomial(size, m.weights)
    drawn = [sampling.sample(part, int(count), rng) for part, count in zip(m.mixtures, counts, strict=True) if count]
    return rng.permutation(np.concatenate(drawn))
