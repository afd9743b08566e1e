"""The predictive density as a heat map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ..posterior.blend import Blend, log_density, marginal, predictive_moments
from ..posterior.mixtures import Components, MixtureDraws
from ..posterior.predictive import Predictive
from .along import Along, along, data_range, refuse_labels, scatter
from .canvas import canvas

_ACROSS, _UP = 200, 200
_MOST_DRAWS = 400
_DECADES = 3.0
_MOST_ROOM = 0.4


def density(
    fit: Predictive, *, column: str | int | None = None, output: str | int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the predictive density p(y | x) over x and y, with the data on top.

    The colours are those of the logarithm, over three powers of ten below the highest density, so that tails
    and lesser modes are seen. Of more than 400 draws, 400 evenly spread ones are averaged.

    Parameters
    ----------
    fit
        A fit by any engine, or an average of fits.
    column
        Name or position of the column along the axis; None: the first. The others are held at their medians, and
        rows far from there are pale.
    output
        Name or position of the output to draw, where y has several; None: the first.
    ax
        Axes to draw in; None makes a figure. The colour bar takes some of their room.

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
    >>> bm.plots.density(fit).get_ylabel()
    'y'
    """
    refuse_labels(fit, "density")
    path = along(fit, column, points=_ACROSS, output=output)
    ax = canvas(ax)
    whole = fit.mixture(path.table)
    mixture = _thinned(whole if path.output is None else marginal(whole, path.output))
    y = _heights(fit, path, mixture)
    values = np.exp(log_density(_repeated(mixture), np.tile(y, _ACROSS))).reshape(_ACROSS, _UP).T
    top = values.max()
    norm = LogNorm(top * 10.0**-_DECADES, top, clip=True)
    mesh = ax.pcolormesh(path.x, y, values, norm=norm, cmap="magma", shading="gouraud", rasterized=True, zorder=0)
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, extend="min")
    bar.set_label("predictive density, per unit of y")
    rows = len(fit.data.y)
    scatter(fit, ax, path, colours=np.ones((rows, 3)), rims=np.tile((0.0, 0.0, 0.0, 0.8), (rows, 1)), size=9.0)
    ax.set(xlabel=path.title, ylabel=path.y_name, xlim=(path.x[0], path.x[-1]), ylim=(y[0], y[-1]))
    return ax


def _heights(fit: Predictive, path: Along, mixture: MixtureDraws | Blend) -> np.ndarray:
    """Return evenly spaced values of y over the data and two predictive standard deviations, within reason."""
    low, high = data_range(fit, path)
    mean, variance = predictive_moments(mixture)
    spread = np.sqrt(variance)
    room = _MOST_ROOM * (high - low)
    low, high = (
        max(low - room, min(low, (mean - 2 * spread).min())),
        min(high + room, max(high, (mean + 2 * spread).max())),
    )
    return np.linspace(low, high, _UP)


def _thinned(mixture: MixtureDraws | Blend) -> MixtureDraws | Blend:
    """Return the same mixture of evenly spread draws."""
    if isinstance(mixture, Blend):
        return Blend(tuple(_fewer(part) for part in mixture.mixtures), mixture.weights)
    return _fewer(mixture)


def _fewer(mixture: MixtureDraws) -> MixtureDraws:
    step = -(-mixture.draws // _MOST_DRAWS)

    def every(rows: slice, draws: slice) -> Components:
        return mixture.components(rows, slice(draws.start * step, min(draws.stop * step, mixture.draws), step))

    return replace(mixture, draws=-(-mixture.draws // step), components=every)


def _repeated(mixture: MixtureDraws | Blend) -> MixtureDraws | Blend:
    """Return the mixture with every row as often as there are heights; gates are not computed again for each."""
    if isinstance(mixture, Blend):
        return Blend(tuple(_rows_repeated(part) for part in mixture.mixtures), mixture.weights)
    return _rows_repeated(mixture)


def _rows_repeated(mixture: MixtureDraws) -> MixtureDraws:
    log_gate, parameters = mixture.components(slice(0, mixture.rows), slice(0, mixture.draws))

    def looked_up(rows: slice, draws: slice) -> Components:
        at = np.arange(rows.start, rows.stop) // _UP
        return log_gate[draws][:, at], {
            name: np.broadcast_to(values, log_gate.shape)[draws][:, at] for name, values in parameters.items()
        }

    return replace(mixture, rows=mixture.rows * _UP, components=looked_up)
