"""Closed forms compiled row by row: a C function per family, called with the addresses of a block of rows.

The functions of `elementary` are given their compiled meaning here, so that a family's closed form runs as it is
written. What it computes beyond value and slopes, nobody reads, and the compiler drops it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import carray, cfunc, njit
from numba.extending import overload

from ..graph import arithmetic
from ..pointers import ROWS, doubles_at
from . import elementary
from .base import Family
from .bernoulli import Bernoulli, bernoulli_terms
from .beta import Beta, beta_terms
from .binomial import Binomial, binomial_terms
from .categorical import Categorical
from .formulas import HALF_LOG_2PI
from .gamma import Gamma, gamma_terms
from .joint import Joint
from .log_normal import LogNormal, log_normal_terms
from .mv_normal import MvNormal
from .negative_binomial import NegativeBinomial, negative_binomial_terms
from .normal import Normal, normal_terms
from .ordinal import Ordinal
from .poisson import Poisson, poisson_terms
from .skew_normal import SkewNormal, skew_normal_terms
from .student_t import StudentT, student_terms
from .uniform import Uniform
from .weibull import Weibull, weibull_terms
from .zero_inflated import ZeroInflated, inflated

# Everything is inlined into one loop over the rows, which the compiler then turns into wide instructions.
_INLINE: dict[str, Any] = {
    "nogil": True,
    "forceinline": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
}
_ROOT_HALF = 0.7071067811865476
_TAIL = -25.0  # below, five terms of the asymptotic series of Mills' ratio reach the last digit


# Each has the signature of what it stands for, down to the lack of annotations in what is compiled.
@overload(elementary.exp, jit_options=_INLINE)
def _exp(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: arithmetic.exp(x)


@overload(elementary.log, jit_options=_INLINE)
def _log(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: arithmetic.log(x)


@overload(elementary.log1p, jit_options=_INLINE)
def _log1p(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def log1p(x):  # type: ignore[no-untyped-def]
        whole = 1.0 + x  # and what rounding took from it
        lost = (x - (whole - 1.0)) / whole
        return arithmetic.log(whole) + (lost if 0.0 < whole < np.inf else 0.0)

    return log1p


@overload(elementary.expm1, jit_options=_INLINE)
def _expm1(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def expm1(x):  # type: ignore[no-untyped-def]
        # Kahan: the error of exp(x) - 1 and that of its logarithm go together
        whole = arithmetic.exp(x)
        less = whole - 1.0
        ratio = less * x / arithmetic.log(whole)
        near = x if whole == 1.0 else ratio
        return near if -30.0 < x < 700.0 else less

    return expm1


@overload(elementary.softplus, jit_options=_INLINE)
def _softplus(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: (x if x > 0.0 else 0.0) + elementary.log1p(arithmetic.exp(-abs(x)))


@overload(elementary.logaddexp, jit_options=_INLINE)
def _logaddexp(x, y):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def logaddexp(x, y):  # type: ignore[no-untyped-def]
        apart = 0.0 if x == y else abs(x - y)  # both may be -inf
        return (x if x > y else y) + elementary.log1p(arithmetic.exp(-apart))

    return logaddexp


@overload(elementary.expit, jit_options=_INLINE)
def _expit(x):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda x: 1.0 / (1.0 + arithmetic.exp(-x))


@overload(elementary.log_ndtr, jit_options=_INLINE)
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


@overload(elementary.where, jit_options=_INLINE)
def _where(condition, one, other):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda condition, one, other: one if condition else other


@overload(elementary.stirling, jit_options=_INLINE)
def _stirling(x: Any) -> Any:  # noqa: ARG001
    return elementary.stirling


@overload(elementary.location_scale, jit_options=_INLINE)
def _location_scale(z: Any, inverse: Any, slope: Any, bend: Any) -> Any:  # noqa: ARG001
    return elementary.location_scale


_bernoulli, _beta, _binomial = (njit(**_INLINE)(f) for f in (bernoulli_terms, beta_terms, binomial_terms))
_gamma, _log_normal, _normal = (njit(**_INLINE)(f) for f in (gamma_terms, log_normal_terms, normal_terms))
_negative_binomial, _poisson = (njit(**_INLINE)(f) for f in (negative_binomial_terms, poisson_terms))
_skew_normal, _student, _weibull = (njit(**_INLINE)(f) for f in (skew_normal_terms, student_terms, weibull_terms))
_inflated = njit(**_INLINE)(inflated)


@njit(**_INLINE)
def _views(rows, predictors, stride, columns, known, eta, value):  # type: ignore[no-untyped-def]
    """Return known columns (columns, rows), linear predictors (predictors, stride) and values (rows,)."""
    return (
        carray(doubles_at(known), (columns, rows)),
        carray(doubles_at(eta), (predictors, stride)),
        carray(doubles_at(value), (rows,)),
    )


# Every kernel takes the number of rows, that of linear predictors, how many numbers lie between two of these, and the
# addresses of the known columns, the linear predictors and the values. It fills the values and writes the slopes over
# the linear predictors.


def _normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 1, known, eta, value)
    for b in range(rows):
        found = _normal(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _log_normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 1, known, eta, value)
    for b in range(rows):
        found = _log_normal(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _student_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 3, stride, 1, known, eta, value)
    for b in range(rows):
        found = _student(x[0, b], e[0, b], e[1, b], e[2, b])
        v[b], e[0, b], e[1, b], e[2, b] = found[0], found[1], found[2], found[3]
    return 0


def _skew_normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 3, stride, 1, known, eta, value)
    for b in range(rows):
        found = _skew_normal(x[0, b], e[0, b], e[1, b], e[2, b])
        v[b], e[0, b], e[1, b], e[2, b] = found[0], found[1], found[2], found[3]
    return 0


def _gamma_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 1, known, eta, value)
    for b in range(rows):
        found = _gamma(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _weibull_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 1, known, eta, value)
    for b in range(rows):
        found = _weibull(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _beta_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 2, known, eta, value)
    for b in range(rows):
        found = _beta(x[0, b], x[1, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _poisson_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 1, stride, 2, known, eta, value)
    for b in range(rows):
        found = _poisson(x[0, b], x[1, b], e[0, b])
        v[b], e[0, b] = found[0], found[1]
    return 0


def _negative_binomial_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 2, known, eta, value)
    for b in range(rows):
        found = _negative_binomial(x[0, b], x[1, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _inflated_poisson_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 2, stride, 2, known, eta, value)
    for b in range(rows):
        base = _poisson(x[0, b], x[1, b], e[0, b])
        whole = _inflated(x[0, b], base[0], e[1, b])
        v[b], e[0, b], e[1, b] = whole[0], whole[1] * base[1], whole[2]
    return 0


def _inflated_negative_binomial_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 3, stride, 2, known, eta, value)
    for b in range(rows):
        base = _negative_binomial(x[0, b], x[1, b], e[0, b], e[1, b])
        whole = _inflated(x[0, b], base[0], e[2, b])
        v[b], e[0, b], e[1, b], e[2, b] = whole[0], whole[1] * base[1], whole[1] * base[2], whole[2]
    return 0


def _bernoulli_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 1, stride, 1, known, eta, value)
    for b in range(rows):
        found = _bernoulli(x[0, b], e[0, b])
        v[b], e[0, b] = found[0], found[1]
    return 0


def _binomial_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, 1, stride, 3, known, eta, value)
    for b in range(rows):
        found = _binomial(x[0, b], x[1, b], x[2, b], e[0, b])
        v[b], e[0, b] = found[0], found[1]
    return 0


def _categorical_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    total = np.zeros(rows)
    for b in range(rows):
        v[b] = e[0, b]
    for j in range(1, predictors):
        for b in range(rows):
            v[b] = e[j, b] if e[j, b] > v[b] else v[b]
    for j in range(predictors):
        for b in range(rows):
            e[j, b] -= v[b]
            total[b] += arithmetic.exp(e[j, b])
    for b in range(rows):
        v[b] = -arithmetic.log(total[b])
    for j in range(predictors):
        for b in range(rows):
            share = arithmetic.exp(e[j, b]) / total[b]
            chosen = x[0, b] == j
            v[b] += e[j, b] if chosen else 0.0
            e[j, b] = (1.0 if chosen else 0.0) - share
    return 0


def _ordinal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    """Level y lies between a cut above, c_y, and one below, c_(y - 1); cuts are a first one and gaps added to it."""
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    top = predictors - 1
    for b in range(rows):
        y, mu = x[0, b], e[0, b]
        above, below, gap = e[1, b], e[1, b], 0.0
        for j in range(1, top):
            size = arithmetic.exp(e[1 + j, b])
            above += size if j <= y else 0.0
            below += size if j < y else 0.0
            gap = size if j == y else gap
        up = elementary.expit(mu - above) if y < top else 0.0  # slopes in the two cuts
        down = -elementary.expit(below - mu) if y > 0.0 else 0.0
        v[b] = (-elementary.softplus(mu - above) if y < top else 0.0) + (
            -elementary.softplus(below - mu) if y > 0.0 else 0.0
        )
        inner = 0.0 < y < top
        v[b] += arithmetic.log(-elementary.expm1(-gap)) if inner else 0.0
        for j in range(1, top):
            size = arithmetic.exp(e[1 + j, b])
            slope = (up if j <= y else 0.0) + (down if j < y else 0.0)
            slope += 1.0 / elementary.expm1(size) if inner and j == y else 0.0
            e[1 + j, b] = slope * size
        e[0, b] = -up - down
        e[1, b] = up + down
    return 0


def _mv_normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    """Residuals u = (y - mu) / scale are solved for z = u - L z, L strictly lower triangular; then all goes back."""
    outputs = 1
    while 2 * outputs + outputs * (outputs - 1) // 2 < predictors and 2 * outputs < predictors:
        outputs += 1
    full = predictors > 2 * outputs
    x, e, v = _views(rows, predictors, stride, outputs, known, eta, value)
    solved, pulled = np.empty((outputs, rows)), np.empty((outputs, rows))
    for b in range(rows):
        v[b] = -outputs * HALF_LOG_2PI
    for i in range(outputs):
        for b in range(rows):
            z = (x[i, b] - e[i, b]) * arithmetic.exp(-e[outputs + i, b])
            if full:
                for j in range(i):
                    z -= e[2 * outputs + i * (i - 1) // 2 + j, b] * solved[j, b]
            solved[i, b] = z
            v[b] -= e[outputs + i, b] + 0.5 * z * z
    for i in range(outputs - 1, -1, -1):
        for b in range(rows):
            slope = -solved[i, b]
            if full:
                for k in range(i + 1, outputs):
                    slope -= pulled[k, b] * e[2 * outputs + k * (k - 1) // 2 + i, b]
            pulled[i, b] = slope
            inverse = arithmetic.exp(-e[outputs + i, b])
            e[outputs + i, b] = -1.0 - slope * (x[i, b] - e[i, b]) * inverse
            e[i, b] = -slope * inverse
    if full:
        for i in range(outputs):
            for j in range(i):
                for b in range(rows):
                    e[2 * outputs + i * (i - 1) // 2 + j, b] = -pulled[i, b] * solved[j, b]
    return 0


def _known_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    """Return log densities that are known columns themselves."""
    x, _, v = _views(rows, 1, stride, 1, known, eta, value)
    for b in range(rows):
        v[b] = x[0, b]
    return 0


_KERNELS: dict[type[Family], Callable[..., int]] = {
    Bernoulli: _bernoulli_rows,
    Beta: _beta_rows,
    Binomial: _binomial_rows,
    Categorical: _categorical_rows,
    Gamma: _gamma_rows,
    LogNormal: _log_normal_rows,
    MvNormal: _mv_normal_rows,
    NegativeBinomial: _negative_binomial_rows,
    Normal: _normal_rows,
    Ordinal: _ordinal_rows,
    Poisson: _poisson_rows,
    SkewNormal: _skew_normal_rows,
    StudentT: _student_rows,
    Uniform: _known_rows,
    Weibull: _weibull_rows,
}
_INFLATED = {Poisson: _inflated_poisson_rows, NegativeBinomial: _inflated_negative_binomial_rows}


class Part(NamedTuple):
    """A factor of a density as compiled code.

    Parameters
    ----------
    kernel
        The pass over rows, to be compiled.
    known
        (columns, n) what it knows of every row.
    first, count
        Which of the family's linear predictors it takes.
    """

    kernel: Callable[..., int]
    known: np.ndarray
    first: int
    count: int


def parts_of(family: Family, y: np.ndarray, given: Sequence[np.ndarray]) -> list[Part] | None:
    """Return the factors of a family's density of y (n,) or (n, outputs), or None where one is not compiled."""
    if isinstance(family, Joint):
        return _joint_parts(family, y, given)
    found = _INFLATED.get(type(family.base)) if type(family) is ZeroInflated else _KERNELS.get(type(family))
    if found is None:
        return None
    if isinstance(family, Uniform):
        known: Sequence[np.ndarray] = (family.log_density(y),)
    elif isinstance(family, MvNormal):
        known = list(y.T)
    else:
        known = family.known(y, given)
    return [Part(found, np.array(known, dtype=float), 0, len(family.predicted))]


def _joint_parts(family: Joint, y: np.ndarray, given: Sequence[np.ndarray]) -> list[Part] | None:
    out: list[Part] = []
    first = at = 0
    for i, inner in enumerate(family.families):
        own = parts_of(inner, y[:, i], given[at : at + len(inner.given)])
        if own is None:
            return None
        out += [part._replace(first=first + part.first) for part in own]
        first, at = first + len(inner.predicted), at + len(inner.given)
    return out


@cache
def address_of(kernel: Callable[..., int]) -> int:
    """Return the address of a kernel as a C function; compiled once and kept on disk."""
    return int(cfunc(ROWS, cache=True)(kernel).address)
