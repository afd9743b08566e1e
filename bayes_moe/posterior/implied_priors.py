"""What the priors of a model say of the coefficients that its user reads."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..binding.describe import user_coefficients, user_coords, user_dims
from ..binding.parameters import Parameters

PROBABILITIES = (0.05, 0.5, 0.95)
_DRAWS, _LEAST_DRAWS, _MOST_NUMBERS = 4000, 400, 4_000_000


def implied_priors(bound: Bound) -> dict[str, xr.DataArray]:
    """Return 5 %, 50 % and 95 % points (prob, ...) of every reported coefficient under the prior, by 4000 draws of it.

    Draws are the same at every call; models of many coefficients take fewer of them.
    """
    parameters, design = bound.parameters, bound.design
    count = int(np.clip(_MOST_NUMBERS // (parameters.rows * parameters.width), _LEAST_DRAWS, _DRAWS))
    found = user_coefficients(parameters, design, prior_draws(parameters, count, np.random.default_rng(1)))
    dims, coords = user_dims(parameters), user_coords(parameters, design)
    out = {}
    for name, values in found.items():
        points = np.quantile(values, PROBABILITIES, axis=0)
        own = {dim: coords[dim] for dim in dims[name] if dim in coords}
        out[name] = xr.DataArray(points, {"prob": list(PROBABILITIES), **own}, ("prob", *dims[name]), name=name)
    return out


def prior_draws(parameters: Parameters, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return unconstrained vectors (count, size) from the prior."""
    out = parameters.prior_loc + parameters.prior_scale * rng.normal(size=(count, parameters.size))
    for free in parameters.gate.free:
        if free.inverse_gamma is not None:
            alpha, beta = (np.broadcast_to(each, free.value_shape).ravel() for each in free.inverse_gamma)
            out[:, parameters.slices[free.value_name]] = np.log(beta / rng.gamma(alpha, size=(count, free.size)))
    return out
