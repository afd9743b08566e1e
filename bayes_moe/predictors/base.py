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
from ..priors import LearnedScale, Normal

type Shared = bool | tuple[str | int, ...]


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
        return tuple(j for j in self.asked(columns, owner) if self.names[j] not in self.dropped)

    def asked(self, columns: Sequence[str | int] | None, owner: str) -> tuple[int, ...]:
        """Return the same with constant columns."""
        if columns is None:
            return self.default
        return tuple(dict.fromkeys(j for column in columns for j in self.places(column, owner)))

    def tied(self, shared: Shared, chosen: Sequence[int], owner: str) -> tuple[bool, ...]:
        """Return for every chosen column whether ``shared`` names it.

        Raises
        ------
        SpecError
            If it names a column that is not among those the predictor uses.
        """
        if isinstance(shared, bool):
            return (False,) * len(chosen)
        wanted = self.positions(shared, f"{owner}.shared")
        for j in wanted:
            if j not in chosen:
                raise SpecError(
                    f"{owner}.shared: expected columns that the predictor uses, {[self.names[i] for i in chosen]}, got "
                    f"{self.names[j]!r} → name it in columns= as well"
                )
        return tuple(j in wanted for j in chosen)

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
                    f"{_argument(owner)}: expected names of the table's columns {list(own)}, got {column!r}"
                    f"{nearest(column, own)} → correct the name"
                )
        elif not 0 <= column < len(own):
            raise SpecError(
                f"{_argument(owner)}: expected positions from 0 to {len(own) - 1}, got {column!r} → correct it"
            )
        elif str(column) in own and own[column] != str(column):
            raise SpecError(
                f"{_argument(owner)}: expected a position that is not the name of another column, got {column!r}: the "
                f"column there is called {own[column]!r} → pass names as text, {str(column)!r} or {own[column]!r}"
            )
        wanted = column if isinstance(column, str) else own[column]
        return tuple(j for j, source in enumerate(sources) if source == wanted)


def _argument(owner: str) -> str:
    return owner if "." in owner else f"{owner}.columns"


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

    @property
    def elsewhere(self) -> bytes:
        """What tells columns apart that are equal at the training rows, but not elsewhere."""
        return b""

    def pooled(self) -> np.ndarray:
        """Return which slopes all experts share while each has others of its own, a flag per computed column."""
        return np.zeros(len(self.names), dtype=bool)

    def groups(self) -> np.ndarray:
        """Return to which group every slope belongs, counted from 0: groups have scales of their own where learned."""
        return np.zeros(len(self.names), dtype=np.int64)

    def widths(self) -> tuple[int, ...]:
        """Return how many slopes every part of a sum has; one number for what is no sum."""
        return (len(self.names),)

    def shares(self) -> np.ndarray:
        """Return every slope's standard deviation under a learned scale of 1 of the whole predictor."""
        width = len(self.names)
        return np.full(width, 1.0 / np.sqrt(max(width, 1)))

    def weights(self, scale: float) -> Weights | None:
        """Return what multiplies an expert's slopes, None for nothing; ``scale`` is their default prior deviation."""
        del scale
        return None


