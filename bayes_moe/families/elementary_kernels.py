"""What the functions of `elementary` are to a compiler, on the numbers of one row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import overload, register_jitable

from ..graph import arithmetic
from . import elementary

# Everything is inlined into one loop over the rows, which the compiler then turns into wide instructions.
INLINE: dict[str, Any] = {
    "nogil": True,
    "forceinline": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
}
_ROOT_HALF = 0.7071067811865476


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
        beyond = 0.5 * math.erfc(abs(x) * _ROOT_HALF)
        return arithmetic.log(beyond) if x < 0.0 else elementary.log1p(-beyond)

    return log_ndtr


@overload(elementary.where, jit_options=INLINE)
def _where(condition, one, other):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda condition, one, other: one if condition else other


for _text in (elementary.stirling, elementary.log_share, elementary.location_scale):
    register_jitable(**INLINE)(_text)
