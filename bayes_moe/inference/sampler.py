"""Chains of nutpie on a chart's density: by a C function where the density has one, else by Python calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import InterruptedFit
from ..log_density import Compiled, LogDensity, Machine
from ..processors import processors
from .charts import Chart, Function
from .deferred import deferred
from .progress import Report
from .settings import generator

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


@dataclass(frozen=True)
class Chains:
    """How many chains of what length.

    Parameters
    ----------
    draws, tune, chains
        Draws kept and warm-up draws of a chain, and chains.
    cores
        Chains at the same time; None: as many as there are processors.
    seed
        Integer seed.
    target_accept
        Acceptance the step size is adapted to.
    max_treedepth
        Doublings of a trajectory at most.
    """

    draws: int
    tune: int
    chains: int
    cores: int | None
    seed: int
    target_accept: float
    max_treedepth: int


@dataclass(frozen=True, eq=False)
class Sampled:
    """What the chains brought back.

    Parameters
    ----------
    draws
        (chains, draws, size) in the chart's u, after warm-up, of chains cut to one length.
    stats
        Sampler statistics (chains, draws).
    finished
        Whether all chains ran to their end.
    """

    draws: np.ndarray
    stats: dict[str, np.ndarray]
    finished: bool

    @property
    def divergences(self) -> int:
        """How many draws diverged."""
        return int(np.sum(self.stats["diverging"])) if "diverging" in self.stats else 0


def sample(chart: Chart, density: LogDensity, plan: Chains, report: Report) -> Sampled:
    """Run the chains; Ctrl-C stops them and keeps what they have.

    Raises
    ------
    InterruptedFit
        If they are stopped before there are draws.
    """
    # nutpie takes a second to import, which `import bayes_moe` must not cost; it imports ArviZ for its traces, which
    # are read here without it, and ArviZ imports matplotlib: 0.3 s that no fit needs
    with deferred("arviz"):
        import nutpie

    with report.task("NUTS loads its code (compiled once on a machine, about 10 s)", 1) as advance:
        model, stop = _model(chart, density, plan.seed)
        advance(1, "")
    with threadpool_limits(1), report.task("NUTS", plan.chains * (plan.draws + plan.tune)) as advance:
        sampler = nutpie.sample(
            model,
            draws=plan.draws,
            tune=plan.tune,
            chains=plan.chains,
            cores=min(plan.cores or processors(), plan.chains),
            seed=plan.seed % 2**63,
            progress_bar=False,
            progress_callback=lambda state: advance(sum(chain.finished_draws for chain in state), ""),
            progress_rate=500,
            adaptation="low_rank",
            target_accept=plan.target_accept,
            maxdepth=plan.max_treedepth,
            blocking=False,
            return_raw_trace=True,
        )
        try:
            trace, finished = sampler.wait(), True
        except KeyboardInterrupt:
            stop()
            trace, finished = sampler.abort(), False
    draws, stats = _read(trace, chart.size, plan, cut=not finished)
    return Sampled(draws, stats, finished)


def _model(chart: Chart, density: LogDensity, seed: int) -> tuple[Any, Callable[[], None]]:
    """Return nutpie's view of the density, and what stops it in the middle of a trajectory."""
    starts = _Starts(chart, density.compiled(), seed)
    machine = density.machine() if isinstance(density, Compiled) else None
    if machine is not None:
        return _native_model(chart, machine, starts)
    from nutpie.compiled_pyfunc import from_pyfunc

    model = from_pyfunc(
        chart.size,
        lambda: chart.function(density.compiled()),
        lambda *_: lambda u: {"u": u},
        [np.dtype("float64")],
        [(chart.size,)],
        ["u"],
        make_initial_point_fn=starts,
    )
    return model, lambda: None


def _native_model(chart: Chart, inner: Machine, starts: _Starts) -> tuple[Any, Callable[[], None]]:
    from nutpie.compile_pymc import CompiledPyMCModel

    from .chart_kernel import chart_machine, copy_address

    size = chart.size
    machine, flag = chart_machine(chart, inner)
    model = CompiledPyMCModel(
        dims={},
        compiled_logp_func=SimpleNamespace(address=machine.function),
        compiled_expand_func=SimpleNamespace(address=copy_address()),
        initial_point_func=starts,
        shared_data={},
        shared_var_keys={},
        user_data=flag,
        n_expanded=size,
        shape_info=(["u"], [slice(0, size)], [(size,)]),
        logp_func=machine,
        expand_func=None,
        _n_dim=size,
        _shapes={"u": (size,)},
        _coords={},
    )

    def stop() -> None:
        flag[0] = 1

    return model, stop


def _read(trace: Any, size: int, plan: Chains, *, cut: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return draws and statistics after warm-up, of one length, without the divergences that end chains cut short."""
    import pyarrow as pa  # comes with nutpie

    batches, stats = trace.get_arrow_trace()
    lengths = np.array([batch.num_rows - plan.tune for batch in batches], dtype=int)
    if cut:
        lengths -= [_trailing(pa.array(s.column("diverging")).to_numpy(zero_copy_only=False)) for s in stats]
    longest = np.sort(lengths)[::-1]
    if not len(lengths) or longest[0] < _FEWEST_DRAWS:
        raise InterruptedFit("NUTS was interrupted during warm-up, there are no draws yet → call fit again")
    # of chains that stopped at different lengths, keep as many, cut to one length, as hold the most draws
    length = int(longest[np.argmax(longest * np.arange(1, len(longest) + 1))])
    kept = np.flatnonzero(lengths >= length)
    span = slice(plan.tune, plan.tune + length)
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


def _trailing(flags: np.ndarray) -> int:
    """Return how many flags at the end are set."""
    return int(np.argmin(np.append(flags[::-1], False)))


class _Starts:
    """Starting points of the chains: one posterior sd from the mode, finite."""

    def __init__(self, chart: Chart, compiled: Function, seed: int) -> None:
        self.size, self.seed, self.function = chart.size, seed, chart.function(compiled)

    def __call__(self, chain_seed: int) -> np.ndarray:
        rng = generator(self.seed, 4, chain_seed % 2**32)
        u = rng.standard_normal(self.size)
        for _ in range(30):
            value, gradient = self.function(u)
            if np.isfinite(value) and np.all(np.isfinite(gradient)):
                return u
            u = 0.5 * u
        return u
