"""Expectation maximisation: many starts, monotone steps, acceleration, a Newton finish and a certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InterruptedFit, Notice
from ..log_density import Latent
from ..processors import one_blas_thread
from .climb import climb
from .newton import certify, newton
from .outcome import Optimum, Outcome, Status
from .progress import Report
from .search import Search
from .settings import Seed, between, check_seed, settle_seed, whole
from .stopping import Gain

_NEWTON_SIZE = 1500


@dataclass(frozen=True)
class EM:
    """Point estimate by EM: the mode of the posterior, from many starts.

    Short runs from a portfolio of starts, the best distinct ones run to the end with SQUAREM acceleration, moved
    by split and merge, and finished by a trust-region Newton method on the marginal log posterior. Every step
    is checked not to lower it.

    Parameters
    ----------
    starts
        Number of short runs, and by it the number of moves. None: 12, and 64 (fewer for large data) where those do not
        agree; 1 for one expert.
    max_iter
        EM iterations at most in each long run.
    tol
        Relative gain per iteration at which a long run hands over to Newton's method.
    seed
        Integer, SeedSequence, Generator or None; None draws one and records it.

    Raises
    ------
    SpecError
        If a setting is out of range.

    References
    ----------
    Dempster, Laird and Rubin (1977); Varadhan and Roland (2008), SQUAREM; Biernacki, Celeux and Govaert (2003), em-EM.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.EM(starts=20, seed=1).starts
    20
    """

    starts: int | None = None
    max_iter: int = 500
    tol: float = 1e-8
    seed: Seed = None

    def __post_init__(self) -> None:
        if self.starts is not None:
            whole("EM", "starts", self.starts, 1, 100_000)
        whole("EM", "max_iter", self.max_iter, 1, 10**7)
        between("EM", "tol", self.tol, 0, 1)
        check_seed("EM", self.seed)

    def run(self, density: Latent, *, start: np.ndarray | None = None, report: Report | None = None) -> Outcome:
        """Return the best optimum found.

        Parameters
        ----------
        density
            A density with latent labels.
        start
            Begin here instead of searching.
        report
            Where progress goes.
        """
        seed = settle_seed(self.seed)
        search = Search(density, self.starts, seed, self._finish)
        interrupted = False
        try:
            # errors of arithmetic as they come, whatever the user has set: what is not finite is not certified; BLAS
            # without threads of its own, which spin for a while after every small product and hold up passes over rows
            with np.errstate(all="ignore"), one_blas_thread():
                if start is not None:
                    search.take(start, "start")
                else:
                    search.run(report or Report(visible=False))
        except KeyboardInterrupt:
            interrupted = True
            if not search.rescue():
                raise InterruptedFit("EM was interrupted before its first run ended → call fit again") from None
        return self._outcome(density, search, seed, interrupted=interrupted)

    def _finish(self, density: Latent, q: np.ndarray, recipe: str) -> tuple[Optimum, np.ndarray]:
        """Run one start to the end; return the optimum and the trace of log posteriors."""
        expectation, trace = climb(density, q, self.max_iter, Gain(self.tol))
        iterations = len(trace)
        if density.size <= _NEWTON_SIZE:
            certificate = newton(density, expectation.q, settle=density.settle)
        else:
            certificate = certify(density, expectation.q)
        trace.append(certificate.log_density)
        collapsed = density.collapsed(density.e_step(certificate.q))
        optimum = Optimum(
            certificate.q,
            certificate.log_density,
            certificate.decrement,
            certificate.smallest_eigenvalue,
            collapsed,
            1,
            recipe,
            iterations,
        )
        return optimum, np.array(trace)

    def _outcome(self, density: Latent, search: Search, seed: int, *, interrupted: bool) -> Outcome:
        optima = search.ranked()
        best = optima[0]
        notices = list(_notices(density, optima))
        converged = best.smallest_eigenvalue > 0 and best.decrement <= 1e-6
        if not converged:
            notices.append(
                Notice(
                    "not_stationary",
                    f"the Newton decrement at the reported point is {best.decrement:.2g}, above 1e-6, or the point is "
                    f"no maximum (smallest eigenvalue {best.smallest_eigenvalue:.2g}): raise max_iter or starts",
                )
            )
        status = Status.NOTICED if notices else Status.CONVERGED
        status = status if converged else Status.NOT_CONVERGED
        return Outcome(
            draws=best.q[None, None, :],
            status=Status.INTERRUPTED if interrupted else status,
            notices=tuple(notices),
            mode=best.q,
            optima=tuple(optima),
            history={"em_log_posterior": search.trace_of(best)},
            table={
                "start_log_posterior": np.array([run[1] for run in search.short_runs]),
                "start_recipe": np.array([run[0] for run in search.short_runs], dtype=str),
            },
            facts={
                "seed": seed,
                "decrement": best.decrement,
                "smallest_eigenvalue": best.smallest_eigenvalue,
                "hits": best.hits,
                "starts": len(search.short_runs),
                "moves": search.moves,
                "long_runs": search.long_runs,
                "reseeded": search.reseeded,
                "abandoned": search.abandoned,
            },
            point=True,
        )


def _notices(density: Latent, optima: list[Optimum]) -> list[Notice]:
    best, notices = optima[0], []
    if best.collapsed and density.experts > 1:
        notices.append(
            Notice(
                "collapsed_expert",
                f"experts {list(best.collapsed)} hold no more rows than coefficients, or a vanishing sigma, in every "
                "optimum found: use fewer experts or a tighter prior on sigma",
            )
        )
    dropped = [o for o in optima[1:] if o.collapsed and o.log_posterior > best.log_posterior]
    if dropped:
        notices.append(
            Notice(
                "collapsed_optima",
                f"{len(dropped)} optima with a collapsed expert have a higher log posterior (up to "
                f"{dropped[0].log_posterior - best.log_posterior:.3g} more) and were not chosen",
            )
        )
    return notices
