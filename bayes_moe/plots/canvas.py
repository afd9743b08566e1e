"""What all plots share: axes to draw in, and a colour for each expert."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties

from ..posterior.fit import Fit

INK = "#222222"
"""Lines and words."""
GREY = "#8a8a8a"
"""What stands behind."""
ALARM = "#b2182b"
"""What went wrong."""

_HANDLE, _LETTER = 0.35, 0.062
"""Width of a legend's entry, in inches, and of one letter of it."""

_AMBIGUOUS = "labels are ambiguous: what is said of one expert means little"

_EXPERTS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C6D31",
    "#332288",
)
"""Okabe and Ito (2008), without black and with darker colours for yellow: told apart without colour vision too."""


def canvas(ax: Axes | None, *, width: float = 7.2, height: float = 4.4) -> Axes:
    """Return the axes to draw in: those given, or new ones in a figure of their own."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    return ax


def expert_colours(experts: int) -> np.ndarray:
    """Return a colour for each expert, (K, 3): the same ones in every plot.

    Above eight experts the colours come from a rainbow, which colour-blind readers cannot tell apart.

    Examples
    --------
    >>> expert_colours(3).shape
    (3, 3)
    """
    if experts <= len(_EXPERTS):
        return np.array([to_rgb(colour) for colour in _EXPERTS[:experts]])
    return np.asarray(mpl.colormaps["turbo"](np.linspace(0.04, 0.96, experts)))[:, :3]


def note_labels(fit: Fit, ax: Axes) -> None:
    """Say above the axes that experts cannot be told apart, where that is so: over the legend, if there is one.

    Narrow axes have room for the half that matters.
    """
    if not fit.labels.ambiguous:
        return
    words = _AMBIGUOUS if _room(ax) > _LETTER * len(_AMBIGUOUS) else _AMBIGUOUS.split(":")[0]
    legend = ax.get_legend()
    if legend is None:
        ax.set_title(words, fontsize="small", color=ALARM)
        return
    legend.set_title(words, prop=FontProperties(size="small"))
    legend.set_alignment("left")
    legend.get_title().set_color(ALARM)


def legend(ax: Axes) -> None:
    """Put a legend without a frame above the axes, in as many columns as fit."""
    labels = ax.get_legend_handles_labels()[1]
    columns = int(_room(ax) / (_HANDLE + _LETTER * max(len(label) for label in labels)))
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=min(max(columns, 1), len(labels)),
        frameon=False,
        fontsize="small",
        borderaxespad=0.2,
        columnspacing=1.4,
        handlelength=1.6,
    )


def _room(ax: Axes) -> float:
    """Return the width of the axes in inches, before they are laid out."""
    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    return float(ax.get_position().width * ax.figure.bbox.width / figure.dpi)
