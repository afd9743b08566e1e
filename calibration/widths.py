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
_CHANCE = 3.3
"""How many standard errors a finding must be from chance to be worth words."""


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
    errors
        Standard errors of the share that 90 % intervals hold, and of that mean z-score.
    """

    held: tuple[float, float]
    sound: float
    worst: tuple[float, str]
    share: float
    shift: tuple[float, str]
    errors: tuple[float, float]

    @property
    def words(self) -> str:
        """The same in words, but for what may be chance."""
        off = self.share - 1.0
        text = "as wide as they should be"
        if abs(off) > _NARROW and abs(self.held[1] - 0.9) > _CHANCE * self.errors[0]:
            text = f"{abs(off):.0%} too {'narrow' if off < 0 else 'wide'}"
        if abs(self.shift[0]) > max(_SHIFT, _CHANCE * self.errors[1]):
            text += f"; {self.shift[1]} is too {'low' if self.shift[0] < 0 else 'high'} by {abs(self.shift[0]):.1f} sd"
        return text


def held(ranks: np.ndarray, prob: float) -> np.ndarray:
    """Return which truths lie in the central interval of ``prob`` of `DRAWS` draws, from their ranks.

    A rank stands for the part of (0, 1) between it and the next; one that an interval's end cuts counts in part.
    """
    ends = np.arange(DRAWS + 2) / (DRAWS + 1)
    low, high = (1 - prob) / 2, (1 + prob) / 2
    inside = np.clip(np.minimum(ends[1:], high) - np.maximum(ends[:-1], low), 0.0, None) * (DRAWS + 1)
    return np.asarray(inside[ranks])


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
    ranks = np.array([[one["rank"][name] for name in names] for one in judged])
    z = np.clip([[one["z"][name] for name in names] for one in judged], -FAR, FAR)
    nine, count = held(ranks, 0.9), np.sqrt(len(judged))
    # one that holds all and one that holds nothing, so that few fits that agree are no certainty
    by_fit, worst = np.append(nine.mean(axis=1), [0.0, 1.0]), int(nine.mean(axis=0).argmin())
    shift = int(np.abs(z.mean(axis=0)).argmax())
    good = np.array([not _UNRELIABLE & set(one["flags"]) for one in judged])
    return Widths(
        held=(float(held(ranks, 0.5).mean()), float(nine.mean())),
        sound=float(nine[good].mean()) if good.any() and not good.all() else np.nan,
        worst=(float(nine.mean(axis=0)[worst]), names[worst]),
        share=float(norm.ppf(0.5 + 0.5 * nine.mean()) / norm.ppf(0.95)),
        shift=(float(z.mean(axis=0)[shift]), names[shift]),
        errors=(float(by_fit.std() / np.sqrt(len(by_fit))), float(z[:, shift].std() / count)),
    )
