"""Log densities of families with their first and second derivatives, compiled once per family."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode

from bayes_moe.families import Family

PLAIN = Mode(linker="py", optimizer="fast_compile")


class Value(NamedTuple):
    """Log densities (rows,), gradients (predictors, rows) and Hessians (predictors, predictors, rows)."""

    density: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


@cache
def compiled(family: Family) -> Callable[[np.ndarray, dict[str, np.ndarray]], Value]:
    """Return the function of y and the arguments by name."""
    y = pt.tensor("y", dtype="float64", shape=(None,) * (2 if hasattr(family, "outputs") else 1))
    predicted = [pt.vector(name, dtype="float64") for name in family.predicted]
    given = [pt.vector(name, dtype="float64") for name in family.given]
    density = family.logpdf(y, *predicted, *given)
    assert density.dtype == "float64"
    gradient = [pytensor.grad(density.sum(), v) for v in predicted]
    hessian = [pytensor.grad(g.sum(), v, disconnected_inputs="ignore") for g in gradient for v in predicted]
    function = pytensor.function(
        [y, *predicted, *given], [density, *gradient, *hessian], mode=PLAIN, on_unused_input="ignore"
    )
    count = len(predicted)

    def evaluate(at: np.ndarray, values: dict[str, np.ndarray]) -> Value:
        ordered = [values[name] for name in (*family.predicted, *family.given)]
        with np.errstate(all="ignore"):
            first, *rest = function(at, *ordered)
        rows = first.shape[0]
        found = np.array([np.broadcast_to(part, rows) for part in rest]).reshape(-1, rows)
        return Value(first, found[:count], found[count:].reshape(count, count, rows))

    return evaluate
