"""No-U-turn sampling by nutpie, from starts around the mode, in coordinates whitened there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InterruptedFit, Notice, SpecError
from ..log_density import LogDensity
from .charts import Chart, make_chart
from .mode import find_mode
from .outcome import Outcome, Status
from .progress import Report
from .sampler import Chains, Sampled, sample
from .settings import Seed, between, check_seed, settle_seed, whole

_CAREFUL = 0.99


@dataclass(frozen=True)
class NUTS:
    """Posterior draws by the no-U-turn sampler.

    Chains start around the mode, about one posterior standard deviation away and each elsewhere, in coordinates
    whitened by the Hessian at the mode, with the gate's learned scale partly centred. Where draws diverge, the chains
    are run once more with twice the warm-up and a ``target_accept`` of 0.99, and the better run counts: ``fit.status``
    says so.

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
        chart = make_chart(density, found.draws[0, 0])
        began = time.monotonic()
        plan = Chains(self.draws, self.tune, self.chains, self.cores, seed, self.target_accept, self.max_treedepth)
        sampled, facts = _sampled(chart, density, plan, shown)
        q, stats = chart.to_q(sampled.draws), dict(sampled.stats)
        if "logp" in stats:
            stats["logp"] = stats["logp"] - chart.log_jacobian(q)
        notices = []
        if not sampled.finished:
            done = f"{q.shape[1]} of {self.draws} draws of {q.shape[0]} chains"
            text = f"sampling was interrupted: {done} are finished"
            notices.append(Notice("interrupted", text))
        return Outcome(
            draws=q,
            status=Status.CONVERGED if sampled.finished else Status.INTERRUPTED,
            notices=tuple(notices),
            mode=found.draws[0, 0],
            optima=found.optima,
            history=found.history,
            table=found.table,
            sample_stats=stats,
            facts={"seed": seed, **facts, "seconds": time.monotonic() - began},
        )


def _sampled(chart: Chart, density: LogDensity, plan: Chains, report: Report) -> tuple[Sampled, dict[str, float]]:
    """Return the chains, run again with shorter steps where they diverged, and what was done."""
    first = sample(chart, density, plan, report)
    facts: dict[str, float] = {"tune": plan.tune, "target_accept": plan.target_accept}
    if not first.finished or not first.divergences or plan.target_accept >= _CAREFUL:
        return first, facts
    careful = replace(plan, target_accept=_CAREFUL, tune=2 * plan.tune)
    try:
        second = sample(chart, density, careful, report)
    except InterruptedFit:
        return first, facts
    if not second.finished or second.divergences > first.divergences:
        return first, facts
    again = {"tune": careful.tune, "target_accept": careful.target_accept}
    return second, again | {"divergences_before": first.divergences}
