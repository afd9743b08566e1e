"""Probabilities of labels along a column, one band above the other."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..posterior.predictive import Predictive
from .along import Along, shown_rows
from .canvas import expert_colours, legend

_TICKS = (1.02, 1.05)


def draw_classes(fit: Predictive, path: Along, ax: Axes) -> Axes:
    """Draw the probability of every label as the height of its band, and every row as a tick above them.

    Parameters
    ----------
    fit
        A fit of labels.
    path, ax
        Along which column, and where to.
    """
    chances = fit.predict_proba(path.table)
    colours = expert_colours(chances.sizes["class"])
    labels = [str(label) for label in fit.data.classes]
    tops = np.cumsum(chances.values, axis=1)
    floor = np.zeros(len(path.x))
    for code, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        ax.fill_between(path.x, floor, tops[:, code], color=tuple(colour), alpha=0.75, linewidth=0.4, label=label)
        floor = tops[:, code]
    rows = shown_rows(fit)
    x = np.asarray(fit.data.own.values)[rows, path.column]
    ax.vlines(x, *_TICKS, colors=colours[path.y[rows].astype(np.intp)], linewidths=0.8)
    ax.set(xlabel=path.title, ylabel=f"probability of {path.y_name}", xlim=(path.x[0], path.x[-1]), ylim=(0.0, 1.06))
    legend(ax)
    return ax
