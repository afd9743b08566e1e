"""Powers of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, Shared, check_predictor, check_shared

_FEW = 1000  # rows among which most columns show more distinct values than there are powers


@dataclass(frozen=True)
class Polynomial(Predictor):
    r"""A polynomial in each column, without products between columns.

    .. math:: \eta_k = a_k + \sum_j \sum_{d=1}^{D} b_{kjd} \, \frac{\tilde x_j^d - m_{jd}}{s_{jd}}

    where x̃ is the standardised column and m, s standardise its powers over the training rows, so that one prior
    means the same for every power. Coefficients are reported for the raw powers of the raw columns. A column of m
    distinct values has powers up to m - 1, which take every curve through them: one of 0 and 1 has no square.

    Parameters
    ----------
    degree
        Highest power D, 1 to 10.
    columns, intercept, slopes, shared
        As for `Linear`; a prior on the slopes is about the standardised powers.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If the degree is not an integer from 1 to 10 or another argument is of another kind.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Polynomial(2).degree
    2
    """

    degree: int
    columns: tuple[str | int, ...] | None = None
    intercept: Normal | None = None
    slopes: Normal | LearnedScale | None = None
    shared: Shared = False
    offset: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or not 1 <= self.degree <= 10:
            raise SpecError(f"Polynomial.degree: expected an integer from 1 to 10, got {self.degree!r} → lower it")
        check_predictor("Polynomial", self)
        object.__setattr__(self, "shared", check_shared("Polynomial", self.shared))

    @property
    def slopes_prior(self) -> Normal | LearnedScale | None:
        return self.slopes

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        chosen = columns.positions(self.columns, "Polynomial")
        counted = weights > 0
        raw = table[np.ix_(counted, chosen)]
        share = weights[counted] / weights.sum()
        powers = np.array([_powers(raw[:, j], self.degree) for j in range(len(chosen))], dtype=np.int64)
        # the first power is standardised already; leaving it alone keeps it the very column that Linear uses
        used, centers, scales = [np.arange(len(chosen))], [np.zeros(len(chosen))], [np.ones(len(chosen))]
        for power in range(2, max(powers, default=1) + 1):
            used.append(np.flatnonzero(powers >= power))
            values = raw[:, used[-1]] ** power
            mean = share @ values
            centers.append(mean)
            scales.append(np.sqrt(share @ (values - mean) ** 2))
        places = np.array(chosen, dtype=np.int64)
        return _PolynomialBasis(
            tuple(columns.names[j] for j in chosen),
            tuple((power, j) for power, who in enumerate(used, start=1) for j in who.tolist()),
            tuple(places[who] for who in used),
            np.array([columns.center[j] for j in chosen]),
            np.array([columns.scale[j] for j in chosen]),
            tuple(centers),
            tuple(scales),
            columns.tied(self.shared, chosen, "Polynomial"),
        )


def _powers(values: np.ndarray, degree: int) -> int:
    """Return how many powers of a column there are to tell apart."""
    first = len(np.unique(values[:_FEW]))
    distinct = first if first > degree else len(np.unique(values))
    return max(1, min(degree, distinct - 1))


@dataclass(frozen=True, eq=False)
class _PolynomialBasis(Basis):
    """``powers`` are (power, column) of every basis column; positions, centres and scales are there for every power."""

    columns: tuple[str, ...]
    powers: tuple[tuple[int, int], ...]
    positions: tuple[Any, ...]
    center: np.ndarray
    scale: np.ndarray
    power_center: tuple[Any, ...]
    power_scale: tuple[Any, ...]
    tied: tuple[bool, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns[j] if power == 1 else f"{self.columns[j]}^{power}" for power, j in self.powers)

    def blocks(self, table: Any) -> list[Any]:
        each = zip(self.positions, self.power_center, self.power_scale, strict=True)
        return [
            table[:, used] if power == 1 else (table[:, used] ** power - center) / scale
            for power, (used, center, scale) in enumerate(each, start=1)
        ]

    def to_user(self) -> np.ndarray:
        row = {key: 1 + place for place, key in enumerate(self.powers)}
        back = np.zeros((1 + len(row), 1 + len(row)))
        back[0, 0] = 1.0
        centers, scales = np.concatenate(self.power_center), np.concatenate(self.power_scale)
        for ((power, j), column), center, scale in zip(row.items(), centers, scales, strict=True):
            back[0, column] -= center / scale
            # ((x - c)/s)^power by the binomial theorem
            for lower in range(power + 1):
                term = comb(power, lower) * (-self.center[j]) ** (power - lower) / (self.scale[j] ** power * scale)
                back[0 if lower == 0 else row[lower, j], column] += term
        return back

    def slope_units(self) -> np.ndarray:
        return np.ones(len(self.names))

    def pooled(self) -> np.ndarray:
        return np.array([self.tied[j] for _, j in self.powers], dtype=bool)
