"""The continuous ranked probability score of mixtures of experts averaged over draws.

The closed form for mixtures of Normals compares every component with every other, and an average over draws has
thousands: the integral of the squared distance of distribution functions is the cheaper way, and serves every family.

It is cut into panels, the wider the smoother the integrand g. On either side of y it is monotone, so that what hides
between two points, such as a narrow expert beside a wide one, shows as a change of g from one to the other. A sum over
counts is the integral of the line through its terms, which needs every count only where g bends from one to the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blend import Blend
from .mixtures import Floats, MixtureDraws, slices
from .quantiles import batches, cdf_at, quantile, thinned

_TAIL = 1e-9
_LEVELS = (_TAIL, 0.1, 0.9, 1.0 - _TAIL)
"""Where the first panels meet, beside y: quantiles of one draw in sixteen."""
_LEVELS_OF_COUNTS = (_TAIL, 0.5, 1.0 - _TAIL)
_TAIL_LEFT = 1e-8
"""Largest probability of all draws beyond the ends of the integral."""
_ROUNDING = 1e-14
_TOLERANCE = 5e-7
"""Largest error of all panels together, as a share of the row's score, if their signs are those of chance."""
_MOST_ROUNDS = 80
_GROWTH = 2.0
_AT_ONCE = 50_000  # panels
_NARROW = 31  # as far as that apart, the ends of a panel have no more counts between them than the rules have points
_MOST_COUNTS = 1024
"""The most counts in reach that are summed one by one."""

# Kronrod rule of 15 points on [-1, 1] (Piessens et al. 1983, QUADPACK): nodes above 0 and weights
_NODES = np.array(
    [
        0.991455371120812639206854697526329,
        0.949107912342758524526189684047851,
        0.864864423359769072789712788640926,
        0.741531185599394439863864773280788,
        0.586087235467691130294144691258680,
        0.405845151377397166906606412076961,
        0.207784955007898467600689403773245,
    ]
)
_KRONROD = np.array(
    [
        0.022935322010529224963732008058970,
        0.063092092629978553290700663189204,
        0.104790010322250183839876322541518,
        0.140653259715525918745189590510238,
        0.169004726639267902826583426598550,
        0.190350578064785409913256402421014,
        0.204432940075298892414161999234649,
    ]
)
_KRONROD_MIDDLE = 0.209482141084727828012999174891714
# The ends of the panel are points too, of weight 0: they show what hides before the first node
_X = np.concatenate([[-1.0], -_NODES, [0.0], _NODES[::-1], [1.0]])
_W15 = np.concatenate([[0.0], _KRONROD, [_KRONROD_MIDDLE], _KRONROD[::-1], [0.0]])
_GAPS = np.diff(_X)


def _shares() -> Floats:
    """Return what shares of degree 8 and more values at the points have (17, 9), in the norm of the integral."""
    root = np.sqrt(np.where(np.abs(_X) < 1.0, _W15, 0.5 * _GAPS[0]))
    basis, _ = np.linalg.qr(root[:, None] * np.polynomial.legendre.legvander(_X, len(_X) - 1))
    return root[:, None] * np.asarray(basis[:, 8:])


_SHARES = _shares()


class _Panels(NamedTuple):
    """Pieces of the integrals of rows, none of which has y inside."""

    row: NDArray[np.int64]
    begin: Floats
    end: Floats
    after: NDArray[np.bool_]

    def only(self, which: NDArray[np.bool_] | slice) -> _Panels:
        return _Panels(self.row[which], self.begin[which], self.end[which], self.after[which])


@np.errstate(all="ignore")
def crps_of_numbers(m: MixtureDraws | Blend, y: Floats) -> Floats:
    r"""Return :math:`\int (F_i(t) - 1\{t \ge y_i\})^2 dt` (n,), by adaptive Kronrod quadrature."""
    out = np.empty(m.rows)
    for rows, few in batches(m):
        cuts = _cuts(few, y[rows], _LEVELS, 0.0)
        own = y[rows, None]
        before, after = np.hstack([np.minimum(cuts, own), own]), np.hstack([own, np.maximum(cuts, own)])
        out[rows] = _integral(few, _panels(np.arange(few.rows), before, after), whole=False)
    return out


