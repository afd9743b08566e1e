"""How a fit got where it is: EM's trace and starts, a sampler's chains, a bound's ascent."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from ..posterior.fit import Fit
from .along import check_fit
from .canvas import ALARM, GREY, INK, canvas

_BINS = 20
_ROUNDING = 1e-9
_LEAST_RATIO = -10.0
_CHAINS = ("#332288", "#4477AA", "#66CCEE", "#117733", "#AA4499", "#999933", "#882255", "#CC6677")


def convergence(fit: Fit, *, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw how the engine converged, in two panels, under the verdict.

    EM: the trace of the run that won, as the distance to its end, and where the short runs of each kind of start
    stood, beside the optima found. NUTS: the log posterior of each chain, which no renaming of experts changes,
    with divergences, and how its draws rank among those of all chains: even ranks mean chains that agree. ADVI: the
    ascent of its bound; Laplace: EM's trace; and for both how their density compares with the posterior's at their
    draws.

    Parameters
    ----------
    fit
        A fit by any engine.
    figure
        Figure or subfigure to draw in; None makes one.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> len(bm.plots.convergence(fit).axes)
    2
    """
    check_fit(fit)
    if figure is None:
        figure = plt.figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = (canvas(ax) for ax in figure.subplots(1, 2))
    record = fit.idata["fit"].to_dataset()
    stats = fit.idata["sample_stats"].to_dataset() if "sample_stats" in fit.idata.children else xr.Dataset()
    if "logp" in stats:
        _chains(left, stats)
        _ranks(right, stats["logp"].values)
    else:
        if "elbo" in record:
            _climb(left, record["elbo"].values, step="step", title="evidence lower bound")
        else:
            trace = record["em_log_posterior"].values if "em_log_posterior" in record else np.empty(0)
            _climb(left, trace, step="iteration of EM", title="log posterior of the winning run")
        if "log_q" in stats:
            _ratios(right, stats, record)
        else:
            _starts(right, record)
    for ax in (left, right):
        ax.title.set_fontsize("medium")
    colour = INK if fit.status.converged else ALARM
    figure.suptitle(f"{type(fit.engine).__name__}: {_short(fit)}", fontsize="large", color=colour)
    return figure


def _short(fit: Fit) -> str:
    """Return the verdict in a few words."""
    codes = ", ".join(dict.fromkeys(fit.status.codes))
    verdict = "converged" if fit.status.converged else "not converged"
    return f"{verdict} ({codes})" if codes else verdict


def _climb(ax: Axes, trace: np.ndarray, *, step: str, title: str) -> None:
    """Draw how far below its end a climb stood at each step."""
    gap = trace.max(initial=-np.inf) - trace
    if not np.any(gap > _ROUNDING):
        _nothing(ax, "no trace: the fit began where it ended")
        return
    ax.semilogy(np.flatnonzero(gap > 0), gap[gap > 0], "o-", color=INK, markersize=3.0, linewidth=1.0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=step, ylabel=f"nats below {trace.max():.2f}", title=title)
    ax.grid(color="#e6e6e6", linewidth=0.6)


def _nothing(ax: Axes, words: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, ha="center", va="center", color=GREY, transform=ax.transAxes)


def _starts(ax: Axes, record: xr.Dataset) -> None:
    if record.sizes.get("start", 0) == 0:
        _nothing(ax, "one run, from the start that was given")
        return
    recipes, bounded = record["start_recipe"].values.astype(str), "start_elbo" in record
    values = record["start_elbo" if bounded else "start_log_posterior"].values
    optima = np.array([record.attrs["elbo"]]) if bounded else record["optimum_log_posterior"].values
    kinds = sorted(set(recipes), key=lambda kind: -np.max(values[recipes == kind]))
    for row, kind in enumerate(kinds):
        here = np.sort(values[recipes == kind])
        lift = 0.22 * np.sin(2.4 * np.arange(len(here)))
        ax.plot(here, row + lift, "o", color=GREY, alpha=0.6, markersize=3.5, markeredgewidth=0)
    for value in optima[1:]:
        ax.axvline(value, color=INK, linewidth=0.6, alpha=0.5)
    ax.axvline(optima[0], color=INK, linewidth=1.8)
    depth = min(optima[0] - values.min(), 4.0 * (optima[0] - np.median(values))) or 1.0
    ax.set_xlim(optima[0] - 1.05 * depth, max(optima.max(), values.max()) + 0.05 * depth)
    ax.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    ax.invert_yaxis()
    if bounded:
        ax.set(xlabel="evidence lower bound (line: the end of the best)")
    else:
        hits, runs = int(record["optimum_hits"][0]), int(record.attrs.get("long_runs", 1))
        ax.set(xlabel=f"log posterior (line: the best, {hits} of {runs} long runs)")
    ax.set_title(f"{len(values)} short runs, by kind of start")


def _chains(ax: Axes, stats: xr.Dataset) -> None:
    for chain, values in enumerate(stats["logp"].values):
        ax.plot(values, color=_CHAINS[chain % len(_CHAINS)], linewidth=0.5, alpha=0.8, label=f"chain {chain}")
    diverging = stats["diverging"].values if "diverging" in stats else np.zeros(stats["logp"].shape)
    floor = float(np.min(stats["logp"]))
    found = np.flatnonzero(np.any(diverging, axis=0))
    ax.plot(found, np.full(len(found), floor), "|", color=ALARM, markersize=8.0, label="_divergences")
    title = f"{int(np.sum(diverging))} divergences"
    ax.set(xlabel="draw", ylabel="log posterior", title=title, xlim=(0, stats.sizes["draw"] - 1))


def _ranks(ax: Axes, values: np.ndarray) -> None:
    chains, draws = values.shape
    ranks = values.ravel().argsort(kind="stable").argsort(kind="stable").reshape(chains, draws)
    edges = np.linspace(0, chains * draws, _BINS + 1)
    even = draws / _BINS
    wobble = 2.0 * np.sqrt(even * (1.0 - 1.0 / _BINS))
    ax.axhspan(even - wobble, even + wobble, color="#ececec", zorder=0)
    ax.axhline(even, color=GREY, linewidth=0.8)
    for chain in range(chains):
        counts, _ = np.histogram(ranks[chain], bins=edges)
        ax.stairs(counts, edges, color=_CHAINS[chain % len(_CHAINS)], linewidth=1.2, baseline=None)
    ax.set(xlabel="rank of the log posterior among all draws", ylabel="draws", xlim=(0, edges[-1]))
    ax.set_title("where chains agree, ranks are even")


def _ratios(ax: Axes, stats: xr.Dataset, record: xr.Dataset) -> None:
    ratios = (stats["log_p"] - stats["log_q"]).values.ravel()
    ratios = np.maximum(ratios - np.median(ratios), _LEAST_RATIO)
    ax.hist(ratios, bins=40, color=GREY, alpha=0.7)
    ax.axvline(0.0, color=INK, linewidth=0.8)
    k_hat = float(record.attrs["k_hat"])
    fair = "0.7 or less is good" if k_hat <= 0.7 else "above 0.7: unreliable"
    ax.set_title(f"PSIS k-hat {k_hat:.2f} ({fair})", color=INK if k_hat <= 0.7 else ALARM)
    ax.set(xlabel=f"log (posterior / approximation) about its median, cut at {_LEAST_RATIO:g}", ylabel="draws")
