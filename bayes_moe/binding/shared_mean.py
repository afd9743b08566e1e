"""A shared mean enters a model: two columns behind those of X, offsets of every expert's location and log scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..data import Data
from ..errors import InputError, SpecError
from ..experts import Expert
from ..families import Role
from ..mixture import MixtureOfExperts
from ..scaling import Scaling
from ..smoothing import LOG_SD, MEAN, KernelMean, SharedMean, fit_mean

_ADDED = {Role.LOCATION: MEAN, Role.LOG_SCALE: LOG_SD}
_LEAST_SD = 1e-6  # of y's: residuals below it are rounding
_LEAST_SPREAD = 0.1  # of log_sd: a column that hardly moves shall not be blown up to unit variance


def with_mean(model: MixtureOfExperts, data: Data) -> Data:
    """Return the data with the columns of the model's shared mean, fitted to them unless they have it already.

    Raises
    ------
    InputError
        If there are weights, groups or columns for the gate alone, or X has columns of these names.
    """
    if model.mean is None or data.mean is not None:
        return data
    for argument, passed in (("weights", data.weighted), ("groups", data.groups), ("gate_X", data.gate_columns)):
        if passed is not None and passed is not False and passed != ():
            raise InputError(
                f"{argument}: expected None with a shared mean, whose leave-one-out moments take rows one by one and "
                f"alike, got some → leave {argument} or the model's mean= out"
            )
    for name in (MEAN, LOG_SD):
        if name in data.table.names:
            raise InputError(
                f"X: expected no column {name!r} with a shared mean, which brings one, got {list(data.table.names)} → "
                "rename it"
            )
    table = np.asarray(data.table.values)
    mean = _fitted(model.mean, data, table)
    y = _curved(data)
    values = mean.extended_training(table, y)
    values.flags.writeable = False
    table_of_all = replace(data.table, values=values, names=(*data.table.names, MEAN, LOG_SD))
    return replace(data, table=table_of_all, scaling=_scaling(data.scaling, values, y), mean=mean)


def _curved(data: Data) -> np.ndarray:
    """Return y (n,), or the power of it that the experts are of."""
    power = data.scaling.y_power
    return data.y if power is None else power.forward(data.y)


def _fitted(mean: KernelMean, data: Data, table: np.ndarray) -> SharedMean:
    scaling = data.scaling
    inputs = tuple(j for j, name in enumerate(data.table.names) if name not in data.dropped)
    center, scale = (tuple(values[j] for j in inputs) for values in (scaling.x_center, scaling.x_scale))
    return fit_mean(mean, table, _curved(data), inputs, (center, scale, *scaling.unit()))


def _scaling(scaling: Scaling, values: np.ndarray, y: np.ndarray) -> Scaling:
    """Return the scaling with the new columns, and with y in units of what the mean leaves.

    ``mean`` has the unit of y, not its own spread: where the columns say nothing, the leave-one-out mean is the mean of
    the other rows, which in units of its own tiny spread would give y away.
    """
    (center, unit), residuals = scaling.unit(), y - values[:, -2]
    level = float(values[:, -1].mean())
    size = np.exp(level) * np.sqrt(np.mean((residuals / np.exp(values[:, -1])) ** 2))
    spread = max(float(values[:, -1].std()), _LEAST_SPREAD)
    constant = (*scaling.x_constant, False, False) if scaling.x_constant else ()
    return Scaling(
        (*scaling.x_center, center, level),
        (*scaling.x_scale, unit, spread),
        center + float(residuals.mean()),
        max(float(size), _LEAST_SD * unit),
        constant,
        scaling.y_power,
    )


def with_offsets(model: MixtureOfExperts) -> MixtureOfExperts:
    """Return the model with the shared mean and its log standard deviation added to the experts' parameters.

    Raises
    ------
    SpecError
        If such an expert has an offset of its own.
    """
    if model.mean is None:
        return model
    experts = []
    for place, expert in enumerate(model.experts):
        predictors: dict[str, Any] = dict(expert.predictors)
        for parameter in expert.family.parameters:
            predictor: Any = predictors[parameter.name]
            if parameter.role in _ADDED:
                if predictor.offset is not None:
                    raise SpecError(
                        f"MixtureOfExperts.experts[{place}].{parameter.name}: expected a predictor without offset "
                        f"beside mean=, got offset={predictor.offset!r} → subtract it from y, or leave mean= out"
                    )
                predictors[parameter.name] = replace(predictor, offset=_ADDED[parameter.role])
        experts.append(Expert(expert.family, **predictors))
    return replace(model, experts=tuple(experts))
