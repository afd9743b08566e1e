"""A predictor without covariates: one number per expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..priors import Normal
from .base import Basis, Columns, Predictor, check_flag, check_offset, check_prior


@dataclass(frozen=True)
class Constant(Predictor):
    """The same value for every row: ``eta_k = a_k``.

    Parameters
    ----------
    shared
        True for one value that all experts share (for instance one sigma).
    intercept
        Prior of the value on the linear predictor's scale; None for the default of what it predicts.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If an argument is of another kind.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Expert(bm.Normal(), mu=bm.Linear(), sigma=bm.Constant(shared=True)).predictors["sigma"].shared
    True
    """

    shared: bool = False
    intercept: Normal | None = None
    offset: str | None = None

    def __post_init__(self) -> None:
        check_offset("Constant", self.offset)
        check_flag("Constant", "shared", self.shared)
        check_prior("Constant", "intercept", self.intercept, Normal)

    @property
    def slopes_prior(self) -> None:
        return None

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        return _NoColumns()


class _NoColumns(Basis):
    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def blocks(self, table: Any) -> list[Any]:
        return []

    def to_user(self) -> np.ndarray:
        return np.eye(1)

    def slope_units(self) -> np.ndarray:
        return np.zeros(0)
