"""What every family of expert densities agrees to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from ..predictors.base import Predictor
from ..priors import Coefficients


class Role(Enum):
    """How a linear predictor follows an affine change of y."""

    LOCATION = "moves and stretches with y"
    LOG_SCALE = "the log of something that stretches with y"
    FREE = "does not depend on the scale of y"

    def to_user(self, coefficients: np.ndarray, center: float, scale: float) -> np.ndarray:
        """Return coefficients (..., 1 + p) of standardised y as coefficients of y in the user's units."""
        out = np.array(coefficients, dtype=float)
        if self is Role.LOCATION:
            out *= scale
            out[..., 0] += center
        elif self is Role.LOG_SCALE:
            out[..., 0] += np.log(scale)
        return out


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family and the linear predictor that stands for it.

    Parameters
    ----------
    name
        What users call it and pass a predictor for, e.g. ``sigma``.
    predicted
        Name of the quantity the linear predictor gives, e.g. ``log_sigma``.
    role
        How it follows an affine change of y.
    default
        Predictor used when the expert names none.
    prior
        Default priors on the standardised scale.
    """

    name: str
    predicted: str
    role: Role
    default: Predictor
    prior: Coefficients

    @property
    def logarithmic(self) -> bool:
        """Whether the linear predictor is the parameter's logarithm."""
        return self.predicted != self.name


class Family(ABC):
    """A family of densities of y given its linear predictors, in this order in every file.

    ``logpdf`` is a graph function of tensors; the others are NumPy functions of arrays. All take y and then one
    argument per entry of ``parameters``, named as its ``predicted``.
    """

    @property
    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in the order in which functions take them."""

    @abstractmethod
    def logpdf(self, y: Any, *predicted: Any) -> Any:
        """Return the log density as a graph."""

    @abstractmethod
    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        """Return the log density of arrays."""

    @abstractmethod
    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the mean."""

    @abstractmethod
    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the variance."""

    @abstractmethod
    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        """Return the cumulative distribution function."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        """Return one draw for every element of the parameters."""
