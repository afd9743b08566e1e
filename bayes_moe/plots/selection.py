"""How far every model of a choice lies behind the best."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..choosing.candidates import experts_text
from ..choosing.selection import NO_DIFFERENCE, Selection
from ..errors import SpecError
from .canvas import ALARM, GREY, INK, canvas

_CHOSEN = "#0072B2"


def selection(choice: Selection, *, ax: Axes | None = None) -> Axes:
    """Draw how far each model lies behind the best one, and which was chosen.

    By densities of rows left out: in nats, with the standard error of the difference as a bar; the smallest model is
    chosen whose bar reaches zero, or whose point lies in the grey strip of differences that tell nothing. By BIC or
    ICL: both, each less its lowest. Numbers of experts stand along the axis, names down it. A hollow point is a fit
    that did not converge.

    Parameters
    ----------
    choice
        What ``bm.select`` returned.
    ax
        Axes to draw in; None makes a figure.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> choice = bm.select(bm.MixtureOfExperts(1), data.X, data.y, range(1, 4), bm.EM(starts=4, seed=1), progress=False)
    >>> bm.plots.selection(choice).get_xlabel()
    'experts'
    """
    if not isinstance(choice, Selection):
        raise SpecError(f"choice: expected a selection, got {type(choice).__name__} → pass what bm.select returned")
    counted = all(isinstance(key, int) for key in choice.fits)
    keys = sorted(choice.fits) if counted else list(choice.fits)
    ax = canvas(ax) if counted else canvas(ax, height=1.2 + 0.45 * len(keys))
    places = np.array(keys, dtype=float) if counted else -np.arange(len(keys), dtype=float)
    if choice.pointwise is None:
        _information(ax, choice, keys, places, upright=counted)
    else:
        _left_out(ax, choice, keys, places, upright=counted)
    if counted:
        ax.set_xlabel("experts")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        ax.set_yticks(places, [str(key) for key in keys])
        ax.set_ylim(places.min() - 0.5, 0.5)
    first = choice.sentences[0]
    ax.set_title(first.split(":")[0].split(";")[0], fontsize="medium", loc="left")
    return ax


def _left_out(ax: Axes, choice: Selection, keys: list[int | str], places: np.ndarray, *, upright: bool) -> None:
    strip = ax.axhspan if upright else ax.axvspan
    strip(-NO_DIFFERENCE, 0.0, color="#ececec", zorder=0, linewidth=0)
    found = [choice.scores[key].behind(choice.scores[choice.leader]) for key in keys]
    behind, errors = np.array(found).T
    _line(ax, places, -behind, upright=upright, connected=upright, colour=GREY, label=None)
    for key, place, value, error in zip(keys, places, -behind, errors, strict=True):
        colour = _CHOSEN if key == choice.chosen else INK
        ends = (value - error, value + error)
        bar = ([place, place], ends) if upright else (ends, [place, place])
        ax.plot(*bar, color=colour, linewidth=1.4, solid_capstyle="butt", zorder=3)
        _point(ax, choice, key, place, value, upright=upright, colour=colour)
    best = experts_text(choice.leader) if isinstance(choice.leader, int) else choice.leader
    _zero(ax, f"elpd less that of {best} (nats, bar: one standard error)", upright=upright)


def _information(ax: Axes, choice: Selection, keys: list[int | str], places: np.ndarray, *, upright: bool) -> None:
    for name, colour in sorted((("BIC", INK), ("ICL", GREY)), key=lambda each: each[0] == choice.criterion.name):
        values = np.array([choice.scores[key].columns[name] for key in keys])
        values = values - values.min()
        ruled = name == choice.criterion.name
        _line(ax, places, values, upright=upright, connected=upright, colour=colour, label=name)
        for key, place, value in zip(keys, places, values, strict=True):
            chosen = ruled and key == choice.chosen
            _point(ax, choice, key, place, value, upright=upright, colour=_CHOSEN if chosen else colour)
    ax.legend(frameon=False, fontsize="small")
    _zero(ax, "criterion less its lowest (smaller is better)", upright=upright)


def _line(
    ax: Axes, places: np.ndarray, values: np.ndarray, *, upright: bool, connected: bool, colour: str, label: str | None
) -> None:
    across, up = (places, values) if upright else (values, places)
    ax.plot(
        across,
        up,
        linestyle="-" if connected else "none",
        marker="" if connected else "o",
        color=colour,
        linewidth=0.8,
        label=label,
        zorder=2,
    )


def _point(
    ax: Axes, choice: Selection, key: int | str, place: float, value: float, *, upright: bool, colour: str
) -> None:
    across, up = (place, value) if upright else (value, place)
    sound = choice.fits[key].status.converged
    ax.plot(
        [across],
        [up],
        "o",
        color=colour if sound else ALARM,
        markersize=9.0 if colour == _CHOSEN else 6.0,
        markerfacecolor=colour if sound else "white",
        zorder=4,
    )


def _zero(ax: Axes, title: str, *, upright: bool) -> None:
    if upright:
        ax.axhline(0.0, color=GREY, linewidth=0.8, zorder=1)
        ax.set_ylabel(title, fontsize="small")
    else:
        ax.axvline(0.0, color=GREY, linewidth=0.8, zorder=1)
        ax.set_xlabel(title, fontsize="small")
