"""The PyMC model of a mixture of experts.

Free variables live on the standardised scale, in the order of `Parameters`; y is observed in the user's units;
coefficients in the user's units are deterministics. The table enters raw, and standardising it and computing the
bases is part of the graph, so that ``pm.set_data`` predicts at new rows. Lengths, and every number that data or
priors bring, are shared variables: the graph depends on the structure of the model alone, and code compiled for
one data set serves all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from ..data import Data
from ..families import Parameter, Role
from ..gates import Free
from ..graph.networks import forward
from ..predictors import Basis
from .chunks import Group
from .describe import amplitude_unit, distinct_parameters, feature_names, user_coords
from .design import Design
from .expert_terms import ExpertTerm
from .extras import Extras
from .model_groups import observe_groups
from .observed import Part, observe
from .parameters import Parameters


def build_model(
    data: Data, design: Design, parameters: Parameters, groups: Sequence[Group], extras: Extras
) -> pm.Model:
    """Return a model on training data as a PyMC model.

    The log density of a weighted row is multiplied by its weight, in PyMC's pointwise log likelihood too.

    Parameters
    ----------
    data
        The checked training data.
    design, parameters, groups, extras
        The model on them: its design columns, the layout of its free variables, its experts by family and what else
        a row brings to its density.
    """
    scaling = design.scaling
    dims = ("obs", "output") if data.outputs else ("obs",)
    with pm.Model(coords=_coords(design, parameters, data), model=None) as built:  # no child of an open model
        table = pm.Data("X", data.table.values, dims=("obs", "column"))
        observed = pm.Data("y_data", data.y, dims=dims)
        weights = [pm.Data("weights", data.weights, dims="obs")] if data.weighted else []
        networks = () if design.features is None else design.features.maps
        layers = [[_declare(free) for free in network.free] for network in networks]
        variables = {free.name: _declare(free) for free in parameters.free}
        predictors = _Predictors(design, parameters, extras, variables, built.dim_lengths["expert"])
        columns = _design_columns(design, table, layers)
        parts = [
            Part(
                group.family,
                group.experts,
                predictors.of_group(group, columns, table),
                [table[:, position] for name, position in extras.given if name in group.family.given],
            )
            for group in groups
        ]
        power = [] if scaling.y_power is None else [_shared(scaling.y_power.known)]
        units = (_shared(scaling.y_center), _shared(scaling.y_scale), *power)
        logits = predictors.logits(columns)
        declared = logits, parts, (*units, *weights), observed, dims
        if data.groups is None:
            observe(*declared, curved=bool(power))
        else:
            observe_groups(*declared, data.groups, curved=bool(power))
        if parameters.gate.joint:
            _observe_covariates(logits, data)
        predictors.report()
    return built


def _coords(design: Design, parameters: Parameters, data: Data) -> dict[str, Sequence[Any]]:
    """Return the coordinates of data, free variables and reported coefficients."""
    coords: dict[str, Sequence[Any]] = {"obs": data.rows.tolist(), "column": data.table.names}
    if data.outputs:
        coords["output"] = data.outputs
    coords.update(user_coords(parameters, design))
    for term in parameters.terms:
        for dim in (dim for free in term.free for dim in free.dims):
            coords.setdefault(dim, term.coordinate(dim))
    for network in () if design.features is None else design.features.maps:
        coords.update(network.coords)
    return coords


def _declare(free: Free) -> TensorVariable:
    """Declare one free variable.

    The numbers of its prior are registered data, one for each of its elements: PyMC takes other shared variables for
    ones that may have changed since the draws were made, and warns of them when it predicts.
    """
    if free.zero_sum:
        scale = np.broadcast_to(free.scale, free.value_shape)[..., :1]
        if np.all(scale == 1.0):  # everything that a gate declares
            return pm.ZeroSumNormal(free.name, dims=free.dims)
        sigma = pt.specify_broadcastable(_shared(np.array(scale)), scale.ndim - 1)
        return pm.ZeroSumNormal(free.name, sigma=sigma, dims=free.dims)
    dims = free.dims or None
    if free.inverse_gamma is not None:
        alpha, beta = (
            pm.Data(f"{free.name}_{word}", np.array(np.broadcast_to(values, free.shape)), dims=dims)
            for word, values in zip(("alpha", "beta"), free.inverse_gamma, strict=True)
        )
        return pm.InverseGamma(free.name, alpha=alpha, beta=beta, dims=dims)
    loc, scale = (
        pm.Data(f"{free.name}_{word}", np.array(np.broadcast_to(values, free.shape)), dims=dims)
        for word, values in (("loc", free.loc), ("scale", free.scale))
    )
    return pm.Normal(free.name, mu=loc, sigma=scale, dims=dims)


def _shared(value: Any) -> TensorVariable:
    """Return numbers as a shared variable of unknown lengths."""
    return pytensor.shared(np.asarray(value))


def _numbers_shared(record: Any) -> dict[str, Any]:
    """Return the numbers among a dataclass's fields as shared variables; counts and flags are structure."""
    out: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, float | np.ndarray):
            out[field.name] = _shared(value)
        elif isinstance(value, tuple) and value and all(isinstance(item, float | np.ndarray) for item in value):
            out[field.name] = tuple(_shared(item) for item in value)
        elif isinstance(value, tuple) and value and all(isinstance(item, Basis) for item in value):
            out[field.name] = tuple(replace(item, **_numbers_shared(item)) for item in value)
    return out


