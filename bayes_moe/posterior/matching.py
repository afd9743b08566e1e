"""The best way to rename the experts of every draw, among those that leave the model as it is.

Experts under a softmax gate may change places with any equal expert: an assignment problem. In a tree, the children
of a node may change places where they are equal as specifications; the best way is found from the leaves upwards,
for every pair of equal branches on the same level the cheapest way to put the one in the place of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations as orders
from math import inf
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..gates.branching import Branching

type Array = NDArray[np.float64]
type Integers = NDArray[np.intp]

_ENUMERATED = 4
"""Children up to which all orders are looked at."""


class Matching(Protocol):
    """A way to choose a permutation for every draw."""

    def best(self, costs: Array) -> Integers:
        """Return the cheapest permutations (draws, new) for costs (draws, new, raw)."""
        ...

    def margin(self, costs: Array, permutations: Integers) -> Array:
        """Return by how much the second-best permutation of every draw costs more than the best (draws,)."""
        ...


class AnyOrder:
    """Every permutation is allowed."""

    def best(self, costs: Array) -> Integers:
        """Return the cheapest permutations, by the assignment problem of every draw."""
        from scipy.optimize import linear_sum_assignment  # 0.3 s that `import bayes_moe` does not pay

        return np.array([linear_sum_assignment(cost)[1] for cost in costs], dtype=np.intp)

    def margin(self, costs: Array, permutations: Integers) -> Array:
        """Return the margins, by shortest ways.

        Any other permutation differs from the best by cycles of experts. The edge j → k of such a cycle costs
        what giving j the raw expert of k adds; as no cycle is negative, the cheapest one is the shortest way from
        an expert back to itself, which Floyd's algorithm finds for all draws at once.
        """
        experts = costs.shape[1]
        ordered = np.take_along_axis(costs, permutations[:, None, :], axis=2)
        way = ordered - np.diagonal(ordered, axis1=1, axis2=2)[:, :, None]
        every = np.arange(experts)
        way[:, every, every] = np.inf
        for via in range(experts):
            np.minimum(way, way[:, :, via, None] + way[:, None, via, :], out=way)
        margin: Array = np.maximum(way[:, every, every].min(axis=1), 0.0)
        return margin


class _Way(NamedTuple):
    """The cheapest way to put one branch in the place of another, for every draw."""

    cost: Array
    margin: Array
    leaves: Integers


@dataclass(frozen=True, eq=False)
class TreeOrder:
    """Children that are equal as specifications may change places.

    Parameters
    ----------
    tree
        The root.
    kinds
        For every expert a number; equal experts have the same.
    """

    tree: Branching
    kinds: Sequence[int]

    @property
    def trivial(self) -> bool:
        """Whether nothing may change places."""
        return all(len(places) == 1 for classes in self.classes.values() for places in classes.values())

    @cached_property
    def classes(self) -> dict[str, dict[str, list[int]]]:
        """By the path of a node, its children by what they are."""
        return {node.path: self._classes(node) for node in self.tree.nodes}

    def best(self, costs: Array) -> Integers:
        """Return the cheapest permutations that the tree allows."""
        way = self._way(self.tree, self.tree, costs)
        out = np.empty(costs.shape[:2], dtype=np.intp)
        out[:, list(self.tree.leaves)] = way.leaves
        return out

    def margin(self, costs: Array, permutations: Integers) -> Array:
        """Return by how much the second-best that the tree allows costs more than the best."""
        del permutations
        return self._way(self.tree, self.tree, costs).margin

    def _way(self, new: Branching | int, raw: Branching | int, costs: Array) -> _Way:
        """Return the cheapest way to put ``raw`` in the place of ``new``, which equals it as a specification."""
        draws, every = len(costs), np.arange(len(costs))
        if isinstance(new, int) or isinstance(raw, int):
            assert isinstance(new, int)
            assert isinstance(raw, int)
            return _Way(costs[:, new, raw], np.full(draws, inf), np.full((draws, 1), raw, dtype=np.intp))
        cost, margin = np.zeros(draws), np.full(draws, inf)
        leaves: dict[int, Integers] = {}
        there = self.classes[raw.path]
        for kind, places in self.classes[new.path].items():
            ways = [[self._way(new.children[i], raw.children[j], costs) for j in there[kind]] for i in places]
            table = np.array([[way.cost for way in row] for row in ways]).transpose(2, 0, 1)
            order, apart = _assigned(table)
            margin = np.minimum(margin, apart)
            for i, (place, row) in enumerate(zip(places, ways, strict=True)):
                cost = cost + np.take_along_axis(table[:, i], order[:, [i]], axis=1)[:, 0]
                margin = np.minimum(margin, np.array([way.margin for way in row])[order[:, i], every])
                leaves[place] = np.array([way.leaves for way in row])[order[:, i], every]
        together = np.concatenate([leaves[place] for place in range(len(new.children))], axis=1)
        return _Way(cost, margin, together)

    def _classes(self, node: Branching) -> dict[str, list[int]]:
        """Return the children by what they are; those of an ordered node are all different."""
        out: dict[str, list[int]] = {}
        for i, child in enumerate(node.children):
            name = f"{i}:" if node.ordered else ""
            out.setdefault(name + self._name(child), []).append(i)
        return out

    def _name(self, child: Branching | int) -> str:
        """Return a text that two branches share if and only if they are equal as specifications."""
        if isinstance(child, int):
            return str(self.kinds[child])
        names = [self._name(below) for below in child.children]
        return f"[{'; '.join(names)}]" if child.ordered else f"({', '.join(sorted(names))})"


def _assigned(table: Array) -> tuple[Integers, Array]:
    """Return the cheapest assignment (draws, n) of costs (draws, n, n), and by how much the second-best costs more."""
    size = table.shape[1]
    if size > _ENUMERATED:
        free = AnyOrder()
        order = free.best(table)
        return order, free.margin(table, order)
    every = np.array(list(orders(range(size))), dtype=np.intp)
    totals = table[:, np.arange(size), every].sum(axis=2)
    ranked = np.sort(totals, axis=1)
    margin = ranked[:, 1] - ranked[:, 0] if size > 1 else np.full(len(table), inf)
    return every[totals.argmin(axis=1)], margin
