r"""Standard errors of a point fit.

With the mode q̂, H the Hessian of the negative log posterior there, P that of the prior alone and B the scatter of the
rows' scores, the covariance of the unconstrained vector is

.. math:: H^{-1} \quad\text{(observed information)} \qquad\text{or}\qquad H^{-1} (B + P) H^{-1} \quad\text{(sandwich)}

The first holds where the model does, the second also where it does not (Huber 1967; White 1982). P is what the prior's
own score would scatter by: without it, what only the prior knows would look certain. Where the model holds the two
agree under any prior. Parameters in the user's units follow by the delta method. Under `bayes_moe.nearly_flat` both
are those of maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..binding.bind import Bound
from ..binding.scatter import scatter
from .draws import Draws

_LARGEST = 1500
_STEP = 0.02  # of a parameter's standard deviation given the others
_STENCIL = np.array([(1.0, 8.0), (-1.0, -8.0), (2.0, -1.0), (-2.0, 1.0)])  # of a derivative, of fourth order
_STENCIL_SUM = 12.0


class Errors(NamedTuple):
    """Standard errors by the name of a parameter, in the user's units, each of the parameter's shape.

    Parameters
    ----------
    observed
        From the observed information.
    sandwich
        From the sandwich.
    """

    observed: Mapping[str, np.ndarray]
    sandwich: Mapping[str, np.ndarray]


def standard_errors(bound: Bound, draws: Draws) -> Errors | str:
    """Return the standard errors of a point fit's parameters, or the reason why it has none."""
    mode = draws.flat[0]
    if bound.features is not None:
        return "features were learned, and the fit is at no mode of their weights"
    if len(mode) > _LARGEST:
        return f"a Hessian of {len(mode)} parameters would take too long (at most {_LARGEST})"
    curvature = -bound.density.hessian(mode)
    try:
        root = np.linalg.inv(np.linalg.cholesky(curvature))
    except np.linalg.LinAlgError:
        return "the Hessian is not definite: the point is no strict maximum"
    covariance = root.T @ root
    prior = np.diag(-bound.parameters.log_prior(mode)[2])
    sandwich = covariance @ (scatter(bound.general_density, mode) + prior) @ covariance
    steps = _STEP / np.sqrt(np.diag(curvature))
    slopes = slopes_of(bound, draws, steps)
    return Errors(
        {name: _spread(slope, covariance) for name, slope in slopes.items()},
        {name: _spread(slope, sandwich) for name, slope in slopes.items()},
    )


def slopes_of(bound: Bound, draws: Draws, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return d parameter / d q (size, ...) of every parameter in the user's units."""
    size = len(steps)
    moved = draws.flat[0] + (_STENCIL[:, 0, None, None] * np.diag(steps)).reshape(-1, size)
    around = Draws(bound, moved[None], np.tile(draws.permutations[0], (len(moved), 1))).user()
    out = {}
    for name, values in around.items():
        shaped = values[0].reshape(len(_STENCIL), size, *values.shape[2:])
        total = np.tensordot(_STENCIL[:, 1], shaped, axes=1)
        out[name] = total / (_STENCIL_SUM * steps.reshape(-1, *([1] * (total.ndim - 1))))
    return out


def _spread(slope: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the root of ``slope' covariance slope`` for every element of a parameter."""
    flat = slope.reshape(len(covariance), -1)
    variance = np.einsum("ia,ij,ja->a", flat, covariance, flat, optimize=True)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)).reshape(slope.shape[1:]))
