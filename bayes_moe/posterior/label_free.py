"""What draws say of the experts without their names: who goes with whom, how the gate divides x, how many are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from ..errors import InputError
from .draws import Draws
from .mixtures import ASKED_ELEMENTS, Floats, MixtureDraws, outcomes, slices

LARGEST_ROWS = 3000
"""Rows of a co-assignment matrix at most: 72 MB."""
LEAST_ROWS = 0.5
"""An expert that holds fewer rows in expectation is not used; as in the notice ``unused_experts``."""

_COMPARED = 100
_PARTITION_ROWS = 2000


def co_assignment(draws: Draws, rows: np.ndarray) -> xr.DataArray:
    """Return the posterior probability (obs, obs_other) that two training rows have the same expert.

    ``1/S Σ_s Σ_k r_isk r_jsk`` with the responsibilities r of draw s; 1 for a row with itself, and in a group.
    """
    out = np.zeros((len(rows), len(rows)))
    count = 0
    for shares in training_shares(draws, rows):
        count += len(shares)
        flat = shares.transpose(1, 0, 2).reshape(len(rows), -1)
        out += flat @ flat.T
    out /= count
    np.fill_diagonal(out, 1.0)
    groups = draws.bound.data.groups
    if groups is not None:
        out[np.equal.outer(groups.codes[rows], groups.codes[rows])] = 1.0
    names = draws.bound.data.rows[rows]
    coords = {"obs": names, "obs_other": names}
    return xr.DataArray(np.clip(out, 0.0, 1.0), coords, ("obs", "obs_other"), name="co_assignment")


def checked_rows(rows: object, count: int) -> np.ndarray:
    """Return positions of training rows as an array; all of them for None.

    Raises
    ------
    InputError
        If there are too many, or some are none.
    """
    if rows is None:
        if count > LARGEST_ROWS:
            raise InputError(
                f"rows: expected at most {LARGEST_ROWS} rows, whose matrix takes 72 MB, got all {count} → pass the "
                f"positions of some, such as rows=range(0, {count}, {-(-count // 1000)})"
            )
        return np.arange(count)
    found = np.asarray(rows if not isinstance(rows, range) else list(rows))
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        raise InputError(f"rows: expected positions of training rows, got {rows!r} → pass e.g. range(100)")
    if len(found) > LARGEST_ROWS:
        raise InputError(f"rows: expected at most {LARGEST_ROWS} positions, got {len(found)} → pass fewer")
    if found.min() < 0 or found.max() >= count:
        raise InputError(f"rows: expected positions from 0 to {count - 1}, got {found.min()} to {found.max()}")
    return found


def experts_used(draws: Draws) -> xr.DataArray:
    """Return how probable every number of experts is that hold half a training row or more, ``Σ_i w_i r_isk ≥ 1/2``."""
    data, experts = draws.bound.data, draws.permutations.shape[1]
    held = np.zeros((len(draws.flat), experts))
    for rows in slices(len(data.y), LARGEST_ROWS):
        first, weights = 0, data.weights[rows]
        for shares in training_shares(draws, np.arange(rows.start, rows.stop)):
            held[first : first + len(shares)] += np.einsum("r,srk->sk", weights, shares)
            first += len(shares)
    counts = np.arange(1, experts + 1)
    shares = np.mean((held >= LEAST_ROWS).sum(axis=1)[:, None] == counts, axis=0)
    return xr.DataArray(shares, {"experts_used": counts}, ("experts_used",), name="probability")


def partition(mixture: MixtureDraws, draw: int, rand_index: float) -> xr.DataArray:
    """Return the most probable expert (obs,) by the gate of one draw."""
    parts = np.zeros(0, dtype=int)
    if mixture.rows:
        parts = gate_shares(mixture, slice(draw, draw + 1))[0].argmax(axis=1)
    return xr.DataArray(parts, dims=("obs",), name="part", attrs={"rand_index": rand_index})


def representative(draws: Draws) -> tuple[int, float]:
    """Return the draw whose division of x by the gate is most like all others', and its mean Rand index with them.

    A draw divides the training rows by their most probable expert. The Rand index of two divisions is the share of
    pairs of rows on which they agree, be it together or apart (Rand 1971); the largest mean is the least Binder loss
    (Binder 1978).
    """
    counted = draws.bound.counted
    rows = counted[:: max(1, len(counted) // _PARTITION_ROWS)]
    table = np.asarray(draws.bound.data.table.values)[rows]
    picked = np.unique(np.linspace(0, len(draws.flat) - 1, min(_COMPARED, len(draws.flat))).astype(int))
    mixture = draws.mixture(table)
    parts = np.array([gate_shares(mixture, slice(s, s + 1))[0].argmax(axis=1) for s in picked])
    held = np.eye(mixture.experts)[parts]
    totals = np.zeros((len(picked), len(picked)))
    for i, one in enumerate(held):
        totals[i] = np.square(one.T @ held).sum(axis=(1, 2))
    own = np.diag(totals)
    n = len(table)
    agree = n * (n - 1) + 2 * totals - own[:, None] - own[None, :]
    rand = agree / max(n * (n - 1), 1)
    rand = np.where(np.isfinite(rand), rand, 0.0)
    others = (rand.sum(axis=1) - 1.0) / max(len(picked) - 1, 1)
    best = int(others.argmax())
    return int(picked[best]), float(others[best]) if len(picked) > 1 else 1.0


@np.errstate(all="ignore")
def gate_shares(mixture: MixtureDraws, draws: slice) -> Floats:
    """Return the gate's probabilities (s, n, K) of some draws at all rows of a mixture."""
    log_gate, _ = mixture.components(slice(0, mixture.rows), draws)
    shape = (draws.stop - draws.start, mixture.rows, mixture.experts)
    return np.asarray(np.broadcast_to(np.exp(log_gate), shape))


@np.errstate(all="ignore")
def training_shares(draws: Draws, rows: np.ndarray) -> Iterator[Floats]:
    """Yield the responsibilities (s, n, K) of some training rows under all draws in turn."""
    data = draws.bound.data
    table = np.asarray(data.table.values)[rows]
    mixture = draws.mixture(table, None if data.groups is None else data.groups.codes[rows])
    y = outcomes(mixture, data.y[rows])
    step = max(1, ASKED_ELEMENTS // max(1, mixture.rows * mixture.experts))
    for part in slices(mixture.draws, step):
        log_gate, parameters = mixture.components(slice(0, mixture.rows), part)
        shape = (part.stop - part.start, mixture.rows, mixture.experts)
        joint = np.broadcast_to(log_gate, shape)
        if data.groups is None:
            joint = np.where(joint > -np.inf, joint + mixture.family.log_density(y[:, None], **parameters), -np.inf)
        top = joint.max(axis=2, keepdims=True)
        shares = np.exp(joint - np.where(np.isfinite(top), top, 0.0))
        shares = shares / shares.sum(axis=2, keepdims=True)
        yield np.where(np.isfinite(shares), shares, np.broadcast_to(np.exp(log_gate), shape))
