"""The M-step of Normal experts under a gate: closed forms and one Newton step, from sums over the rows.

Everything here is small: no array has a row per observation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .parameters import Parameters


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over the rows that the M-step reads; those of several chunks of rows add up.

    Parameters
    ----------
    sizes
        (K,) sums of responsibilities.
    scores
        (3K, P) gradient of the log density in the coefficients.
    pairs
        (K(K+1)/2, P(P+1)/2) packed Hessian of the gate's log-normaliser.
    moments
        (K, P(P+1)/2 + P + 1) weighted products of design and target.
    coefficients
        (3K, P) where the sums were taken.
    sigma_phase
        Whether ``moments`` hold the curvature in log sigma.
    pairs_age
        Number of E-steps ago that ``pairs`` were summed.
    """

    sizes: np.ndarray
    scores: np.ndarray
    pairs: np.ndarray
    moments: np.ndarray
    coefficients: np.ndarray
    sigma_phase: bool
    pairs_age: int = 0


def maximise(parameters: Parameters, q: np.ndarray, sums: Statistics, *, damping: float) -> np.ndarray:
    """Return q with every expert's part at its conditional maximum and the gate moved by a damped Newton step."""
    from .step_kernel import maximise_kernel  # numba: half a second that `import bayes_moe` does not pay

    return np.asarray(
        maximise_kernel(
            parameters.tables,
            q,
            sums.sizes,
            sums.scores,
            sums.pairs,
            sums.moments,
            sums.coefficients,
            sums.sigma_phase,
            float(damping),
        )
    )


def settle(parameters: Parameters, q: np.ndarray) -> np.ndarray:
    """Return q with the gate's values of highest prior among those with the same coefficients."""
    from .map_kernel import settle_kernel  # numba, as above

    out = q.copy()
    settle_kernel(parameters.tables, out)
    return out
