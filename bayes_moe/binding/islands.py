"""Which experts the M-step can move alone: those that share no coefficient with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .expert_terms import ExpertTerm


@dataclass(frozen=True, eq=False)
class Island:
    """Values of q that no other values share an expert with.

    Parameters
    ----------
    places
        Their positions in q.
    maps
        Experts that use them, each with the matrix (m P, places) from the values to its m rows of coefficients.
    """

    places: np.ndarray
    maps: tuple[tuple[int, np.ndarray], ...]


def make_islands(
    terms: Sequence[ExpertTerm],
    links: tuple[np.ndarray, np.ndarray, np.ndarray],
    gate_rows: int,
    experts: int,
    width: int,
) -> tuple[Island, ...]:
    """Return the experts' values of q, cut into parts as small as shared coefficients allow.

    ``links`` are those of `Parameters`; the coefficients are ``width`` columns, of which ``gate_rows`` rows come first.
    """
    targets, sources, factors = links
    rows, columns = np.divmod(targets, width)
    slot, expert = np.divmod(rows - gate_rows, experts)
    out = []
    for members, places in _parts(terms, sources, expert, experts):
        order = np.array(sorted(places), dtype=np.int64)
        maps = []
        for one in sorted(members):
            own = expert == one
            matrix = np.zeros(((int(slot[own].max(initial=-1)) + 1) * width, len(order)))
            into = slot[own] * width + columns[own]
            matrix[into, np.searchsorted(order, sources[own])] = factors[own]
            maps.append((one, matrix))
        out.append(Island(order, tuple(maps)))
    return tuple(out)


def _parts(
    terms: Sequence[ExpertTerm], sources: np.ndarray, expert: np.ndarray, experts: int
) -> list[tuple[set[int], set[int]]]:
    """Return experts and their positions in q, those of one part apart from those of all others."""
    parts: list[tuple[set[int], set[int]]] = []
    for one in range(experts):
        mine = [term for term in terms if one in term.experts]
        hyper = {int(place) for term in mine for place in term.hyper[term.experts.index(one)]}
        members, places = {one}, {*sources[expert == one].tolist(), *hyper}
        for other in [part for part in parts if part[1] & places]:
            parts.remove(other)
            members |= other[0]
            places |= other[1]
        parts.append((members, places))
    return parts
