"""Parameters as users read them: names, dimensions, units."""

from __future__ import annotations

import numpy as np

from ..gates.base import BoundGate
from .design import Design
from .parameters import Parameters, unpack_free


def feature_names(parameters: Parameters, name: str) -> tuple[str, ...]:
    """Return the distinct columns of one parameter's predictors, over all blocks, in order."""
    found: dict[str, None] = {}
    for term in parameters.terms:
        if term.parameter.name == name:
            found.update(dict.fromkeys(term.term.basis.names))
    return tuple(found)


def user_coefficients(parameters: Parameters, design: Design, q: np.ndarray) -> dict[str, np.ndarray]:
    """Return named parameters in the user's units from unconstrained vectors (..., size).

    ``mu_intercept`` (..., expert) and ``mu_slopes`` (..., expert, feature) are coefficients of the raw columns; an
    expert that does not use a column has 0 there. ``sigma`` stands for a constant sigma, ``log_sigma_intercept`` and
    ``log_sigma_slopes`` for one that varies.
    """
    lead = q.shape[:-1]
    out: dict[str, np.ndarray] = {}
    for parameter in dict.fromkeys(term.parameter for term in parameters.terms):
        names = feature_names(parameters, parameter.name)
        full = np.zeros((*lead, parameters.experts, 1 + len(names)))
        for term in (term for term in parameters.terms if term.parameter == parameter):
            raw = q[..., term.places] @ term.term.basis.to_user().T
            raw = parameter.role.to_user(raw, design.scaling.y_center, design.scaling.y_scale)
            columns = [0, *(1 + names.index(name) for name in term.term.basis.names)]
            for index, expert in enumerate(term.experts):
                full[..., expert, columns] = raw[..., index, :]
        if not names and parameter.logarithmic:
            out[parameter.name] = np.exp(full[..., 0])
        else:
            out[f"{parameter.predicted}_intercept"] = full[..., 0]
            if names:
                out[f"{parameter.predicted}_slopes"] = full[..., 1:]
    out.update(_gate_coefficients(parameters, design, q))
    return out


def _gate_coefficients(parameters: Parameters, design: Design, q: np.ndarray) -> dict[str, np.ndarray]:
    gate = parameters.gate
    if not gate.free:
        return {}
    basis = design.gate.basis
    values = {free.name: unpack_free(free, q[..., parameters.slices[free.value_name]]) for free in gate.free}
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
    for parameter in dict.fromkeys(term.parameter for term in parameters.terms):
        names = feature_names(parameters, parameter.name)
        if not names and parameter.logarithmic:
            out[parameter.name] = ("expert",)
        else:
            out[f"{parameter.predicted}_intercept"] = ("expert",)
            if names:
                out[f"{parameter.predicted}_slopes"] = ("expert", f"{parameter.name}_feature")
    if parameters.gate.free:
        out.update(parameters.gate.reported_dims)
        out["gate_scale"] = ()
    return out


def user_coords(parameters: Parameters, design: Design) -> dict[str, list[object]]:
    """Return the coordinates of those dimensions."""
    out: dict[str, list[object]] = {"expert": list(range(parameters.experts))}
    for parameter in dict.fromkeys(term.parameter for term in parameters.terms):
        names = feature_names(parameters, parameter.name)
        if names:
            out[f"{parameter.name}_feature"] = list(names)
    if len(design.gate.basis.names):
        out["gate_feature"] = list(design.gate.basis.names)
    out.update({name: list(values) for name, values in parameters.gate.coords.items()})
    return out
