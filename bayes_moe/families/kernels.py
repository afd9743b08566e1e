"""Closed forms compiled row by row: a C function per family, called with the addresses of a block of rows.

A family's closed form runs as it is written, in the functions of `elementary` as they are compiled. What it computes
beyond value and slopes, nobody reads, and the compiler drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numba import carray, njit

from ..graph import arithmetic
from ..pointers import doubles_at
from . import elementary
from .base import Family
from .bernoulli import Bernoulli, bernoulli_terms
from .beta import Beta, beta_terms
from .binomial import Binomial, binomial_terms
from .categorical import Categorical
from .elementary_kernels import INLINE
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

_bernoulli, _beta, _binomial = (njit(**INLINE)(f) for f in (bernoulli_terms, beta_terms, binomial_terms))
_gamma, _log_normal, _normal = (njit(**INLINE)(f) for f in (gamma_terms, log_normal_terms, normal_terms))
_negative_binomial, _poisson = (njit(**INLINE)(f) for f in (negative_binomial_terms, poisson_terms))
_skew_normal, _student, _weibull = (njit(**INLINE)(f) for f in (skew_normal_terms, student_terms, weibull_terms))
_inflated = njit(**INLINE)(inflated)


@njit(**INLINE)
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
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _normal(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _log_normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _log_normal(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _student_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _student(x[0, b], e[0, b], e[1, b], e[2, b])
        v[b], e[0, b], e[1, b], e[2, b] = found[0], found[1], found[2], found[3]
    return 0


def _skew_normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _skew_normal(x[0, b], e[0, b], e[1, b], e[2, b])
        v[b], e[0, b], e[1, b], e[2, b] = found[0], found[1], found[2], found[3]
    return 0


def _gamma_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _gamma(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _weibull_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _weibull(x[0, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _beta_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 2, known, eta, value)
    for b in range(rows):
        found = _beta(x[0, b], x[1, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _poisson_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 2, known, eta, value)
    for b in range(rows):
        found = _poisson(x[0, b], x[1, b], e[0, b])
        v[b], e[0, b] = found[0], found[1]
    return 0


def _negative_binomial_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 2, known, eta, value)
    for b in range(rows):
        found = _negative_binomial(x[0, b], x[1, b], e[0, b], e[1, b])
        v[b], e[0, b], e[1, b] = found[0], found[1], found[2]
    return 0


def _inflated_poisson_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 2, known, eta, value)
    for b in range(rows):
        base = _poisson(x[0, b], x[1, b], e[0, b])
        whole = _inflated(x[0, b], base[0], e[1, b])
        v[b], e[0, b], e[1, b] = whole[0], whole[1] * base[1], whole[2]
    return 0


def _inflated_negative_binomial_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 2, known, eta, value)
    for b in range(rows):
        base = _negative_binomial(x[0, b], x[1, b], e[0, b], e[1, b])
        whole = _inflated(x[0, b], base[0], e[2, b])
        v[b], e[0, b], e[1, b], e[2, b] = whole[0], whole[1] * base[1], whole[1] * base[2], whole[2]
    return 0


def _bernoulli_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    for b in range(rows):
        found = _bernoulli(x[0, b], e[0, b])
        v[b], e[0, b] = found[0], found[1]
    return 0


def _binomial_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    x, e, v = _views(rows, predictors, stride, 3, known, eta, value)
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


@njit(**INLINE)
def _between(y, top, mu, above, below, gap):  # type: ignore[no-untyped-def]
    """Return the log probability between two cuts, and its slopes in the cut above, the one below and the gap."""
    low, high = y <= 0.0, y >= top
    inner = 0.0 if low else (0.0 if high else 1.0)
    less = elementary.expm1(-gap)
    value = arithmetic.log(-less if inner == 1.0 else 1.0)
    value -= 0.0 if high else elementary.softplus(mu - above)
    value -= 0.0 if low else elementary.softplus(below - mu)
    up = 0.0 if high else elementary.expit(mu - above)
    down = 0.0 if low else -elementary.expit(below - mu)
    return value, up, down, -(1.0 + less) / less if inner == 1.0 else 0.0


def _ordinal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    """Level y lies between a cut above, c_y, and one below, c_(y - 1); cuts are a first one and gaps added to it."""
    x, e, v = _views(rows, predictors, stride, 1, known, eta, value)
    top = predictors - 1
    cuts = np.zeros((3, rows))  # above, below and the gap between; then the slopes in them
    for b in range(rows):
        cuts[0, b] = e[1, b]
        cuts[1, b] = e[1, b]
    for j in range(1, top):
        for b in range(rows):
            size = arithmetic.exp(e[1 + j, b])
            cuts[0, b] += size if j <= x[0, b] else 0.0
            cuts[1, b] += size if j < x[0, b] else 0.0
            cuts[2, b] = size if j == x[0, b] else cuts[2, b]
            e[1 + j, b] = size
    for b in range(rows):
        found = _between(x[0, b], top, e[0, b], cuts[0, b], cuts[1, b], cuts[2, b])
        v[b], cuts[0, b], cuts[1, b], cuts[2, b] = found[0], found[1], found[2], found[3]
    for b in range(rows):
        e[0, b] = -cuts[0, b] - cuts[1, b]
        e[1, b] = cuts[0, b] + cuts[1, b]
    for j in range(1, top):
        for b in range(rows):
            slope = (cuts[0, b] if j <= x[0, b] else 0.0) + (cuts[1, b] if j < x[0, b] else 0.0)
            e[1 + j, b] *= slope + (cuts[2, b] if j == x[0, b] else 0.0)
    return 0


@njit(**INLINE)
def _solve(x, e, outputs, full, solved, v):  # type: ignore[no-untyped-def]
    """Solve z = u - L z for the residuals u = (y - mu) / scale, L strictly lower triangular, and add up the density."""
    rows = v.shape[0]
    for b in range(rows):
        v[b] = -outputs * HALF_LOG_2PI
    for i in range(outputs):
        for b in range(rows):
            solved[i, b] = (x[i, b] - e[i, b]) * arithmetic.exp(-e[outputs + i, b])
        for j in range(i if full else 0):
            for b in range(rows):
                solved[i, b] -= e[2 * outputs + i * (i - 1) // 2 + j, b] * solved[j, b]
        for b in range(rows):
            v[b] -= e[outputs + i, b] + 0.5 * solved[i, b] * solved[i, b]


def _mv_normal_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    outputs = 1
    while 2 * outputs < predictors and 2 * outputs + outputs * (outputs - 1) // 2 < predictors:
        outputs += 1
    full = predictors > 2 * outputs
    x, e, v = _views(rows, predictors, stride, outputs, known, eta, value)
    solved, pulled = np.empty((outputs, rows)), np.empty((outputs, rows))
    _solve(x, e, outputs, full, solved, v)
    for i in range(outputs - 1, -1, -1):
        for b in range(rows):
            pulled[i, b] = -solved[i, b]
        for k in range(i + 1, outputs if full else 0):
            for b in range(rows):
                pulled[i, b] -= pulled[k, b] * e[2 * outputs + k * (k - 1) // 2 + i, b]
    for i in range(outputs):
        for b in range(rows):
            inverse = arithmetic.exp(-e[outputs + i, b])
            e[outputs + i, b] = -1.0 - pulled[i, b] * (x[i, b] - e[i, b]) * inverse
            e[i, b] = -pulled[i, b] * inverse
        for j in range(i if full else 0):
            for b in range(rows):
                e[2 * outputs + i * (i - 1) // 2 + j, b] = -pulled[i, b] * solved[j, b]
    return 0


def _known_rows(rows, predictors, stride, known, eta, value):  # type: ignore[no-untyped-def]
    """Return log densities that are known columns themselves."""
    x, _, v = _views(rows, predictors, stride, 1, known, eta, value)
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
    first, predictors
        Which of the family's linear predictors it takes.
    """

    kernel: Callable[..., int]
    known: np.ndarray
    first: int
    predictors: int


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
