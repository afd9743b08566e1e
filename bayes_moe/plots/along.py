"""The rows a plot is drawn along: one column varies, the others are held at their medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ..errors import InputError, SpecError, nearest
from ..posterior.fit import Fit
from ..posterior.mixtures import MixtureDraws, marginal
from ..posterior.predictive import Predictive
from .canvas import INK

POINTS = 300
"""Places along the column."""
_NAMED = 3
_MARGIN = 0.02
_MOST_POINTS = 5000
_PALE, _OPAQUE = 0.2, 0.9


@dataclass(frozen=True, eq=False)
class Along:
    """A path through the covariates on which one column varies.

    Parameters
    ----------
    column
        Position of that column in the training table.
    x
        (g,) its values, ascending.
    table
        (g, p) the rows, in the column order of training.
    title
        What the axis says: the column, and where the others are held.
    y, y_name
        (n,) the training target, or the one output of several that is drawn, and its name.
    output
        Position of that output, or None where there is one.
    """

    column: int
    x: np.ndarray
    table: np.ndarray
    title: str
    y: np.ndarray
    y_name: str
    output: int | None = None

    def own(self, values: xr.DataArray) -> np.ndarray:
        """Return what a fit predicts of the output that is drawn."""
        return np.asarray(values if self.output is None else values.isel(output=self.output))

    def mixture(self, whole: MixtureDraws) -> MixtureDraws:
        """Return the mixture of the output that is drawn."""
        return whole if self.output is None else marginal(whole, self.output)


def along(fit: Predictive, column: str | int | None, *, points: int = POINTS, output: str | int | None = None) -> Along:
    """Return evenly spaced rows over the range that a column has in training.

    Numbers of trials are rounded to whole ones: there is no other distribution of them.

    Parameters
    ----------
    fit
        A fit.
    column
        Name or position of the column; None: the first.
    points
        How many rows.
    output
        Name or position of the output to draw; None: the first.

    Raises
    ------
    InputError
        If there is no such column or output, or no column at all.
    """
    place = position(fit, column)
    table, names = np.asarray(fit.data.own.values)[fit.data.weights > 0], fit.data.own.names
    low, high = table[:, place].min(), table[:, place].max()
    margin = _MARGIN * (high - low) if high > low else 0.5
    trials, sizes = _trials_and_sizes(fit)
    x = np.linspace(max(low - margin, 0.5 * low) if place in sizes else low - margin, high + margin, points)
    rows = np.tile(np.median(table, axis=0), (points, 1))
    rows[:, place] = x
    rows[:, trials] = rows[:, trials].round()
    others = [(names[j], rows[0, j]) for j in range(len(names)) if j != place]
    at = _output(fit, output)
    y, name = (fit.data.y, fit.data.y_name) if at is None else (fit.data.y[:, at], fit.data.outputs[at])
    return Along(place, x, rows, names[place] + _held(others), y, name, at)


def _trials_and_sizes(fit: Predictive) -> tuple[list[int], list[int]]:
    """Return the positions of columns of trials, which are whole, and of trials and exposures, which keep a sign."""
    extras = [one.bound.extras for one, _ in fit.weighed]
    trials = {column for each in extras for _, column in each.given}
    exposures = {offset.column for each in extras for offset in each.offsets if offset.logarithm}
    return sorted(trials), sorted(trials | exposures)


def _output(fit: Predictive, output: str | int | None) -> int | None:
    names = fit.data.outputs
    if not names and output is None:
        return None
    if output is None:
        return 0
    if isinstance(output, str) and output in names:
        return names.index(output)
    if isinstance(output, int) and not isinstance(output, bool) and 0 <= output < len(names):
        return output
    raise InputError(
        f"output: expected {f'one of {list(names)}' if names else 'None, since y has one output'}, got {output!r} → "
        f"{'name one' if names else 'leave it out'}"
    )


def refuse_labels(fit: Predictive, plot: str) -> None:
    """Refuse to draw what labels do not have: means and densities."""
    check_predictive(fit)
    if fit.data.classes:
        raise SpecError(
            f"{plot}: expected a target that is a number, got labels → bm.plots.predictive draws their probabilities"
        )


def position(fit: Predictive, column: str | int | None) -> int:
    """Return the position of a column in the training table; see `along`."""
    check_predictive(fit)
    names = fit.data.own.names
    if not names:
        raise InputError(
            "fit: expected a fit with a column to draw along, got one without covariates → plot fit.sample"
        )
    if column is None:
        return 0
    if isinstance(column, str) and column in names:
        return names.index(column)
    if isinstance(column, int) and not isinstance(column, bool) and 0 <= column < len(names):
        return column
    hint = nearest(column, names) if isinstance(column, str) else ""
    raise InputError(
        f"column: expected one of {list(names)} or a position below {len(names)}, got {column!r}{hint} → name a column"
    )


def check_fit(fit: object) -> None:
    """Refuse anything that is not one fit, with experts of its own."""
    check_predictive(fit)
    if not isinstance(fit, Fit):
        raise SpecError(
            f"fit: expected one fit, got {type(fit).__name__}, which has no experts → pass one of its .fits"
        )


def check_predictive(fit: object) -> None:
    """Refuse anything that is neither a fit nor an average of fits."""
    if not isinstance(fit, Predictive):
        raise SpecError(f"fit: expected a fit, got {type(fit).__name__} → pass what bm.fit returned")


def scatter(
    fit: Predictive,
    ax: Axes,
    path: Along,
    *,
    colours: np.ndarray | None = None,
    rims: np.ndarray | None = None,
    size: float = 16.0,
    fading: bool = True,
    label: str | None = None,
) -> None:
    """Draw the rows of positive weight, their areas in proportion to their weights.

    Of more than 5000 rows, 5000 are drawn, evenly spread over the table.

    Parameters
    ----------
    fit, ax, path
        What, where to, and along which column.
    colours
        (n, 3) a colour for each row; None: that of ink.
    rims
        (n, 4) a colour for each row's rim; None: no rims.
    size
        Area of a point, in square points, where rows are few.
    fading
        Whether points are the paler the farther their other columns are from where the path holds them.
    label
        For the legend; None: not in it.
    """
    rows = shown_rows(fit)
    weights = fit.data.weights[rows]
    opacity = _nearness(fit, path)[rows] if fading else np.full(len(rows), _OPAQUE)
    crowd = min(1.0, (300.0 / len(rows)) ** 0.35)
    ax.scatter(
        np.asarray(fit.data.own.values)[rows, path.column],
        path.y[rows],
        s=size * max(crowd, 0.3) * weights / weights.mean(),
        c=INK if colours is None else colours[rows],
        alpha=opacity * max(crowd, 0.35),
        edgecolors="none" if rims is None else list(rims[rows]),
        linewidths=0.0 if rims is None else 0.5,
        rasterized=len(rows) > 1000,
        zorder=3,
        label=label,
    )


def data_range(fit: Predictive, path: Along) -> tuple[float, float]:
    """Return limits for an axis of y that shows all rows."""
    y = path.y[fit.data.weights > 0]
    room = 0.06 * (y.max() - y.min()) or 1.0
    return float(y.min() - room), float(y.max() + room)


def shown_rows(fit: Predictive) -> np.ndarray:
    """Return the positions of the rows that plots draw."""
    rows = np.flatnonzero(fit.data.weights > 0)
    if len(rows) <= _MOST_POINTS:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, _MOST_POINTS).round().astype(int)])


def _nearness(fit: Predictive, path: Along) -> np.ndarray:
    """Return an opacity for each row: how near its other columns are to the path, in their standard deviations."""
    others: np.ndarray = np.delete(np.asarray(fit.data.own.values), path.column, axis=1)
    held = np.delete(path.table[0], path.column)
    spread = others.std(axis=0)
    used = spread > 0
    if not used.any():
        return np.full(len(others), _OPAQUE)
    distance: np.ndarray = np.mean(((others[:, used] - held[used]) / spread[used]) ** 2, axis=1)
    return np.asarray(_PALE + (_OPAQUE - _PALE) * np.exp(-0.5 * distance))


def _held(others: Sequence[tuple[str, float]]) -> str:
    if not others:
        return ""
    if len(others) > _NAMED:
        return f"   (the other {len(others)} columns at their medians)"
    values = ", ".join(f"{name} = {value:.3g}" for name, value in others)
    return f"   ({values}, {'its median' if len(others) == 1 else 'their medians'})"
