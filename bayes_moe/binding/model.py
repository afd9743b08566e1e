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
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

from ..data import Data
from ..families import Family, Normal, Parameter, Role
from ..gates import Free
from ..graph.mixing import mix_log_densities, normal_mixture
from ..graph.networks import forward
from ..mixture import MixtureOfExperts
from .describe import feature_names, user_coords
from .design import Design
from .expert_terms import ExpertTerm
from .parameters import Parameters


def build_model(model: MixtureOfExperts, design: Design, parameters: Parameters, data: Data) -> pm.Model:
    """Return ``model`` on training data as a PyMC model.

    The log density of a weighted row is multiplied by its weight, in PyMC's pointwise log likelihood too.

    Parameters
    ----------
    model
        The specification.
    design, parameters
        Its design columns and the layout of its free variables.
    data
        The checked training data.
    """
    family = model.experts[0].family
    with pm.Model(coords=_coords(design, parameters, data), model=None) as built:  # no child of an open model
        table = pm.Data("X", data.table.values, dims=("obs", "column"))
        observed = pm.Data("y_data", data.y, dims="obs")
        weights = [pm.Data("weights", data.weights, dims="obs")] if data.weighted else []
        layers = [] if design.features is None else [_declare(free) for free in design.features.free]
        variables = {free.name: _declare(free) for free in parameters.free}
        predictors = _Predictors(design, parameters, variables, built.dim_lengths["expert"])
        columns = _design_columns(design, table, layers)
        units = (_shared(design.scaling.y_center), _shared(design.scaling.y_scale))
        predicted = [predictors.at(parameter, columns) for parameter in family.parameters]
        _observe(family, (predictors.logits(columns), *predicted), (*units, *weights), observed)
        predictors.report()
    return built


def _coords(design: Design, parameters: Parameters, data: Data) -> dict[str, Sequence[Any]]:
    """Return the coordinates of data, free variables and reported coefficients."""
    coords: dict[str, Sequence[Any]] = {"obs": data.rows.tolist(), "column": data.table.names}
    coords.update(user_coords(parameters, design))
    for term in parameters.terms:
        for dim in (dim for free in term.free for dim in free.dims):
            coords.setdefault(dim, term.experts if dim.startswith("expert") else term.term.basis.names)
    if design.features is not None:
        coords["network_column"] = design.features.columns
        coords |= {f"hidden_{layer}": range(units) for layer, units in enumerate(design.features.network.hidden)}
    return coords


def _declare(free: Free) -> TensorVariable:
    """Declare one free variable.

    The numbers of its prior are registered data, one for each of its elements: PyMC takes other shared variables for
    ones that may have changed since the draws were made, and warns of them when it predicts.
    """
    if free.zero_sum:  # standard normal, as everything that a gate declares
        return pm.ZeroSumNormal(free.name, dims=free.dims)
    dims = free.dims or None
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
    return out


def _design_columns(design: Design, table: TensorVariable, layers: Sequence[TensorVariable]) -> TensorVariable:
    """Return the design matrix (rows, P) at rows of the raw table, as `Design.matrix` does for arrays.

    ``layers`` are weights and biases of the network in turn, if there is one.
    """
    scaling = design.scaling
    if design.features is not None:
        inputs = replace(design.features, **_numbers_shared(design.features)).inputs(table)
        pairs = list(zip(layers[::2], layers[1::2], strict=True))
        table = pt.concatenate([table, forward(inputs, pairs, design.features.nonlinearity, pt)], axis=1)
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
    design, parameters
        As for `build_model`.
    variables
        The free variables, by name.
    experts
        Number of experts K.
    """

    design: Design
    parameters: Parameters
    variables: dict[str, TensorVariable]
    experts: TensorVariable

    def logits(self, columns: TensorVariable) -> TensorVariable:
        """Return the gate's unnormalised log weights (rows, K)."""
        places = _places(range(self.parameters.experts), self.parameters.gate_positions, self.design.width)
        return columns @ self._placed([self._gate()], [places]).T

    def at(self, parameter: Parameter, columns: TensorVariable) -> TensorVariable:
        """Return the linear predictor of one parameter: (rows, K), or (K,) where it is the same for every row."""
        terms = self._terms(parameter)
        blocks = [self._block(term) for term in terms]
        if parameter.role is not Role.LOCATION and all(term.term.width == 0 for term in terms):
            return _stacked(blocks, terms)[:, 0]
        places = [_places(term.experts, term.term.positions, self.design.width) for term in terms]
        return columns @ self._placed(blocks, places).T

    def _placed(self, blocks: Sequence[TensorVariable], places: Sequence[np.ndarray]) -> TensorVariable:
        """Return coefficients (K, P) on all design columns; a column that an expert does not use has 0."""
        width = _shared(self.design.width)
        values = pt.concatenate([block.ravel() for block in blocks]) if len(blocks) > 1 else blocks[0].ravel()
        flat = pt.zeros(self.experts * width)[_shared(np.concatenate(places))].set(values)
        return flat.reshape((self.experts, width))

    def report(self) -> None:
        """Register the coefficients in the user's units, as `user_coefficients` computes them."""
        scaling = self.design.scaling
        for parameter in dict.fromkeys(term.parameter for term in self.parameters.terms):
            names = feature_names(self.parameters, parameter.name)
            terms = self._terms(parameter)
            zero = np.zeros(1 + len(names))
            maps = []
            for term in terms:
                linear = np.zeros((1 + term.term.width, len(zero)))
                linear[:, [0, *(1 + names.index(name) for name in term.term.basis.names)]] = term.term.basis.to_user().T
                maps.append(parameter.role.to_user(linear, 0.0, scaling.y_scale))
                maps[-1] -= parameter.role.to_user(zero, 0.0, scaling.y_scale)
            offset = parameter.role.to_user(zero, scaling.y_center, scaling.y_scale)
            blocks = [self._block(term) @ _shared(matrix) for term, matrix in zip(terms, maps, strict=True)]
            full = _stacked(blocks, terms) + _shared(offset)
            if not names and parameter.logarithmic:
                pm.Deterministic(parameter.name, pt.exp(full[:, 0]), dims="expert")
            else:
                self._register(parameter.predicted, f"{parameter.name}_feature", full, names)
        if self.parameters.gate.free:
            basis = self.design.gate.basis
            self._register("gate", "gate_feature", self._gate() @ _shared(basis.to_user().T), basis.names)
            for name, value in self._shared_gate().described(self.variables, pt).items():
                pm.Deterministic(name, value)

    @staticmethod
    def _register(name: str, dim: str, full: TensorVariable, features: Sequence[str]) -> None:
        pm.Deterministic(f"{name}_intercept", full[:, 0], dims="expert")
        if features:
            pm.Deterministic(f"{name}_slopes", full[:, 1:], dims=("expert", dim))

    def _terms(self, parameter: Parameter) -> list[ExpertTerm]:
        return [term for term in self.parameters.terms if term.parameter == parameter]

    def _shared_gate(self) -> Any:
        gate: Any = self.parameters.gate
        return replace(gate, **{**_numbers_shared(gate), "experts": self.experts})

    def _gate(self) -> TensorVariable:
        values = [self.variables[free.name] for free in self.parameters.gate.free]
        return self._shared_gate().coefficients(values, pt)

    def _block(self, term: ExpertTerm) -> TensorVariable:
        """Return the coefficients (experts of the block, 1 + p) on the term's own basis."""
        pieces = [self.variables[free.name] for free in term.free]
        if term.shared:
            row = pt.concatenate([pieces[0][None], *pieces[1:]]) if len(pieces) > 1 else pieces[0][None]
            return pt.ones((_shared(term.experts).shape[0], 1)) * row[None, :]
        return pt.concatenate([pieces[0][:, None], *pieces[1:]], axis=1) if len(pieces) > 1 else pieces[0][:, None]


