"""Which expert accounts for each row."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..posterior.fit import Fit
from .along import along, check_fit, data_range, scatter
from .canvas import INK, canvas, expert_colours, legend, note_labels
from .lines import expert_lines

SHARED = 0.9
"""A row belongs to one expert when that one is at least this probable, given x and y."""


def responsibilities(
    fit: Fit, *, column: str | int | None = None, output: str | int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the rows in colours mixed from the experts' by p(expert | x, y).

    Rows in which no expert reaches 0.9 have a dark rim: experts share them.

    Parameters
    ----------
    fit
        A fit by any engine.
    column
        Name or position of the column along the axis; None: the first. The experts' lines are drawn only where there
        is no other.
    output
        Name or position of the output to draw, where y has several; None: the first.
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
    >>> bm.plots.responsibilities(fit).get_xlabel()
    'x0'
    """
    check_fit(fit)
    path = along(fit, column, output=output)
    ax = canvas(ax)
    table = np.asarray(fit.data.own.values)
    r = fit.responsibilities().values
    colours = expert_colours(r.shape[1])
    shared = r.max(axis=1) < SHARED
    rims = np.where(shared[:, None], (0.13, 0.13, 0.13, 1.0), (1.0, 1.0, 1.0, 0.0))
    scatter(fit, ax, path, colours=np.clip(r @ colours, 0.0, 1.0), rims=rims, size=34.0, fading=False)
    if table.shape[1] == 1 and not fit.data.classes:
        expert_lines(
            ax, path.x, path.own(fit.expert_means(path.table)), fit.gate(path.table).values, width=1.2, opacity=0.6
        )
    for k, colour in enumerate(colours):
        ax.scatter([], [], s=34.0, color=[tuple(colour)], label=f"expert {k}: {r[:, k] @ fit.data.weights:.0f} rows")
    if shared.any():
        ax.scatter([], [], s=34.0, color="none", edgecolors=INK, linewidths=0.7, label="shared")
    ax.set(
        xlabel=fit.data.own.names[path.column],
        ylabel=path.y_name,
        xlim=(path.x[0], path.x[-1]),
        ylim=data_range(fit, path),
    )
    if fit.data.classes:
        ax.set_yticks(range(len(fit.data.classes)), [str(label) for label in fit.data.classes])
    legend(ax)
    note_labels(fit, ax)
    return ax
