"""Columns of the table that enter a density beside the design: trials, exposures, offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, SpecError
from ..families import Role
from ..mixture import MixtureOfExperts
from ..scaling import Scaling
from .design import column_named
from .parameters import Parameters


@dataclass(frozen=True, eq=False)
class Offset:
    """A column that is added to some linear predictors.

    Parameters
    ----------
    rows
        Rows of the coefficients whose linear predictors it is added to.
    column
        Its position in the raw table.
    logarithm
        Whether its logarithm is added: an exposure.
    center, unit
        What it is reduced and divided by first.
    """

    rows: np.ndarray
    column: int
    logarithm: bool
    center: float
    unit: float


@dataclass(frozen=True, eq=False)
class Extras:
    """Which columns of the raw table enter how.

    Parameters
    ----------
    given
        (name of a family's argument, position of the column).
    offsets
        What is added to linear predictors.
    predictors
        Number of linear predictors R.
    names
        Column names, for messages.
    """

    given: tuple[tuple[str, int], ...]
    offsets: tuple[Offset, ...]
    predictors: int
    names: tuple[str, ...]

    def arguments(self, table: np.ndarray) -> dict[str, np.ndarray]:
        """Return the given columns (n,) at rows of the raw table."""
        return {name: np.asarray(table[:, column]) for name, column in self.given}

    def added(self, table: np.ndarray) -> np.ndarray | None:
        """Return what is added to the linear predictors (n, R), or None.

        Raises
        ------
        InputError
            If an exposure is not above 0.
        """
        if not self.offsets:
            return None
        out = np.zeros((len(table), self.predictors))
        for offset in self.offsets:
            values = table[:, offset.column]
            if offset.logarithm:
                bad = np.flatnonzero(~(values > 0))
                if bad.size:
                    raise InputError(
                        f"X: expected exposures above 0 in column {self.names[offset.column]!r}, got "
                        f"{values[bad[0]]:.6g} (rows {bad[:5].tolist()}) → leave out rows without exposure"
                    )
                values = np.log(values)
            out[:, offset.rows] += ((values - offset.center) / offset.unit)[:, None]
        return out


def extra_columns(model: MixtureOfExperts) -> tuple[str, ...]:
    """Return the names of columns that families take: trials and exposures."""
    found: dict[str, None] = {}
    for expert, _ in model.blocks:
        found.update(dict.fromkeys(expert.family.given.values()))
        found.update(dict.fromkeys(expert.family.exposures.values()))
    return tuple(found)


def named_columns(model: MixtureOfExperts) -> tuple[str, ...]:
    """Return the names of all columns of X that ``model`` takes as they are: trials, exposures and offsets."""
    offsets = [p.offset for expert, _ in model.blocks for p in expert.predictors.values() if p.offset is not None]
    return tuple(dict.fromkeys([*extra_columns(model), *offsets]))


def make_extras(model: MixtureOfExperts, names: Sequence[str], parameters: Parameters, scaling: Scaling) -> Extras:
    """Return the columns that enter the densities of ``model`` beside the design.

    Raises
    ------
    SpecError
        If a column is not in the table.
    """
    given: dict[str, int] = {}
    offsets: list[Offset] = []
    for expert, positions in model.blocks:
        for argument, name in expert.family.given.items():
            given[argument] = column_named(name, names, f"{type(expert.family).__name__}.{argument}")
        for predicted, name in expert.family.exposures.items():
            column = column_named(name, names, f"{type(expert.family).__name__}.exposure")
            offsets.extend(_exposures(predicted, column, positions, parameters))
    for term in parameters.terms:
        if term.term.offset is not None:
            if term.parameter.labels:
                raise SpecError(
                    f"{type(term.predictor).__name__}.offset: expected a parameter that is one number, got "
                    f"{term.parameter.name!r} of {len(term.parameter.labels)} → leave the offset out"
                )
            unit = scaling.unit(term.parameter.units[0])[1] if term.parameter.role is Role.LOCATION else 1.0
            rows, center = term.rows(0), term.offset_center
            offsets.append(Offset(rows, term.term.offset, logarithm=False, center=center, unit=unit))
    return Extras(tuple(given.items()), tuple(offsets), parameters.rows, tuple(names))


def _exposures(predicted: str, column: int, positions: Sequence[int], parameters: Parameters) -> Iterator[Offset]:
    for term in parameters.terms:
        if term.parameter.predicted == predicted and set(term.experts) & set(positions):
            yield Offset(term.rows(0), column, logarithm=True, center=0.0, unit=1.0)
