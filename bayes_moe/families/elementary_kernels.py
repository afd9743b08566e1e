"""What the functions of `elementary` are to a compiler, on the numbers of one row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
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
_INVERSE_ROOT_PI = 0.5641895835477563  # 1 / sqrt(pi)


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


@njit(**INLINE)
def _scaled_erfc(y):  # type: ignore[no-untyped-def]
    """Return exp(y²) erfc(y) at y >= 0 by Cody's rational approximations (1969, Mathematics of Computation 23)."""
    square, inverse = y * y, 1.0 / (y * y)
    up = 3.16112374387056560 + 1.85777706184603153e-1 * square
    up = 3209.37758913846947 + square * (377.485237685302021 + square * (113.864154151050156 + square * up))
    down = 2844.23683343917062 + square * (
        1282.61652607737228 + square * (244.024637934444173 + square * (23.6012909523441209 + square))
    )
    near = arithmetic.exp(square) * (1.0 - y * up / down)
    up = 66.1191906371416295 + y * (8.88314979438837594 + y * (5.64188496988670089e-1 + y * 2.15311535474403846e-8))
    up = 1712.04761263407058 + y * (881.952221241769090 + y * (298.635138197400131 + y * up))
    up = 1230.33935479799725 + y * (2051.07837782607147 + y * up)
    down = 537.181101862009858 + y * (117.693950891312499 + y * (15.7449261107098347 + y))
    down = 3290.79923573345963 + y * (1621.38957456669019 + y * down)
    middle = up / (1230.33935480374942 + y * (3439.36767414372164 + y * (4362.61909014324716 + y * down)))
    up = 3.60344899949804439e-1 + inverse * (3.05326634961232344e-1 + inverse * 1.63153871373020978e-2)
    up = 6.58749161529837803e-4 + inverse * (1.60837851487422766e-2 + inverse * (1.25781726111229246e-1 + inverse * up))
    down = 5.27905102951428412e-1 + inverse * (1.87295284992346047 + inverse * (2.56852019228982242 + inverse))
    down = 2.33520497626869185e-3 + inverse * (6.05183413124413191e-2 + inverse * down)
    far = (_INVERSE_ROOT_PI - inverse * up / down) / y
    return near if y <= 0.46875 else (middle if y <= 4.0 else far)


@overload(elementary.log_ndtr, jit_options=INLINE)
def _log_ndtr(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def log_ndtr(x):  # type: ignore[no-untyped-def]
        y = abs(x) * _ROOT_HALF
        scaled = 0.5 * _scaled_erfc(y)
        below = arithmetic.log(scaled) - y * y
        return below if x < 0.0 else elementary.log1p(-arithmetic.exp(-y * y) * scaled)

    return log_ndtr


@overload(elementary.where, jit_options=INLINE)
def _where(condition, one, other):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda condition, one, other: one if condition else other


for _text in (elementary.stirling, elementary.log_share, elementary.location_scale):
    register_jitable(**INLINE)(_text)
