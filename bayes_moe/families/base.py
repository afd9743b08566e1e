"""What every family of expert densities agrees to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from ..predictors.base import Predictor
from ..priors import Coefficients, Normal
from .closed import ClosedTerms

type Known = tuple[np.ndarray, ...]
"""Columns of rows that no parameter changes."""


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


class Support(Enum):
    """Where y lives."""

    REAL = "any finite number"
    POSITIVE = "numbers above 0"
    UNIT = "numbers between 0 and 1, both excluded"
    COUNT = "whole numbers from 0"
    BINARY = "0 and 1, or two labels"
    CLASSES = "labels without an order"
    LEVELS = "labels in an order"
    VECTOR = "several finite numbers a row"


class Closure(Enum):
    """Which maps of y keep a density within its family; they decide how y is standardised."""

    AFFINE = "y may be shifted and stretched"
    SCALE = "y may be stretched"
    NONE = "y stays as it is"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family and the linear predictor, or predictors, that stand for it.

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
    labels
        Empty for a parameter that is one number; else what its several numbers are called (classes, outputs,
        cutpoints), each with a linear predictor of its own.
    zero_sum
        Whether the numbers of a labelled parameter, coefficient by coefficient, sum to zero over the labels.
    outputs
        Position of the output in whose units each linear predictor is; empty: the first for all.
    """

    name: str
    predicted: str
    role: Role
    default: Predictor
    prior: Coefficients
    labels: tuple[str, ...] = ()
    zero_sum: bool = False
    outputs: tuple[int, ...] = ()

    @property
    def units(self) -> tuple[int, ...]:
        """Position of the output in whose units each linear predictor is."""
        return self.outputs or (0,) * max(1, len(self.labels))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the linear predictors, one per label."""
        return tuple(f"{self.predicted}_{label}" for label in self.labels) if self.labels else (self.predicted,)

    @property
    def logarithmic(self) -> bool:
        """Whether the linear predictor is the parameter's logarithm."""
        return self.predicted == f"log_{self.name}"


def default_priors(loc: float, scale: float, slopes: float) -> Coefficients:
    """Return normal priors on the standardised scale: of the intercept N(loc, scale), of slopes N(0, slopes)."""
    return Coefficients(Normal(loc, scale, standardised=True), Normal(0.0, slopes, standardised=True))


class Family(ABC):
    """A family of densities of y given its linear predictors, in this order in every file.

    ``logpdf`` is a graph function of tensors; the others are NumPy functions of arrays that work element by element
    and broadcast. All take y first where there is one, then one argument per linear predictor, in the order of
    ``predicted``: the graph function by position, the NumPy functions by name. Families with ``given`` columns (trials)
    take those after the linear predictors in the same way. Where y lies outside the support, log densities are -inf.
    """

    @property
    @abstractmethod
    def support(self) -> Support:
        """Where y lives."""

    @property
    @abstractmethod
    def closure(self) -> Closure:
        """Which maps of y the family is closed under."""

    @property
    def supports(self) -> tuple[Support, ...]:
        """Where every output lives, for families of several outputs of different kinds."""
        return (self.support,)

    @property
    def closures(self) -> tuple[Closure, ...]:
        """The maps under which the family is closed, output by output; one stands for all outputs."""
        return (self.closure,)

    @property
    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in the order in which functions take them."""

    @property
    def predicted(self) -> tuple[str, ...]:
        """Names of all linear predictors, in the order in which functions take them."""
        return tuple(name for parameter in self.parameters for name in parameter.columns)

    @property
    def given(self) -> Mapping[str, str]:
        """Further arguments of the functions and the columns of the table that hold them."""
        return {}

    @property
    def exposures(self) -> Mapping[str, str]:
        """Linear predictors to which the log of a column of the table is added, and that column."""
        return {}

    @property
    def named(self) -> tuple[str, ...] | None:
        """Labels of the classes, levels or outputs, where the specification names them."""
        return None

    def labelled(self, labels: tuple[str, ...]) -> Family:
        """Return the family with the labels of the data's classes, levels or outputs, if it has a use for them."""
        del labels
        return self

    def marginal(self, output: int) -> Any:
        """Return the density of one output as a family of one number, with the same linear predictors."""
        del output
        return self

    @property
    def discrete(self) -> bool:
        """Whether log densities are log probabilities."""
        return self.support in (Support.COUNT, Support.BINARY, Support.CLASSES, Support.LEVELS)

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Family:
        """Return the family with what it learns from the target, such as its number of classes.

        Raises
        ------
        InputError
            If the target cannot belong to this family.
        """
        del y, weights
        return self

    def standardised(self, center: Any, scale: Any) -> Family:
        """Return the family for (y - center) / scale: only families that hold numbers in units of y change.

        Both are numbers, or one number per output.
        """
        del center, scale
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        """Return where default priors of intercepts lie, by linear predictor, if that depends on the target."""
        del y, weights
        return {}

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        """Return the columns that the closed form is about: of y and the given columns, whatever is not learned."""
        del given
        return (y,)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms | None:
        """Return the log density with its derivatives as `ClosedTerms`, or None where only its graph says them."""
        del y, etas, given, bends
        return None

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
        """Return the cumulative distribution function P(Y <= y)."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        """Return one draw for every element of the parameters."""