def _stacked(blocks: Sequence[TensorVariable], terms: Sequence[ExpertTerm]) -> TensorVariable:
    """Return the rows of the blocks in the order of the experts."""
    if len(blocks) == 1:
        return blocks[0]
    order = np.argsort([expert for term in terms for expert in term.experts])
    return pt.concatenate(blocks, axis=0)[_shared(order)]


def _places(experts: Sequence[int], positions: np.ndarray, width: int) -> np.ndarray:
    """Return where the coefficients of some experts stand in the raveled (K, width) matrix of all."""
    return np.ravel(np.asarray(experts)[:, None] * width + positions[None, :])


def _observe(
    family: Family,
    predictors: Sequence[TensorVariable],
    units: Sequence[TensorVariable],
    observed: TensorVariable,
) -> None:
    """Declare y: logits and linear predictors, then centre and scale of y and, when rows are weighted, weights."""
    arity = len(predictors)

    def logp(value: TensorVariable, *arguments: TensorVariable) -> TensorVariable:
        center, scale, *weights = arguments[arity:]
        log_density = _mixture(family, (value - center) / scale, *arguments[:arity]) - pt.log(scale)
        # a row of weight zero is ignored whatever its density
        return pt.switch(pt.eq(weights[0], 0.0), 0.0, weights[0] * log_density) if weights else log_density

    def dist(*arguments: TensorVariable) -> TensorVariable:
        center, scale = arguments[arity : arity + 2]
        return center + scale * _draw(family, arguments[-1], *arguments[:arity])

    pm.CustomDist(
        "y",
        *predictors,
        *units,
        logp=logp,
        dist=dist,
        signature=",".join(["(k)"] * arity + ["()"] * len(units)) + "->()",
        observed=observed,
        dims="obs",
    )


def _mixture(family: Family, y: TensorVariable, logits: TensorVariable, *predicted: TensorVariable) -> TensorVariable:
    """Return the log density (rows,) of the mixture at standardised y."""
    if isinstance(family, Normal):
        mu, log_sigma = predicted
        return normal_mixture(logits, mu, log_sigma, y)
    return mix_log_densities(logits, family.logpdf(y[:, None], *predicted))


def _draw(family: Family, size: Variable, logits: TensorVariable, *predicted: TensorVariable) -> TensorVariable:
    """Draw a label from the gate, then standardised y from that expert."""
    label = pm.Categorical.dist(logit_p=logits, size=size)
    chosen = pt.eq(label[..., None], pt.arange(logits.shape[-1]))
    own = [pt.switch(chosen, values, 0.0).sum(axis=-1) for values in predicted]
    if isinstance(family, Normal):
        return pm.Normal.dist(own[0], pt.exp(own[1]))
    names = [parameter.predicted for parameter in family.parameters]

    def random(*values: np.ndarray, rng: np.random.Generator, size: tuple[int, ...] | None) -> np.ndarray:  # noqa: ARG001
        return family.draw(rng, **dict(zip(names, values, strict=True)))

    return pm.CustomDist.dist(*own, random=random)
