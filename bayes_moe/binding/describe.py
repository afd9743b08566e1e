"""Parameters as users read them: names, dimensions, units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..families import Parameter, Role
from ..gates.base import BoundGate
from .design import Design
from .expert_terms import ExpertTerm
from .parameters import Parameters


def distinct_parameters(parameters: Parameters) -> Iterator[Parameter]:
    """Yield the parameters of all blocks, those of one kind once."""
    yield from dict.fromkeys(term.parameter for term in parameters.terms)


def feature_names(parameters: Parameters, name: str) -> tuple[str, ...]:
    """Return the distinct columns of one parameter's predictors, over all blocks, in order."""
    found: dict[str, None] = {}
    for term in parameters.terms:
        if term.parameter.name == name:
            found.update(dict.fromkeys(term.term.basis.names))
    return tuple(found)


def all_coefficients(parameters: Parameters, q: np.ndarray) -> np.ndarray:
    """Return coefficients (draws, predictors, P) from unconstrained vectors (draws, size), all draws at once."""
    flat = np.zeros((len(q), parameters.rows * parameters.width))
    targets, sources, _ = parameters.links
    if parameters.copied:
        flat[:, targets] = q[:, sources]
    else:
        factors = np.broadcast_to(parameters.factors(q), (len(q), len(targets)))
        for link, (target, source) in enumerate(zip(targets, sources, strict=True)):
            flat[:, target] += factors[:, link] * q[:, source]
    out = flat.reshape(len(q), parameters.rows, parameters.width)
    gate = parameters.gate
    if gate.free:
        values = {free.name: free.constrained(q[:, parameters.slices[free.value_name]]) for free in gate.free}
        out[:, : parameters.gate_rows, parameters.gate_positions] = gate_coefficients(gate, values)
    return out


def user_coefficients(parameters: Parameters, design: Design, q: np.ndarray) -> dict[str, np.ndarray]:
    """Return named parameters in the user's units from unconstrained vectors (..., size).

    ``mu_intercept`` (..., expert) and ``mu_slopes`` (..., expert, feature) are coefficients of the raw columns; an
    expert that does not use a column has 0 there, and NaN where its family does not have the parameter. ``sigma``
    stands for a constant sigma, ``log_sigma_intercept`` and ``log_sigma_slopes`` for one that varies. Parameters that
    are several numbers have their labels last.
    """
    lead = q.shape[:-1]
    standardised = all_coefficients(parameters, q.reshape(-1, q.shape[-1]))
    out: dict[str, np.ndarray] = {}
    for parameter in distinct_parameters(parameters):
        names = feature_names(parameters, parameter.name)
        full = np.full((len(standardised), parameters.experts, 1 + len(names), len(parameter.columns)), np.nan)
        for term in (term for term in parameters.terms if term.parameter == parameter):
            back = term.term.basis.to_user().T
            columns = [0, *(1 + names.index(name) for name in term.term.basis.names)]
            for label, output in enumerate(parameter.units):
                own = standardised[:, term.rows(label)[:, None], term.term.positions]
                raw = parameter.role.to_user(own @ back, *design.scaling.unit(output))
                raw[..., 0] -= term.offset_center
                for index, expert in enumerate(term.experts):
                    full[:, expert, :, label] = 0.0
                    full[:, expert, columns, label] = raw[:, index]
        shaped = full.reshape(*lead, *full.shape[1:])
        shaped = shaped if parameter.labels else shaped[..., 0]
        axis = shaped.ndim - (2 if parameter.labels else 1)
        if not names and parameter.logarithmic:
            out[parameter.name] = np.exp(np.asarray(shaped.take(0, axis)))
        else:
            out[f"{parameter.predicted}_intercept"] = shaped.take(0, axis)
            if names:
                out[f"{parameter.predicted}_slopes"] = shaped.take(range(1, 1 + len(names)), axis)
        out.update(_hyperparameters(parameters, design, parameter.name, q))
    out.update(_gate_coefficients(parameters, design, q))
    return out


