"""Rows that share one latent label.

The label of group g is drawn from the gate once, and all its rows come from that expert:

    log p(y_g) = log Σ_k g_k(x_g) Π_{i in g} f_k(y_i | x_i)^w_i

A row's weight multiplies its log density inside the sum; the gate enters once, with weight 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, listed
from .chunks import Chunk, Mass


@dataclass(frozen=True, eq=False)
class Members:
    """The groups of rows that stand in order of their group.

    Parameters
    ----------
    starts
        (G,) first row of every group.
    rows
        Number of rows.
    counts
        (G,) how many times a group counts: 1, or more where a few groups stand for all.
    """

    starts: np.ndarray
    rows: int
    counts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Number of rows of every group (G,)."""
        return np.diff(self.starts, append=self.rows)

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Return the sums (G, ...) of values (n, ...) over the rows of every group."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=0))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return values (G, ...) of the groups at every row (n, ...)."""
        return np.repeat(values, self.sizes, axis=0)

    def once(self, values: np.ndarray) -> np.ndarray:
        """Return values (G, ...) at the first row of every group and zeros elsewhere (n, ...)."""
        out = np.zeros((self.rows, *values.shape[1:]))
        out[self.starts] = values
        return out

    def parts(self, rows: int) -> Iterator[tuple[slice, Members]]:
        """Yield runs of whole groups of about so many rows: which rows, and the groups within them."""
        stops = np.append(self.starts, self.rows)
        first = 0
        while first < len(self.starts):
            last = max(first + 1, int(np.searchsorted(stops, self.starts[first] + rows, side="right")) - 1)
            inside = slice(int(stops[first]), int(stops[last]))
            starts = self.starts[first:last] - inside.start
            yield inside, Members(starts, inside.stop - inside.start, self.counts[first:last])
            first = last

    def thinned(self, rows: np.ndarray) -> tuple[np.ndarray, Members]:
        """Return the rows of some groups of which ``rows`` are members, about as many, and those groups.

        They stand for all: their counts are raised to the number of rows there are.
        """
        group = np.searchsorted(self.starts, rows, side="right") - 1
        chosen = np.array(list(dict.fromkeys(group.tolist())))
        enough = int(np.searchsorted(np.cumsum(self.sizes[chosen]), len(rows))) + 1
        kept, some = self.chosen(np.sort(chosen[:enough]))
        return kept, replace(some, counts=some.counts * (self.rows / len(kept)))

    def chosen(self, groups: np.ndarray) -> tuple[np.ndarray, Members]:
        """Return the rows of some groups, and these groups."""
        sizes = self.sizes[groups]
        starts = np.cumsum(sizes) - sizes
        kept = np.repeat(self.starts[groups] - starts, sizes) + np.arange(sizes.sum())
        return kept, Members(starts, len(kept), self.counts[groups])

    def common(self, responsibilities: np.ndarray) -> np.ndarray:
        """Return responsibilities (n, K) made equal within groups: their product, where the rows do not agree.

        Rows that were looked at one by one are so many votes; rows that agree were looked at together.
        """
        same = np.abs(responsibilities - self.spread(responsibilities[self.starts])) < 1e-9
        agreed = np.minimum.reduceat(same.all(axis=1), self.starts)
        logs = np.log(np.maximum(responsibilities, 1e-300))
        votes = np.where(agreed[:, None], logs[self.starts], self.summed(logs))
        shares = np.exp(votes - votes.max(axis=1, keepdims=True))
        return self.spread(shares / shares.sum(axis=1, keepdims=True))


def make_members(codes: np.ndarray) -> Members:
    """Return the groups of rows that stand in order of their codes (n,)."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return Members(starts, len(codes), np.ones(len(starts)))


def refuse_varying_gate(columns: np.ndarray, names: Sequence[str], codes: np.ndarray, labels: Sequence[object]) -> None:
    """Refuse gate columns (n, p) that differ within a group: a group has one label, drawn from one gate.

    Raises
    ------
    InputError
        Naming the group and the column.
    """
    order = np.argsort(codes, kind="stable")
    members = make_members(codes[order])
    values = columns[order]
    apart = np.abs(values - members.spread(values[members.starts])) > 1e-12 * (1.0 + np.abs(values))
    if not apart.any():
        return
    column = int(np.flatnonzero(apart.any(axis=0))[0])
    found = dict.fromkeys(labels[code] for code in codes[order][apart[:, column]])
    raise InputError(
        f"groups: expected gate columns that are constant within every group, got column {names[column]!r} that varies "
        f"in {listed(map(repr, found))} → give the gate other columns, bm.SoftmaxGate(bm.Linear(columns=...)), or "
        "none, bm.SoftmaxGate(bm.Constant())"
    )


@dataclass(frozen=True, eq=False)
class GroupedChunk(Chunk):
    """Some rows under one vector, whole groups of them.

    Parameters
    ----------
    members
        Which rows belong together.
    """

    members: Members

    @property
    def joint(self) -> np.ndarray:
        members = self.members
        return np.asarray(self.log_weights[members.starts] + members.summed(self.weights[:, None] * self.log_density))

    @property
    def value(self) -> float:
        return float(self.members.counts @ self.mixed[0])

    @property
    def by_row(self) -> tuple[np.ndarray, np.ndarray]:
        """Log density of y given x (n,), each row's share of its group's, and responsibilities (n, K) of every row."""
        value, responsibilities = self.mixed
        members = self.members
        value = value - self.log_total[members.starts]
        return members.spread(value / members.summed(self.weights)), members.spread(responsibilities)

    def mass(self, responsibilities: np.ndarray) -> Mass:
        members = self.members
        counted = members.counts[:, None] * responsibilities[members.starts]
        return Mass(members.once(counted), members.spread(counted) * self.weights[:, None])
