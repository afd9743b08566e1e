"""Automatic differentiation variational inference with a deterministic objective.

The evidence lower bound is an expectation over standard normal base draws. They are drawn once, in
antithetic pairs with the moments of a standard normal, and kept: the bound becomes a smooth deterministic
function, climbed by a quasi-Newton method with a stopping rule, instead of a noisy one followed by step sizes.
Pairs and matched moments integrate every polynomial up to the third degree exactly, so a Gaussian posterior is
met exactly. Without the matched moments the same number of draws loses 2 to 7 nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InterruptedFit, Notice, NumericalError, SpecError
from ..log_density import LogDensity
from .ascent import Ascent, ascend
from .guides import BoundGuide, FullRank, Guide, anchor_at
from .importance import KHAT_LIMIT, Weighed, psis_khat, weigh
from .mode import find_mode
from .outcome import Outcome, Status
from .progress import Report
from .settings import Seed, between, check_seed, generator, settle_seed, whole

_DRAWS_ROLE, _BASE_ROLE = 200, 201
_NARROWINGS = 30
_GAP = 1.0
_FULL_RANK = FullRank()


@dataclass(frozen=True)
class ADVI:
    """Approximate the posterior by the Gaussian closest to it in reverse Kullback-Leibler divergence.

    It maximises the evidence lower bound ``E_g[log p(y, q)] + entropy(g)`` over Gaussians g, from the mode and
    its curvature, on one fixed set of base draws.

    Parameters
    ----------
    draws
        Number of independent draws from the result.
    guide
        Which Gaussians: ``FullRank()`` (any covariance) or ``MeanField()`` (independent values).
    steps
        Quasi-Newton steps at most.
    batch
        Number of fixed base draws, made even; None: the guide's default for the number of values.
    tol
        Stop when the local quadratic promises the bound a gain of less than half of this, in nats.
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
    The result is approximate, and says how far it can be trusted: PSIS k-hat of fresh draws, with the notice
    ``vi_unreliable`` above 0.7. It describes one mode, in one labelling of the experts, and is rather too
    narrow than too wide.

    References
    ----------
    Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), Automatic differentiation variational inference,
    JMLR 18.
    Giordano, Ingram and Broderick (2024), Black box variational inference with a deterministic objective,
    JMLR 25.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.ADVI(draws=500, seed=1).draws
    500
    """

    draws: int = 1000
    guide: Guide = _FULL_RANK
    steps: int = 1000
    batch: int | None = None
    tol: float = 1e-3
    seed: Seed = None
    starts: int | None = None

    def __post_init__(self) -> None:
        whole("ADVI", "draws", self.draws, 1, 10**7)
        if not isinstance(self.guide, Guide):
            raise SpecError(f"ADVI.guide: expected FullRank() or MeanField(), got {self.guide!r} → pass one of them")
        whole("ADVI", "steps", self.steps, 1, 10**7)
        if self.batch is not None:
            whole("ADVI", "batch", self.batch, 2, 10**6)
        between("ADVI", "tol", self.tol, 0, 1)
        check_seed("ADVI", self.seed)
        if self.starts is not None:
            whole("ADVI", "starts", self.starts, 1, 100_000)

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
        SpecError
            If the guide has more freedom than the batch can determine.
        """
        report = report or Report(visible=False)
        self.guide.check(density.size, self.batch)
        seed = settle_seed(self.seed)
        with np.errstate(all="ignore"):
            found = find_mode("ADVI", density, start, self.starts, seed, report)
            mode = found.draws[0, 0]
            guide = self.guide.bind(anchor_at(mode, density.hessian(mode)))
            if found.status is Status.INTERRUPTED:
                climbed = _unmoved(guide)
            else:
                climbed = self._climb(density, guide, seed, report)
            base = generator(seed, _DRAWS_ROLE).standard_normal((self.draws, density.size))
            weighed = weigh(density, guide.draws(climbed.x, base), guide.log_density(climbed.x, base))
        if not len(weighed.q):
            raise InterruptedFit("ADVI was interrupted before its first draw → call fit again")
        return self._outcome(found, climbed, weighed, seed)

    def _climb(self, density: LogDensity, guide: BoundGuide, seed: int, report: Report) -> Ascent:
        """Maximise the bound over the guide."""
        base = base_draws(self._count(density.size), density.size, generator(seed, _BASE_ROLE))
        with report.task("ADVI loads its code (compiled once on a machine, about 10 s)", 1) as advance:
            bound = _Bound(density.compiled(), guide, base)
            advance(1, "")
        with report.task("ADVI", self.steps) as advance:
            try:
                begin = _finite_start(bound, guide)
            except KeyboardInterrupt:
                return _unmoved(guide)
            climbed = ascend(
                bound,
                begin,
                curvature=guide.curvature,
                steps=self.steps,
                tol=self.tol,
                advance=lambda step, note: advance(step, f"ELBO {note}"),
            )
            if climbed.converged:
                advance(self.steps, f"ELBO {climbed.history[-1]:.3f}")
        return climbed

    def _count(self, size: int) -> int:
        count = self.guide.batch(size) if self.batch is None else self.batch
        return count + count % 2

    def _outcome(self, found: Outcome, climbed: Ascent, weighed: Weighed, seed: int) -> Outcome:
        size = weighed.q.shape[1]
        ratios = weighed.log_ratios
        k_hat = psis_khat(ratios)
        elbo = float(ratios.mean())
        known = len(ratios) > 1 and np.isfinite(elbo)
        error = float(ratios.std(ddof=1) / np.sqrt(len(ratios))) if known else np.inf
        interrupted = climbed.interrupted or not weighed.complete
        notices = [*found.notices, *_unreliable(k_hat)]
        if not climbed.converged and not interrupted:
            notices.append(_not_converged(climbed, self))
        gap = float(climbed.history[-1] - elbo) if len(climbed.history) else 0.0
        if climbed.converged and gap > _GAP + 2.0 * error:
            notices.append(_small_batch(gap, self._count(size)))
        status = Status.NOTICED if notices else Status.CONVERGED
        status = status if k_hat <= KHAT_LIMIT else Status.UNRELIABLE
        status = status if climbed.converged else Status.NOT_CONVERGED
        return Outcome(
            draws=weighed.q[None],
            status=Status.INTERRUPTED if interrupted else status,
            notices=tuple(notices),
            mode=found.mode,
            optima=found.optima,
            history={**found.history, "elbo": climbed.history},
            table=found.table,
            sample_stats=weighed.sample_stats,
            facts={
                **found.facts,
                "seed": seed,
                "guide": type(self.guide).__name__,
                "elbo": elbo,
                "elbo_error": error,
                "elbo_decrement": climbed.decrement,
                "k_hat": k_hat,
                "steps": max(len(climbed.history) - 1, 0),
                "batch": self._count(size),
            },
        )


