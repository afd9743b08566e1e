"""Sums of predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, check_flag, check_offset, check_prior
from .linear import Linear
from .polynomial import Polynomial
from .products import Products
from .rbf import RBF
from .spline import Spline

_PARTS = (Linear, Polynomial, Products, RBF, Spline)


@dataclass(frozen=True)
class Sum(Predictor):
    r"""Several predictors added up, with one intercept.

    .. math:: \eta_k = a_k + \sum_m f_{km}(x)

    ``bm.Sum((bm.Linear(), bm.Spline(8), bm.Products()))`` is a line, a smooth curve in every column and an interaction
    of every pair. Every part has its own columns and its own prior of slopes. A column that one
    part names belongs to it, as everywhere: parts that are to share it all name it.

    Parameters
    ----------
    parts
        Two predictors or more: `Linear`, `Polynomial`, `Products`, `RBF` or `Spline`, without intercept priors, offsets
        or shared slopes of their own.
    intercept
        Prior as for `Linear`.
    slopes
        In a gate, ``priors.LearnedScale`` of the slopes of all parts together; None for its default. In an expert the
        parts have priors of their own.
    shared
        True when all equal experts share the coefficients of all parts.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If a part is of another kind or says what the sum is to say; when the model meets data, if two parts have a
        column of the same name.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> len(bm.Sum([bm.Linear(), bm.Spline(5, columns=("dose",))]).parts)
    2
    """

    parts: tuple[Predictor, ...]
    intercept: Normal | None = None
    slopes: LearnedScale | None = None
    shared: bool = False
    offset: str | None = None
    columns: None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        parts = self.parts
        if not isinstance(parts, Sequence) or len(parts) < 2:
            raise SpecError(f"Sum.parts: expected two predictors or more, got {parts!r} → e.g. (bm.Linear(), ...)")
        for place, part in enumerate(parts):
            if not isinstance(part, _PARTS):
                raise SpecError(
                    f"Sum.parts[{place}]: expected one of {[kind.__name__ for kind in _PARTS]}, got {part!r} → what "
                    "has hyperparameters or networks of its own stands alone"
                )
            for name in ("intercept", "offset", "shared"):
                if getattr(part, name):
                    raise SpecError(
                        f"Sum.parts[{place}]: expected a part without {name}, got {getattr(part, name)!r} → it is the "
                        f"sum's: bm.Sum(..., {name}=...)"
                    )
            if isinstance(part.slopes_prior, LearnedScale):
                raise SpecError(
                    f"Sum.parts[{place}]: expected priors.Normal for slopes, got {part.slopes_prior!r} → a gate has "
                    "one scale for all slopes: bm.Sum(..., slopes=...)"
                )
        object.__setattr__(self, "parts", tuple(parts))
        check_prior("Sum", "slopes", self.slopes, LearnedScale)
        check_prior("Sum", "intercept", self.intercept, Normal)
        check_flag("Sum", "shared", self.shared)
        check_offset("Sum", self.offset)

    @property
    def slopes_prior(self) -> LearnedScale | None:
        return self.slopes

    @property
    def slopes_priors(self) -> tuple[Any, ...]:
        return tuple(part.slopes_prior for part in self.parts)

    def claimed(self) -> tuple[str | int, ...]:
        return tuple(dict.fromkeys(column for part in self.parts for column in part.claimed()))

    def refuse_in_gate(self) -> None:
        super().refuse_in_gate()
        if any(part.slopes_prior is not None for part in self.parts):
            raise SpecError(
                "gate: expected a sum whose parts have no priors of slopes, got some → a gate has one scale for all of "
                "its slopes"
            )

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        found = _SumBasis(tuple(part.basis(columns, table, weights) for part in self.parts))
        names = found.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SpecError(f"Sum.parts: expected parts that differ, got {twice!r} in two of them → leave one out")
        return found


@dataclass(frozen=True, eq=False)
class _SumBasis(Basis):
    parts: tuple[Basis, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.names)

    def blocks(self, table: Any) -> list[Any]:
        return [block for part in self.parts for block in part.blocks(table)]

    def to_user(self) -> np.ndarray:
        back, at = np.eye(1 + len(self.names)), 1
        for part in self.parts:
            own, inner = part.to_user(), slice(at, at + len(part.names))
            back[0, inner], back[inner, inner] = own[0, 1:], own[1:, 1:]
            at = inner.stop
        return back

    @property
    def elsewhere(self) -> bytes:
        return b"".join(part.elsewhere for part in self.parts)

    def slope_units(self) -> np.ndarray:
        return np.concatenate([part.slope_units() for part in self.parts])

    def groups(self) -> np.ndarray:
        out: list[np.ndarray] = []
        for part in self.parts:
            out.append(part.groups() + (1 + out[-1].max(initial=-1) if out else 0))
        return np.concatenate(out)

    def widths(self) -> tuple[int, ...]:
        return tuple(len(part.names) for part in self.parts)
