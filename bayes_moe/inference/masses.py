"""How much of the posterior lies around a mode, and which mode a draw belongs to."""

from __future__ import annotations

import numpy as np

from ..log_density import Latent, LogDensity
from .nested import Scaled, nested_evidence
from .newton import Certificate, certify, newton

_LOG_2PI = float(np.log(2.0 * np.pi))
LARGEST_SIZE = 300
"""Parameters up to which draws are climbed from: a step costs a Hessian and its eigenvalues."""


def log_mass(density: LogDensity, mode: np.ndarray) -> float:
    """Return Laplace's log integral of the density around a mode; NaN where the point is no maximum.

    ``log p(y, θ̂) + ½ d log 2π − ½ log |H|`` with the negative Hessian H (Tierney and Kadane 1986). Where a learned scale
    multiplies other values this holds for the rest given the scale, which is integrated on a grid.
    """
    value = density.logp(mode)
    precision = -density.hessian(mode)
    if not np.isfinite(precision).all():
        return float("nan")
    try:
        factor = np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        return float("nan")
    plain = value + 0.5 * len(mode) * _LOG_2PI - float(np.sum(np.log(np.diag(factor))))
    if not isinstance(density, Scaled) or density.scale is None or density.size < 2:
        return float(plain)
    spread = float(np.linalg.norm(np.linalg.solve(factor, np.eye(len(mode))[density.scale])))
    nested = nested_evidence(density, density.scale, mode, spread)
    return float(plain) if nested is None else nested


def top_above(density: LogDensity, q: np.ndarray) -> Certificate | None:
    """Return the mode that Newton's method climbs to from q; None where it finds none or a collapsed one."""
    if not np.isfinite(q).all() or not np.isfinite(density.logp(q)):
        return None
    latent = isinstance(density, Latent)
    found = newton(density, q, settle=density.settle if isinstance(density, Latent) else None)
    if not found.maximum:
        found = certify(density, newton(density, found.q).q)
    if not found.maximum:
        return None
    if latent and density.experts > 1 and density.collapsed(density.e_step(found.q)):
        return None
    return found
