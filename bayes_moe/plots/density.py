"""The predictive density as a heat map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ..posterior.fit import Fit
from ..posterior.mixtures import Components, MixtureDraws, log_density
from .along import along, scatter
from .canvas import INK, canvas

_ACROSS, _UP = 220, 220
_MOST_DRAWS = 400
_DECADES = 3.0
_MARGIN = 0.12


def density(fit: Fit, *, column: str | int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the predictive density p(y | x) over x and y, with the data on top.

    The colours are those of the logarithm, over three powers of ten below the highest density, so that tails
    and lesser modes are seen. Of more than 400 draws, 400 evenly spread ones are averaged.

    Parameters
    ----------
    fit
        A fit by any engine.
    column
        Name or position of the column along the axis; None: the first. The others are held at their medians, and
        rows far from there are pale.
    ax
        Axes to draw in; None makes a figure. The colour bar takes some of their room.

    Raises
    ------
    InputError
        If there is no such column.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bm.plots.density(fit).get_ylabel()
    'y'
    """
    path = along(fit, column, points=_ACROSS)
    ax = canvas(ax)
    y = _heights(fit.data.y)
    mixture = _thinned(fit.draws.mixture(np.repeat(path.table, _UP, axis=0)))
    values = np.exp(log_density(mixture, np.tile(y, _ACROSS))).reshape(_ACROSS, _UP).T
    top = values.max()
    norm = LogNorm(top * 10.0**-_DECADES, top, clip=True)
    mesh = ax.pcolormesh(path.x, y, values, norm=norm, cmap="YlGnBu", shading="gouraud", rasterized=True, zorder=0)
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, extend="min")
    bar.set_label(f"predictive density per unit of {fit.data.y_name}")
    scatter(fit, ax, path, colours=INK, size=7.0)
    ax.set(xlabel=path.title, ylabel=fit.data.y_name, xlim=(path.x[0], path.x[-1]), ylim=(y[0], y[-1]))
    return ax


def _heights(y: np.ndarray) -> np.ndarray:
    """Return evenly spaced values of y over the data and a margin."""
    room = _MARGIN * (y.max() - y.min()) or 1.0
    return np.linspace(y.min() - room, y.max() + room, _UP)


def _thinned(mixture: MixtureDraws) -> MixtureDraws:
    """Return the same mixture of evenly spread draws."""
    step = -(-mixture.draws // _MOST_DRAWS)

    def every(rows: slice, draws: slice) -> Components:
        return mixture.components(rows, slice(draws.start * step, min(draws.stop * step, mixture.draws), step))

    return replace(mixture, draws=-(-mixture.draws // step), components=every)
