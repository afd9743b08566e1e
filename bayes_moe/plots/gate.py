"""How probable each expert is along a covariate."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ..posterior.fit import Fit
from .along import along, check_fit
from .canvas import INK, canvas, expert_colours, legend, note_labels
from .lines import gates_along

_DRAWS = 40


def gate(fit: Fit, *, column: str | int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the gate's probabilities along a covariate as areas that add up to 1.

    For a posterior, thin white lines are the borders under single draws: where they lie apart, the place of the
    border is uncertain.

    Parameters
    ----------
    fit
        A fit by any engine.
    column
        Name or position of the column along the axis; None: the first. The others are held at their medians.
    ax
        Axes to draw in; None makes a figure.

    Raises
    ------
    InputError
        If there is no such column.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bm.plots.gate(fit).get_ylabel()
    'gate probability'
    """
    check_fit(fit)
    path = along(fit, column)
    ax = canvas(ax, height=2.8)
    probability = fit.gate(path.table).values
    experts = probability.shape[1]
    names = [f"expert {k}" for k in range(experts)]
    colours = [tuple(colour) for colour in expert_colours(experts)]
    ax.stackplot(path.x, probability.T, labels=names, colors=colours, alpha=0.85, linewidth=0, zorder=1)
    if not fit.outcome.point and experts > 1:
        borders = gates_along(fit, path, _DRAWS).cumsum(axis=2)[:, :, :-1]
        lines = [np.column_stack([path.x, border]) for draw in borders for border in draw.T]
        ax.add_collection(LineCollection(lines, colors="white", linewidths=0.6, alpha=0.35, zorder=2), autolim=False)
    _name_areas(ax, path.x, probability)
    ax.set(xlabel=path.title, ylabel="gate probability", xlim=(path.x[0], path.x[-1]), ylim=(0.0, 1.0))
    legend(ax)
    note_labels(fit, ax)
    return ax


def _name_areas(ax: Axes, x: np.ndarray, probability: np.ndarray) -> None:
    """Write an expert's number where its area is highest, if there is room."""
    tops = probability.cumsum(axis=1)
    for expert, share in enumerate(probability.T):
        high = np.flatnonzero(share > 0.9 * share.max())
        at = high[len(high) // 2]
        if share[at] > 0.25:
            middle = tops[at, expert] - 0.5 * share[at]
            ax.text(x[at], middle, str(expert), ha="center", va="center", color=INK, fontsize="small", zorder=3)