@np.errstate(all="ignore")
def crps_of_counts(m: MixtureDraws | Blend, y: Floats) -> Floats:
    r"""Return :math:`\sum_t (F_i(t) - 1\{t \ge y_i\})^2` (n,) over whole numbers: of many, by adaptive quadrature."""
    out = np.empty(m.rows)
    for rows, few in batches(m):
        out[rows] = _sums(few, np.floor(_cuts(few, y[rows], _LEVELS_OF_COUNTS, 1.0)), y[rows])
    return out


def _cuts(m: Blend, y: Floats, levels: tuple[float, ...], least: float) -> Floats:
    """Return quantiles (n, J) from left to right, the outer two so far out that what is beyond counts for nothing."""
    at = quantile(thinned(m), levels)
    low, high = at[:, [1]], at[:, [-2]]
    # F^2 to the left of y and (1 - F)^2 to the right are no less than this between two quantiles, and up to y
    score = levels[1] ** 2 * (np.maximum(high[:, 0], y) - np.minimum(low[:, 0], y))
    far = np.stack([at[:, 0] - least, at[:, -1]], axis=1)
    centre = 0.5 * (low + high)
    row = np.arange(m.rows)
    for _ in range(_MOST_ROUNDS):
        cdf = cdf_at(m, row, far[row])
        tail = np.stack([cdf[:, 0], 1.0 - cdf[:, 1]], axis=1)
        lost = (tail**2 * np.abs(far - centre)[row] > 0.1 * _TOLERANCE * score[row, None]) & (score[row, None] > 0.0)
        more = (tail > _TAIL_LEFT) | (lost & (tail > _ROUNDING))
        some = more.any(axis=1)
        row, more = row[some], more[some]
        if not row.size:
            break
        reach = np.maximum(np.abs(far - centre)[row], np.maximum(least, np.spacing(np.abs(centre[row]))))
        out = centre[row] + np.array([-1.0, 1.0]) * _GROWTH * reach
        far[row] = np.where(more, out, far[row])
    return np.concatenate([far[:, :1], at, far[:, 1:]], axis=1)


def _panels(row: NDArray[np.int64], before: Floats, after: Floats) -> _Panels:
    """Return the panels that meet at points (n, J) to the left of y and to its right."""
    sides = [
        _Panels(
            np.repeat(row, cuts.shape[1] - 1),
            cuts[:, :-1].ravel(),
            cuts[:, 1:].ravel(),
            np.full(cuts[:, 1:].size, side),
        )
        for side, cuts in ((False, before), (True, after))
    ]
    return _joined(*sides)


def _joined(*panels: _Panels) -> _Panels:
    return _Panels(*map(np.concatenate, zip(*panels, strict=True)))


def _sums(m: Blend, cuts: Floats, y: Floats) -> Floats:
    """Return the sum of every row (n,): term by term, or by the integral of the line through the terms."""
    out = np.empty(m.rows)
    first, last = np.minimum(cuts[:, 0], y), np.maximum(cuts[:, -1] + 1.0, y)
    many = last - first > _MOST_COUNTS
    for i in np.flatnonzero(~many):
        counts = np.arange(first[i], last[i] + 1.0)[None]
        out[i] = _squares(m, np.array([i]), counts, counts >= y[i]).sum()
    row = np.flatnonzero(many)
    cuts, own = cuts[row], y[row, None]
    before = np.hstack([np.minimum(cuts, own - 1.0), own - 1.0])
    after = np.hstack([own, np.maximum(cuts + 1.0, own)])
    # each side is the integral, and half of its first and its last term
    ends = np.hstack([before[:, [0, -1]], after[:, [0, -1]]])
    halves = 0.5 * _squares(m, row, ends, np.array([[False, False, True, True]])).sum(axis=1)
    out[row] = _integral(m, _panels(row, before, after), whole=True)[row] + halves
    return out


