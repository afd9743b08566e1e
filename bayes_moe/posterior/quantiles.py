"""Quantiles and intervals of mixtures of experts averaged over posterior draws.

The quantile of a mixture is no average of its components' quantiles: it is found by inverting the
averaged distribution function F. Every row and level is a root of its own, all are searched for together,
and only those not yet found are worked on.

A search starts between bounds that hold for every distribution (Cantelli's inequality), at the root for
one draw in sixteen, which was found in the same way. It then takes inverse Hermite steps (Newton's at
first), built on F and its density at the latest two points, of order about 2.7; a step that leaves the
bracket is replaced by a bisection. From `PATIENCE` evaluations on every second one halves the number of
floating-point numbers in the bracket, of which there are fewer than 2^64, so a search always ends. Of counts
only whole numbers are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayes_moe.errors import InputError
from bayes_moe.posterior.blend import Blend, predictive_moments
from bayes_moe.posterior.brackets import LARGEST, Search, halfway, hermite
from bayes_moe.posterior.mixtures import (
    PIECE_ELEMENTS,
    Components,
    Floats,
    MixtureDraws,
    Rising,
    gated,
    slices,
)

TOLERANCE = 1e-10
"""Largest |F(x) − q| that counts as found, for levels between 0.01 and 0.99."""

PATIENCE = 20
"""Evaluations after which every second one bisects by counting floating-point numbers."""

THINNING = 16
"""One draw in so many gives the start of a search on all draws."""


def quantile(m: MixtureDraws | Blend, q: ArrayLike) -> Floats:
    """Return the quantiles of the averaged predictive distribution, in the units of y.

    Solves F_i(x) = q for F_i(x) = 1/S Σ_s Σ_k g_sk(x_i) F_sk(x), see the module's first lines; of an average of fits,
    for the weighted sum of theirs.

    Parameters
    ----------
    m
        The mixture: n rows under S draws; or a weighted average of such.
    q
        One level or Q levels, strictly between 0 and 1, in any order.

    Returns
    -------
    array of shape (n, Q)
        With |F(x) − q| ≤ 1e-10 (and ≤ 1e-8 min(q, 1 − q) in the tails, as far as rounding allows); or,
        where F climbs past q between two neighbouring floating-point numbers, the upper of the two. Never
        decreasing in q. Where F is flat at q any point of the gap may be returned. NaN where F is NaN.

    Raises
    ------
    InputError
        If a level is not strictly between 0 and 1, or the levels have two dimensions or more.

    Examples
    --------
    With ``m`` from the example of `bayes_moe.posterior.mixtures.MixtureDraws`, a logistic at 0 with
    weight 1/4 and one at 4 with weight 3/4, ``quantile(m, [0.05, 0.5])`` is ``[[-1.32, 3.36]]``.
    """
    levels = read_levels(q)
    straight = _straight(m)
    if straight is not None:  # a quantile of a rising function of y is that function of the quantile
        return np.asarray(straight[0].inverse(quantile(straight[1], levels)))
    result = np.empty((m.rows, levels.size))
    for rows, few in batches(m):
        result[rows] = _roots(few, levels)
    order = np.argsort(levels, kind="stable")
    result[:, order] = np.maximum.accumulate(result[:, order], axis=1)
    return result


def _straight(m: MixtureDraws | Blend) -> tuple[Rising, MixtureDraws | Blend] | None:
    """Return the function of y that all experts are of, if there is one, and the mixture of that."""
    parts = m.mixtures if isinstance(m, Blend) else (m,)
    first = parts[0].power
    if first is None or any(part.power is None or part.power.function != first.function for part in parts):
        return None
    plain = tuple(replace(part, family=part.power.family, power=None) for part in parts if part.power is not None)
    return first.function, Blend(plain, m.weights) if isinstance(m, Blend) else plain[0]


def interval(m: MixtureDraws | Blend, prob: float) -> Floats:
    """Return the equal-tailed interval of the averaged predictive distribution, shape (n, 2).

    Its ends are the quantiles at (1 − prob)/2 and (1 + prob)/2; ``prob`` is strictly between 0 and 1.
    """
    check_prob(prob)
    return quantile(m, [0.5 * (1.0 - prob), 0.5 * (1.0 + prob)])


def check_prob(prob: object) -> None:
    """Refuse anything but one number strictly between 0 and 1."""
    if not isinstance(prob, int | float | np.floating) or not 0.0 < prob < 1.0:
        raise InputError(f"prob: expected a number between 0 and 1, got {prob!r:.60} → pass e.g. 0.9")


def read_levels(q: ArrayLike) -> Floats:
    """Return the levels as an array (Q,), or raise `InputError`."""
    try:
        levels = np.atleast_1d(np.asarray(q))
    except ValueError:  # lists of several lengths
        levels = np.array([None])
    if levels.dtype.kind not in "iuf":
        raise InputError(f"q: expected numbers strictly between 0 and 1, got {q!r:.60} → pass e.g. [0.05, 0.95]")
    if levels.ndim != 1:
        raise InputError(f"q: expected one level or a list of levels, got shape {levels.shape} → flatten it")
    wrong = levels[~((levels > 0.0) & (levels < 1.0))]
    if wrong.size:
        raise InputError(f"q: expected levels strictly between 0 and 1, got {wrong[0]:g} → pass e.g. [0.05, 0.95]")
    return levels.astype(np.float64)


def batches(m: MixtureDraws | Blend) -> Iterator[tuple[slice, Blend]]:
    """Yield a few rows at a time, with their components in memory if they are no more than one chunk."""
    blend = m if isinstance(m, Blend) else Blend((m,), np.ones(1))
    step = min(part.chunk_elements // (part.draws * part.experts) for part in blend.mixtures)
    for rows in slices(m.rows, max(1, step)):
        yield rows, _each(blend, partial(_held, rows=rows))


def _each(blend: Blend, change: Callable[[MixtureDraws], MixtureDraws]) -> Blend:
    """Return the average with every fit's mixture changed."""
    return Blend(tuple(change(part) for part in blend.mixtures), blend.weights)


