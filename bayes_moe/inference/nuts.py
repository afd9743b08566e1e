"""No-U-turn sampling by nutpie, from starts around the mode, in coordinates whitened there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import InterruptedFit, Notice, SpecError
from ..log_density import LogDensity
from .charts import Chart
from .mode import find_mode
from .outcome import Outcome, Status
from .progress import Report
from .settings import Seed, between, check_seed, generator, settle_seed, whole

_STATISTICS = {
    "diverging": "diverging",
    "maxdepth_reached": "maxdepth_reached",
    "energy": "energy",
    "depth": "tree_depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "mean_tree_accept": "acceptance_rate",
    "logp": "logp",
}

_FEWEST_DRAWS = 4
_SHORT_GRADIENT = 3e-5  # seconds: below, two threads that need the interpreter take longer than one after the other


@dataclass(frozen=True)
class NUTS:
    """Posterior draws by the no-U-turn sampler.

    Chains start around the mode, about one posterior standard deviation away and each elsewhere, in coordinates
    whitened by the Hessian at the mode, with the gate's learned scale half-centred.

    Parameters
    ----------
    draws, tune, chains
        Draws kept and warm-up draws per chain, and number of chains.
    seed
        Integer, SeedSequence, Generator or None; None draws one and records it.
    target_accept
        Average acceptance the step size is adapted to.
    max_treedepth
        Doublings of a trajectory at most.
    cores
        Chains that run at the same time; None: as many as there are processors for this process, but one after the
        other where a gradient is so short that chains would mostly wait for the interpreter. Draws do not depend on it.

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
        chart = Chart(density, found.draws[0, 0])
        began = time.monotonic()
        draws, stats, finished = self._sample(chart, density, seed, shown)
        q = chart.to_q(draws)
        if "logp" in stats:
            stats["logp"] = stats["logp"] - chart.log_jacobian(q)
        notices = []
        if not finished:
            done = f"{draws.shape[1]} of {self.draws} draws of {draws.shape[0]} chains"
            text = f"sampling was interrupted: {done} are finished"
            notices.append(Notice("interrupted", text))
        return Outcome(
            draws=q,
            status=Status.CONVERGED if finished else Status.INTERRUPTED,
            notices=tuple(notices),
            mode=found.draws[0, 0],
            optima=found.optima,
            history=found.history,
            table=found.table,
            sample_stats=stats,
            facts={"seed": seed, "tune": self.tune, "seconds": time.monotonic() - began},
        )

    def _sample(
        self, chart: Chart, density: LogDensity, seed: int, report: Report
    ) -> tuple[np.ndarray, dict[str, np.ndarray], bool]:
        # nutpie takes two seconds to import, which `import bayes_moe` must not cost
        import nutpie
        from nutpie.compiled_pyfunc import from_pyfunc

        size = density.size
        compiled = from_pyfunc(
            size,
            lambda: chart.function(density.compiled()),
            lambda *_: lambda u: {"u": u},
            [np.dtype("float64")],
            [(size,)],
            ["u"],
            make_initial_point_fn=_Starts(chart, density.compiled(), seed),
        )
        total = self.chains * (self.draws + self.tune)
        with threadpool_limits(1), report.task("NUTS", total) as advance:
            sampler = nutpie.sample(
                compiled,
                draws=self.draws,
                tune=self.tune,
                chains=self.chains,
                cores=self.cores or _useful_cores(chart.function(density.compiled()), size, self.chains),
                seed=seed % 2**63,
                progress_bar=False,
                progress_callback=lambda state: advance(sum(c.finished_draws for c in state), ""),
                progress_rate=500,
                adaptation="low_rank",
                target_accept=self.target_accept,
                maxdepth=self.max_treedepth,
                blocking=False,
                return_raw_trace=True,
            )
            try:
                trace, finished = sampler.wait(), True
            except KeyboardInterrupt:
                trace, finished = sampler.abort(), False
        return (*self._read(trace, size), finished)

    def _read(self, trace: Any, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return draws and statistics after warm-up, cut to the shortest chain."""
        import pyarrow as pa  # comes with nutpie

        batches, stats = trace.get_arrow_trace()
        lengths = np.array([batch.num_rows - self.tune for batch in batches], dtype=int)
        longest = np.sort(lengths)[::-1]
        if not len(lengths) or longest[0] < _FEWEST_DRAWS:
            raise InterruptedFit("NUTS was interrupted during warm-up, there are no draws yet → call fit again")
        # of chains that stopped at different lengths, keep as many, cut to one length, as hold the most draws
        length = int(longest[np.argmax(longest * np.arange(1, len(longest) + 1))])
        kept = np.flatnonzero(lengths >= length)
        span = slice(self.tune, self.tune + length)
        flat = [pa.array(batches[i].column("u")).flatten().to_numpy(zero_copy_only=False) for i in kept]
        draws = np.stack([chain.reshape(-1, size)[span] for chain in flat])
        found = {
            name: np.stack(
                [pa.array(s.column(column)).to_numpy(zero_copy_only=False)[span] for s in (stats[i] for i in kept)]
            )
            for column, name in _STATISTICS.items()
            if column in stats[0].column_names
        }
        return draws, found


def _useful_cores(function: Callable[[np.ndarray], tuple[float, np.ndarray]], size: int, chains: int) -> int:
    """Return how many chains should run at the same time."""
    point, seconds = np.zeros(size), []
    function(point)
    for _ in range(20):
        began = time.perf_counter()
        function(point)
        seconds.append(time.perf_counter() - began)
    if float(np.median(seconds)) < _SHORT_GRADIENT:
        return 1
    return min(chains, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class _Starts:
    """Starting points of the chains: one posterior sd from the mode, finite."""

    def __init__(self, chart: Chart, compiled: Callable[..., Any], seed: int) -> None:
        self.chart, self.seed, self.function = chart, seed, chart.function(compiled)

    def __call__(self, chain_seed: int) -> np.ndarray:
        rng = generator(self.seed, 4, chain_seed % 2**32)
        u = rng.standard_normal(len(self.chart.mode))
        for _ in range(30):
            value, gradient = self.function(u)
            if np.isfinite(value) and np.all(np.isfinite(gradient)):
                return u
            u = 0.5 * u
        return u
