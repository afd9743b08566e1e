"""A table and a figure of what was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from . import recovery
from .judge import Verdict, judge
from .ranks import DRAWS, ENGINES
from .store import RECOVERY, read
from .studies import STUDIES
from .widths import Widths, widths

BAND = 0.99
SIMULATED = 2000
FEWEST, FEWEST_REPLICATIONS = 20, 50
"""Fits of a fixed truth, and replications of a study, of which something can be said."""


SBC = (
    "engine",
    "model",
    "replications",
    "refused",
    "flagged",
    "other notices",
    "smallest p",
    "quantities not uniform",
    "largest mean z",
)
INTERVALS = (
    "engine",
    "model",
    "quantities",
    "50 % intervals hold",
    "90 % intervals hold",
    "where k-hat is good",
    "the worst",
    "intervals are",
)


def table(*columns: str) -> list[str]:
    """Return the head of a table."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def report(folder: Path) -> str:
    """Draw a figure for every engine there are results of; return the tables in Markdown."""
    rows = table(*SBC)
    intervals = table(*INTERVALS)
    for engine in ENGINES:
        found = {name: read(engine, name) for name in STUDIES}
        ranks = {}
        for name, replications in found.items():
            verdict = judge(replications)
            if verdict.replications >= FEWEST_REPLICATIONS:
                rows.append(row(engine, name, verdict))
                intervals += [line(engine, name, kind, one) for kind, one in widths(replications).items()]
                judged = [one["rank"] for one in replications if "rank" in one]
                ranks[name] = {key: np.array([one[key] for one in judged]) for key in judged[0]}
        if ranks:
            folder.mkdir(parents=True, exist_ok=True)
            draw(ranks, engine).savefig(folder / f"calibration-{engine}.png", dpi=110)
            plt.close()
    return "\n".join([*rows, "", *intervals, "", *recoveries(), ""])


def recoveries() -> list[str]:
    """Return the table of fixed truths, as far as they were fitted."""
    out = table(*recovery.COLUMNS)
    for engine in recovery.ENGINES:
        for name in (f"{design} {rows}" for design in recovery.DESIGNS for rows in recovery.ROWS):
            found = read(RECOVERY + engine, name)
            if len(found) >= FEWEST:
                out.append(recovery.line(engine, name, recovery.judge(found)))
    return out


def row(engine: str, name: str, verdict: Verdict) -> str:
    """Return a line of the table."""
    bad = verdict.suspicious
    z = max(verdict.z.values(), key=abs)
    return (
        f"| {engine} | {name} | {verdict.replications} | {verdict.left_out} | {verdict.flagged:.1%} | "
        f"{verdict.noticed:.1%} | "
        f"{min(verdict.p_values.values()):.2g} | {len(bad)} of {len(verdict.p_values)}"
        f"{': ' + ', '.join(bad[:3]) if bad else ''} | {z:+.2f} |"
    )


def line(engine: str, name: str, kind: str, found: Widths) -> str:
    """Return a line of the table of intervals."""
    half, nine = found.held
    sound = "" if np.isnan(found.sound) else f"{found.sound:.0%}"
    worst = f"{found.worst[0]:.0%}: {found.worst[1]}"
    return f"| {engine} | {name} | {kind} | {half:.0%} | {nine:.0%} | {sound} | {worst} | {found.words} |"


def draw(ranks: Mapping[str, Mapping[str, np.ndarray]], engine: str) -> plt.Figure:
    """Draw, for every study, how far the ECDFs of its ranks are from uniform, with a simultaneous band."""
    columns = min(4, len(ranks))
    lines = -(-len(ranks) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.3 * columns, 2.9 * lines + 0.5), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (name, found) in zip(axes.flat, ranks.items(), strict=False):
        panel(axis, found)
        axis.set_title(name, fontsize=10)
    for axis in axes.flat[len(ranks) :]:
        axis.axis("off")
    figure.suptitle(
        f"{engine}: ECDF of the truth's rank less a uniform one\n"
        f"(red: log posterior and log likelihood; the {BAND:.0%} band holds a whole line)",
        fontsize=11,
    )
    figure.supxlabel("rank / draws", fontsize=10)
    return figure


def panel(axis: Axes, found: Mapping[str, np.ndarray]) -> None:
    """Draw one study."""
    grid = np.linspace(0, 1, 65)
    count = len(next(iter(found.values())))
    half = band(count, grid)
    axis.fill_between(grid, -half, half, color="#dddddd", linewidth=0)
    for name, values in found.items():
        shares = np.searchsorted(np.sort((values + 0.5) / (DRAWS + 1)), grid, side="right") / count
        labelled = "log" in name and "[" not in name
        axis.plot(
            grid, shares - grid, linewidth=1.6 if labelled else 0.7, color="#c43" if labelled else "#357", alpha=0.8
        )
    axis.axhline(0, color="black", linewidth=0.5)


def band(count: int, grid: np.ndarray) -> np.ndarray:
    """Return the half width at every point of a band that holds uniform ECDFs whole with probability `BAND`."""
    rng = np.random.default_rng(1)
    spread = np.sqrt(grid * (1 - grid) / count) + 1e-12
    worst = np.empty(SIMULATED)
    for i in range(SIMULATED):
        shares = np.searchsorted(np.sort(rng.random(count)), grid, side="right") / count
        worst[i] = np.max(np.abs(shares - grid) / (spread + 0.5 / count))
    return np.quantile(worst, BAND) * (spread + 0.5 / count)