def _rows_of(m: MixtureDraws, rows: slice) -> MixtureDraws:
    """Return the mixture of some rows."""

    def shifted(i: slice, s: slice) -> Components:
        return m.components(slice(rows.start + i.start, rows.start + i.stop), s)

    return replace(m, rows=rows.stop - rows.start, components=shifted)


def _held(m: MixtureDraws, rows: slice) -> MixtureDraws:
    """Return the mixture of some rows, with its components in memory if they are no more than one chunk."""
    return _in_memory(_rows_of(m, rows))


def _in_memory(m: MixtureDraws) -> MixtureDraws:
    shape = (m.draws, m.rows, m.experts)
    if m.draws * m.rows * m.experts > m.chunk_elements:
        return m
    log_gate, parameters = m.components(slice(0, m.rows), slice(0, m.draws))
    by_row = _by_row(log_gate, shape)
    named = {name: _by_row(array, shape) for name, array in parameters.items()}

    def held(i: slice, s: slice) -> Components:
        cut = {name: array[i, s].swapaxes(0, 1) for name, array in named.items()}
        return by_row[i, s].swapaxes(0, 1), cut

    return replace(m, components=held)


def _by_row(array: Floats, shape: tuple[int, int, int]) -> Floats:
    """Return an array (s, r, K) with what belongs to one row side by side, as (r, s, K)."""
    return np.ascontiguousarray(np.broadcast_to(array, shape).swapaxes(0, 1))


def thinned(blend: Blend) -> Blend:
    """Return the average with one draw in `THINNING` of fits that have many."""
    return _each(blend, _thinned)