@dataclass(frozen=True, eq=False)
class _Bound:
    """The evidence lower bound on fixed base draws, with its gradient in the guide's φ."""

    function: Callable[[np.ndarray], tuple[float, np.ndarray]]
    guide: BoundGuide
    base: np.ndarray

    def __call__(self, phi: np.ndarray) -> tuple[float, np.ndarray]:
        draws = self.guide.draws(phi, self.base)
        values, gradients = np.empty(len(draws)), np.empty_like(draws)
        for i, q in enumerate(draws):
            values[i], gradients[i] = self.function(q)
        return float(values.mean() + self.guide.entropy(phi)), self.guide.pull_back(phi, self.base, gradients)


def base_draws(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``count`` (even) standard normal vectors in antithetic pairs with matched moments.

    Their mean is 0 and, where there are enough of them, their covariance the identity, otherwise their
    variances 1.

    Examples
    --------
    >>> import numpy as np
    >>> base = base_draws(64, 3, np.random.default_rng(1))
    >>> np.allclose(base.mean(axis=0), 0), np.allclose(base.T @ base / 64, np.eye(3))
    (True, True)
    """
    half = rng.standard_normal((count // 2, size))
    if len(half) >= size:
        factor = np.linalg.cholesky(half.T @ half / len(half))
        half = np.linalg.solve(factor, half.T).T
    else:
        half = half / np.sqrt(np.mean(half**2, axis=0))
    return np.concatenate([half, -half])


def _unmoved(guide: BoundGuide) -> Ascent:
    """Return the ascent that an interrupt ended before it began."""
    return Ascent(guide.start, np.empty(0), np.inf, converged=False, interrupted=True)


def _finite_start(bound: _Bound, guide: BoundGuide) -> np.ndarray:
    """Return the guide's start, narrowed until the bound is finite there."""
    phi = guide.start
    for _ in range(_NARROWINGS):
        value, gradient = bound(phi)
        if np.isfinite(value) and np.all(np.isfinite(gradient)):
            return phi
        phi = guide.narrowed(phi, 0.5)
    raise NumericalError(
        "ADVI: expected a finite log density and gradient around the mode, got none → start elsewhere, or look "
        "at the data"
    )


def _unreliable(k_hat: float) -> list[Notice]:
    if k_hat <= KHAT_LIMIT:
        return []
    message = (
        f"The posterior is not close to any Gaussian of this guide (PSIS k-hat {k_hat:.2f}, limit "
        f"{KHAT_LIMIT}): these approximate draws are unreliable, their intervals probably too narrow. Use "
        "bm.NUTS()."
    )
    return [Notice("vi_unreliable", message)]


def _not_converged(climbed: Ascent, engine: ADVI) -> Notice:
    taken = max(len(climbed.history) - 1, 0)
    return Notice(
        "vi_not_converged",
        f"The bound was still rising after {taken} steps (quasi-Newton decrement {climbed.decrement:.2g}, "
        f"tol {engine.tol:.2g}): raise steps.",
    )


def _small_batch(gap: float, batch: int) -> Notice:
    return Notice(
        "vi_batch_small",
        f"The bound is {gap:.1f} nats lower on fresh draws than on the {batch} base draws it was raised on: raise "
        "batch.",
    )
