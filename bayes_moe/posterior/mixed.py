"""Experts of different families as one family, told apart by a parameter that says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..families import Family, Support

WHICH = "which"
"""The parameter that holds, for every element, the position of its family."""


def slot(position: int) -> str:
    """Return the name of the parameter that holds the linear predictors of one position in every family."""
    return f"slot_{position}"


class Mixed:
    """Several families behind the functions of one.

    Parameters are ``which``, then ``slot_0``, ``slot_1``, ... that hold each family's linear predictors in its order,
    then whatever families are given beside them, by name.

    Parameters
    ----------
    families
        The families that ``which`` counts.
    output
        The one output of several that the functions are about, or None for all together.
    """

    def __init__(self, families: Sequence[Family], output: int | None = None) -> None:
        self.families, self.output = tuple(families), output

    @property
    def discrete(self) -> bool:
        """Whether all are."""
        return all(self._of(family).discrete for family in self.families)

    def mean(self, **predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean of every element."""
        return self._each(lambda family, _, own: family.mean(**own), None, predicted)

    def variance(self, **predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Return the variance of every element."""
        return self._each(lambda family, _, own: family.variance(**own), None, predicted)

    def cdf(self, y: NDArray[Any], **predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Return P(Y <= y) of every element."""
        return self._each(lambda family, at, own: family.cdf(at, **own), y, predicted)

    def probabilities(self, **predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of every label, on a last axis."""
        return self._each(lambda family, _, own: family.probabilities(**own), None, predicted)

    def marginal(self, output: int) -> Mixed:
        """Return the density of one output."""
        return Mixed(self.families, output)

    def log_density(self, y: NDArray[Any], **predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Return the log density of every element."""
        return self._each(lambda family, at, own: family.log_density(at, **own), y, predicted)

    def draw(self, rng: np.random.Generator, **predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Return one draw for every element."""
        return self._each(
            # a family without parameters takes the number of its draws from the positions
            lambda family, at, own: family.draw(rng, **(own or {WHICH: at})),
            None,
            predicted,
        )

    def _each(
        self,
        function: Callable[[Any, Any, dict[str, NDArray[Any]]], Any],
        y: NDArray[Any] | None,
        parameters: dict[str, NDArray[Any]],
    ) -> NDArray[np.float64]:
        which = parameters[WHICH]
        arrays = {name: array for name, array in parameters.items() if name != WHICH}
        vector = y is not None and self.output is None and self.families[0].support is Support.VECTOR
        seen = () if y is None else np.shape(y)[:-1] if vector else np.shape(y)
        shape = np.broadcast_shapes(which.shape, *(np.shape(a) for a in arrays.values()), seen)
        which = np.broadcast_to(which, shape)
        whole = {name: np.broadcast_to(array, shape) for name, array in arrays.items()}
        at = np.zeros(shape) if y is None else np.broadcast_to(y, (*shape, *np.shape(y)[-1:]) if vector else shape)
        out: NDArray[np.float64] | None = None
        for position, family in enumerate(self.families):
            mine = which == position
            own = {name: whole[slot(i)][mine] for i, name in enumerate(family.predicted)}
            own |= {name: whole[name][mine] for name in family.given}
            values = np.asarray(function(self._of(family), at[mine], own))
            if out is None:  # values of several outputs have one axis more
                out = np.empty((*shape, *values.shape[1:]))
            out[mine] = values
        return np.empty(shape) if out is None else out

    def _of(self, family: Family) -> Any:
        """Return what the functions are about."""
        return family if self.output is None else family.marginal(self.output)
