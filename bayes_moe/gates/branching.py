"""The shape of a tree: which nodes it has and which experts are its leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import SpecError

type Branches = tuple[Branch, ...]
type Branch = int | tuple[Branch, ...]

DEEPEST = 16
MOST_LEAVES = 1000


@dataclass(frozen=True)
class Branching:
    """One inner node.

    Parameters
    ----------
    path
        Its place in the tree, such as ``root/0``: the first child of the root.
    children
        Its children from left to right: inner nodes, or for a leaf the number of the expert.
    ordered
        True when its children cannot change places without changing the model.
    """

    path: str
    children: tuple[Branching | int, ...]
    ordered: bool = False

    @property
    def nodes(self) -> tuple[Branching, ...]:
        """The node and all inner nodes below it, each before its children, from left to right."""
        below = (node for child in self.children if isinstance(child, Branching) for node in child.nodes)
        return (self, *below)

    @property
    def leaves(self) -> tuple[int, ...]:
        """The experts below it, from left to right."""
        return tuple(leaf for child in self.children for leaf in leaves_of(child))

    @property
    def branches(self) -> tuple[tuple[str, Branching | int], ...]:
        """Path and child of every branch of this node."""
        return tuple((f"{self.path}/{i}", child) for i, child in enumerate(self.children))


def leaves_of(child: Branching | int) -> tuple[int, ...]:
    """Return the experts at or below a child."""
    return (child,) if isinstance(child, int) else child.leaves


def read_branches(branches: object) -> Branching:
    """Return the tree that ``TreeGate(branches=...)`` means; see there.

    Raises
    ------
    SpecError
        Naming the path of a node that is empty, has one child, or lies too deep.

    Examples
    --------
    >>> read_branches(((1, 1), 3)).leaves
    (0, 1, 2, 3, 4)
    >>> [node.path for node in read_branches((2, 2)).nodes]
    ['root', 'root/0', 'root/1']
    """
    if not isinstance(branches, tuple):
        hint = f"({branches},)" if isinstance(branches, int) and not isinstance(branches, bool) else "(2, 2)"
        raise SpecError(f"TreeGate.branches: expected a tuple of counts or of tuples, got {branches!r} → write {hint}")
    leaves = iter(range(MOST_LEAVES))
    if branches and not any(isinstance(entry, tuple) for entry in branches):
        return _balanced(branches, "root", 0, leaves)
    return _nested(branches, "root", 0, leaves)


def _balanced(counts: Sequence[object], path: str, level: int, leaves: Iterator[int]) -> Branching:
    count = _count(counts[level], path, 2)
    if level + 1 == len(counts):
        return Branching(path, tuple(_leaf(leaves) for _ in range(count)))
    _refuse_deep(path, level + 1)
    return Branching(path, tuple(_balanced(counts, f"{path}/{i}", level + 1, leaves) for i in range(count)))


def _nested(entries: tuple[object, ...], path: str, depth: int, leaves: Iterator[int]) -> Branching:
    _refuse_few(len(entries), path)
    return Branching(path, tuple(_child(e, f"{path}/{i}", depth + 1, leaves) for i, e in enumerate(entries)))


def _child(entry: object, path: str, depth: int, leaves: Iterator[int]) -> Branching | int:
    _refuse_deep(path, depth)
    if isinstance(entry, tuple):
        return _nested(entry, path, depth, leaves)
    count = _count(entry, path, 1)
    return _leaf(leaves) if count == 1 else Branching(path, tuple(_leaf(leaves) for _ in range(count)))


def _leaf(leaves: Iterator[int]) -> int:
    for leaf in leaves:
        return leaf
    raise SpecError(f"TreeGate.branches: expected at most {MOST_LEAVES} leaves, got more → grow a smaller tree")


def _count(entry: object, path: str, least: int) -> int:
    if isinstance(entry, bool) or not isinstance(entry, int):
        raise SpecError(f"TreeGate.branches: expected whole numbers or tuples, got {entry!r} at {path} → pass e.g. 2")
    if entry < 1:
        raise SpecError(f"TreeGate.branches: expected at least 1 leaf, got {entry} at {path} → give the node leaves")
    if least > 1:
        _refuse_few(entry, path)
    return entry


def _refuse_few(children: int, path: str) -> None:
    if children < 2:
        got = "none: the node is empty" if children == 0 else "one"
        raise SpecError(
            f"TreeGate.branches: expected at least two children of every node, got {got}, at {path} → give it more, "
            "or put a leaf in its place: 1 in a nested tuple"
        )


def _refuse_deep(path: str, depth: int) -> None:
    if depth > DEEPEST:
        place = path if len(path) <= 60 else f"{path[:57]}..."
        raise SpecError(f"TreeGate.branches: expected at most {DEEPEST} levels, got more at {place} → grow wider nodes")
