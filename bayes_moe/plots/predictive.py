"""Data under predictive bands, the predictive mean and the experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from ..posterior.fit import Fit
from ..posterior.predictive import Predictive
from .along import along, scatter
from .canvas import GREY, INK, canvas, legend
from .classes import draw_classes
from .lines import expert_lines

_BAND = "#8fa8c2"


def predictive(
    fit: Predictive,
    *,
    column: str | int | None = None,
    output: str | int | None = None,
    prob: Sequence[float] = (0.5, 0.9),
    ax: Axes | None = None,
) -> Axes:
    """Draw the data with predictive bands, the predictive mean and the experts' lines; of labels, probabilities.

    Bands are equal-tailed intervals of the averaged predictive distribution. An expert's line is as opaque as its
    gate probability, so that it is seen only where it counts. Where y holds labels, the height of a band is the
    probability of its label, and every row is a tick of its label's colour at the top.

    Parameters
    ----------
    fit
        A fit by any engine, or an average of fits, which has no experts to draw.
    column
        Name or position of the column along the axis; None: the first. The others are held at their medians, and
        rows far from there are pale.
    output
        Name or position of the output to draw, where y has several; None: the first.
    prob
        Probabilities of the bands.
    ax
        Axes to draw in; None makes a figure.

    Raises
    ------
    InputError
        If there is no such column, or a probability is none.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bm.plots.predictive(fit).get_xlabel()
    'x0'
    """
    path = along(fit, column, output=output)
    ax = canvas(ax)
    if fit.data.classes:
        return draw_classes(fit, path, ax)
    levels = sorted(np.atleast_1d(prob).tolist(), reverse=True)
    for order, level in enumerate(levels):
        low, high = path.own(fit.interval(path.table, level)).T
        ax.fill_between(
            path.x,
            low,
            high,
            color=_shade(order, len(levels)),
            linewidth=0,
            zorder=1,
            label=f"{100 * level:g} % band",
        )
    scatter(fit, ax, path, label="data")
    ax.plot(path.x, path.own(fit.predict(path.table)), color=INK, linewidth=1.3, zorder=5, label="mean")
    if isinstance(fit, Fit):
        expert_lines(ax, path.x, path.own(fit.expert_means(path.table)), fit.gate(path.table).values, width=3.0)
        ax.plot([], [], color=GREY, linewidth=3.0, label="experts")
    ax.set(xlabel=path.title, ylabel=path.y_name, xlim=(path.x[0], path.x[-1]))
    legend(ax)
    return ax


def _shade(order: int, bands: int) -> tuple[float, ...]:
    """Return the colour of a band; the widest comes first and is the palest."""
    depth = 0.35 + 0.45 * order / max(bands - 1, 1)
    return tuple(float(v) for v in 1.0 - depth * (1.0 - np.array(to_rgb(_BAND))))
