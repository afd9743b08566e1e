"""What every predictor that is linear in its coefficients agrees to.

A predictor is a frozen specification. When a model meets data it yields a `Basis`: the columns it computes from
the standardised table, with their names, and the linear map that takes coefficients back to the user's units.
The basis is written with operators that NumPy arrays and PyTensor tensors share, so the formula exists once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SpecError, nearest
from ..priors import Normal


@dataclass(frozen=True)
class Columns:
    """The columns of a table that a predictor may use.

    Parameters
    ----------
    names
        Names of all columns of the table, in order.
    default
        Positions that a predictor without ``columns=`` uses.
    center, scale
        Standardisation of every column.
    dropped
        Names of constant columns, which no basis uses.
    sources
        Name of the user's column that every column came from, where 0/1 columns stand for one of text; empty where
        none do.
    """

    names: tuple[str, ...]
    default: tuple[int, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    dropped: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def positions(self, columns: Sequence[str | int] | None, owner: str) -> tuple[int, ...]:
        """Return the positions a predictor asks for, without constant columns.

        Raises
        ------
        SpecError
            If a name or position is not in the table.
        """
        if columns is None:
            chosen = self.default
        else:
            chosen = tuple(dict.fromkeys(j for column in columns for j in self.places(column, owner)))
        return tuple(j for j in chosen if self.names[j] not in self.dropped)

    def places(self, column: str | int, owner: str) -> tuple[int, ...]:
        """Return the positions of one column of the user's table, or of a 0/1 column by its own name.

        Raises
        ------
        SpecError
            If there is no such column.
        """
        sources = self.sources or self.names
        own = tuple(dict.fromkeys(sources))
        if isinstance(column, str):
            if column in self.names:
                return (self.names.index(column),)
            if column not in sources:
                raise SpecError(
                    f"{owner}.columns: expected names of the table's columns {list(own)}, got {column!r}"
                    f"{nearest(column, own)} → correct the name"
                )
        elif not 0 <= column < len(own):
            raise SpecError(
                f"{owner}.columns: expected positions from 0 to {len(own) - 1}, got {column!r} → correct it"
            )
        wanted = column if isinstance(column, str) else own[column]
        return tuple(j for j, source in enumerate(sources) if source == wanted)


class Basis(ABC):
    """Columns computed from a standardised table, and the way back to the user's units."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the computed columns, without the intercept."""

    @abstractmethod
    def blocks(self, table: Any) -> list[Any]:
        """Return matrices whose columns, side by side, are the basis at standardised rows ``table``."""

    @abstractmethod
    def to_user(self) -> np.ndarray:
        """Return U such that U @ (intercept, slopes) are the coefficients of the raw columns and powers."""

    @abstractmethod
    def slope_units(self) -> np.ndarray:
        """Return what a slope in the user's units of x is multiplied by to become a slope on this basis."""


class Predictor(ABC):
    """A specification of one linear predictor.

    Every predictor has ``shared`` (one set of coefficients for all experts), the priors ``intercept`` and
    ``slopes`` (None for the default of the parameter it predicts) and yields its basis on request.
    """

    shared: bool
    intercept: Normal | None

    @property
    @abstractmethod
    def slopes_prior(self) -> Any:
        """The prior of the slopes, or None for the default."""

    @abstractmethod
    def claimed(self) -> tuple[str | int, ...]:
        """Columns the specification names explicitly."""

    @abstractmethod
    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        """Return the basis for a standardised training table, (rows, columns), with row weights."""


def check_columns(owner: str, columns: object) -> None:
    """Refuse a ``columns=`` that is not a sequence of names and positions."""
    if columns is None:
        return
    if isinstance(columns, str) or not isinstance(columns, tuple | list):
        raise SpecError(
            f"{owner}.columns: expected a tuple of column names or positions, got {columns!r} → write ({columns!r},)"
        )
    for column in columns:
        if isinstance(column, bool) or not isinstance(column, str | int):
            raise SpecError(f"{owner}.columns: expected names or positions, got {column!r} → pass text or integers")
    if len(set(columns)) != len(columns):
        raise SpecError(f"{owner}.columns: expected every column once, got {columns!r} → remove the repetition")


def check_prior(owner: str, name: str, prior: object, *kinds: type) -> None:
    """Refuse a prior of a kind that ``owner`` does not take."""
    if prior is not None and not isinstance(prior, kinds):
        expected = " or ".join(f"priors.{kind.__name__}" for kind in kinds)
        raise SpecError(f"{owner}.{name}: expected {expected} or None, got {prior!r} → pass a prior specification")


def check_flag(owner: str, name: str, value: object) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        raise SpecError(f"{owner}.{name}: expected True or False, got {value!r} → pass a boolean")
