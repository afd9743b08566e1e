"""Splines in the columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, Shared, check_predictor, check_shared

_MOST = 100
_CLOSEST = 1e-6  # share of a column's range that knots are apart at least


@dataclass(frozen=True)
class Spline(Predictor):
    r"""A smooth piecewise polynomial in each column, without products between columns.

    .. math:: \eta_k = a_k + \sum_j \frac{1}{s_j} \sum_{d=0}^{D} b_{kjd} \, (B_{jd}(x_j) - m_{jd}), \qquad
        \sum_d b_{kjd} = 0

    where B are the D + 1 B-splines of column j, m their means over the training rows and s² their variances, summed
    and divided by D. The coefficients, which sum to zero because the intercept is the constant, are an isometry of D
    independent ones, so that one prior means the same at every knot and x and -x give the same model. Knots are the
    training rows' range and D - ``degree`` quantiles within it; where values repeat so often that quantiles
    coincide, those of the distinct values. Beyond the range every B-spline goes on as the straight line that touches
    it there, and so do predictions: finite everywhere, without the wild turns of a polynomial.

    Coefficients are reported for the plain B-splines but the first, as for R's ``bs``: ``x[bs1]`` is what the second
    B-spline of x has more than the first, and the intercept is the value at the smallest training rows.

    Parameters
    ----------
    df
        Columns D for each column of the table: ``degree`` and one more for every knot inside the range; at most 100.
    degree
        Degree of the pieces, 1 (broken lines) to 5; 3 has two continuous derivatives.
    columns, shared
        As for `Linear`.
    intercept, slopes
        Priors as for `Linear`; the intercept's is about the average over the training rows, the slopes' about the
        D independent coefficients of the standardised B-splines.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If df or degree is out of range, a column has fewer than df + 1 distinct values, or another argument is of
        another kind.

    References
    ----------
    De Boor, C. (2001). A Practical Guide to Splines, revised edition. Springer.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Spline(5)
    Spline(df=5, degree=3, columns=None, intercept=None, slopes=None, shared=False, offset=None)
    """

    df: int
    degree: int = 3
    columns: tuple[str | int, ...] | None = None
    intercept: Normal | None = None
    slopes: Normal | LearnedScale | None = None
    shared: Shared = False
    offset: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or not 1 <= self.degree <= 5:
            raise SpecError(f"Spline.degree: expected an integer from 1 to 5, got {self.degree!r} → 3 is usual")
        if isinstance(self.df, bool) or not isinstance(self.df, int) or not self.degree <= self.df <= _MOST:
            raise SpecError(
                f"Spline.df: expected an integer from degree = {self.degree} to {_MOST}, got {self.df!r} → each knot "
                "inside the range adds one to the degree"
            )
        check_predictor("Spline", self)
        object.__setattr__(self, "shared", check_shared("Spline", self.shared))

    @property
    def slopes_prior(self) -> Normal | LearnedScale | None:
        return self.slopes

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        chosen = columns.positions(self.columns, "Spline")
        counted = weights > 0
        rows, share = table[np.ix_(counted, chosen)], weights[counted] / weights[counted].sum()
        names = tuple(columns.names[j] for j in chosen)
        inner = self.df - self.degree
        knots = np.zeros((len(chosen), 2 * (self.degree + 1) + inner))
        for j, name in enumerate(names):
            values = np.unique(rows[:, j])
            if len(values) <= self.df:
                raise SpecError(
                    f"Spline.df: expected at most {len(values) - 1} for column {name!r}, which has {len(values)} "
                    f"distinct values, got {self.df} → lower df, or leave the column out with columns="
                )
            inside = _quantiles(rows[:, j], share, inner)
            low, high = (np.full(self.degree + 1, end) for end in (values[0], values[-1]))
            knots[j] = np.concatenate([low, inside, high])
        found = _spline_basis(names, np.array(chosen, dtype=np.int64), self.degree, knots, (rows, share))
        return replace(found, tied=columns.tied(self.shared, chosen, "Spline"))


def _quantiles(values: np.ndarray, share: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` equally spaced quantiles: of the rows, or of the distinct values where those coincide."""
    distinct, where = np.unique(values, return_inverse=True)
    mass = np.bincount(where, weights=share)
    middle = np.cumsum(mass) - 0.5 * mass
    at = np.arange(1, count + 1) / (count + 1)
    out = np.interp(at, middle, distinct)
    gaps = np.diff(np.concatenate([distinct[:1], out, distinct[-1:]]))
    if gaps.min(initial=np.inf) < _CLOSEST * (distinct[-1] - distinct[0]):
        out = np.interp(at * (len(distinct) - 1), np.arange(len(distinct)), distinct)
    return np.asarray(out)