def _design_columns(
    design: Design, table: TensorVariable, layers: Sequence[Sequence[TensorVariable]] = ()
) -> TensorVariable:
    """Return the design matrix (rows, P) at rows of the raw table, as `Design.matrix` does for arrays.

    ``layers`` are weights and biases in turn, for every network.
    """
    scaling, features = design.scaling, []
    for network, own in zip(() if design.features is None else design.features.maps, layers, strict=True):
        inputs = replace(network, **_numbers_shared(network)).inputs(table)
        features.append(forward(inputs, list(zip(own[::2], own[1::2], strict=True)), network.nonlinearity, pt))
    if features:
        table = pt.concatenate([table, *features], axis=1)
    standardised = (table - _shared(scaling.x_center)) / _shared(scaling.x_scale)
    columns = [pt.ones((table.shape[0], 1))]
    for basis, keep in zip(design.bases, design.keep, strict=True):
        if len(keep):
            blocks = replace(basis, **_numbers_shared(basis)).blocks(standardised)  # type: ignore[type-var]
            values = pt.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]
            columns.append(values if len(keep) == len(basis.names) else values[:, _shared(keep)])
    return pt.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]


@dataclass(frozen=True, eq=False)
class _Predictors:
    """Linear predictors and reported coefficients from the free variables.

    Parameters
    ----------
    design, parameters, extras
        Of the bound model.
    variables
        The free variables, by name.
    experts
        Number of experts K.
    table
        The raw table.
    """

    design: Design
    parameters: Parameters
    extras: Extras
    variables: dict[str, TensorVariable]
    experts: TensorVariable

    def logits(self, columns: TensorVariable) -> TensorVariable:
        """Return the gate's unnormalised log weights (rows, K)."""
        places = _places(range(self.parameters.gate_rows), self.parameters.gate_positions, self.design.width)
        placed = self._placed([self._gate()], [places], self._shared_gate().predictors)
        return self._shared_gate().log_weights_graph(columns @ placed.T)

    def of_group(self, group: Group, columns: TensorVariable, table: TensorVariable) -> list[TensorVariable]:
        """Return the linear predictors of some experts: (rows, k), or (k,) where one is the same for every row."""
        out: list[TensorVariable] = []
        for parameter in group.family.parameters:
            for label in range(len(parameter.columns)):
                own = self._at(parameter, label, group, columns)
                out.append(self._moved(own, group.rows[len(out)], table))
        return out

    def _at(self, parameter: Parameter, label: int, group: Group, columns: TensorVariable) -> TensorVariable:
        members = set(group.experts.tolist())
        terms = [term for term in self._terms(parameter) if members.issuperset(term.experts)]
        blocks = [self._block(term, label) for term in terms]
        if parameter.role is not Role.LOCATION and all(term.term.width == 0 for term in terms):
            return _stacked(blocks, terms)[:, 0]
        place = {expert: position for position, expert in enumerate(group.experts.tolist())}
        places = [_places([place[e] for e in t.experts], t.term.positions, self.design.width) for t in terms]
        count = self.experts if len(place) == self.parameters.experts else _shared(len(place))
        return columns @ self._placed(blocks, places, count).T

    def _moved(self, predicted: TensorVariable, rows: np.ndarray, table: TensorVariable) -> TensorVariable:
        """Return linear predictors with exposures and offsets added."""
        for offset in self.extras.offsets:
            concerned = np.isin(rows, offset.rows)
            if concerned.any():
                values = table[:, offset.column]
                values = pt.log(values) if offset.logarithm else values
                values = (values - _shared(offset.center)) / _shared(offset.unit)
                predicted = predicted + values[:, None] * _shared(concerned.astype(float))
        return predicted

    def _placed(
        self, blocks: Sequence[TensorVariable], places: Sequence[np.ndarray], count: TensorVariable
    ) -> TensorVariable:
        """Return coefficients (count, P) on all design columns; a column that an expert does not use has 0."""
        width = _shared(self.design.width)
        values = pt.concatenate([block.ravel() for block in blocks]) if len(blocks) > 1 else blocks[0].ravel()
        flat = pt.zeros(count * width)[_shared(np.concatenate(places))].set(values)
        return flat.reshape((count, width))

    def report(self) -> None:
        """Register the coefficients in the user's units, as `user_coefficients` computes them."""
        for parameter in distinct_parameters(self.parameters):
            names = feature_names(self.parameters, parameter.name)
            labels = [self._user(parameter, label, names) for label in range(len(parameter.columns))]
            full = pt.stack(labels, axis=-1) if parameter.labels else labels[0]
            dims = (f"{parameter.name}_label",) if parameter.labels else ()
            if not names and parameter.logarithmic:
                pm.Deterministic(parameter.name, pt.exp(full[:, 0]), dims=("expert", *dims))
            else:
                self._register(parameter.predicted, f"{parameter.name}_feature", full, names, dims)
            self._report_weights(parameter)
        if self.parameters.gate.free:
            gate, basis = self._shared_gate(), self.design.gate.basis
            raw = self._gate() @ _shared(basis.to_user().T)
            for name, value in gate.reported(raw, pt, sloped=len(basis.names) > 0).items():
                pm.Deterministic(name, value, dims=self.parameters.gate.reported_dims[name])
            for name, value in gate.described(self.variables, pt).items():
                pm.Deterministic(name, value)

    def _user(self, parameter: Parameter, label: int, names: Sequence[str]) -> TensorVariable:
        """Return the coefficients (K, 1 + features) of one linear predictor in the user's units."""
        center, scale = self.design.scaling.unit(parameter.units[label])
        terms, zero = self._terms(parameter), np.zeros(1 + len(names))
        blocks = []
        for term in terms:
            linear = np.zeros((1 + term.term.width, len(zero)))
            linear[:, [0, *(1 + names.index(name) for name in term.term.basis.names)]] = term.term.basis.to_user().T
            matrix = parameter.role.to_user(linear, 0.0, scale) - parameter.role.to_user(zero, 0.0, scale)
            block = self._block(term, label) @ _shared(matrix)
            added = term.offset_center * np.eye(len(zero))[0]  # the mean of an offset stands in the intercept
            blocks.append(block if term.term.offset is None else block - _shared(added))
        found = _stacked(blocks, terms) + _shared(parameter.role.to_user(zero, center, scale))
        own = sorted(expert for term in terms for expert in term.experts)
        if len(own) == self.parameters.experts:
            return found
        everywhere = pt.full((self.experts, found.shape[1]), np.nan)  # experts of families without this parameter
        return everywhere[_shared(np.array(own))].set(found)

    @staticmethod
    def _register(
        name: str, dim: str, full: TensorVariable, features: Sequence[str], labels: tuple[str, ...] = ()
    ) -> None:
        pm.Deterministic(f"{name}_intercept", full[:, 0], dims=("expert", *labels))
        if features:
            pm.Deterministic(f"{name}_slopes", full[:, 1:], dims=("expert", dim, *labels))

    def _report_weights(self, parameter: Parameter) -> None:
        """Register amplitudes and lengthscales (K,); 0 for experts without."""
        found: dict[str, TensorVariable] = {}
        for term in (term for term in self._terms(parameter) if term.weights is not None):
            for name, value in _with_shared(term.weights).described(self._hyper(term)).items():
                unit = _shared(amplitude_unit(term, self.design) if name == "amplitude" else 1.0)
                whole = found.get(name, pt.zeros(self.experts))
                found[name] = pt.set_subtensor(whole[_shared(np.array(term.experts))], value * unit)
        for name, value in found.items():
            pm.Deterministic(f"{parameter.predicted}_{name}", value, dims="expert")

    def _hyper(self, term: ExpertTerm) -> list[TensorVariable]:
        return [self.variables[free.name] for free in term.free[2:]]

    def _terms(self, parameter: Parameter) -> list[ExpertTerm]:
        return [term for term in self.parameters.terms if term.parameter == parameter]

    def _shared_gate(self) -> Any:
        gate: Any = self.parameters.gate
        return replace(gate, **{**_numbers_shared(gate), "experts": self.experts})

    def _gate(self) -> TensorVariable:
        values = [self.variables[free.name] for free in self.parameters.gate.free]
        return self._shared_gate().coefficients(values, pt)

    def _block(self, term: ExpertTerm, label: int) -> TensorVariable:
        """Return one label's coefficients (experts of the block, 1 + p) on the term's own basis."""
        pieces = [self.variables[free.name] for free in term.free]
        if term.weights is not None:
            pieces = pieces[:2]
        if term.parameter.labels:
            pieces = [piece[..., label] for piece in pieces]
        if term.weights is not None:
            pieces[1] = np.exp(_with_shared(term.weights).logs(self._hyper(term))) * pieces[1]
        if term.shared:
            row = pt.concatenate([pieces[0][None], *pieces[1:]]) if len(pieces) > 1 else pieces[0][None]
            return pt.ones((_shared(term.experts).shape[0], 1)) * row[None, :]
        if term.partly:
            pieces[-1] = pt.ones((_shared(term.experts).shape[0], 1)) * pieces[-1][None, :]
            return pt.concatenate([pieces[0][:, None], *pieces[1:]], axis=1)[:, _shared(term.order)]
        return pt.concatenate([pieces[0][:, None], *pieces[1:]], axis=1) if len(pieces) > 1 else pieces[0][:, None]


