"""How often intervals hold the truth, and how wide they are beside intervals that would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from .judge import FAR
from .ranks import DRAWS

KINDS = ("predictions", "sizes and parameters")
_UNRELIABLE = {"laplace_unreliable", "vi_unreliable"}
_NARROW = 0.05
_SHIFT = 0.15


class Widths(NamedTuple):
    """What the central intervals of one kind of quantities come to.

    Parameters
    ----------
    held
        Share of the replications whose intervals of 50 and 90 % hold the truth, a mean over quantities.
    sound
        The share of 90 % intervals again, of those fits alone whose k-hat is good; NaN if that is all or none.
    worst
        The least share of 90 % intervals, and of which quantity.
    share
        Width of the 90 % intervals beside that of intervals that would hold the truth in 90 %, were all normal: 0.8
        says that standard deviations are four fifths of what they should be.
    shift
        Mean z-score that is furthest from 0, and of which quantity.
    """

    held: tuple[float, float]
    sound: float
    worst: tuple[float, str]
    share: float
    shift: tuple[float, str]

    @property
    def words(self) -> str:
        """The same in words."""
        off = self.share - 1.0
        text = "as wide as they should be"
        if abs(off) > _NARROW:
            text = f"{abs(off):.0%} too {'narrow' if off < 0 else 'wide'}"
        if abs(self.shift[0]) > _SHIFT:
            text += f"; {self.shift[1]} is too {'low' if self.shift[0] < 0 else 'high'} by {abs(self.shift[0]):.1f} sd"
        return text


def held(ranks: np.ndarray, prob: float) -> float:
    """Return the share of truths in the central interval of ``prob`` of `DRAWS` draws, from their ranks.

    A rank stands for the part of (0, 1) between its own and the next; an interval's end may cut it.
    """
    ends = np.arange(DRAWS + 2) / (DRAWS + 1)
    low, high = (1 - prob) / 2, (1 + prob) / 2
    inside = np.clip(np.minimum(ends[1:], high) - np.maximum(ends[:-1], low), 0.0, None) * (DRAWS + 1)
    return float(inside[ranks].mean())


def widths(replications: Sequence[dict[str, Any]]) -> dict[str, Widths]:
    """Return what intervals come to, by kind of quantity; log densities are of neither kind."""
    judged = [one for one in replications if "rank" in one]
    names = [name for name in judged[0]["rank"] if not name.startswith("log ")] if judged else []
    of_kind = {KINDS[0]: [name for name in names if _of_predictions(name)]}
    of_kind[KINDS[1]] = [name for name in names if not _of_predictions(name)]
    return {kind: _widths(judged, chosen) for kind, chosen in of_kind.items() if chosen}


def _of_predictions(name: str) -> bool:
    return name.startswith(("mean at", "sd at", "P("))


def _widths(judged: Sequence[dict[str, Any]], names: Sequence[str]) -> Widths:
    ranks = {name: np.array([one["rank"][name] for one in judged]) for name in names}
    nine = {name: held(values, 0.9) for name, values in ranks.items()}
    share = norm.ppf(0.5 + 0.5 * np.mean(list(nine.values()))) / norm.ppf(0.95)
    worst = min(names, key=lambda name: nine[name])
    z = {name: float(np.mean(np.clip([one["z"][name] for one in judged], -FAR, FAR))) for name in names}
    shift = max(names, key=lambda name: abs(z[name]))
    half = float(np.mean([held(values, 0.5) for values in ranks.values()]))
    good = np.array([not _UNRELIABLE & set(one["flags"]) for one in judged])
    sound = (
        float(np.mean([held(values[good], 0.9) for values in ranks.values()]))
        if good.any() and not good.all()
        else np.nan
    )
    return Widths(
        (half, float(np.mean(list(nine.values())))), sound, (nine[worst], worst), float(share), (z[shift], shift)
    )
