"""Products of pairs of columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, check_flag, check_predictor

_MOST = 2000


@dataclass(frozen=True)
class Products(Predictor):
    r"""Products of every pair of columns, without the columns themselves.

    .. math:: \eta_k = a_k + \sum_{i < j} b_{kij} \, \frac{\tilde x_i \tilde x_j - m_{ij}}{s_{ij}}

    where x̃ are standardised columns and m, s standardise their products over the training rows. It is meant to stand
    beside the columns: ``bm.Sum((bm.Linear(), bm.Products()))``. Coefficients are reported for the products of the raw
    columns less their means, ``x:z``. Levels of one column have no products with each other.

    Parameters
    ----------
    columns, intercept, slopes
        As for `Linear`; a prior on the slopes is about the standardised products.
    shared
        True when all equal experts share the coefficients.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If an argument is of another kind, or there are more than 2000 pairs.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Sum((bm.Linear(), bm.Products(columns=("dose", "age")))).claimed()
    ('dose', 'age')
    """

    columns: tuple[str | int, ...] | None = None
    intercept: Normal | None = None
    slopes: Normal | LearnedScale | None = None
    shared: bool = False
    offset: str | None = None

    def __post_init__(self) -> None:
        check_predictor("Products", self)
        check_flag("Products", "shared", self.shared)

    @property
    def slopes_prior(self) -> Normal | LearnedScale | None:
        return self.slopes

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        chosen = columns.positions(self.columns, "Products")
        sources = columns.sources or columns.names
        # two levels of one column are never both there
        pairs = tuple((i, j) for i, j in combinations(chosen, 2) if sources[i] != sources[j])
        if len(pairs) > _MOST:
            raise SpecError(
                f"Products.columns: expected at most {_MOST} pairs, got {len(pairs)} of {len(chosen)} columns → name "
                "fewer columns with columns="
            )
        first, second = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in range(2))
        share = np.where(weights > 0, weights, 0.0) / weights.sum()
        counted = weights > 0
        values = table[np.ix_(counted, first)] * table[np.ix_(counted, second)]
        center = share[counted] @ values
        spread = np.sqrt(share[counted] @ (values - center) ** 2)
        varies = spread > 1e-12 * (1.0 + np.abs(center))  # the product of a 0/1 column with its mirror does not
        scale = np.array(columns.scale)
        return _ProductsBasis(
            tuple(f"{columns.names[i]}:{columns.names[j]}" for i, j in pairs),
            first,
            second,
            center,
            np.where(varies, spread, 1.0),
            scale[first] * scale[second],
        )


@dataclass(frozen=True, eq=False)
class _ProductsBasis(Basis):
    pairs: tuple[str, ...]
    first: Any
    second: Any
    center: Any
    spread: Any
    units: Any

    @property
    def names(self) -> tuple[str, ...]:
        return self.pairs

    def blocks(self, table: Any) -> list[Any]:
        return [(table[:, self.first] * table[:, self.second] - self.center) / self.spread]

    def to_user(self) -> np.ndarray:
        back = np.eye(1 + len(self.pairs))
        back[0, 1:] = -self.center / self.spread
        back[1:, 1:] = np.diag(1.0 / (self.spread * self.units))
        return back

    def slope_units(self) -> np.ndarray:
        return np.ones(len(self.pairs))