def _thinned(m: MixtureDraws) -> MixtureDraws:
    """Return the mixture of one draw in `THINNING`, where there are many."""
    if not _many(m):
        return m

    def every(i: slice, s: slice) -> Components:
        step = THINNING * (s.step or 1)
        return m.components(i, slice(s.start * THINNING, min(s.stop * THINNING, m.draws), step))

    return replace(m, draws=-(-m.draws // THINNING), components=every)


def _many(m: MixtureDraws) -> bool:
    return m.draws >= 4 * THINNING


@np.errstate(all="ignore")
def _roots(m: Blend, levels: Floats) -> Floats:
    """Return the quantiles (n, Q) of few rows."""
    m = _each(m, _in_memory)
    mean, variance = predictive_moments(m)
    mean, sd = mean[:, None], np.sqrt(variance)[:, None]
    if any(map(_many, m.mixtures)):
        start = _roots(thinned(m), levels)
    else:
        start = mean + sd * np.array([NormalDist().inv_cdf(level) for level in levels])

    # Cantelli: mean − sd √((1−q)/q) ≤ quantile ≤ mean + sd √(q/(1−q)), widened by rounding.
    odds = np.sqrt(levels / (1.0 - levels))
    sd, margin = sd * (1.0 + 1e-9), 1e-10 * (np.abs(mean) + sd)
    low, high = mean - sd / odds - margin, mean + sd * odds + margin
    unbounded = ~(np.isfinite(low) & np.isfinite(high))
    low, high = np.where(unbounded, -LARGEST, low), np.where(unbounded, LARGEST, high)
    whole = all(part.family.discrete for part in m.mixtures)
    if whole:
        low, high = np.floor(low), np.ceil(high)
    start = np.where((start > low) & (start < high), start, halfway(low, high, unbounded))

    pairs, none, unseen = np.arange(low.size), np.full(low.size, np.nan), np.zeros(low.size, np.bool_)
    search = Search(
        pair=pairs,
        row=pairs // max(1, levels.size),
        level=np.tile(levels, m.rows),
        low=low.ravel(),
        high=high.ravel(),
        low_seen=unseen,
        high_seen=unseen,
        unbounded=unbounded.ravel(),
        x=start.ravel(),
        last_x=none,
        last_cdf=none,
        last_density=none,
        whole=whole,
    )
    return _found(m, replace(search, x=search.inside(search.x))).reshape(low.shape)


def _found(m: Blend, search: Search) -> Floats:
    """Return the root of every pair in the search."""
    result, whole = np.empty(search.pair.size), search.whole
    evaluations = 0
    while search.pair.size:
        cdf, density = _cdf_and_density(m, search.row, search.x)
        evaluations += 1
        excess = cdf - search.level
        search = search.narrowed(excess).reopened()
        proposed = hermite(search, cdf, density)
        inside = (proposed > search.low) & (proposed < search.high)

        near = np.isnan(cdf) | (np.abs(excess) <= _tolerance(search.level))
        done = near | search.closed()
        # A last step costs nothing; where the density has settled it leaves only rounding.
        settled = inside & (np.abs(density - search.last_density) <= 0.1 * density)
        settled &= np.abs(proposed - search.x) <= np.abs(search.last_x - search.x)
        answer = np.where(near, np.where(settled & (not whole), proposed, search.x), search.high)
        result[search.pair[done]] = np.where(np.isnan(cdf), np.nan, answer)[done]

        late = evaluations > PATIENCE
        middle = halfway(search.low, search.high, search.unbounded | late)
        stepping = inside & (not late or evaluations % 2 == 0)
        search = replace(
            search,
            x=search.inside(np.where(stepping, proposed, middle)),
            last_x=search.x,
            last_cdf=cdf,
            last_density=density,
        ).only(~done)
    return result


def _tolerance(level: Floats) -> Floats:
    """Return the largest |F − q| that counts as found; relative in the tails, never below rounding."""
    tail = np.minimum(level, 1.0 - level)
    result: Floats = TOLERANCE * np.minimum(1.0, 100.0 * tail) + 16.0 * np.finfo(np.float64).eps * level
    return result


def cdf_at(m: Blend, row: NDArray[np.int64], x: Floats) -> Floats:
    """Return the averaged distribution function of rows (P,) at points (P, J)."""
    total = np.zeros(x.shape)
    for weight, part in m.parts:
        for which, gate, named in _gathered(part, row, x.shape[1]):
            below = part.family.cdf(x[which, :, None, None], **{name: array[:, None] for name, array in named.items()})
            total[which] += weight / part.draws * gated(gate[:, None], below).sum(axis=(2, 3))
    return total


def _cdf_and_density(m: Blend, row: NDArray[np.int64], x: Floats) -> tuple[Floats, Floats]:
    """Return the averaged distribution function and density at pairs of a row and a point."""
    cdf, density = np.zeros(row.size), np.zeros(row.size)
    for weight, part in m.parts:
        own = _of_part(part, row, x)
        cdf += weight * own[0]
        density += weight * own[1]
    return cdf, density


def _of_part(m: MixtureDraws, row: NDArray[np.int64], x: Floats) -> tuple[Floats, Floats]:
    """Return the distribution function and the density of one fit."""
    cdf, density = np.zeros(row.size), np.zeros(row.size)
    for part, gate, named in _gathered(m, row, 1):
        at = x[part, None, None]
        cdf[part] += gated(gate, m.family.cdf(at, **named)).sum(axis=(1, 2))
        density[part] += gated(gate, np.exp(m.family.log_density(at, **named))).sum(axis=(1, 2))
    return cdf / m.draws, density / m.draws


def _gathered(
    m: MixtureDraws, row: NDArray[np.int64], points: int
) -> Iterator[tuple[slice, Floats, dict[str, NDArray[Any]]]]:
    """Yield gates and parameters (p, s, K) of rows asked for by position (P,), with pieces for so many points each."""
    for draws in slices(m.draws, max(1, m.chunk_elements // (m.rows * m.experts))):
        shape = (draws.stop - draws.start, m.rows, m.experts)
        log_gate, parameters = m.components(slice(0, m.rows), draws)
        gates = np.broadcast_to(log_gate, shape).swapaxes(0, 1)
        arrays = {name: np.broadcast_to(array, shape).swapaxes(0, 1) for name, array in parameters.items()}
        for some in slices(shape[0], max(1, PIECE_ELEMENTS // (points * m.experts))):
            cells = (some.stop - some.start) * m.experts * points
            for part in slices(row.size, max(1, PIECE_ELEMENTS // cells)):
                which = row[part]
                gate = np.exp(gates[:, some][which])
                yield part, gate, {name: array[:, some][which] for name, array in arrays.items()}
