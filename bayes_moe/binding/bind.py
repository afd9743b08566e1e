"""Bind a specification to data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..data import Data
from ..errors import InputError, SpecError
from ..families import Closure, Family, Joint, Normal, Role, Support
from ..families.binomial import check_trials
from ..gates import EqualGate, SoftmaxGate
from ..mixture import MixtureOfExperts
from ..scaling import TargetScale
from ..targets import Target, TargetKind
from .chunks import Group
from .contract import check_contract
from .density import MixtureDensity
from .design import Design, make_design
from .extras import Extras, extra_columns, make_extras
from .features import Networks, output_layers
from .general import GeneralDensity
from .members import Members, make_members, refuse_varying_gate
from .network_density import NetworkDensity
from .outcomes import Outcomes
from .parameters import Parameters, make_parameters
from .redundancy import redundant_coefficients
from .shared_mean import with_mean, with_offsets
from .variational import VariationalDensity

if TYPE_CHECKING:
    import pymc as pm

KINDS = {
    Support.BINARY: TargetKind.BINARY,
    Support.CLASSES: TargetKind.CLASSES,
    Support.LEVELS: TargetKind.LEVELS,
    Support.VECTOR: TargetKind.SEVERAL,
}
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
    def features(self) -> Networks | None:
        """The networks of the model, with their weights."""
        return self.design.features

    @cached_property
    def counted(self) -> np.ndarray:
        """Positions of the rows of positive weight, in order of their groups where there are some.

        The density knows no others, whatever stands in them.
        """
        rows = np.flatnonzero(self.data.weights > 0)
        together = self.data.groups
        return rows if together is None else rows[np.argsort(together.codes[rows], kind="stable")]

    @cached_property
    def members(self) -> Members | None:
        """Which of these rows share one label."""
        return None if self.data.groups is None else make_members(self.data.groups.codes[self.counted])

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
        """The log posterior that engines read: the kernels' where there are some for it, else the general one."""
        if not self._has_kernels:
            return self.general_density
        general = self.general_density
        y, added, units = general.outcomes.y, general.outcomes.offsets, general.outcomes.log_units
        if added is not None:  # to the mean of every expert: the same as taken from y
            y = y - added[:, self.parameters.gate_rows]
        return MixtureDensity(self.design, self.parameters, general.table, y, general.weights, units)

    @cached_property
    def general_density(self) -> GeneralDensity:
        """The log posterior by the derivatives of families and gates, which every model has."""
        table, y, weights = self.data.table.values, self.data.y, self.data.weights
        if len(self.counted) < len(y) or self.members is not None:
            table, y, weights = table[self.counted], y[self.counted], weights[self.counted]
        raw = np.asarray(table)
        scaling, extras, members = self.design.scaling, self.extras, self.members
        units = scaling.log_units(y)
        if members is not None:  # rows of a group have equal shares of its log density
            units = members.spread(members.summed(weights * units) / members.summed(weights))
        y, table = scaling.standardise_y(y), self.design.matrix(raw)
        outcomes = Outcomes(y, weights, extras.arguments(raw), extras.added(raw), units)
        alike = len(self.kinds) == 1
        return GeneralDensity(self.design, self.parameters, self.groups, table, outcomes, members, alike=alike)

    @cached_property
    def redundant(self) -> int:
        """How many coefficients columns that depend on each other have too many; features of networks are not asked."""
        return 0 if self.features is not None else redundant_coefficients(self.parameters, self.general_density.table)

    @cached_property
    def variational_density(self) -> VariationalDensity:
        """The evidence lower bound that variational EM climbs, for models that `check_conjugate` lets pass."""
        if self.data.groups is not None:
            raise InputError(
                "groups: expected None for bm.VariationalEM(), got labels → use bm.EM() for rows that share an expert"
            )
        outcomes, scaling, table = self.general_density.outcomes, self.design.scaling, self.data.table
        inputs = [j for j, name in enumerate(table.names) if name not in self.data.dropped]
        center, scale = np.asarray(scaling.x_center)[inputs], np.asarray(scaling.x_scale)[inputs]
        raw = np.asarray(table.values)[np.ix_(self.counted, inputs)]
        return VariationalDensity(self.parameters, self.general_density.table, outcomes, (raw - center) / scale)

    @cached_property
    def kinds(self) -> tuple[tuple[int, ...], ...]:
        """Positions of experts that may change places: equal as specifications, and with no network of their own."""
        alone = {term.experts[0] for term in self.parameters.terms if len(term.experts) == 1}
        out: list[tuple[int, ...]] = []
        for _, positions in self.model.blocks:
            out += [(one,) for one in positions] if alone & {*positions} else [positions]
        return tuple(out)

    @cached_property
    def network_density(self) -> NetworkDensity:
        """The log posterior of networks and output layers together, which training climbs."""
        assert self.features is not None
        raw = np.asarray(self.data.table.values)[self.counted]
        return NetworkDensity(self.features, self.density, raw)

    def learned(self, weights: np.ndarray) -> Bound:
        """Return the same with other weights of the networks."""
        return bind(self.model, self.data, weights_of_network=weights)

    @property
    def _has_kernels(self) -> bool:
        normal = all(type(expert.family) is Normal for expert in self.met.experts)
        gated = type(self.met.gate) in (SoftmaxGate, EqualGate)
        ready = self.data.groups is None and not self.parameters.scaled
        return normal and gated and ready and self._added_to_all_means

    @property
    def _added_to_all_means(self) -> bool:
        """Whether nothing is added to linear predictors but one offset to the means of all experts."""
        offsets = {(term.term.offset, term.parameter.role) for term in self.parameters.terms}
        scales = {offset for offset, role in offsets if role is not Role.LOCATION}
        return len(offsets - {(None, Role.LOG_SCALE)}) == 1 and scales == {None}

    def pymc_model(self) -> pm.Model:
        """Return the same posterior as an ordinary PyMC model."""
        from .model import build_model

        return build_model(self.data, self.design, self.parameters, self.groups, self.extras)


