"""Experts' lines that are seen only where the gate lets them count."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ..posterior.fit import Fit
from .along import Along
from .canvas import expert_colours


def expert_lines(
    ax: Axes, x: np.ndarray, means: np.ndarray, gate: np.ndarray, *, width: float, opacity: float = 1.0
) -> None:
    """Draw each expert's mean along x with the opacity of its gate probability.

    Parameters
    ----------
    ax
        Where to.
    x
        (g,) places.
    means, gate
        (g, K) the experts' means and probabilities there.
    width
        Of the lines, in points.
    opacity
        Of a line whose expert is certain.

    Notes
    -----
    The lines leave the limits of the axes alone: an expert may be anywhere where it counts for nothing.
    """
    for expert, colour in enumerate(expert_colours(means.shape[1])):
        ends = np.column_stack([x, means[:, expert]])
        shades = np.empty((len(x) - 1, 4))
        shades[:, :3] = colour
        shades[:, 3] = opacity * 0.5 * (gate[1:, expert] + gate[:-1, expert])
        drawn = LineCollection(
            np.stack([ends[:-1], ends[1:]], axis=1),  # type: ignore[arg-type]
            colors=shades,
            linewidths=width,
            capstyle="butt",
            zorder=4,
            label=f"_expert {expert}",
        )
        ax.add_collection(drawn, autolim=False)


def gates_along(fit: Fit, path: Along, most: int) -> np.ndarray:
    """Return gate probabilities (s, g, K) of at most ``most`` draws, evenly spread."""
    mixture = fit.mixture(path.table)
    step = -(-mixture.draws // most)
    log_gate, _ = mixture.components(slice(0, mixture.rows), slice(0, mixture.draws, step))
    return np.asarray(np.exp(log_gate))


def draws_along(fit: Fit, path: Along, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gate, experts' means and standard deviations (s, g, K) of at most ``most`` draws, evenly spread."""
    mixture = path.mixture(fit.mixture(path.table))
    step = -(-mixture.draws // most)
    log_gate, parameters = mixture.components(slice(0, mixture.rows), slice(0, mixture.draws, step))
    mean = mixture.family.mean(**parameters)
    deviation = np.sqrt(mixture.family.variance(**parameters))
    return np.exp(log_gate), np.broadcast_to(mean, log_gate.shape), np.broadcast_to(deviation, log_gate.shape)
