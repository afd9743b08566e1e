"""Laplace's approximation: a Gaussian at the mode, with the posterior's own curvature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from ..errors import InterruptedFit, Notice, NumericalError
from ..log_density import LogDensity
from .importance import KHAT_LIMIT, psis_khat, weigh
from .mode import find_mode
from .nested import Drawn, Scaled, nested_draws
from .outcome import Outcome, Status
from .progress import Report
from .settings import Seed, check_seed, generator, settle_seed, whole

_DRAWS_ROLE = 100
_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Laplace:
    """Approximate the posterior by a Gaussian at its mode.

    ``q ~ Normal(θ̂, H⁻¹)`` with the mode θ̂, found by EM, and the exact Hessian H of the negative log posterior
    there. The evidence is ``log p(y, θ̂) + ½ d log 2π − ½ log |H|``. Where a learned scale multiplies other values,
    as the default gate's does, the scale is integrated on a grid, and this holds for the rest given the scale.

    Parameters
    ----------
    draws
        Number of independent draws.
    seed
        Integer, SeedSequence, Generator or None; None draws one and records it.
    starts
        Number of EM's short runs when no start is given; None: EM's default.

    Raises
    ------
    SpecError
        If a setting is out of range.

    Notes
    -----
    The result is approximate, and says how far it can be trusted: PSIS k-hat of the draws, with the notice
    ``laplace_unreliable`` above 0.7. It describes one mode, in one labelling of the experts.

    References
    ----------
    Tierney and Kadane (1986), Accurate approximations for posterior moments and marginal densities, JASA 81.
    Rue, Martino and Chopin (2009), Approximate Bayesian inference by nested Laplace approximations, JRSS B 71.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Laplace(draws=500, seed=1).draws
    500
    """

    draws: int = 1000
    seed: Seed = None
    starts: int | None = None

    def __post_init__(self) -> None:
        whole("Laplace", "draws", self.draws, 1, 10**7)
        check_seed("Laplace", self.seed)
        if self.starts is not None:
            whole("Laplace", "starts", self.starts, 1, 100_000)

    def run(
        self, density: LogDensity, *, start: np.ndarray | None = None, report: Report | None = None
    ) -> Outcome:
        """Return independent draws from the approximation.

        Parameters
        ----------
        density
            The log posterior.
        start
            Climb to the mode from here instead of searching.
        report
            Where progress goes.

        Raises
        ------
        NumericalError
            If the Hessian at the mode is not positive definite.
        """
        seed = settle_seed(self.seed)
        rng = generator(seed, _DRAWS_ROLE)
        with np.errstate(all="ignore"):
            found = find_mode("Laplace", density, start, self.starts, seed, report)
            mode = found.draws[0, 0]
            root, log_spread = _root(-density.hessian(mode))
            drawn, whole_way = None, found.status is not Status.INTERRUPTED
            try:
                if whole_way and isinstance(density, Scaled) and density.scale is not None:
                    spread = float(np.linalg.norm(root[density.scale]))
                    drawn = nested_draws(density, density.scale, mode, spread, self.draws, rng)
            except KeyboardInterrupt:
                whole_way = False
            nested = drawn is not None
            if drawn is None:
                value = found.optima[0].log_posterior
                drawn = _gaussian_draws(mode, value, root, log_spread, rng.standard_normal((self.draws, len(mode))))
            weighed = weigh(density, drawn.q, drawn.log_q)
        if not len(weighed.q):
            raise InterruptedFit("Laplace was interrupted before its first draw → call fit again")
        k_hat = psis_khat(weighed.log_ratios)
        notices = (*found.notices, *_unreliable(k_hat))
        return Outcome(
            draws=weighed.q[None],
            status=_status(found, notices, complete=whole_way and weighed.complete),
            notices=notices,
            mode=mode,
            optima=found.optima,
            history=found.history,
            table=found.table,
            sample_stats=weighed.sample_stats,
            facts={
                **found.facts,
                "seed": seed,
                "approximation": "nested" if nested else "gaussian",
                "log_evidence": drawn.log_evidence,
                "k_hat": k_hat,
            },
        )


def _gaussian_draws(
    mode: np.ndarray, value: float, root: np.ndarray, log_spread: float, normal: np.ndarray
) -> Drawn:
    """Return draws from the Gaussian at the mode."""
    log_q = -0.5 * (np.sum(normal**2, axis=1) + len(mode) * _LOG_2PI) - log_spread
    return Drawn(mode + normal @ root.T, log_q, value + 0.5 * len(mode) * _LOG_2PI + log_spread)


def _root(precision: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a root of the covariance, ``L⁻ᵀ`` of ``precision = L Lᵀ``, and the log of its determinant."""
    if not np.all(np.isfinite(precision)):
        raise NumericalError(
            "Laplace: expected a finite Hessian at the mode, got NaN or infinity → use bm.NUTS(), or look at the data"
        )
    smallest = float(np.linalg.eigvalsh(precision)[0]) if len(precision) else np.inf
    try:
        if not smallest > 0:
            raise np.linalg.LinAlgError
        factor = np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        raise NumericalError(
            "Laplace: expected a positive definite Hessian of the negative log posterior at the mode, got a smallest "
            f"eigenvalue of {smallest:.3g}, so the point is no maximum → raise starts, give it another start, or use "
            "bm.NUTS(), which needs none"
        ) from None
    root = solve_triangular(factor, np.eye(len(factor)), lower=True).T
    return np.asarray(root), float(-np.sum(np.log(np.diag(factor))))


def _unreliable(k_hat: float) -> tuple[Notice, ...]:
    if k_hat <= KHAT_LIMIT:
        return ()
    return (
        Notice(
            "laplace_unreliable",
            f"The posterior is not close to the Gaussian of its mode and curvature (PSIS k-hat {k_hat:.2f}, limit {KHAT_LIMIT}): "
            "intervals, tails and the evidence of these approximate draws may be wrong. Use bm.NUTS(), or bm.ADVI() "
            "for a better approximation.",
        ),
    )


def _status(found: Outcome, notices: tuple[Notice, ...], *, complete: bool) -> Status:
    if found.status is Status.INTERRUPTED or not complete:
        return Status.INTERRUPTED
    if not found.status.converged:
        return Status.NOT_CONVERGED
    return Status.NOTICED if notices else Status.CONVERGED
