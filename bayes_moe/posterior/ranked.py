"""The continuous ranked probability score of mixtures of experts averaged over draws.

The closed form for mixtures of Normals compares every component with every other, and an average over draws has
thousands: the integral of the squared distance of distribution functions is the cheaper way, and serves every family.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blend import Blend
from .mixtures import Floats, MixtureDraws
from .quantiles import batches, cdf_at, quantile, thinned

_TAIL = 1e-6
"""Probability beyond the ends of the integral; what is left out is of the order of its square."""
_TOLERANCE = 1e-5
"""Largest difference of the two rules in a panel, as a share of the row's score: the finer one errs far less."""
_MOST_PANELS = 40  # halvings: fewer than a double has bits
_MOST_COUNTS = 4096

# Gauss-Kronrod rule of 7 and 15 points on [-1, 1] (Piessens et al. 1983, QUADPACK): nodes above 0 and weights
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
_GAUSS = np.array(
    [0.129484966168869693270611432679082, 0.279705391489276667901467771423780, 0.381830050505118944950369775488975]
)
_GAUSS_MIDDLE = 0.417959183673469387755102040816327
_X = np.concatenate([-_NODES, [0.0], _NODES[::-1]])
_W15 = np.concatenate([_KRONROD, [_KRONROD_MIDDLE], _KRONROD[::-1]])
_W7 = np.zeros(15)
_W7[1::2] = [*_GAUSS, _GAUSS_MIDDLE, *_GAUSS[::-1]]


@np.errstate(all="ignore")
def crps_of_numbers(m: MixtureDraws | Blend, y: Floats) -> Floats:
    r"""Return :math:`\int (F_i(t) - 1\{t \ge y_i\})^2 dt` (n,), by adaptive Gauss-Kronrod quadrature."""
    out = np.empty(m.rows)
    for rows, few in batches(m):
        out[rows] = _integral(few, y[rows])
    return out


def _integral(m: Blend, y: Floats) -> Floats:
    low, high = quantile(thinned(m), [_TAIL, 1.0 - _TAIL]).T
    row = np.tile(np.arange(m.rows), 2)
    begin = np.concatenate([np.minimum(low, y), y])
    end = np.concatenate([y, np.maximum(high, y)])
    after = np.repeat([False, True], m.rows)
    total = np.zeros(m.rows)
    for halving in range(_MOST_PANELS):
        wide = end > begin
        row, begin, end, after = row[wide], begin[wide], end[wide], after[wide]
        if not row.size:
            break
        fine, coarse = _panels(m, row, begin, end, after)
        scale = np.bincount(row, fine, m.rows) + total
        open_ = (np.abs(fine - coarse) > _TOLERANCE * scale[row]) & (halving + 1 < _MOST_PANELS)
        total += np.bincount(row[~open_], fine[~open_], m.rows)
        row, begin, end, after = row[open_], begin[open_], end[open_], after[open_]
        middle = 0.5 * (begin + end)
        begin, end = np.concatenate([begin, middle]), np.concatenate([middle, end])
        row, after = np.tile(row, 2), np.tile(after, 2)
    return total


def _panels(
    m: Blend, row: NDArray[np.int64], begin: Floats, end: Floats, after: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the integral over every panel by 15 points and by 7."""
    half = 0.5 * (end - begin)
    points = (0.5 * (begin + end))[:, None] + half[:, None] * _X
    cdf = cdf_at(m, row, points)
    square = np.where(after[:, None], 1.0 - cdf, cdf) ** 2
    return half * (square @ _W15), half * (square @ _W7)


@np.errstate(all="ignore")
def crps_of_counts(m: MixtureDraws | Blend, y: Floats) -> Floats:
    r"""Return :math:`\sum_t (F_i(t) - 1\{t \ge y_i\})^2` (n,) over whole numbers."""
    out = np.empty(m.rows)
    for rows, few in batches(m):
        out[rows] = _sums(few, y[rows])
    return out


def _sums(m: Blend, y: Floats) -> Floats:
    low, high = quantile(thinned(m), [_TAIL, 1.0 - _TAIL]).T
    begin, end = np.floor(np.minimum(low, y)), np.ceil(np.maximum(high, y))
    step = np.maximum(1.0, np.ceil((end - begin) / _MOST_COUNTS))
    out = np.empty(m.rows)
    for i in range(m.rows):
        counts = np.arange(begin[i], end[i] + 1.0, step[i])
        cdf = cdf_at(m, np.array([i]), counts[None])[0]
        out[i] = step[i] * np.sum((cdf - (counts >= y[i])) ** 2)
    return out