def _spline_basis(
    names: tuple[str, ...], positions: np.ndarray, degree: int, knots: np.ndarray, training: tuple[np.ndarray, ...]
) -> _SplineBasis:
    """Return the basis on given knots (columns, D + degree + 2), standardised over rows and their shares."""
    functions = knots.shape[1] - degree - 2
    upper = knots[:, 1:].copy()
    upper[:, functions] = np.inf  # the last piece includes its end
    inverses = []
    for order in range(1, degree + 1):
        width = knots[:, order:] - knots[:, :-order]
        inverses.append(np.divide(1.0, width, out=np.zeros_like(width), where=width > 0))
    # only the outermost B-splines and their neighbours have a slope at an end
    falling, rising = np.zeros((2, len(knots), functions + 1))
    falling[:, 1] = degree * inverses[-1][:, 1]
    falling[:, 0] = -falling[:, 1]
    rising[:, -1] = degree * inverses[-1][:, -2]
    rising[:, -2] = -rising[:, -1]
    plain = _SplineBasis(
        columns=names,
        degree=degree,
        functions=functions,
        positions=positions,
        low=knots[:, 0].copy(),
        high=knots[:, -1].copy(),
        knots=knots,
        upper=upper,
        inverses=tuple(inverses),
        falling=falling,
        rising=rising,
        center=np.zeros((len(knots), functions)),
        spread=np.ones(len(knots)),
    )
    rows, share = training
    values = plain.contrasts(plain.splines(rows))
    center = np.einsum("n,njd->jd", share, values)
    spread = np.sqrt(np.einsum("n,njd->j", share, (values - center) ** 2) / functions)
    return replace(plain, center=center, spread=spread)


@dataclass(frozen=True, eq=False)
class _SplineBasis(Basis):
    """B-splines by Cox and de Boor's recursion, all columns side by side; arrays (columns, functions or knots)."""

    columns: tuple[str, ...]
    degree: int
    functions: int
    positions: Any
    low: Any
    high: Any
    knots: Any
    upper: Any
    inverses: tuple[Any, ...]
    falling: Any
    rising: Any
    center: Any
    spread: Any
    tied: tuple[bool, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{name}[bs{d}]" for name in self.columns for d in range(1, self.functions + 1))

    def blocks(self, table: Any) -> list[Any]:
        values = (self.contrasts(self.splines(table[:, self.positions])) - self.center) / self.spread[:, None]
        return [values.reshape((values.shape[0], values.shape[1] * values.shape[2]))]

    def contrasts(self, splines: Any) -> Any:
        """Return columns (rows, columns, D) whose coefficients are those of D + 1 splines, summing to zero.

        They are an isometry of these: Q = I - 1/(r + r²) above -1/r, with r² = D + 1, up to constant columns.
        """
        return splines[:, :, :-1] - splines[:, :, -1][:, :, None] / (1.0 + (self.functions + 1) ** 0.5)

    def splines(self, rows: Any) -> Any:
        """Return the B-splines (rows, columns, D + 1) at rows of the columns alone."""
        x, low, high = rows[:, :, None], self.low[:, None], self.high[:, None]
        below, above = x < low, x > high
        # picked, not clipped by sums: far outside, x - (x - low) is not low
        inside = x * (x >= low) * (x <= high) + low * below + high * above
        values = (inside >= self.knots[:, :-1]) * (inside < self.upper)
        for order in range(1, self.degree + 1):
            inverse = self.inverses[order - 1]
            left = (inside - self.knots[:, : -order - 1]) * inverse[:, :-1] * values[:, :, :-1]
            right = (self.knots[:, order + 1 :] - inside) * inverse[:, 1:] * values[:, :, 1:]
            values = left + right
        beyond = (x - low) * below * self.falling + (x - high) * above * self.rising
        return values + beyond

    def to_user(self) -> np.ndarray:
        size = self.functions
        back = np.eye(1 + size * len(self.columns))
        for j in range(len(self.columns)):
            whole = np.vstack([np.eye(size), np.full((1, size), -1.0 / (1.0 + np.sqrt(size + 1)))])
            own = slice(1 + j * size, 1 + (j + 1) * size)
            # the B-splines sum to 1: what all have in common is the intercept's
            back[0, own] = (whole[0] - self.center[j]) / self.spread[j]
            back[own, own] = (whole[1:] - whole[0]) / self.spread[j]
        return back

    def slope_units(self) -> np.ndarray:
        return np.ones(len(self.names))

    def groups(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.columns)), self.functions)

    def pooled(self) -> np.ndarray:
        return np.repeat(np.array(self.tied, dtype=bool), self.functions)
