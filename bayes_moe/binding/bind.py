"""Bind a specification to data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..data import Data
from ..mixture import MixtureOfExperts
from .density import MixtureDensity
from .design import Design, make_design
from .parameters import Parameters, make_parameters

if TYPE_CHECKING:
    import pymc as pm


@dataclass(frozen=True, eq=False)
class Bound:
    """A model that has met its data.

    Parameters
    ----------
    model
        The specification.
    data
        The checked training data.
    design
        Design columns, from the raw table.
    parameters
        Layout of the unconstrained vector.
    """

    model: MixtureOfExperts
    data: Data
    design: Design
    parameters: Parameters

    @cached_property
    def counted(self) -> np.ndarray:
        """Positions of the rows of positive weight; the density knows no others, whatever stands in them."""
        return np.flatnonzero(self.data.weights > 0)

    @cached_property
    def density(self) -> MixtureDensity:
        """The log posterior that engines read."""
        table, y, weights = self.data.table.values, self.data.y, self.data.weights
        if len(self.counted) < len(y):
            table, y, weights = table[self.counted], y[self.counted], weights[self.counted]
        y = self.design.scaling.standardise_y(y)
        return MixtureDensity(self.design, self.parameters, self.design.matrix(table), y, weights)

    def pymc_model(self) -> pm.Model:
        """Return the same posterior as an ordinary PyMC model."""
        from .model import build_model

        return build_model(self.model, self.design, self.parameters, self.data)


def bind(model: MixtureOfExperts, data: Data) -> Bound:
    """Return ``model`` on ``data``.

    Raises
    ------
    SpecError
        If a predictor names a column that the table does not have.
    """
    design = make_design(
        model,
        data.table.names,
        np.asarray(data.table.values),
        data.weights,
        data.scaling,
        gate_columns=data.gate_columns,
        dropped=data.dropped,
    )
    return Bound(model, data, design, make_parameters(model, design))
