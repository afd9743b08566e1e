"""Gaussian bumps over the columns jointly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, check_flag, check_predictor

_MOST = 1000
_SEEN = 1000  # rows that the first guess of the centres looks at
_ROUNDS = 100


@dataclass(frozen=True)
class RBF(Predictor):
    r"""Radial basis functions: Gaussian bumps over all its columns jointly.

    .. math:: \eta_k = a_k + \sum_{m} b_{km} \, \frac{\varphi_m(x) - \bar\varphi_m}{s_m}, \qquad
        \varphi_m(x) = \exp\Bigl(-\frac{\lVert \tilde x - c_m\rVert^2}{2 w^2}\Bigr)

    where x̃ are the standardised columns and φ̄, s standardise the bumps over the training rows, so that one prior
    means the same for every bump. Far from all centres the bumps are 0 and predictions return to one level.
    Coefficients are reported for the bumps themselves, which are numbers from 0 to 1.

    Parameters
    ----------
    centres
        A number of centres, which k-means then lays among the training rows (without random numbers: the same rows
        give the same centres), or the centres themselves, (centres, columns) in the user's units.
    width
        The bumps' standard deviation w, in standard deviations of the columns; None for the root mean square
        distance of a centre to the nearest other one (1 for a single centre).
    columns
        As for `Linear`.
    shared
        True when all equal experts share the coefficients.
    intercept, slopes
        Priors in the user's units; None for the defaults of what is predicted. The intercept's prior is about the
        average over the training rows, the slopes' about the coefficients of the bumps.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If centres are neither a number from 1 to 1000 nor distinct rows of finite numbers, are more than the distinct
        training rows or are of another width than the columns, or if another argument is of another kind.

    References
    ----------
    Broomhead, D. S. and Lowe, D. (1988). Multivariable functional interpolation and adaptive networks. Complex
    Systems 2, 321-355.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.RBF([[0.0, 1.0], [2.0, 1.5]]).centres
    ((0.0, 1.0), (2.0, 1.5))
    """

    centres: int | tuple[tuple[float, ...], ...]
    width: float | None = None
    columns: tuple[str | int, ...] | None = None
    intercept: Normal | None = None
    slopes: Normal | LearnedScale | None = None
    shared: bool = False
    offset: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "centres", _read_centres(self.centres))
        width = self.width
        number = isinstance(width, int | float) and not isinstance(width, bool)
        if width is not None and not (number and 0 < width < np.inf):
            raise SpecError(f"RBF.width: expected a finite number above 0 or None, got {width!r} → pass e.g. 1.0")
        check_predictor("RBF", self)
        check_flag("RBF", "shared", self.shared)

    @property
    def slopes_prior(self) -> Normal | LearnedScale | None:
        return self.slopes

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        chosen = columns.positions(self.columns, "RBF")
        counted = weights > 0
        rows, share = table[np.ix_(counted, chosen)], weights[counted] / weights[counted].sum()
        if not chosen:
            centres = np.zeros((0, 0))
        elif isinstance(self.centres, int):
            centres = _k_means(rows, share, self.centres)
        else:
            centres = _standardised_centres(self.centres, columns.asked(self.columns, "RBF"), columns)
        plain = _RBFBasis(
            positions=np.array(chosen, dtype=np.int64),
            count=len(centres),
            centres=centres,
            width=_spacing(centres) if self.width is None else float(self.width),
            center=np.zeros(len(centres)),
            spread=np.ones(len(centres)),
        )
        values = plain.bumps(rows)
        center = share @ values
        spread = np.sqrt(share @ (values - center) ** 2)
        # a bump that no training row sees stays as it is
        return replace(plain, center=center, spread=np.where(spread > 1e-12, spread, 1.0))


def _read_centres(centres: object) -> int | tuple[tuple[float, ...], ...]:
    if isinstance(centres, int) and not isinstance(centres, bool):
        if not 1 <= centres <= _MOST:
            raise SpecError(f"RBF.centres: expected a number from 1 to {_MOST}, got {centres} → choose another")
        return centres
    form = f"RBF.centres: expected a whole number or rows of numbers (centres, columns), got {centres!r:.80}"
    if isinstance(centres, bool | str | bytes):
        raise SpecError(f"{form} → pass e.g. 10")
    try:
        values = np.asarray(centres, dtype=float)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{form} → pass e.g. 10") from error
    if values.ndim != 2 or not values.size or len(values) > _MOST or not np.isfinite(values).all():
        raise SpecError(f"{form} → pass finite numbers, a row per centre; for one column .reshape(-1, 1)")
    if len(np.unique(values, axis=0)) < len(values):
        raise SpecError("RBF.centres: expected every centre once, got repeated rows → remove the repetition")
    return tuple(tuple(float(value) for value in row) for row in values)


def _standardised_centres(
    centres: tuple[tuple[float, ...], ...], asked: tuple[int, ...], columns: Columns
) -> np.ndarray:
    names = [columns.names[j] for j in asked]
    values = np.array(centres)
    if values.shape[1] != len(asked):
        raise SpecError(
            f"RBF.centres: expected {len(asked)} numbers in a row, for columns {names}, got {values.shape[1]} → name "
            "the columns with columns="
        )
    kept = [i for i, name in enumerate(names) if name not in columns.dropped]
    used = [asked[i] for i in kept]
    center, scale = (np.array([numbers[j] for j in used]) for numbers in (columns.center, columns.scale))
    return np.asarray((values[:, kept] - center) / scale)


def _spacing(centres: np.ndarray) -> float:
    """Return the root mean square distance of a centre to its nearest neighbour."""
    if len(centres) < 2:
        return 1.0
    square = ((centres[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    np.fill_diagonal(square, np.inf)
    return float(np.sqrt(square.min(axis=1).mean())) or 1.0


def _k_means(rows: np.ndarray, share: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` weighted centres of the rows, in lexicographic order.

    The first guess takes, one after the other, the row that lowers the sum of squared distances most (Likas,
    Vlassis and Verbeek 2003, The global k-means clustering algorithm); rows that are equal count as one of their
    total weight, so that neither their order nor their number matters.
    """
    from scipy.spatial.distance import cdist  # slow to import

    distinct, where = np.unique(rows, axis=0, return_inverse=True)
    mass = np.bincount(where.ravel(), weights=share)
    if len(distinct) < count:
        raise SpecError(
            f"RBF.centres: expected at most {len(distinct)}, the number of distinct training rows, got {count} → "
            "lower it"
        )
    seen = np.unique(np.linspace(0, len(distinct) - 1, max(_SEEN, count)).round().astype(int))
    square = cdist(distinct[seen], distinct[seen], "sqeuclidean")
    nearest = np.full(len(seen), np.inf)
    first: list[int] = []
    for _ in range(count):
        left = mass[seen] @ np.minimum(square, nearest[:, None])
        left[first] = np.inf
        first.append(int(np.argmin(left)))
        nearest = np.minimum(nearest, square[:, first[-1]])
    centres = distinct[seen[first]]
    label = np.full(len(distinct), -1)
    for _ in range(_ROUNDS):
        before, label = label, cdist(distinct, centres, "sqeuclidean").argmin(axis=1)
        if np.array_equal(label, before):
            break
        total = np.bincount(label, weights=mass, minlength=count)
        filled = total > 0
        for j in range(rows.shape[1]):
            sums = np.bincount(label, weights=mass * distinct[:, j], minlength=count)
            centres[filled, j] = sums[filled] / total[filled]
    return np.asarray(centres[np.lexsort(centres.T[::-1])])


@dataclass(frozen=True, eq=False)
class _RBFBasis(Basis):
    positions: Any
    count: int
    centres: Any
    width: Any
    center: Any
    spread: Any

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"rbf[{m}]" for m in range(1, self.count + 1))

    def blocks(self, table: Any) -> list[Any]:
        if not self.count:
            return []
        return [(self.bumps(table[:, self.positions]) - self.center) / self.spread]

    def bumps(self, rows: Any) -> Any:
        """Return the bumps (rows, centres) at standardised rows of the columns alone."""
        away = (rows[:, None, :] - self.centres[None, :, :]) / self.width
        return np.exp(-0.5 * (away**2).sum(axis=-1))

    def to_user(self) -> np.ndarray:
        back = np.eye(1 + self.count)
        back[0, 1:] = -self.center / self.spread
        back[1:, 1:] = np.diag(1.0 / self.spread)
        return back

    def slope_units(self) -> np.ndarray:
        return np.asarray(self.spread)
