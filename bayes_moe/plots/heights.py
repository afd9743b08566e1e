"""The values of y at which a density is drawn: no further than y can go, and whole where it is counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..families import Joint, Support
from ..posterior.blend import Blend, predictive_moments
from ..posterior.mixtures import MixtureDraws
from ..posterior.predictive import Predictive
from .along import Along, data_range

UP = 200
"""How many heights there are; of counts, at most."""
_MOST_ROOM = 0.4
_WHOLE = (Support.COUNT, Support.BINARY)
_ENDS = {
    Support.POSITIVE: (0.0, np.inf),
    Support.UNIT: (0.0, 1.0),
    Support.COUNT: (0.0, np.inf),
    Support.BINARY: (0.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Heights:
    """Evenly spaced values of y.

    Parameters
    ----------
    y
        (h,) where values are drawn, ascending.
    at
        (h,) where they are taken: there, but half a step inside an end that y never reaches.
    whole
        Whether y is counts, so that values are probabilities.
    """

    y: np.ndarray
    at: np.ndarray
    whole: bool

    @property
    def limits(self) -> tuple[float, float]:
        """The limits of an axis that shows them; of counts, with the cells around them."""
        half = 0.5 * (self.y[1] - self.y[0]) if self.whole else 0.0
        return float(self.y[0] - half), float(self.y[-1] + half)


def heights(fit: Predictive, path: Along, mixture: MixtureDraws | Blend) -> Heights:
    """Return heights over the data and two predictive standard deviations, within reason and within the support.

    Parameters
    ----------
    fit, path
        What is drawn, and along which column.
    mixture
        Its distribution of the output that is drawn, along the path.
    """
    low, high = _wanted(fit, path, mixture)
    ends, whole = _ends(fit, path)
    least, most = ends.min(), ends.max()
    if whole:
        return _counts(max(np.floor(low), least), min(np.ceil(high), most))
    y = np.linspace(max(low, least), min(high, most), UP)
    half = 0.5 * (y[1] - y[0])
    return Heights(y, np.clip(y, least + half, most - half), whole=False)


def _wanted(fit: Predictive, path: Along, mixture: MixtureDraws | Blend) -> tuple[float, float]:
    """Return the lowest and the highest y of interest."""
    low, high = data_range(fit, path)
    mean, variance = predictive_moments(mixture)
    spread = np.sqrt(variance)
    room = _MOST_ROOM * (high - low)
    return (
        max(low - room, min(low, (mean - 2 * spread).min())),
        min(high + room, max(high, (mean + 2 * spread).max())),
    )


def _counts(low: float, high: float) -> Heights:
    """Return all whole numbers between two, or every second, third, ... where they are more than are told apart."""
    high = max(high, low + 1.0)
    step = np.ceil((high - low) / (UP - 1))
    y = low + step * np.arange(np.round((high - low) / step) + 1.0)
    return Heights(y, y, whole=True)


def _ends(fit: Predictive, path: Along) -> tuple[np.ndarray, bool]:
    """Return the ends (e, 2) of what y can be under every expert of every fit, and whether it is counts.

    Trials are those along the path, or more where rows have more successes.
    """
    ends = []
    for model in (one.model for one, _ in fit.weighed):
        for expert in model.experts:
            family = expert.family
            if isinstance(family, Joint) and path.output is not None:
                family = family.families[path.output]
            least, most = _ENDS.get(family.support, (-np.inf, np.inf)) if model.target is None else (0.0, np.inf)
            if "trials" in family.given:
                column = fit.data.own.names.index(family.given["trials"])
                most = max(path.y[fit.data.weights > 0].max(), path.table[:, column].max())
            ends.append((least, most))
    return np.array(ends), family.support in _WHOLE
