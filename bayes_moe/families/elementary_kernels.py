"""What the functions of `elementary` are to a compiler, on the numbers of one row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import overload

from ..graph import arithmetic
from . import elementary
from .formulas import HALF_LOG_2PI

# Everything is inlined into one loop over the rows, which the compiler then turns into wide instructions.
INLINE: dict[str, Any] = {
    "nogil": True,
    "forceinline": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
}
_ROOT_HALF = 0.7071067811865476
_TAIL = -25.0  # below, five terms of the asymptotic series of Mills' ratio reach the last digit


# Each has the signature of what it stands for, down to the lack of annotations in what is compiled.
@overload(elementary.exp, jit_options=INLINE)
def _exp(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: arithmetic.exp(x)


@overload(elementary.log, jit_options=INLINE)
def _log(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: arithmetic.log(x)


@overload(elementary.log1p, jit_options=INLINE)
def _log1p(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def log1p(x):  # type: ignore[no-untyped-def]
        whole = 1.0 + x  # and what rounding took from it
        lost = (x - (whole - 1.0)) / whole
        return arithmetic.log(whole) + (lost if 0.0 < whole < np.inf else 0.0)

    return log1p


@overload(elementary.expm1, jit_options=INLINE)
def _expm1(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def expm1(x):  # type: ignore[no-untyped-def]
        # Kahan: the error of exp(x) - 1 and that of its logarithm go together
        whole = arithmetic.exp(x)
        less = whole - 1.0
        ratio = less * x / arithmetic.log(whole)
        near = x if whole == 1.0 else ratio
        return near if -30.0 < x < 700.0 else less

    return expm1


@overload(elementary.softplus, jit_options=INLINE)
def _softplus(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: (x if x > 0.0 else 0.0) + elementary.log1p(arithmetic.exp(-abs(x)))


@overload(elementary.logaddexp, jit_options=INLINE)
def _logaddexp(x, y):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def logaddexp(x, y):  # type: ignore[no-untyped-def]
        apart = 0.0 if x == y else abs(x - y)  # both may be -inf
        return (x if x > y else y) + elementary.log1p(arithmetic.exp(-apart))

    return logaddexp


@overload(elementary.expit, jit_options=INLINE)
def _expit(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: 1.0 / (1.0 + arithmetic.exp(-x))


@overload(elementary.log_ndtr, jit_options=INLINE)
def _log_ndtr(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def log_ndtr(x):  # type: ignore[no-untyped-def]
        low = x if x < _TAIL else _TAIL
        square = 1.0 / (low * low)
        series = 1.0 - square * (1.0 - square * (3.0 - square * (15.0 - square * (105.0 - square * 945.0))))
        tail = arithmetic.log(series / -low) - HALF_LOG_2PI - 0.5 * low * low
        upper = math.erfc(x * _ROOT_HALF)  # twice the chance beyond x
        below = arithmetic.log(0.5 * math.erfc(-x * _ROOT_HALF)) if x < 0.0 else elementary.log1p(-0.5 * upper)
        return tail if x < _TAIL else below

    return log_ndtr


@overload(elementary.where, jit_options=INLINE)
def _where(condition, one, other):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda condition, one, other: one if condition else other


@overload(elementary.stirling, jit_options=INLINE)
def _stirling(x: Any) -> Any:  # noqa: ARG001
    return elementary.stirling


@overload(elementary.location_scale, jit_options=INLINE)
def _location_scale(z: Any, inverse: Any, slope: Any, bend: Any) -> Any:  # noqa: ARG001
    return elementary.location_scale
