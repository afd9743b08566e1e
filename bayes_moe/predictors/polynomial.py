"""Powers of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, Shared, check_predictor, check_shared


@dataclass(frozen=True)
class Polynomial(Predictor):
    r"""A polynomial in each column, without products between columns.

    .. math:: \eta_k = a_k + \sum_j \sum_{d=1}^{D} b_{kjd} \, \frac{\tilde x_j^d - m_{jd}}{s_{jd}}

    where x̃ is the standardised column and m, s standardise its powers over the training rows, so that one prior
    means the same for every power. Coefficients are reported for the raw powers of the raw columns.

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
        # the first power is standardised already; leaving it alone keeps it the very column that Linear uses
        centers, scales = [np.zeros(len(chosen))], [np.ones(len(chosen))]
        for power in range(2, self.degree + 1):
            values = raw**power
            mean = share @ values
            spread = np.sqrt(share @ (values - mean) ** 2)
            # a power that does not vary (a two-valued column centred at its mean) is left as it is
            centers.append(mean)
            scales.append(np.where(spread > 1e-12 * (1 + np.abs(mean)), spread, 1.0))
        return _PolynomialBasis(
            tuple(columns.names[j] for j in chosen),
            self.degree,
            np.array(chosen, dtype=np.int64),
            np.array([columns.center[j] for j in chosen]),
            np.array([columns.scale[j] for j in chosen]),
            tuple(centers),
            tuple(scales),
            columns.tied(self.shared, chosen, "Polynomial"),
        )


@dataclass(frozen=True, eq=False)
class _PolynomialBasis(Basis):
    columns: tuple[str, ...]
    degree: int
    positions: Any
    center: np.ndarray
    scale: np.ndarray
    power_center: tuple[Any, ...]
    power_scale: tuple[Any, ...]
    tied: tuple[bool, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(
            name if power == 1 else f"{name}^{power}" for power in range(1, self.degree + 1) for name in self.columns
        )

    def blocks(self, table: Any) -> list[Any]:
        raw = table[:, self.positions]
        return [
            raw if power == 1 else (raw**power - self.power_center[power - 1]) / self.power_scale[power - 1]
            for power in range(1, self.degree + 1)
        ]

    def to_user(self) -> np.ndarray:
        width = len(self.columns)
        back = np.zeros((1 + width * self.degree, 1 + width * self.degree))
        back[0, 0] = 1.0
        for power in range(1, self.degree + 1):
            for j in range(width):
                column = 1 + (power - 1) * width + j
                unit = 1.0 / self.power_scale[power - 1][j]
                back[0, column] -= self.power_center[power - 1][j] * unit
                # ((x - c)/s)^power by the binomial theorem
                for lower in range(power + 1):
                    term = comb(power, lower) * (-self.center[j]) ** (power - lower) / self.scale[j] ** power * unit
                    row = 0 if lower == 0 else 1 + (lower - 1) * width + j
                    back[row, column] += term
        return back

    def slope_units(self) -> np.ndarray:
        return np.ones(len(self.names))

    def pooled(self) -> np.ndarray:
        return np.tile(np.array(self.tied, dtype=bool), self.degree)