def target_of(model: MixtureOfExperts) -> Target:
    """Return what ``model`` expects of y."""
    families = [expert.family for expert in model.experts]
    kind = KINDS.get(families[0].support, TargetKind.NUMBER)
    named = next((family.named for family in families if family.named is not None), None)
    for position, family in enumerate(families):
        if family.named is not None and family.named != named:
            raise SpecError(
                f"MixtureOfExperts.experts[{position}]: expected the same labels for all experts, got "
                f"{list(family.named)} and {list(named or ())} → name them once"
            )
    narrow = list(Closure)[::-1].index
    wide = max((family.closures for family in families), key=len)
    closures = [
        min((family.closures[i if len(family.closures) > 1 else 0] for family in families), key=narrow)
        for i in range(len(wide))
    ]
    continuous = families[0].support in (Support.REAL, Support.POSITIVE, Support.UNIT)
    scales = tuple(TARGET_SCALES[closure] for closure in closures)
    return Target(kind, f"{type(families[0]).__name__}()", scales, named, continuous, model.target)


def bind(model: MixtureOfExperts, data: Data, *, weights_of_network: np.ndarray | None = None) -> Bound:
    """Return ``model`` on ``data``.

    Parameters
    ----------
    model, data
        The specification and the checked data.
    weights_of_network
        Of the networks that learned features, if there are some; None: as they are before training.

    Raises
    ------
    SpecError
        If a predictor or a family names a column that the table does not have.
    InputError
        If the target does not belong to the experts' families, or the gate varies within a group.
    """
    data = with_mean(model, data)
    counted = data.weights > 0
    y, weights = data.y[counted], data.weights[counted]
    scaling = data.scaling
    modelled = y if scaling.y_power is None else scaling.y_power.forward(y)
    labels = data.outputs or tuple(str(label) for label in data.classes)
    families = [(e.family.labelled(labels) if labels else e.family).meet(modelled, weights) for e in model.experts]
    for family in dict.fromkeys(families):
        check_contract(family, modelled)
    met = model.with_families([family.standardised(scaling.y_center, scaling.y_scale) for family in families])
    met = with_offsets(met)
    if met.learned:
        met = output_layers(met, gate=not data.gate_columns)
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
        sources=data.table.sources,
    )
    raw = np.asarray(data.table.values)[counted]
    if data.groups is not None:
        columns, named = _gate_columns(design, np.asarray(data.table.values), data.table.names)
        refuse_varying_gate(columns, named, data.groups.codes, data.groups.labels)
    centres = [
        _centre(expert.family, scaling.standardise_y(y), weights, raw, data.table.names) for expert, _ in met.blocks
    ]
    parameters = make_parameters(met, design, centres)
    extras = make_extras(met, data.table.names, parameters, data.scaling)
    return Bound(model, met, data, design, parameters, extras)


def _gate_columns(design: Design, table: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, Sequence[str]]:
    """Return the columns (n, p) that the gate sees, and their names; through a network, those that it reads."""
    if not design.gate_learned:
        return design.matrix(table)[:, design.gate.positions[1:]], design.gate.basis.names
    assert design.features is not None
    pairs = zip(design.features.maps, design.feature_places, strict=True)
    read = np.concatenate([one.positions for one, places in pairs if np.isin(places, design.gate.positions).any()])
    return table[:, read], [names[j] for j in read]


def _centre(
    family: Family, y: np.ndarray, weights: np.ndarray, table: np.ndarray, names: Sequence[str]
) -> Mapping[str, float]:
    """Return where default priors of intercepts lie: by rates and shares, where rows have exposures or trials."""
    if isinstance(family, Joint):
        each = (_centre(part, y[:, i], weights, table, names) for i, part in enumerate(family.families))
        return family.prefixed(list(each))
    column = next(iter(family.exposures.values()), None) or family.given.get("trials")
    if column is None:
        return family.centre(y, weights)
    if column not in names:  # refused with the extras, in their words
        return {}
    size = table[:, list(names).index(column)]
    if "trials" in family.given:
        check_trials(y, size)
    elif not np.all(size > 0):  # likewise
        return {}
    share = np.divide(y, size, out=np.zeros(len(y)), where=size > 0)  # a row without trials says nothing: weight 0
    return family.centre(share, weights * size)
