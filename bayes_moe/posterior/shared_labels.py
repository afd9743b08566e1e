"""What training says of labels: of rows that share one, and of groups that come again at prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..binding.bind import Bound
from ..binding.members import Members, make_members
from .mixtures import ASKED_ELEMENTS, Floats, MixtureDraws, slices

_ROWS = 4096


@np.errstate(all="ignore")
def group_joint(mixture: MixtureDraws, y: np.ndarray, weights: np.ndarray, members: Members) -> Floats:
    """Return log gate plus weighted log densities of the groups (S, G, K): ``log g_k + Σ_i w_i log f_k(y_i)``.

    Rows stand in order of their group.
    """
    out = np.empty((mixture.draws, len(members.starts), mixture.experts))
    first = 0
    for rows, part in members.parts(_ROWS):
        last = first + len(part.starts)
        for draws in slices(mixture.draws, max(1, ASKED_ELEMENTS // (part.rows * mixture.experts))):
            log_gate, parameters = mixture.components(rows, draws)
            log_density = weights[rows, None] * mixture.family.log_density(y[rows, None], **parameters)
            out[draws, first:last] = log_gate[:, part.starts] + np.add.reduceat(log_density, part.starts, axis=1)
        first = last
    return out


def log_shares(joint: Floats) -> Floats:
    """Return log joint (..., K) normalised; equal shares where no expert can explain the rows."""
    top = joint.max(axis=-1, keepdims=True)
    joint = np.where(np.isneginf(top), 0.0, joint)
    top = np.where(np.isneginf(top), 0.0, top)
    shares: Floats = joint - top - np.log(np.exp(joint - top).sum(axis=-1, keepdims=True))
    return shares


def log_totals(joint: Floats) -> Floats:
    """Return log Σ_k exp of a log joint (..., K); −inf where no expert can explain the rows."""
    top = joint.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Floats = safe + np.log(np.exp(joint - safe[..., None]).sum(axis=-1))
    return total


def training_joint(bound: Bound, mixture: MixtureDraws, wanted: np.ndarray) -> tuple[np.ndarray, Floats]:
    """Return positions (G,) of those wanted groups that have rows that count, and their `group_joint` (S, G, K).

    ``mixture`` is that of the rows `group_rows` returns for the same groups.
    """
    assert bound.data.groups is not None
    rows = group_rows(bound, wanted)
    codes = bound.data.groups.codes[rows]
    members = make_members(codes)
    return codes[members.starts], group_joint(mixture, bound.data.y[rows], bound.data.weights[rows], members)


def group_rows(bound: Bound, wanted: np.ndarray) -> np.ndarray:
    """Return the training rows that count of some groups, in order of their group."""
    assert bound.data.groups is not None
    rows = bound.counted
    return np.asarray(rows[np.isin(bound.data.groups.codes[rows], wanted)])


def with_known_labels(mixture: MixtureDraws, codes: np.ndarray, known: np.ndarray, shares: Floats) -> MixtureDraws:
    """Return the mixture with log ``shares`` (S, G, K) in place of the gate, in rows whose codes (n,) are ``known``.

    The other rows keep the gate.
    """
    order = np.argsort(known)
    place = np.searchsorted(known, codes, sorter=order)
    found = np.isin(codes, known)
    place = np.where(found, order[np.minimum(place, len(known) - 1)], 0) if len(known) else np.zeros_like(codes)

    def components(rows: slice, draws: slice) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        log_gate, parameters = mixture.components(rows, draws)
        here = found[rows]
        log_gate = np.array(log_gate)
        log_gate[:, here] = shares[draws][:, place[rows][here]]
        return log_gate, parameters

    return replace(mixture, components=components)
