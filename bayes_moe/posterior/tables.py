"""Tables about a fit, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..binding.bind import Bound
from ..errors import InputError
from ..inference.arviz import statistics
from ..inference.outcome import Outcome
from ..inference.settings import check_seed
from .effects import Effect
from .implied_priors import implied_priors
from .optima import optima_rows
from .quantiles import check_prob
from .shrinkage import shrinkage_rows
from .standard_errors import Errors


def check_sample(draws: object, seed: object) -> None:
    """Refuse numbers of samples that are none, and seeds that are none."""
    if draws is not None and (isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1):
        raise InputError(f"draws: expected a whole number above 0 or None, got {draws!r} → pass e.g. 1000")
    check_seed("sample", seed)


def summary(posterior: xr.Dataset, prob: float, errors: Errors | dict[str, np.ndarray] | str | None) -> pd.DataFrame:
    """Return the table of `Fit.summary` from relabelled parameters.

    ``errors`` are those of a point fit, or the reason why it has none, or posterior deviations of what has some; None
    for draws.
    """
    check_prob(prob)
    if errors is not None:
        return _mode_table(posterior, errors)
    with np.errstate(invalid="ignore", divide="ignore"):
        return statistics().summary(posterior, ci_kind="eti", ci_prob=prob, round_to="none")


def _mode_table(posterior: xr.Dataset, errors: Errors | dict[str, np.ndarray] | str) -> pd.DataFrame:
    mode = posterior.isel(chain=0, draw=0)
    labels = [label for name in mode for label in _labels(str(name), mode[name])]
    columns = {"mean" if isinstance(errors, dict) else "mode": {str(name): mode[name].values for name in mode}}
    if isinstance(errors, dict):
        columns["sd"] = errors
    elif not isinstance(errors, str):
        columns |= {"se": dict(errors.observed), "sandwich_se": dict(errors.sandwich)}
    flat = {
        column: np.concatenate([np.ravel(values[str(name)]) for name in mode]) if labels else np.empty(0)
        for column, values in columns.items()
    }
    table = pd.DataFrame(flat, index=labels)
    if isinstance(errors, str):
        table.attrs["no_standard_errors"] = errors
    return table


def effects(found: Sequence[Effect]) -> pd.DataFrame:
    """Return the table of `Predictive.effects`."""
    table = pd.DataFrame(found, columns=Effect._fields).set_index("column")
    table.insert(4, "change", table["mean_at_high"] - table["mean_at_low"])
    return table.sort_values("change", key=abs, ascending=False, kind="stable")


def members(weights: Mapping[str, float], fits: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of `FitAverage.summary`."""
    rows = {
        name: {
            "weight": weights[name],
            "experts": len(fit.model.experts),
            "engine": type(fit.engine).__name__,
            "converged": fit.status.converged,
            "notices": ", ".join(notice.code for notice in fit.status.notices),
        }
        for name, fit in fits.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("fit").sort_values("weight", ascending=False)


def shrinkage(bound: Bound, outcome: Outcome, engine: object) -> pd.DataFrame:
    """Return the table of `Fit.shrinkage`."""
    columns = ["expert", "group", "columns", "effective", "prior_sd", "root_mean_square"]
    return pd.DataFrame(shrinkage_rows(bound, outcome, engine), columns=columns).set_index(["expert", "group"])


def _labels(name: str, array: xr.DataArray) -> list[str]:
    """Return the name of every element of a parameter, in C order."""
    if array.ndim == 0:
        return [name]
    indices = [
        [str(array[dim].values[i]) for dim, i in zip(array.dims, at, strict=True)] for at in np.ndindex(array.shape)
    ]
    return [f"{name}[{', '.join(each)}]" for each in indices]


def optima(bound: Bound, outcome: Outcome) -> pd.DataFrame:
    """Return the table of `Fit.optima`."""
    table = pd.DataFrame(optima_rows(bound, outcome)).rename_axis("optimum")
    for name in ("starts", "moves", "long_runs"):
        if name in outcome.facts:
            table.attrs[name] = outcome.facts[name]
    return table


def modes(table: xr.Dataset) -> pd.DataFrame:
    """Return the table of modes as a frame."""
    return pd.DataFrame({str(name): values.values for name, values in table.data_vars.items() if values.ndim == 1})


def prior_summary(bound: Bound) -> pd.DataFrame:
    """Return the table of `Fit.prior_summary`."""
    networks = () if bound.features is None else bound.features.free
    rows = [(free.name, "Normal", float(free.loc), float(free.scale)) for free in networks]
    for free in bound.parameters.free:
        loc = np.broadcast_to(free.loc, free.shape)
        scale = np.broadcast_to(free.scale, free.shape)
        for index in np.ndindex(*free.shape):
            kind = "zero-sum Normal" if free.zero_sum else "Normal"
            if free.inverse_gamma is not None:
                alpha, beta = (np.broadcast_to(each, free.shape)[index] for each in free.inverse_gamma)
                kind = f"log of inverse gamma({alpha:g}, {beta:.3g})"
            label = f"{free.name}[{', '.join(map(str, index))}]" if index else free.name
            rows.append((label, kind, float(loc[index]), float(scale[index])))
    table = pd.DataFrame(rows, columns=["variable", "prior", "loc", "scale"]).set_index("variable")
    table = pd.concat([table, _implied(bound)]).rename_axis("variable")
    scaling = bound.design.scaling
    of = "y" if scaling.y_power is None else f"{scaling.y_power!r} of y"
    table.attrs["scaling"] = f"{of} = {scaling.y_center:.6g} + {scaling.y_scale:.6g} * standardised y"
    return table


def _implied(bound: Bound) -> pd.DataFrame:
    """Return a row per reported coefficient: where its prior lies, in the units of the data."""
    columns = ["5%", "median", "95%"]
    frames = [
        pd.DataFrame(values.values.reshape(len(columns), -1).T, _labels(str(values.name), values.isel(prob=0)), columns)
        for values in implied_priors(bound).values()
    ]
    return pd.concat(frames).dropna(how="all").assign(prior="as reported")
