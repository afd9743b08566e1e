"""Laplace's approximation: a Gaussian at the mode, with the posterior's own curvature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

    ``q ~ Normal(θ̂, H⁻¹)`` with the mode θ̂, found by EM, and the exact Hessian H of the negative log
    posterior there. The evidence is ``log p(y, θ̂) + ½ d log 2π − ½ log |H|``. Where a learned scale multiplies
    other values, as the default gate's does, this holds for the rest given the scale, which is integrated on
    a grid.

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

    def run(self, density: LogDensity, *, start: np.ndarray | None = None, report: Report | None = None) -> Outcome:
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
        InterruptedFit
            If an interrupt came before the first draw.
        """
        seed = settle_seed(self.seed)
        with np.errstate(all="ignore"):
            found = find_mode("Laplace", density, start, self.starts, seed, report)
            interrupted = found.status is Status.INTERRUPTED
            rng = generator(seed, _DRAWS_ROLE)
            curvature = _Curvature.at(found.draws[0, 0], density)
            drawn = None
            try:
                drawn = None if interrupted else _nested(density, curvature, self.draws, rng)
            except KeyboardInterrupt:
                interrupted = True
            kind = "gaussian" if drawn is None else "nested"
            drawn = drawn or _gaussian(curvature, found.optima[0].log_posterior, self.draws, rng)
            weighed = weigh(density, drawn.q, drawn.log_q)
        if not len(weighed.q):
            raise InterruptedFit("Laplace was interrupted before its first draw → call fit again")
        k_hat = psis_khat(weighed.log_ratios)
        notices = (*found.notices, *_unreliable(k_hat))
        return Outcome(
            draws=weighed.q[None],
            status=_status(found, notices, k_hat, interrupted=interrupted or not weighed.complete),
            notices=notices,
            mode=found.mode,
            optima=found.optima,
            history=found.history,
            table=found.table,
            sample_stats=weighed.sample_stats,
            facts={
                **found.facts,
                "seed": seed,
                "approximation": kind,
                "log_evidence": drawn.log_evidence,
                "k_hat": k_hat,
            },
        )


@dataclass(frozen=True, eq=False)
class _Curvature:
    """A mode, a root ``L⁻ᵀ`` of its covariance with ``H = L Lᵀ``, and log |L⁻¹|."""

    mode: np.ndarray
    root: np.ndarray
    log_spread: float

    @staticmethod
    def at(mode: np.ndarray, density: LogDensity) -> _Curvature:
        precision = -density.hessian(mode)
        if not np.all(np.isfinite(precision)):
            raise NumericalError(
                "Laplace: expected a finite Hessian at the mode, got NaN or infinity → use bm.NUTS(), or look at "
                "the data"
            )
        try:
            factor = np.linalg.cholesky(precision)
        except np.linalg.LinAlgError:
            raise NumericalError(
                "Laplace: expected a positive definite Hessian of the negative log posterior at the mode, got a "
                f"smallest eigenvalue of {np.linalg.eigvalsh(precision)[0]:.3g}: the point is no maximum → raise "
                "starts, give another start, or use bm.NUTS(), which needs none"
            ) from None
        from scipy.linalg import solve_triangular  # scipy: a third of a second that `import bayes_moe` does not pay

        root = solve_triangular(factor, np.eye(len(factor)), lower=True).T
        return _Curvature(mode, np.asarray(root), float(-np.sum(np.log(np.diag(factor)))))


def _gaussian(curvature: _Curvature, value: float, count: int, rng: np.random.Generator) -> Drawn:
    """Return draws from the Gaussian at the mode."""
    size = len(curvature.mode)
    normal = rng.standard_normal((count, size))
    log_q = -0.5 * (np.sum(normal**2, axis=1) + size * _LOG_2PI) - curvature.log_spread
    evidence = value + 0.5 * size * _LOG_2PI + curvature.log_spread
    return Drawn(curvature.mode + normal @ curvature.root.T, log_q, evidence)


def _nested(density: LogDensity, curvature: _Curvature, count: int, rng: np.random.Generator) -> Drawn | None:
    """Return draws with the scale integrated on a grid, or None where there is no scale or no grid."""
    if not isinstance(density, Scaled) or density.scale is None or density.size < 2:
        return None
    spread = float(np.linalg.norm(curvature.root[density.scale]))
    return nested_draws(density, density.scale, curvature.mode, spread, count, rng)


def _unreliable(k_hat: float) -> tuple[Notice, ...]:
    if k_hat <= KHAT_LIMIT:
        return ()
    return (
        Notice(
            "laplace_unreliable",
            f"The posterior is not close to a Gaussian with its mode and curvature (PSIS k-hat {k_hat:.2f}, limit "
            f"{KHAT_LIMIT}): intervals, tails and the evidence of these approximate draws may be wrong. Use "
            "bm.NUTS(), or bm.ADVI() for a better approximation.",
        ),
    )


def _status(found: Outcome, notices: tuple[Notice, ...], k_hat: float, *, interrupted: bool) -> Status:
    if interrupted:
        return Status.INTERRUPTED
    if not found.status.converged:
        return Status.NOT_CONVERGED
    if not k_hat <= KHAT_LIMIT:
        return Status.UNRELIABLE
    return Status.NOTICED if notices else Status.CONVERGED