class Weights(ABC):
    """What multiplies an expert's slopes, as a function of hyperparameters that are learned.

    A coefficient is the weight times a free value; log weights depend on H further free values, all standard normal.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the H quantities are called whose logs the free values move."""

    @abstractmethod
    def logs(self, values: list[Any]) -> Any:
        """Return log weights (..., slopes) from H arrays or tensors (...)."""

    @abstractmethod
    def derivatives(self, values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the log weights' first and second derivatives (..., slopes, H) and (..., slopes, H, H)."""

    @abstractmethod
    def described(self, values: list[Any]) -> dict[str, Any]:
        """Return the H quantities by name, on the standardised scale."""


class Predictor(ABC):
    """A specification of one linear predictor.

    Every predictor has ``shared`` (True for one set of coefficients for all experts, or the columns whose slopes they
    share), the priors ``intercept`` and ``slopes`` (None for the default of the parameter it predicts), perhaps the
    name of a column that is added as it is, and yields its basis on request.
    """

    shared: Shared
    intercept: Normal | None
    columns: tuple[str | int, ...] | None = None
    offset: str | None = None

    @property
    @abstractmethod
    def slopes_prior(self) -> Any:
        """The prior of the slopes, or None for the default."""

    @property
    def slopes_priors(self) -> tuple[Any, ...]:
        """The priors of the slopes of every part of a sum, None for defaults; one for what is no sum."""
        return (self.slopes_prior,)

    def claimed(self) -> tuple[str | int, ...]:
        """Return the columns the specification names explicitly."""
        return self.columns or ()

    def refuse_in_gate(self) -> None:
        """Refuse what has no meaning in a gate.

        Raises
        ------
        SpecError
            If the predictor has an offset.
        """
        if self.offset is not None:
            raise SpecError(
                f"gate: expected a predictor without offset, got offset={self.offset!r} → what is added to every "
                "expert's log weight changes no weight; leave it out"
            )

    @abstractmethod
    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        """Return the basis for a standardised training table, (rows, columns), with row weights."""


def check_columns(owner: str, columns: object, name: str = "columns") -> None:
    """Refuse a ``columns=``, or another such argument, that is not a sequence of names and positions."""
    if columns is None:
        return
    if isinstance(columns, str) or not isinstance(columns, tuple | list):
        raise SpecError(
            f"{owner}.{name}: expected a tuple of column names or positions, got {columns!r} → write ({columns!r},)"
        )
    for column in columns:
        if isinstance(column, bool) or not isinstance(column, str | int):
            raise SpecError(f"{owner}.{name}: expected names or positions, got {column!r} → pass text or integers")
    if len(set(columns)) != len(columns):
        raise SpecError(f"{owner}.{name}: expected every column once, got {columns!r} → remove the repetition")


def check_shared(owner: str, shared: object) -> Shared:
    """Return ``shared`` as True, False or the columns whose slopes are shared, and refuse anything else."""
    if isinstance(shared, bool):
        return shared
    if isinstance(shared, str) or not isinstance(shared, tuple | list) or not shared:
        raise SpecError(
            f"{owner}.shared: expected True, False or a tuple of column names or positions, got {shared!r} → e.g. "
            f"{(shared,) if isinstance(shared, str) else ('x0',)!r}"
        )
    check_columns(owner, shared, "shared")
    return tuple(shared)


def check_prior(owner: str, name: str, prior: object, *kinds: type) -> None:
    """Refuse a prior of a kind that ``owner`` does not take."""
    if prior is not None and not isinstance(prior, kinds):
        expected = " or ".join(f"priors.{kind.__name__}" for kind in kinds)
        raise SpecError(f"{owner}.{name}: expected {expected} or None, got {prior!r} → pass a prior specification")


def check_predictor(owner: str, predictor: Any) -> None:
    """Check what all predictors with columns have in common, and freeze it."""
    check_columns(owner, predictor.columns)
    if predictor.columns is not None:
        object.__setattr__(predictor, "columns", tuple(predictor.columns))
    check_prior(owner, "intercept", predictor.intercept, Normal)
    check_prior(owner, "slopes", predictor.slopes, Normal, LearnedScale)
    check_offset(owner, predictor.offset)


def check_offset(owner: str, offset: object) -> None:
    """Refuse an ``offset=`` that is not the name of a column."""
    if offset is not None and not isinstance(offset, str):
        raise SpecError(f"{owner}.offset: expected the name of a column of X or None, got {offset!r} → pass its name")


def check_flag(owner: str, name: str, value: object) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        raise SpecError(f"{owner}.{name}: expected True or False, got {value!r} → pass a boolean")
