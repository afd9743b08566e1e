"""Which cluster of rows goes to which leaf: orders of labels that a tree of gates finds easy.

Starts of EM are clusters without an order, but in a tree it matters which of them share a node. From the root
downwards the clusters are shared out among the children along the direction in which the parts lie furthest apart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .branching import Branching, leaves_of

_DIRECTIONS, _NEAR_BEST = 24, 3


def arrangements(tree: Branching, features: np.ndarray, mass: np.ndarray, count: int) -> list[np.ndarray]:
    """Return orders (K,) of the clusters: leaf k takes cluster ``order[k]``.

    Parameters
    ----------
    tree
        The root.
    features
        (n, p) what the gate sees, without the intercept.
    mass
        (n, K) weighted responsibilities of the clusters.
    count
        How many; the first takes the best direction at every node, the others one of the best three.
    """
    if features.shape[1] == 0:
        return []
    sizes = mass.sum(axis=0)
    means = mass.T @ features / np.maximum(sizes, 1e-300)[:, None]
    middle = sizes @ means / sizes.sum()
    centred = features - middle
    spread = (centred * mass.sum(axis=1)[:, None]).T @ centred / sizes.sum()
    rng = np.random.default_rng(0)
    out = []
    for turn in range(count):
        order = np.empty(len(sizes), dtype=np.int64)
        _share_out(tree, np.arange(len(sizes)), means, sizes, spread, order, rng if turn else None)
        out.append(order)
    return out


def _share_out(
    node: Branching,
    clusters: np.ndarray,
    means: np.ndarray,
    sizes: np.ndarray,
    spread: np.ndarray,
    order: np.ndarray,
    rng: np.random.Generator | None,
) -> None:
    """Give the clusters to the children of a node, and those of every child to its own."""
    counts = [len(leaves_of(child)) for child in node.children]
    cuts = np.cumsum([0, *counts])
    ways = []
    for direction in _directions(means[clusters]):
        along = means[clusters] @ direction
        ranked = clusters[np.argsort(along, kind="stable")]
        parts = [ranked[a:b] for a, b in pairwise(cuts)]
        ways.append((_apart(parts, means @ direction, sizes) / (direction @ spread @ direction + 1e-300), parts))
    ways.sort(key=lambda way: -way[0])
    chosen = 0 if rng is None else int(rng.integers(min(_NEAR_BEST, len(ways))))
    for child, part in zip(node.children, ways[chosen][1], strict=True):
        if isinstance(child, int):
            order[child] = part[0]
        else:
            _share_out(child, part, means, sizes, spread, order, rng)


def _directions(means: np.ndarray) -> np.ndarray:
    """Return directions (m, p), each with its opposite: the columns, and from cluster to cluster."""
    first, second = np.triu_indices(len(means), 1)
    between = (means[second] - means[first])[:: max(1, len(first) // _DIRECTIONS)]
    lengths = np.linalg.norm(between, axis=1)
    kept = between[lengths > 0] / lengths[lengths > 0][:, None]
    one_way = np.concatenate([np.eye(means.shape[1]), kept])
    return np.concatenate([one_way, -one_way])


def _apart(parts: list[np.ndarray], along: np.ndarray, sizes: np.ndarray) -> float:
    """Return the sum of squares between the parts, per row."""
    masses = np.array([sizes[part].sum() for part in parts])
    places = np.array([sizes[part] @ along[part] for part in parts]) / np.maximum(masses, 1e-300)
    middle = masses @ places / masses.sum()
    return float(masses @ (places - middle) ** 2 / masses.sum())