def hyperparameter_names(parameters: Parameters, name: str) -> tuple[str, ...]:
    """Return what the weights of one parameter's slopes depend on, over all blocks, in order."""
    found: dict[str, None] = {}
    for term in parameters.terms:
        if term.parameter.name == name and term.weights is not None:
            found.update(dict.fromkeys(term.weights.names))
    return tuple(found)


def amplitude_unit(term: ExpertTerm, design: Design) -> float:
    """Return the unit in which amplitudes are reported: that of what is predicted, where it has but one."""
    located = term.parameter.role is Role.LOCATION and not term.parameter.labels
    return design.scaling.unit(term.parameter.units[0])[1] if located else 1.0


def _hyperparameters(parameters: Parameters, design: Design, name: str, q: np.ndarray) -> dict[str, np.ndarray]:
    """Return amplitudes, in units of what is predicted, and lengthscales (..., expert); 0 for experts without."""
    out: dict[str, np.ndarray] = {}
    for term in parameters.terms:
        if term.parameter.name == name and term.weights is not None:
            values = term.weights.described([q[..., places] for places in term.hyper.T])
            for quantity, found in values.items():
                key = f"{term.parameter.predicted}_{quantity}"
                whole = out.setdefault(key, np.zeros((*q.shape[:-1], parameters.experts)))
                whole[..., list(term.experts)] = found * (
                    amplitude_unit(term, design) if quantity == "amplitude" else 1.0
                )
    return out


def _gate_coefficients(parameters: Parameters, design: Design, q: np.ndarray) -> dict[str, np.ndarray]:
    gate = parameters.gate
    if not gate.free:
        return {}
    basis = design.gate.basis
    values = {free.name: free.constrained(q[..., parameters.slices[free.value_name]]) for free in gate.free}
    raw = gate_coefficients(gate, values) @ basis.to_user().T
    out = gate.reported(raw, np, sloped=len(basis.names) > 0)
    out.update(gate.described(values))
    return out


def gate_coefficients(gate: BoundGate, values: dict[str, np.ndarray]) -> np.ndarray:
    """Return gate coefficients (..., K, 1 + p) from constrained free variables (..., shape)."""
    return np.asarray(gate.coefficients([values[free.name] for free in gate.free], np))


def user_dims(parameters: Parameters) -> dict[str, tuple[str, ...]]:
    """Return the dimensions of every entry of `user_coefficients`."""
    out: dict[str, tuple[str, ...]] = {}
    for parameter in distinct_parameters(parameters):
        names = feature_names(parameters, parameter.name)
        labels = (f"{parameter.name}_label",) if parameter.labels else ()
        if not names and parameter.logarithmic:
            out[parameter.name] = ("expert", *labels)
        else:
            out[f"{parameter.predicted}_intercept"] = ("expert", *labels)
            if names:
                out[f"{parameter.predicted}_slopes"] = ("expert", f"{parameter.name}_feature", *labels)
        for quantity in hyperparameter_names(parameters, parameter.name):
            out[f"{parameter.predicted}_{quantity}"] = ("expert",)
    if parameters.gate.free:
        out.update(parameters.gate.reported_dims)
        out["gate_scale"] = ()
    return out


def user_coords(parameters: Parameters, design: Design) -> dict[str, list[object]]:
    """Return the coordinates of those dimensions."""
    out: dict[str, list[object]] = {"expert": list(range(parameters.experts))}
    for parameter in distinct_parameters(parameters):
        names = feature_names(parameters, parameter.name)
        if names:
            out[f"{parameter.name}_feature"] = list(names)
        if parameter.labels:
            out[f"{parameter.name}_label"] = list(parameter.labels)
    if len(design.gate.basis.names):
        out["gate_feature"] = list(design.gate.basis.names)
    out.update({name: list(values) for name, values in parameters.gate.coords.items()})
    return out
