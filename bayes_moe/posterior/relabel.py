"""Undo label switching: one permutation of the experts per posterior draw (Stephens' algorithm).

The likelihood of a mixture does not change when its experts are renamed, so "expert 0" may mean another
expert in the next draw. :func:`relabel` renames the experts of every draw such that its responsibilities
come as close as possible, in Kullback-Leibler divergence, to one reference (the *pivot*, the
responsibilities at EM's mode), and says how clear-cut that was. :func:`choose_rows` picks the few rows that
are needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayes_moe.errors import InputError
from bayes_moe.posterior.matching import AnyOrder, Matching

type Array = NDArray[np.float64]
type Integers = NDArray[np.intp]
type Chunks = Callable[[], Iterable[NDArray[np.floating[Any]]]]

AGREEMENT_LIMIT = 0.9
"""Labelled tables mean little when less of the hard allocation agrees with the pivot."""
AMBIGUITY_LIMIT = 0.05
"""Labelled tables mean little when more of the draws have two labellings of similar standing."""
CLEAR_ODDS = 20.0
"""Odds of the best labelling of a draw against its second best from which on it counts as clear."""

_BLOCK = 1 << 20  # numbers of an array looked at in one go: 8 MB
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Relabelling:
    """One permutation of the experts per draw, and how far it can be trusted.

    Parameters
    ----------
    permutations
        (draws, K) integers: new expert ``j`` of draw ``s`` is raw expert ``permutations[s, j]``.
    cost
        Divergence of all draws from the final pivot together, in nats.
    cost_trace
        That sum in each sweep. It never rises.
    agreement
        Share of draws and rows whose most responsible expert is the given pivot's one. Rows count by their
        weight times the lead of the pivot's first expert over its second: a row that the pivot leaves open
        cannot disagree. 0 if it leaves all open.
    ambiguity
        Share of draws with two labellings of similar standing; the formula stands in :func:`relabel`.
    pivot
        (rows, K) mean of the relabelled responsibilities, the reference of the last sweep.
    """

    permutations: Integers
    cost: float
    cost_trace: tuple[float, ...]
    agreement: float
    ambiguity: float
    pivot: Array

    @property
    def ambiguous(self) -> bool:
        """Whether labelled tables mean little: agreement below 0.9, or ambiguity above 0.05."""
        return self.agreement < AGREEMENT_LIMIT or self.ambiguity > AMBIGUITY_LIMIT


def relabel(
    responsibilities: ArrayLike | Chunks,
    pivot: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    max_sweeps: int = 50,
    matching: Matching | None = None,
) -> Relabelling:
    r"""Find the permutation of every draw that brings its responsibilities closest to a common reference.

    Two steps alternate, and neither can raise the total cost
    :math:`\sum_s \sum_i w_i \sum_j r^s_{i,\nu_s(j)} \log (r^s_{i,\nu_s(j)} / q_{ij})`: per draw, the best
    permutation :math:`\nu_s` is an assignment problem with cost
    :math:`C^s_{jk} = \sum_i w_i r^s_{ik} (\log r^s_{ik} - \log q_{ij})`; and the best :math:`q` is the mean
    over draws of the permuted responsibilities. The first :math:`q` is the pivot. It ends when no permutation
    changes or the total cost stands still.

    *Ambiguity.* Let :math:`m_s` be how much more the second-best permutation of draw s costs than the best,
    :math:`c_s`. If every row told as much as an observed allocation, :math:`m_s` would be the log odds of the
    two labellings and :math:`2 c_s` chi-square. Rows tell less than that, the less the more the experts
    overlap, and :math:`m_s` then grows with the number of rows although nothing becomes clearer. For
    :math:`2 c_s = T \chi^2` the inflation is :math:`T = \operatorname{var}(c_s) / \operatorname{mean}(c_s)`,
    so the log odds are :math:`m_s / \max(1, T)`, with T from median and median absolute deviation (a second
    mode shall not decide). The ambiguity is the share of draws with odds under 20.

    Parameters
    ----------
    responsibilities
        (draws, rows, K) responsibilities, each row summing to one; or a function without arguments that
        returns the same cut into chunks of draws, called again for every pass, so that the whole need not be
        in memory. A thousand rows tell as much about labels as a million: see :func:`choose_rows`.
    pivot
        (rows, K) responsibilities at the reference, usually EM's mode.
    weights
        (rows,) non-negative weights; a weight of 2 is the row twice.
    max_sweeps
        Upper limit of the sweeps; two or three are usual.
    matching
        Which permutations are allowed; None: all.

    Raises
    ------
    InputError
        Shapes do not fit, or numbers are negative or not finite.

    References
    ----------
    M. Stephens (2000), Dealing with label switching in mixture models, J. R. Stat. Soc. B 62, 795-809.

    Examples
    --------
    >>> pivot = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> draws = np.stack([pivot, pivot[:, ::-1]])
    >>> relabel(draws, pivot).permutations
    array([[0, 1],
           [1, 0]])
    """
    start, w = _checked(pivot, weights)
    if max_sweeps < 1:
        raise InputError(f"max_sweeps: expected at least 1, got {max_sweeps} → give a positive number")
    blocks = _Blocks(responsibilities, start.shape)
    entropy = np.concatenate([np.tensordot(b * _log(b), w, axes=(1, 0)) for b in blocks.checked()])
    reference, trace, previous = start, list[float](), None
    matching = matching or AnyOrder()
    for _ in range(max_sweeps):
        permutations, costs, mean = _sweep(blocks, entropy, reference, w, matching)
        best = np.take_along_axis(costs, permutations[:, :, None], axis=2)[:, :, 0].sum(axis=1)
        trace.append(float(best.sum()))
        if previous is not None and np.array_equal(previous, permutations):
            break
        if len(trace) > 1 and trace[-2] - trace[-1] <= 1e-12 * (1.0 + abs(trace[-1])):
            break
        reference, previous = mean, permutations
    margin = matching.margin(costs, permutations)
    return Relabelling(
        permutations=permutations,
        cost=trace[-1],
        cost_trace=tuple(trace),
        agreement=_agreement(blocks, permutations, start, w),
        ambiguity=float(np.mean(margin / _inflation(best) < np.log(CLEAR_ODDS))),
        pivot=mean,
    )


def permuted[T: np.generic](values: NDArray[T], permutations: Integers, *, axis: int = 1) -> NDArray[T]:
    """Return values of shape (draws, ...) with the experts, which lie along ``axis``, in their new order.

    Examples
    --------
    >>> permuted(np.array([[1.0, 2.0, 3.0]]), np.array([[2, 0, 1]]))
    array([[3., 1., 2.]])
    """
    shape = [1] * values.ndim
    shape[0], shape[axis] = permutations.shape
    return np.take_along_axis(values, permutations.reshape(shape), axis=axis)


def choose_rows(pivot: ArrayLike, *, weights: ArrayLike | None = None, limit: int = 1000) -> tuple[Integers, Array]:
    """Choose about ``limit`` rows that tell the labels, and the weights with which they stand for all.

    Rows are grouped by their most responsible expert. Half of the places go to the groups in proportion to
    their size, half in equal parts, so that a small expert is seen too. Within a group, rows are taken at
    equal steps from the most to the least certain: the choice is deterministic.

    Parameters
    ----------
    pivot
        (rows, K) responsibilities at the reference, usually EM's mode.
    weights
        (rows,) non-negative weights.
    limit
        Number of rows wanted; up to K more may come back, and all rows if there are no more.

    Returns
    -------
    rows, weights
        Ascending row numbers, and their weights. The weights of a group add up to those of all its rows.

    Examples
    --------
    >>> choose_rows(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]), limit=2)
    (array([0, 2]), array([2., 2.]))
    """
    q, w = _checked(pivot, weights)
    n, experts = q.shape
    if n <= limit:
        return np.arange(n), w
    chosen = w * 0.0
    hard, certainty = q.argmax(axis=1), q.max(axis=1)
    for expert in range(experts):
        group = np.flatnonzero((hard == expert) & (w > 0.0))
        if not group.size:
            continue
        places = min(group.size, int(np.ceil(0.5 * limit * (group.size / n + 1.0 / experts))))
        ordered = group[np.argsort(-certainty[group], kind="stable")]
        taken = ordered[np.arange(places) * group.size // places]
        chosen[taken] = w[taken] * (w[group].sum() / w[taken].sum())
    rows = np.flatnonzero(chosen)
    return rows, chosen[rows]


class _Blocks:
    """Responsibilities as blocks of draws, whether they came whole or in chunks."""

    def __init__(self, source: ArrayLike | Chunks, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.chunks = source if callable(source) else self._slices(np.asarray(source))

    def _slices(self, whole: NDArray[Any]) -> Chunks:
        self._check_shape(whole)
        step = max(1, _BLOCK // max(1, whole[:1].size))
        return lambda: (whole[first : first + step] for first in range(0, len(whole), step))

    def __iter__(self) -> Iterator[Array]:
        for chunk in self.chunks():
            if len(chunk):
                yield np.asarray(chunk, dtype=np.float64)

    def checked(self) -> Iterator[Array]:
        """Iterate once, looking at shapes and values on the way."""
        seen = 0
        for block in self:
            self._check_shape(block)
            inside = (block.min(axis=(1, 2)) >= 0.0) & (block.max(axis=(1, 2)) <= 1.0 + 1e-6)
            bad = np.flatnonzero(~inside)
            if bad.size:
                raise InputError(
                    f"responsibilities: expected numbers from 0 to 1, got others (first in draw "
                    f"{seen + bad[0]}) → drop the draws that are not finite"
                )
            seen += len(block)
            yield block
        if not seen:
            raise InputError("responsibilities: expected at least one draw, got none → pass some draws")

    def _check_shape(self, block: NDArray[Any]) -> None:
        if block.ndim != 3 or block.shape[1:] != self.shape:
            n, experts = self.shape
            raise InputError(
                f"responsibilities: expected shape (draws, {n}, {experts}) like the pivot's, got "
                f"{block.shape} → pass the rows and experts of the pivot, draws first"
            )


def _checked(pivot: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array]:
    """Return the pivot with rows that sum to one, and weights as floats."""
    q = np.asarray(pivot, dtype=np.float64)
    if q.ndim != 2 or not q.size:
        raise InputError(f"pivot: expected shape (rows, K), got {q.shape} → pass responsibilities")
    sums = q.sum(axis=1)
    bad = np.flatnonzero(~((q.min(axis=1) >= 0.0) & (sums > 0.0) & np.isfinite(sums)))
    if bad.size:
        raise InputError(f"pivot: expected responsibilities, got {q[bad[0]]} (row {bad[0]}) → pass those at the mode")
    w = np.ones(len(q)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != q.shape[:1]:
        raise InputError(f"weights: expected shape ({len(q)},), got {w.shape} → pass one weight per row")
    if not np.all(np.isfinite(w)) or np.any(w < 0.0) or not np.any(w > 0.0):
        raise InputError("weights: expected finite numbers of at least 0, some above → check the weights")
    return q / sums[:, None], w


def _log(shares: Array) -> Array:
    """Return the log, finite at 0, where it makes 0 log 0 = 0.

    In the pivot a 0 means that all draws have 0 there as they are permuted, so the floor leaves the cost of
    their permutations as it is, and makes that of others very large instead of infinite.
    """
    logs: Array = np.log(np.maximum(shares, _TINY))
    return logs


def _sweep(
    blocks: _Blocks, entropy: Array, pivot: Array, weights: Array, matching: Matching
) -> tuple[Integers, Array, Array]:
    """Assign the experts of every draw to those of the pivot.

    Returns the (draws, K) permutations, the (draws, new, raw) costs behind them and the (rows, K) mean of the
    permuted responsibilities.
    """
    weighted_log = weights[:, None] * _log(pivot)
    identity = np.eye(pivot.shape[1])
    permutations, costs = [], []
    total, first = np.zeros_like(pivot), 0
    for block in blocks:
        gain = np.tensordot(block, weighted_log, axes=(1, 0))  # (draws, raw, new): one matrix product
        cost = (entropy[first : first + len(block), :, None] - gain).transpose(0, 2, 1)
        chosen = matching.best(cost)
        total += np.tensordot(block, identity[chosen], axes=((0, 2), (0, 2)))
        permutations.append(chosen)
        costs.append(cost)
        first += len(block)
    if first != len(entropy):
        raise InputError(
            f"responsibilities: expected the same {len(entropy)} draws in every pass, got {first} → the "
            "function must start again at the first draw whenever it is called"
        )
    return np.concatenate(permutations), np.concatenate(costs), total / first


def _inflation(best: Array) -> float:
    """Return max(1, T) with T = var/mean of the draws' costs, from median and median absolute deviation."""
    centre = float(np.median(best))
    spread = 1.4826 * float(np.median(np.abs(best - centre)))
    return max(1.0, spread**2 / centre) if centre > 0.0 else 1.0


def _agreement(blocks: _Blocks, permutations: Integers, pivot: Array, weights: Array) -> float:
    """Return the share of rows and draws whose most responsible expert is the pivot's; a tie agrees."""
    ranked = np.sort(np.pad(pivot, ((0, 0), (1, 0))), axis=1)
    lead = weights * (ranked[:, -1] - ranked[:, -2])
    if not lead.sum() > 0.0:
        return 0.0
    hard, total, first = pivot.argmax(axis=1), 0.0, 0
    for block in blocks:
        raw = permutations[first : first + len(block)][:, hard]
        own = np.take_along_axis(block, raw[:, :, None], axis=2)[:, :, 0]
        largest = block[:, :, 0]
        for expert in range(1, block.shape[2]):
            largest = np.maximum(largest, block[:, :, expert])
        total += float(((own >= largest) @ lead).sum())
        first += len(block)
    return total / (first * float(lead.sum()))
