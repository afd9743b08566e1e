"""A linear function of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, Shared, check_flag, check_predictor, check_shared


@dataclass(frozen=True)
class Linear(Predictor):
    """Intercept plus slopes on standardised columns: ``eta_k = a_k + b_k · x``.

    Parameters
    ----------
    columns
        Names or positions of the columns to use; None for every column that nothing else claims.
    intercept, slopes
        Priors in the user's units; None for the defaults of what is predicted. A gate's slopes may also have
        ``priors.LearnedScale``. The intercept's prior is about the value at the average row.
    shared
        True when all equal experts share the coefficients, the intercept included; or names or positions of the
        columns whose slopes they share while intercept and other slopes are their own (fixed effects).
    offset
        Name of a column that is added as it is, with coefficient 1, in units of what is predicted: for a mean, those
        of y; for log sigma or a log mean, a logarithm. No predictor uses it as a covariate unless it names it.

    Raises
    ------
    SpecError
        If an argument is of another kind or a column is named twice.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Linear(columns=("dose",)).columns
    ('dose',)
    """

    columns: tuple[str | int, ...] | None = None
    intercept: Normal | None = None
    slopes: Normal | LearnedScale | None = None
    shared: Shared = False
    offset: str | None = None
    bounded: bool = False

    def __post_init__(self) -> None:
        check_predictor("Linear", self)
        check_flag("Linear", "bounded", self.bounded)
        object.__setattr__(self, "shared", check_shared("Linear", self.shared))

    @property
    def slopes_prior(self) -> Normal | LearnedScale | None:
        return self.slopes

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        chosen = columns.positions(self.columns, "Linear")
        return _LinearBasis(
            tuple(columns.names[j] for j in chosen),
            np.array(chosen, dtype=np.int64),
            np.array([columns.center[j] for j in chosen]),
            np.array([columns.scale[j] for j in chosen]),
            columns.tied(self.shared, chosen, "Linear"),
            _range(table[np.ix_(weights > 0, chosen)]) if self.bounded else None,
        )


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.min(axis=0), values.max(axis=0)


@dataclass(frozen=True, eq=False)
class _LinearBasis(Basis):
    columns: tuple[str, ...]
    positions: Any
    center: np.ndarray
    scale: np.ndarray
    tied: tuple[bool, ...]
    range: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns

    def blocks(self, table: Any) -> list[Any]:
        values = table[:, self.positions]
        return [values if self.range is None else values.clip(*self.range)]

    @property
    def elsewhere(self) -> bytes:
        return b"" if self.range is None else b"bounded"

    def to_user(self) -> np.ndarray:
        width = len(self.columns)
        back = np.eye(width + 1)
        back[0, 1:] = -self.center / self.scale
        back[1:, 1:] = np.diag(1.0 / self.scale)
        return back

    def slope_units(self) -> np.ndarray:
        return self.scale

    def pooled(self) -> np.ndarray:
        return np.array(self.tied, dtype=bool)
