"""Bind a specification to data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..data import Data
from ..errors import SpecError
from ..families import Closure, Family, Normal, Support
from ..families.binomial import check_trials
from ..gates import EqualGate, SoftmaxGate
from ..mixture import MixtureOfExperts
from ..scaling import TargetScale
from .chunks import Group
from .density import MixtureDensity
from .design import Design, make_design
from .extras import Extras, extra_columns, make_extras
from .features import FeatureMap, output_layer
from .general import GeneralDensity
from .network_density import NetworkDensity
from .outcomes import Outcomes
from .parameters import Parameters, make_parameters

if TYPE_CHECKING:
    import pymc as pm

TARGET_SCALES = {
    Closure.AFFINE: TargetScale.AFFINE,
    Closure.SCALE: TargetScale.STRETCHED,
    Closure.NONE: TargetScale.PLAIN,
}


@dataclass(frozen=True, eq=False)
class Bound:
    """A model that has met its data.

    Parameters
    ----------
    model
        The specification.
    met
        The same with what families learn from the target.
    data
        The checked training data.
    design
        Design columns, from the raw table.
    parameters
        Layout of the unconstrained vector.
    extras
        Columns that enter densities beside the design.
    """

    model: MixtureOfExperts
    met: MixtureOfExperts
    data: Data
    design: Design
    parameters: Parameters
    extras: Extras

    @property
    def features(self) -> FeatureMap | None:
        """The network under gate and experts, with its weights."""
        return self.design.features

    @cached_property
    def counted(self) -> np.ndarray:
        """Positions of the rows of positive weight; the density knows no others, whatever stands in them."""
        return np.flatnonzero(self.data.weights > 0)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The experts by family."""
        parameters = self.parameters
        found: dict[Family, list[int]] = {}
        for position, expert in enumerate(self.met.experts):
            found.setdefault(expert.family, []).append(position)
        out = []
        for family, positions in found.items():
            experts = np.array(positions)
            slots = np.arange(len(family.predicted))[:, None] * parameters.experts
            out.append(Group(family, experts, parameters.gate_rows + slots + experts[None, :]))
        return tuple(out)

    @cached_property
    def density(self) -> MixtureDensity | GeneralDensity:
        """The log posterior that engines read: the kernels' where there are some for it, else that of the graphs."""
        table, y, weights = self.data.table.values, self.data.y, self.data.weights
        if len(self.counted) < len(y):
            table, y, weights = table[self.counted], y[self.counted], weights[self.counted]
        raw = np.asarray(table)
        y, table = self.design.scaling.standardise_y(y), self.design.matrix(raw)
        if self._has_kernels:
            return MixtureDensity(self.design, self.parameters, table, y, weights)
        extras = self.extras
        outcomes = Outcomes(
            y, weights, extras.arguments(raw), extras.added(raw), float(np.log(self.design.scaling.y_scale))
        )
        return GeneralDensity(self.design, self.parameters, self.groups, table, outcomes)

    @cached_property
    def network_density(self) -> NetworkDensity:
        """The log posterior of network and output layer together, which training climbs."""
        assert self.features is not None
        raw = np.asarray(self.data.table.values)[self.counted]
        return NetworkDensity(self.features, self.density, raw)

    def learned(self, weights: np.ndarray) -> Bound:
        """Return the same with other weights of the network."""
        return bind(self.model, self.data, weights_of_network=weights)

    @property
    def _has_kernels(self) -> bool:
        normal = all(type(expert.family) is Normal for expert in self.met.experts)
        gated = type(self.met.gate) in (SoftmaxGate, EqualGate)
        return normal and gated and not self.extras.offsets

    def pymc_model(self) -> pm.Model:
        """Return the same posterior as an ordinary PyMC model.

        Raises
        ------
        SpecError
            If experts are of several families, or a row brings more than X and y to its density.
        """
        if len(self.groups) > 1 or self.extras.given or self.extras.offsets:
            raise SpecError(
                "bm.build: expected experts of one family without trials, exposures and offsets, got "
                f"{[type(group.family).__name__ for group in self.groups]} → bm.fit takes them; build one family"
            )
        from .model import build_model

        return build_model(self.met, self.design, self.parameters, self.data)


def bind(model: MixtureOfExperts, data: Data, *, weights_of_network: np.ndarray | None = None) -> Bound:
    """Return ``model`` on ``data``.

    Parameters
    ----------
    model, data
        The specification and the checked data.
    weights_of_network
        Of the network that learned the features, if there is one; None: as they are before training.

    Raises
    ------
    SpecError
        If a predictor or a family names a column that the table does not have.
    InputError
        If the target does not belong to the experts' families.
    """
    counted = data.weights > 0
    y, weights = data.y[counted], data.weights[counted]
    _refuse_several(model)
    scaling = data.scaling
    families = [expert.family.meet(y, weights) for expert in model.experts]
    met = model.with_families([family.standardised(scaling.y_center, scaling.y_scale) for family in families])
    if met.features is not None:
        met = output_layer(met, gate=not data.gate_columns)
    design = make_design(
        met,
        data.table.names,
        np.asarray(data.table.values),
        data.weights,
        data.scaling,
        gate_columns=data.gate_columns,
        dropped=data.dropped,
        reserved=extra_columns(met),
        weights_of_network=weights_of_network,
    )
    raw = np.asarray(data.table.values)[counted]
    centres = [
        _centre(expert.family, scaling.standardise_y(y), weights, raw, data.table.names) for expert, _ in met.blocks
    ]
    parameters = make_parameters(met, design, centres)
    extras = make_extras(met, data.table.names, parameters, data.scaling.y_scale)
    return Bound(model, met, data, design, parameters, extras)


def _centre(
    family: Family, y: np.ndarray, weights: np.ndarray, table: np.ndarray, names: Sequence[str]
) -> Mapping[str, float]:
    """Return where default priors of intercepts lie: by rates and shares, where rows have exposures or trials."""
    column = getattr(family, "exposure", None) or family.given.get("trials")
    if column is None:
        return family.centre(y, weights)
    if column not in names:  # refused with the extras, in their words
        return {}
    size = table[:, list(names).index(column)]
    if "trials" in family.given:
        check_trials(y, size)
    return family.centre(y / size, weights * size)


def _refuse_several(model: MixtureOfExperts) -> None:
    """Refuse families whose target or parameters are several numbers a row."""
    for expert, positions in model.blocks:
        several = expert.family.support in (Support.CLASSES, Support.LEVELS, Support.VECTOR)
        if several:
            raise SpecError(
                f"MixtureOfExperts.experts[{positions[0]}]: expected a family of one number a row, got "
                f"{expert.family!r}, which is not fitted in this version → use a family for {Support.REAL.value}, "
                "counts, or two labels"
            )