def _integral(m: Blend, panels: _Panels, *, whole: bool) -> Floats:
    """Return the integral of every row; ``whole``: of the lines between whole numbers."""
    total, count = np.zeros(m.rows), np.zeros(m.rows)
    for round_ in range(_MOST_ROUNDS):
        panels = panels.only(panels.end > panels.begin)
        if whole:
            narrow = panels.end - panels.begin <= _NARROW
            exact, panels = panels.only(narrow), panels.only(~narrow)
            for some in slices(exact.row.size, _AT_ONCE):
                total += _summed(m, exact.only(some))
        if not panels.row.size:
            break
        parts = [_measured(m, panels.only(some), whole=whole) for some in slices(panels.row.size, _AT_ONCE)]
        fine, error, low, high = map(np.concatenate, zip(*parts, strict=True))
        count += np.bincount(panels.row, minlength=m.rows)
        allowed = _TOLERANCE * (np.bincount(panels.row, fine, m.rows) + total) / np.sqrt(count)
        open_ = (error > allowed[panels.row]) & (round_ + 1 < _MOST_ROUNDS)
        total += np.bincount(panels.row[~open_], fine[~open_], m.rows)
        panels, low, high = panels.only(open_), low[open_], high[open_]
        pieces = ((panels.begin, low), (low, high), (high, panels.end))
        panels = _joined(*(panels._replace(begin=begin, end=end) for begin, end in pieces))
    return total


def _measured(m: Blend, panels: _Panels, *, whole: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the integral over every panel, its error, and the two points to split the panel at."""
    half = 0.5 * (panels.end - panels.begin)
    points = (0.5 * (panels.begin + panels.end))[:, None] + half[:, None] * _X
    square = (_lines if whole else _squares)(m, panels.row, points, panels.after[:, None])
    low, high = _around(points, square)
    if whole:
        low, high = np.floor(low), np.where(low < high, np.ceil(high), np.floor(high))
    low, high = np.clip(low, panels.begin, panels.end), np.clip(high, panels.begin, panels.end)
    return half * (square @ _W15), half * _error(square), low, high


def _squares(m: Blend, row: NDArray[np.int64], points: Floats, after: NDArray[np.bool_]) -> Floats:
    """Return the integrand at points (P, J)."""
    cdf = cdf_at(m, row, points)
    result: Floats = np.where(after, 1.0 - cdf, cdf) ** 2
    return result


def _lines(m: Blend, row: NDArray[np.int64], points: Floats, after: NDArray[np.bool_]) -> Floats:
    """Return the lines through the integrand at whole numbers at points (P, J)."""
    below = np.floor(points)
    left, right = np.split(_squares(m, row, np.hstack([below, below + 1.0]), after), 2, axis=1)
    result: Floats = left + (points - below) * (right - left)
    return result


def _summed(m: Blend, panels: _Panels) -> Floats:
    """Return the integral of the lines in narrow panels (n,), from every whole number."""
    width = (panels.end - panels.begin)[:, None]
    place = np.arange(_NARROW + 1.0)
    weight = np.where(place < width, 1.0, np.where(place == width, 0.5, 0.0))
    weight[:, 0] = 0.5
    square = _squares(m, panels.row, panels.begin[:, None] + np.minimum(place, width), panels.after[:, None])
    return np.bincount(panels.row, (weight * square).sum(axis=1), m.rows)


def _error(square: Floats) -> Floats:
    """Return what the rule errs by on [-1, 1], as the shares of high degrees say.

    Where g is smooth these fall, and what the rule has not right, from degree 23, falls further. Where steps hide
    between the points they do not: five shares are not small together by chance, as the difference of two rules may be.
    """
    shares = (square @ _SHARES) ** 2
    high, middle = np.sqrt(shares[:, 4:].sum(axis=1)), np.sqrt(shares[:, :4].sum(axis=1))
    result: Floats = high * np.where(high < middle, high / middle, 1.0)
    return result


def _around(points: Floats, square: Floats) -> tuple[Floats, Floats]:
    """Return the two points between which most can hide, or where no two stand out, the middle twice."""
    hidden = np.abs(np.diff(square, axis=1)) * _GAPS
    which, worst = np.arange(len(hidden)), hidden.argmax(axis=1)
    most, middle = hidden[which, worst] > 0.5 * hidden.sum(axis=1), points[:, len(_X) // 2]
    return np.where(most, points[which, worst], middle), np.where(most, points[which, worst + 1], middle)
