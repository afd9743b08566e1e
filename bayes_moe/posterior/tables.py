"""Tables about a fit, for people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..binding.bind import Bound
from ..errors import InputError
from ..inference.settings import check_seed


def check_sample(draws: object, seed: object) -> None:
    """Refuse numbers of samples that are none, and seeds that are none."""
    if draws is not None and (isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1):
        raise InputError(f"draws: expected a whole number above 0 or None, got {draws!r} → pass e.g. 1000")
    check_seed("sample", seed)


def summary(posterior: xr.Dataset, prob: float, *, point: bool) -> pd.DataFrame:
    """Return the table of `Fit.summary` from relabelled parameters."""
    if not 0 < prob < 1:
        raise InputError(f"prob: expected a number between 0 and 1, got {prob!r} → pass e.g. 0.9")
    if point:
        return _mode_table(posterior)
    # arviz_stats takes a second to import, which `import bayes_moe` must not cost
    import arviz_stats

    with np.errstate(invalid="ignore", divide="ignore"):
        return arviz_stats.summary(posterior, ci_kind="eti", ci_prob=prob, round_to="none")


def _mode_table(posterior: Any) -> pd.DataFrame:
    rows = {}
    for name, values in posterior.items():
        array = values.isel(chain=0, draw=0)
        if array.ndim == 0:
            rows[str(name)] = float(array)
            continue
        for index in np.ndindex(*array.shape):
            labels = ", ".join(str(array[dim].values[i]) for dim, i in zip(array.dims, index, strict=True))
            rows[f"{name}[{labels}]"] = float(array.values[index])
    return pd.DataFrame({"mode": pd.Series(rows)})


def modes(table: xr.Dataset) -> pd.DataFrame:
    """Return the table of modes as a frame."""
    return pd.DataFrame({str(name): values.values for name, values in table.data_vars.items() if values.ndim == 1})


def prior_summary(bound: Bound) -> pd.DataFrame:
    """Return a row per free variable element: its prior on the standardised scale."""
    rows = []
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
    scaling = bound.design.scaling
    table.attrs["scaling"] = f"y = {scaling.y_center:.6g} + {scaling.y_scale:.6g} * standardised y"
    return table
