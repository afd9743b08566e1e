"""Which power of y: none, the square root or the learned one, by leave-one-out densities of a kernel mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..data import Data
from ..inference.settings import generator
from ..smoothing import fit_smoother
from ..transforms import Power
from .validation import lead

ITSELF, ROOT = "y itself", "the square root of y"
_ROLE, _ROWS, _MOST_COLUMNS = 41, 300, 20
_DOUBT = 2.0
_LEAST, _MOST = 0.25, 1.5  # powers beyond send a wide component back to absurd values of y


def candidates(data: Data) -> dict[str, Power | None]:
    """Return the powers that are tried, by their words: y itself alone unless all of y is above 0."""
    found: dict[str, Power | None] = {ITSELF: None}
    if data.y.min() <= 0:
        return found
    found[ROOT] = Power(0.5)
    x = data.scaling.standardise_x(data.table.values)
    learned = Power().met(x, data.y, data.weights).known
    learned = float(np.clip(learned, _LEAST, _MOST))
    if abs(learned - 1.0) > 0.1 and abs(learned - 0.5) > 0.1:
        found[f"the power {learned:g} of y"] = Power(learned)
    return found


def power_scores(data: Data, tried: Mapping[str, Power | None], seed: int) -> dict[str, np.ndarray]:
    """Return log densities of y left out, one by one, under a kernel mean of every power, on 300 rows at most."""
    rows = generator(seed, _ROLE).permutation(len(data.y))[:_ROWS]
    used = [j for j, name in enumerate(data.table.names) if name not in data.dropped][:_MOST_COLUMNS]
    x = np.asarray(data.scaling.standardise_x(data.table.values))[np.ix_(rows, used)]
    out = {}
    for name, power in tried.items():
        y = data.y[rows] if power is None else power.forward(data.y[rows])
        center, scale = y.mean(), y.std()
        if not scale > 0:
            continue
        z = (y - center) / scale
        loo = fit_smoother(x, z).leave_one_out(z)
        density = -0.5 * (np.log(2.0 * np.pi * loo.variance) + (z - loo.mean) ** 2 / loo.variance) - np.log(scale)
        out[name] = density + (0.0 if power is None else power.log_slope(data.y[rows]))
    return out


def preferred(scores: Mapping[str, np.ndarray]) -> str:
    """Return the power to use: the square root, unless others lead it by more than two errors; of these the best.

    On data of y > 0 the square root has been better or no worse nearly always, which one sample of 300 rows cannot
    tell so well. A learned power that does no better than y itself, where that leads too, is a number more to explain.
    """
    better = [name for name in scores if name != ROOT and _leads(scores, name, ROOT)] if ROOT in scores else [*scores]
    if not better:
        return ROOT
    best = max(better, key=lambda name: float(scores[name].mean()))
    return ITSELF if ITSELF in better and not _leads(scores, best, ITSELF) else best


def _leads(scores: Mapping[str, np.ndarray], one: str, other: str) -> bool:
    gain, error = lead(scores[one], scores[other])
    return gain > _DOUBT * error
