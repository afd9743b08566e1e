"""How much of the posterior lies around a mode, and which mode a draw belongs to."""

from __future__ import annotations

import numpy as np

from ..log_density import Latent, LogDensity
from .newton import Certificate, newton

_LOG_2PI = float(np.log(2.0 * np.pi))
_SAME = 1e-4
LARGEST_SIZE = 300
"""Parameters up to which draws are climbed from: a step costs a Hessian and its eigenvalues."""


def log_mass(density: LogDensity, mode: np.ndarray) -> float:
    """Return Laplace's log integral of the density around a mode; NaN where the point is no maximum.

    ``log p(y, θ̂) + ½ d log 2π − ½ log |H|`` with the negative Hessian H (Tierney and Kadane 1986).
    """
    precision = -density.hessian(mode)
    if not np.isfinite(precision).all():
        return float("nan")
    try:
        factor = np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        return float("nan")
    return float(density.logp(mode) + 0.5 * len(mode) * _LOG_2PI - np.sum(np.log(np.diag(factor))))


def top_above(density: LogDensity, q: np.ndarray) -> Certificate | None:
    """Return the mode that Newton's method climbs to from q, or None where it finds none."""
    if not np.isfinite(q).all() or not np.isfinite(density.logp(q)):
        return None
    found = newton(density, q, settle=density.settle if isinstance(density, Latent) else None)
    return found if found.maximum else None


def has_collapsed(density: LogDensity, q: np.ndarray) -> bool:
    """Return whether an expert at q holds no more rows than coefficients, or has a vanishing sigma."""
    if not isinstance(density, Latent) or density.experts == 1:
        return False
    return bool(density.collapsed(density.e_step(q)))


def same_height(one: float, other: float) -> bool:
    """Return whether two log posteriors are those of one mode."""
    return abs(one - other) <= _SAME * (1.0 + abs(one) / 1e3)
