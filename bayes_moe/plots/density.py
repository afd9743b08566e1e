"""The predictive density as a heat map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from ..errors import NumericalError
from ..posterior.blend import Blend, log_density, marginal
from ..posterior.mixtures import Components, MixtureDraws
from ..posterior.predictive import Predictive
from .along import along, refuse_labels, scatter
from .canvas import canvas
from .heights import heights

_ACROSS = 200
_MOST_DRAWS = 400
_DECADES = 3.0


def density(
    fit: Predictive, *, column: str | int | None = None, output: str | int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the predictive density p(y | x) over x and y, with the data on top.

    The colours are those of the logarithm, over three powers of ten below the highest density, so that tails
    and lesser modes are seen. The map ends where y does: at 0, at 1, at the number of trials. Of more than 400 draws,
    400 evenly spread ones are averaged.

    Of counts it is the probability that is drawn, in a cell around each; where they reach so far that cells could not
    be told apart, around every second, third, ... count, the probability of that one alone.

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
    NumericalError
        If the density is 0 in all places of the map, or infinite.

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
    whole = fit.mixture(path.table)
    mixture = _thinned(whole if path.output is None else marginal(whole, path.output))
    up = heights(fit, path, mixture)
    values = _values(mixture, up.at)
    norm = LogNorm(values.max() * 10.0**-_DECADES, values.max(), clip=True)
    ax = canvas(ax)
    mesh = ax.pcolormesh(
        path.x,
        up.y,
        values,
        norm=norm,
        cmap="magma",
        shading="nearest" if up.whole else "gouraud",
        rasterized=True,
        zorder=0,
    )
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, extend="min")
    bar.set_label("predictive probability" if up.whole else "predictive density, per unit of y")
    rows = len(fit.data.y)
    scatter(fit, ax, path, colours=np.ones((rows, 3)), rims=np.tile((0.0, 0.0, 0.0, 0.8), (rows, 1)), size=9.0)
    ax.set(xlabel=path.title, ylabel=path.y_name, xlim=(path.x[0], path.x[-1]), ylim=up.limits)
    if up.whole:
        ax.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    return ax


def _values(mixture: MixtureDraws | Blend, y: np.ndarray) -> np.ndarray:
    """Return the density (heights, places) at every height in every place."""
    found = log_density(_repeated(mixture, len(y)), np.tile(y, mixture.rows))
    values: np.ndarray = np.exp(found).reshape(mixture.rows, len(y)).T
    if not 0.0 < values.max() * 10.0**-_DECADES < np.inf:
        raise NumericalError(
            f"density: expected a highest value above 0 and finite, got {values.max():.3g} on {len(y)} by "
            f"{mixture.rows} places: it may be narrower than their distance → draw bm.plots.predictive, whose bands "
            "need no such places"
        )
    return values


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


def _repeated(mixture: MixtureDraws | Blend, times: int) -> MixtureDraws | Blend:
    """Return the mixture with every row so many times; gates are not computed again for each."""
    if isinstance(mixture, Blend):
        return Blend(tuple(_rows_repeated(part, times) for part in mixture.mixtures), mixture.weights)
    return _rows_repeated(mixture, times)


def _rows_repeated(mixture: MixtureDraws, times: int) -> MixtureDraws:
    log_gate, parameters = mixture.components(slice(0, mixture.rows), slice(0, mixture.draws))

    def looked_up(rows: slice, draws: slice) -> Components:
        at = np.arange(rows.start, rows.stop) // times
        return log_gate[draws][:, at], {
            name: np.broadcast_to(values, log_gate.shape)[draws][:, at] for name, values in parameters.items()
        }

    return replace(mixture, rows=mixture.rows * times, components=looked_up)
