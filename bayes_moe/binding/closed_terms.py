"""Log densities with derivatives by a family's closed form, by its graph where that leaves the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..families import Family
from ..graph.derivatives import Terms, square


class TermsOf(Protocol):
    """A log density of y, linear predictors and given columns, with its derivatives."""

    def __call__(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray] = (), *, bends: bool = False
    ) -> Terms:
        """Return the terms at y (n, 1) or (n, 1, outputs), linear predictors (n, k) each and given columns (n, 1)."""

    def hurried(self) -> TermsOf:
        """Return the same for another thread, ready for many calls."""


def terms_of(family: Family, *, vector: bool) -> TermsOf:
    """Return the terms of a family: by its closed form if it has one, else by its graph."""
    if type(family).closed_form is not Family.closed_form:
        return ClosedTermsFunction(family)
    from ..graph.terms import terms_function  # PyTensor: what `import bayes_moe` does not pay

    return terms_function(family, vector=vector)


class ClosedTermsFunction:
    """Terms by a family's closed form, by its graph where that is not a number."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._graph: TermsOf | None = None

    def hurried(self) -> ClosedTermsFunction:
        """Return the function for another thread."""
        return ClosedTermsFunction(self._family)

    def __call__(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray] = (), *, bends: bool = False
    ) -> Terms:
        """Return the terms, as `TermsFunction` does."""
        with np.errstate(all="ignore"):
            found = self._family.closed_form(y, etas, given, bends=bends)
            assert found is not None  # such families alone come here
            shape = found.value.shape
            slopes = np.stack([np.broadcast_to(slope, shape) for slope in found.slopes])
            full = square(found.bends, shape, len(etas)) if bends else None
        parts = (found.value, slopes) if full is None else (found.value, slopes, full)
        if all(np.isfinite(part).all() for part in parts):
            return Terms(found.value, slopes, full)
        if self._graph is None:
            from ..graph.terms import TermsFunction  # PyTensor, as above

            family = self._family
            self._graph = TermsFunction(family.logpdf, len(family.predicted), len(family.given), vector=False)
        return self._graph(y, etas, given, bends=bends)