def _with_shared(record: Any) -> Any:
    return replace(record, **_numbers_shared(record))


def _stacked(blocks: Sequence[TensorVariable], terms: Sequence[ExpertTerm]) -> TensorVariable:
    """Return the rows of the blocks in the order of the experts."""
    if len(blocks) == 1:
        return blocks[0]
    order = np.argsort([expert for term in terms for expert in term.experts])
    return pt.concatenate(blocks, axis=0)[_shared(order)]


def _places(experts: Sequence[int], positions: np.ndarray, width: int) -> np.ndarray:
    """Return where the coefficients of some experts stand in the raveled (K, width) matrix of all."""
    return np.ravel(np.asarray(experts, dtype=np.int64)[:, None] * width + positions[None, :])


def _observe_covariates(log_joint: TensorVariable, data: Data) -> None:
    """Add the log density of x under a gate that models it, that of a group once; y stays observed given x."""
    top = log_joint.max(axis=1, keepdims=True)
    log_density = top[:, 0] + pt.log(pt.exp(log_joint - top).sum(axis=1))
    counts = data.weights
    if data.groups is not None:
        seen = np.flatnonzero(data.weights > 0)
        counts = np.zeros(len(data.weights))
        counts[seen[np.unique(data.groups.codes[seen], return_index=True)[1]]] = 1.0
    counted = pm.Data("gate_counts", counts, dims="obs")
    pm.Potential("gate_X", pt.switch(pt.eq(counted, 0.0), 0.0, counted * log_density))
