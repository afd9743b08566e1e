"""What a family must do before a model is built on it; families of the package are held to it by their tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import SpecError
from ..families import Family, Support

_ROWS, _EXPERTS = 3, 2
_OWN = Family.__module__.rpartition(".")[0]


def check_contract(family: Family, y: np.ndarray) -> None:
    """Refuse a family whose functions do not work element by element, or whose graph says something else.

    Parameters
    ----------
    family
        A family that has met the data.
    y
        (n,) or (n, outputs) target.

    Raises
    ------
    SpecError
        Naming the method.
    """
    if type(family).__module__.startswith(f"{_OWN}."):
        return
    name = type(family).__name__
    some = np.resize(y, (_ROWS, *y.shape[1:]))[:, None]
    predicted = {key: np.full((_ROWS, _EXPERTS), 0.1 * (1 + i)) for i, key in enumerate(family.predicted)}
    given = {key: np.ones((_ROWS, 1)) for key in family.given}
    expected = (_ROWS, _EXPERTS)
    density = _called(name, "log_density", family.log_density, some, **predicted, **given)
    _shaped(name, "log_density", density, expected)
    value = _called(name, "logpdf", _graph(family), some, list(predicted.values()), list(given.values())).value
    _shaped(name, "logpdf", value, expected)
    if not np.allclose(value, density, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise SpecError(
            f"{name}.logpdf: expected what log_density says ({density.flat[0]:.6g}), got {value.flat[0]:.6g} → the "
            "graph and the arrays must be the same function"
        )
    if family.support in (Support.CLASSES, Support.LEVELS, Support.VECTOR):
        return
    for method in ("mean", "variance"):
        _shaped(name, method, _called(name, method, getattr(family, method), **predicted, **given), expected)
    rng = np.random.default_rng(0)
    _shaped(name, "draw", _called(name, "draw", family.draw, rng, **predicted, **given), expected)
    _shaped(name, "cdf", _called(name, "cdf", family.cdf, some, **predicted, **given), expected)


def _graph(family: Family) -> Any:
    from ..graph.terms import terms_function  # PyTensor: what `import bayes_moe` does not pay

    return terms_function(family, vector=family.support is Support.VECTOR)


def _called(name: str, method: str, function: Any, *arguments: Any, **predicted: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(*arguments, **predicted)
    except Exception as error:
        raise SpecError(
            f"{name}.{method}: expected a function of y and {list(predicted) or 'linear predictors'}, got "
            f"{type(error).__name__}: {error} → see bayes_moe.families.Family"
        ) from error


def _shaped(name: str, method: str, found: Any, expected: tuple[int, ...]) -> None:
    shape = np.shape(found)
    try:
        fits = np.broadcast_shapes(shape, expected) == expected
    except ValueError:
        fits = False
    if not fits:
        raise SpecError(
            f"{name}.{method}: expected a value for every element of the linear predictors, shape {expected}, got "
            f"{shape} → it must work element by element"
        )
