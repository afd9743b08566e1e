"""No-U-turn sampling by nutpie, from starts around the mode, in coordinates whitened there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InterruptedFit, Notice, NumericalError, SpecError
from ..log_density import LogDensity
from .charts import make_chart
from .masses import heaviest, tops_of
from .mode import find_mode
from .outcome import Outcome, Status
from .progress import Report
from .sampler import Chains, Sampled, sample
from .settings import Seed, between, check_seed, settle_seed, whole

_CAREFUL = 0.99
_LOOKED_AT = 3


@dataclass(frozen=True)
class NUTS:
    """Posterior draws by the no-U-turn sampler.

    Chains start around a mode, about one posterior standard deviation away and each elsewhere, in coordinates whitened
    by the Hessian there, with the gate's learned scale partly centred. Of the optima that EM found it is the one with
    the largest mass by Laplace's approximation, which need not be the highest. Where draws diverge, the chains are run
    once more, around the heaviest mode they have seen, with twice the warm-up and a ``target_accept`` of 0.99, and the
    better run counts: ``fit.status`` says so.

    Parameters
    ----------
    draws, tune, chains
        Draws kept and warm-up draws per chain, and number of chains.
    seed
        Integer, SeedSequence, Generator or None; None draws one and records it.
    target_accept
        Average acceptance the step size is adapted to; with 0.99 or more there is no second run.
    max_treedepth
        Doublings of a trajectory at most.
    cores
        Chains that run at the same time; None: as many as there are processors for this process. Draws do not depend
        on it.

    Raises
    ------
    SpecError
        If a setting is out of range.

    References
    ----------
    Hoffman and Gelman (2014), The no-U-turn sampler, JMLR 15.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.NUTS(draws=500, seed=1).chains
    4
    """

    draws: int = 1000
    tune: int = 300
    chains: int = 4
    seed: Seed = None
    target_accept: float = 0.95
    max_treedepth: int = 10
    cores: int | None = None

    def __post_init__(self) -> None:
        whole("NUTS", "draws", self.draws, 1, 10**7)
        whole("NUTS", "tune", self.tune, 1, 10**7)
        whole("NUTS", "chains", self.chains, 1, 1000)
        whole("NUTS", "max_treedepth", self.max_treedepth, 1, 20)
        between("NUTS", "target_accept", self.target_accept, 0, 1)
        if self.cores is not None:
            whole("NUTS", "cores", self.cores, 1, 1000)
        check_seed("NUTS", self.seed)

    def run(self, density: LogDensity, *, start: np.ndarray | None = None, report: Report | None = None) -> Outcome:
        """Return draws of a log density.

        Parameters
        ----------
        density
            A log density with gradient and Hessian.
        start
            A point to climb from; None searches the mode by EM.
        report
            Where progress goes.
        """
        if not isinstance(density, LogDensity):
            raise SpecError(f"NUTS: expected a density with a gradient, got {type(density).__name__} → use bm.EM()")
        shown = report or Report(visible=False)
        seed = settle_seed(self.seed)
        found = find_mode("NUTS", density, start, None, seed, shown)
        if found.status is Status.INTERRUPTED:
            raise InterruptedFit("NUTS was interrupted while its mode was searched → call fit again")
        mode = heaviest(density, [found.draws[0, 0], *(optimum.q for optimum in found.optima)])
        began = time.monotonic()
        plan = Chains(self.draws, self.tune, self.chains, self.cores, seed, self.target_accept, self.max_treedepth)
        run, facts = _run(density, mode, plan, shown), {"tune": plan.tune, "target_accept": plan.target_accept}
        if run.sampled.finished and run.sampled.divergences and plan.target_accept < _CAREFUL:
            run, facts = _second(density, run, plan, facts, shown)
        sampled, q, stats = run.sampled, run.q, run.stats
        notices = []
        if not sampled.finished:
            done = f"{q.shape[1]} of {self.draws} draws of {q.shape[0]} chains"
            text = f"sampling was interrupted: {done} are finished"
            notices.append(Notice("interrupted", text))
        return Outcome(
            draws=q,
            status=Status.CONVERGED if sampled.finished else Status.INTERRUPTED,
            notices=tuple(notices),
            mode=run.mode,
            optima=found.optima,
            history=found.history,
            table=found.table,
            sample_stats=stats,
            facts={"seed": seed, **facts, "seconds": time.monotonic() - began},
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """Chains around a mode, back in q."""

    mode: np.ndarray
    sampled: Sampled
    q: np.ndarray
    stats: dict[str, np.ndarray]


def _run(density: LogDensity, mode: np.ndarray, plan: Chains, report: Report) -> _Run:
    chart = make_chart(density, mode)
    sampled = sample(chart, density, plan, report)
    q, stats = chart.to_q(sampled.draws), dict(sampled.stats)
    if "logp" in stats:
        stats["logp"] = stats["logp"] - chart.log_jacobian(q)
    return _Run(mode, sampled, q, stats)


def _second(
    density: LogDensity, first: _Run, plan: Chains, facts: dict[str, float], report: Report
) -> tuple[_Run, dict[str, float]]:
    """Return the chains run again, around the heaviest mode that they have seen and with shorter steps, if better."""
    careful = replace(plan, target_accept=_CAREFUL, tune=2 * plan.tune)
    try:
        mode = heaviest(density, [first.mode, *tops_of(density, first.q, _LOOKED_AT)])
        second = _run(density, mode, careful, report)
    except (KeyboardInterrupt, NumericalError):
        return first, facts
    if not second.sampled.finished or second.sampled.divergences > first.sampled.divergences:
        return first, facts
    again = {"tune": careful.tune, "target_accept": careful.target_accept}
    return second, again | {"divergences_before": first.sampled.divergences}
