"""What every engine returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from ..errors import Notice
from ..log_density import CoefficientPosterior


class Status(Enum):
    """How a fit ended; the value is the sentence users read."""

    CONVERGED = "Converged."
    NOTICED = "Converged, with warnings."
    UNRELIABLE = "Unreliable: the approximation is not close to the posterior."
    NOT_CONVERGED = "Not converged."
    STOPPED = "Stopped early, at no mode of the posterior: no certificate, BIC or Laplace approximation belongs to it."
    INTERRUPTED = "Interrupted: what was finished is here, nothing more."

    @property
    def converged(self) -> bool:
        """Whether the engine reached what it was after."""
        return self in (Status.CONVERGED, Status.NOTICED)


@dataclass(frozen=True, eq=False)
class Optimum:
    """One local optimum that EM found.

    Parameters
    ----------
    q
        The unconstrained vector.
    log_posterior
        Its log posterior.
    decrement
        Newton decrement ``g' H⁻¹ g`` there.
    smallest_eigenvalue
        Of the negative Hessian; above 0 at a maximum.
    collapsed
        Experts that hold no more rows than coefficients or have a vanishing sigma.
    hits
        How many runs ended there.
    recipe
        Where the first of them started.
    iterations
        EM iterations of the first of them.
    """

    q: np.ndarray
    log_posterior: float
    decrement: float
    smallest_eigenvalue: float
    collapsed: tuple[int, ...]
    hits: int
    recipe: str
    iterations: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """Draws or a mode, a status and a record: whatever engine ran.

    Parameters
    ----------
    draws
        (chains, draws, size) unconstrained vectors; a point fit has one chain of one draw.
    status, notices
        How it ended and the coded warnings.
    mode
        The mode that was found or started from; None when there was none.
    optima
        Distinct optima, best first.
    history
        Per-iteration records by name (one-dimensional arrays), e.g. ``log_posterior`` of EM or ``elbo`` of ADVI.
    table
        Per-run records by name (equally long), e.g. the starts of EM.
    sample_stats
        (chains, draws) statistics of the sampler.
    facts
        Single numbers worth keeping: seed, k-hat, seconds, ...
    point
        Whether ``draws`` is a mode and not a sample.
    features
        The weights of the network that learned features; None without one.
    posterior
        Posteriors of the coefficients of the experts' means, where ``draws`` holds but their means; else None.
    """

    draws: np.ndarray
    status: Status
    notices: tuple[Notice, ...] = ()
    mode: np.ndarray | None = None
    optima: tuple[Optimum, ...] = ()
    history: Mapping[str, np.ndarray] = field(default_factory=dict)
    table: Mapping[str, np.ndarray] = field(default_factory=dict)
    sample_stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    point: bool = False
    features: np.ndarray | None = None
    posterior: CoefficientPosterior | None = None
