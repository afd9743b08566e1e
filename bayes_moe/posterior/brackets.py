"""Brackets of roots of distribution functions, and the points at which to look next."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_moe.posterior.mixtures import Floats

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class Search:
    """The roots still looked for: arrays of one length, one element per pair of row and level.

    Where the distribution is on whole numbers, so are the points at which it is taken, and the root is the first of
    them that reaches the level.
    """

    pair: NDArray[np.int64]
    row: NDArray[np.int64]
    level: Floats
    low: Floats
    high: Floats
    low_seen: NDArray[np.bool_]
    high_seen: NDArray[np.bool_]
    unbounded: NDArray[np.bool_]
    x: Floats
    last_x: Floats
    last_cdf: Floats
    last_density: Floats
    whole: bool

    def only(self, which: NDArray[np.bool_]) -> Search:
        """Return the search for some of the roots."""
        values = (getattr(self, field.name) for field in fields(self))
        chosen: list[Any] = [value if isinstance(value, bool) else value[which] for value in values]
        return Search(*chosen)

    def narrowed(self, excess: Floats) -> Search:
        """Return the search with x as a bound: the lower one where F(x) < q."""
        under = excess < 0.0
        return replace(
            self,
            low=np.where(under, self.x, self.low),
            high=np.where(under, self.high, self.x),
            low_seen=self.low_seen | under,
            high_seen=self.high_seen | ~under,
        )

    def closed(self) -> NDArray[np.bool_]:
        """Return where no floating-point number, or no whole one, is left between the bounds."""
        after = np.floor(self.low) + 1.0 if self.whole else self.low
        return np.asarray(np.maximum(after, np.nextafter(self.low, np.inf)) >= self.high)

    def inside(self, x: Floats) -> Floats:
        """Return x as points to try: whole ones between the bounds, where only such can be the answer."""
        return np.clip(np.round(x), np.floor(self.low) + 1.0, self.high - 1.0) if self.whole else x

    def reopened(self) -> Search:
        """Return the search with first bounds that turned out wrong replaced by no bound.

        A bracket that closes on a bound at which F was never evaluated means that the family's variance
        is not that of its distribution function.
        """
        wrong = self.closed() & ~self.unbounded & ~(self.low_seen & self.high_seen)
        return replace(
            self,
            low=np.where(wrong & ~self.low_seen, -LARGEST, self.low),
            high=np.where(wrong & ~self.high_seen, LARGEST, self.high),
            unbounded=self.unbounded | wrong,
        )


def hermite(search: Search, cdf: Floats, density: Floats) -> Floats:
    """Return the cubic through x and dx/dF at the latest two points, taken at q; Newton's step without it."""
    newton = search.x + (search.level - cdf) / density
    width = cdf - search.last_cdf
    t = (search.level - cdf) / width
    slope, last_slope = width / density, width / search.last_density
    gap = search.last_x - search.x
    # The basis functions at t, measured from the latest point: its value, both slopes, the other value.
    change = t * (1.0 + t) ** 2 * slope + t**2 * (1.0 + t) * last_slope + t**2 * (3.0 + 2.0 * t) * gap
    usable = np.isfinite(change) & (np.abs(t) < 1.0)
    result: Floats = np.where(usable, search.x + change, newton)
    return result


def halfway(low: Floats, high: Floats, by_count: NDArray[np.bool_]) -> Floats:
    """Return the mean of the bounds, or where asked the number with as many floats on either side."""
    below, above = _rank(low), _rank(high)
    rank = (below >> 1) + (above >> 1) + (below & above & 1)
    middle = np.copysign(np.abs(rank).view(np.float64), rank)
    return np.where(by_count, middle, 0.5 * low + 0.5 * high)


def _rank(x: Floats) -> NDArray[np.int64]:
    """Return the place of every number among the floating-point numbers, 0 for 0."""
    bits = np.abs(x).view(np.int64)
    return np.where(x < 0.0, -bits, bits)
