"""The experts: where each one's mean runs, how wide it spreads, how sure the posterior is."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.path import Path

from ..posterior.fit import Fit
from .along import along, check_fit, data_range, refuse_labels, scatter
from .canvas import canvas, expert_colours, legend, note_labels
from .lines import draws_along, expert_lines

_DRAWS = 40


def experts(
    fit: Fit, *, column: str | int | None = None, output: str | int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw each expert's mean with one standard deviation either side, as opaque as its gate probability.

    For a posterior, thin lines are the experts of single draws, and the ribbon is one standard deviation of y under
    the expert, the draws' means and variances taken together.

    Parameters
    ----------
    fit
        A fit by any engine.
    column
        Name or position of the column along the axis; None: the first. The others are held at their medians, and
        rows far from there are pale.
    output
        Name or position of the output to draw, where y has several; None: the first.
    ax
        Axes to draw in; None makes a figure.

    Raises
    ------
    InputError
        If there is no such column.
    SpecError
        If y holds labels.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bm.plots.experts(fit).get_ylabel()
    'y'
    """
    refuse_labels(fit, "experts")
    check_fit(fit)
    path = along(fit, column, output=output)
    ax = canvas(ax)
    scatter(fit, ax, path, size=12.0, label="data")
    mean, weight = path.own(fit.expert_means(path.table)), fit.gate(path.table).values
    gates, means, deviations = draws_along(fit, path, 500)
    spread = np.sqrt((deviations**2).mean(axis=0) + means.var(axis=0))
    for k, colour in enumerate(expert_colours(mean.shape[1])):
        _ribbon(ax, path.x, mean[:, k] - spread[:, k], mean[:, k] + spread[:, k], 0.3 * weight[:, k], colour)
        ax.plot([], [], color=tuple(colour), linewidth=3.0, label=f"expert {k}")
    for draw in range(0, len(gates), -(-len(gates) // _DRAWS)) if len(gates) > 1 else ():
        expert_lines(ax, path.x, means[draw], gates[draw], width=0.5, opacity=0.35)
    expert_lines(ax, path.x, mean, weight, width=2.6)
    ax.set(xlabel=path.title, ylabel=path.y_name, xlim=(path.x[0], path.x[-1]), ylim=data_range(fit, path))
    legend(ax)
    note_labels(fit, ax)
    return ax


def _ribbon(
    ax: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, opacity: np.ndarray, colour: np.ndarray
) -> None:
    """Fill between two lines with an opacity that changes along x: an image of one row, cut to the ribbon's shape."""
    shades = np.empty((1, len(x), 4))
    shades[..., :3] = colour
    shades[..., 3] = opacity
    half = 0.5 * (x[1] - x[0])
    extent = (x[0] - half, x[-1] + half, low.min(), high.max())
    image = AxesImage(ax, extent=extent, interpolation="bilinear", origin="lower", zorder=1)
    image.set_data(shades)
    corners = np.concatenate([np.column_stack([x, low]), np.column_stack([x, high])[::-1]])
    image.set_clip_path(Path(corners), ax.transData)
    image.set_clip_box(ax.bbox)
    image.set_in_layout(False)
    ax.add_artist(image)
