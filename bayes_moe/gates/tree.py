"""The tree of gates: the hierarchical mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import SpecError
from ..predictors import Linear
from ..predictors.base import Basis, Predictor
from .arranging import arrangements
from .base import Block, BoundGate, Free, Gate, zero_sum_basis
from .branching import Branch, Branching, leaves_of, read_branches
from .scaled import BoundScaled, check_predictor, read_spread

_ORDERS = 4
"""Orders of a start's clusters that are tried."""


@dataclass(frozen=True)
class TreeGate(Gate):
    r"""A softmax gate at every node of a tree, whose leaves are the experts.

    .. math:: \log g_k(x) = \sum_{(v, c) \text{ on the path to } k}
        \Bigl(\eta_{vc}(x) - \log\sum_{c'} e^{\eta_{vc'}(x)}\Bigr), \quad \sum_c \eta_{vc}(x) = 0

    Every inner node v has its own linear predictors, one per child c, with the prior of `SoftmaxGate` over its
    children; one learned scale of the slopes is shared by all nodes. Experts are the leaves from left to right.
    A tree of one node is the softmax gate. Children that are equal as specifications (the same shape below them,
    with the same experts) may change places without changing the model, and labels are settled up to that.

    Parameters
    ----------
    branches
        The shape. A tuple of numbers alone gives the number of children level by level: ``(2, 3)`` is a root with
        two children of three leaves each. Once it holds a tuple it is nested: every tuple is a node and its
        entries are its children, where 1 is a leaf, and a larger n a node with n leaves: ``((1, 1), 3)`` is a root
        with one child of two leaves and one of three, ``((2, 1), 1)`` goes down further on the left.
    predictor
        As for `SoftmaxGate`; all nodes use the same columns.

    Raises
    ------
    SpecError
        Naming the path of a node that is empty, has one child, or lies below 16 levels; or if the predictor is not
        one, is shared, or its priors have a mean other than 0.

    References
    ----------
    Jordan and Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural Computation 6.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.TreeGate(((1, 1), 3)).leaves
    5
    >>> bm.MixtureOfExperts(4, gate=bm.TreeGate((2, 2))).gate.branches
    (2, 2)
    """

    branches: tuple[Branch, ...] = (2, 2)
    predictor: Predictor = field(default_factory=Linear)

    def __post_init__(self) -> None:
        read_branches(self.branches)
        check_predictor("TreeGate", self.predictor)

    @property
    def leaves(self) -> int:
        """Number of leaves, which is that of experts."""
        return len(read_branches(self.branches).leaves)

    def check_experts(self, experts: int) -> None:
        if experts != self.leaves:
            raise SpecError(
                f"MixtureOfExperts.experts: expected {self.leaves} experts, one for each leaf of {self!r}, got "
                f"{experts} → pass {self.leaves}, or other branches"
            )

    def bind(self, experts: int, basis: Basis) -> BoundGate:
        return BoundTree(experts, **asdict(read_spread(self.predictor, basis)), root=read_branches(self.branches))


@dataclass(frozen=True, eq=False)
class BoundTree(BoundScaled):
    """One linear predictor per branch; those of a node sum to zero.

    The branches stand in the order of their nodes, each node before the nodes below it. Free variables hold the
    nodes with the same number of children together.

    Parameters
    ----------
    root
        The root.
    """

    root: Branching

    @property
    def tree(self) -> Branching:
        return self.root

    @property
    def predictors(self) -> int:
        return sum(len(node.children) for node in self.root.nodes)

    @property
    def dim(self) -> str:
        return "gate_branch"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Paths of the branches."""
        return tuple(path for node in self.root.nodes for path, _ in node.branches)

    @cached_property
    def by_size(self) -> dict[int, np.ndarray]:
        """By number of children m, the branches (nodes, m) of the nodes with as many."""
        found: dict[int, list[np.ndarray]] = {}
        start = 0
        for node in self.root.nodes:
            size = len(node.children)
            found.setdefault(size, []).append(np.arange(start, start + size))
            start += size
        return {size: np.array(found[size]) for size in sorted(found)}

    @property
    def coords(self) -> Mapping[str, Sequence[Any]]:
        out: dict[str, Sequence[Any]] = {"gate_branch": self.names}
        paths = {size: [node.path for node in self.root.nodes if len(node.children) == size] for size in self.by_size}
        for size, nodes in paths.items():
            out[f"gate_node{self._suffix(size)}"] = nodes
            out[f"gate_child{self._suffix(size)}"] = list(range(size))
        return out

    def _suffix(self, size: int) -> str:
        return "" if len(self.by_size) == 1 else f"_{size}"

    # -- free variables ----------------------------------------------------------------------------------------

    @cached_property
    def free(self) -> tuple[Free, ...]:
        zero, one = np.zeros(()), np.ones(())
        out = []
        for slopes in (False, True) if self.width else (False,):
            for size, rows in self.by_size.items():
                word = self._suffix(size)
                dims: tuple[str, ...] = (f"gate_node{word}", f"gate_child{word}")
                shape: tuple[int, ...] = rows.shape
                if slopes:
                    dims, shape = ("gate_feature", *dims), (self.width, *shape)
                name = f"gate_{'slopes' if slopes else 'intercept'}{word}_z"
                out.append(Free(name, dims, shape, zero, one, zero_sum=True))
        if self.scaled:
            out.append(Free("gate_scale_z", (), (), zero, one))
        return tuple(out)

    @cached_property
    def basis(self) -> np.ndarray:
        out = np.zeros((self.predictors, self.experts - 1))
        start = 0
        for size, rows in self.by_size.items():
            for row in rows:
                out[row, start : start + size - 1] = zero_sum_basis(size)
                start += size - 1
        return out

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        ranks = [rows.shape[0] * (size - 1) for size, rows in self.by_size.items()]
        rank, sides, start = sum(ranks), [], sum(ranks)
        for each in ranks:
            sides.append(start + np.arange(self.width * each).reshape(self.width, each))
            start += self.width * each
        return np.arange(rank), np.concatenate(sides, axis=1)

    def levels(self, values: Sequence[Any], functions: Any) -> list[Any]:
        groups = len(self.by_size)
        back = np.argsort(np.concatenate([rows.ravel() for rows in self.by_size.values()]))
        out = []
        for at in range(0, len(values) - int(self.scaled), groups):
            flat = []
            for value, (size, rows) in zip(values[at : at + groups], self.by_size.items(), strict=True):
                node, child = np.divmod(np.arange(rows.size), size)
                flat.append(value[..., node, child])
            out.append(functions.concatenate(flat, axis=-1)[..., back] if groups > 1 else flat[0])
        return out

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        level, sides = self.places
        out, start = [], 0
        for rows_of in self.by_size.values():
            for rows in rows_of:
                columns = slice(start, start + len(rows) - 1)
                start = columns.stop
                out.append(Block(rows, np.concatenate([level[columns], sides[:, columns].ravel()])))
        return tuple(out)

    # -- log weights -------------------------------------------------------------------------------------------

    @cached_property
    def reach(self) -> np.ndarray:
        """Matrix (G, K) that is 1 where a branch lies on the path to an expert."""
        out = np.zeros((self.predictors, len(self.root.leaves)))  # in a graph, `experts` is no number
        children = (child for node in self.root.nodes for _, child in node.branches)
        for branch, child in enumerate(children):
            out[branch, list(leaves_of(child))] = 1.0
        return out

    @cached_property
    def siblings(self) -> np.ndarray:
        """Matrix (G, K) that is 1 where a branch's node lies on the path to an expert."""
        out = np.zeros_like(self.reach)
        for block in self.blocks:
            out[block.rows] = self.reach[block.rows].sum(axis=0)
        return out

    def _log_gates(self, eta: Any, functions: Any) -> tuple[Any, np.ndarray]:
        """Return the log-softmax of every node's predictors, side by side, and the branches they belong to."""
        pieces = []
        for rows in self.by_size.values():
            own = eta[:, rows]
            shifted = own - functions.max(own, axis=2, keepdims=True)
            gates = shifted - functions.log(functions.sum(functions.exp(shifted), axis=2, keepdims=True))
            pieces.append(gates.reshape((eta.shape[0], rows.size)))
        order = np.concatenate([rows.ravel() for rows in self.by_size.values()])
        return functions.concatenate(pieces, axis=1) if len(pieces) > 1 else pieces[0], order

    def log_weights(self, eta: np.ndarray) -> np.ndarray:
        gates, order = self._log_gates(eta, np)
        return np.asarray(gates @ self.reach[order])

    def log_weights_graph(self, eta: Any) -> Any:
        from pytensor import tensor as pt  # what `import bayes_moe` does not pay

        gates, order = self._log_gates(eta, pt)
        graph: Any = gates @ self.reach[order]
        return graph

    def _gates(self, eta: np.ndarray) -> np.ndarray:
        """Return the probability (n, G) of every branch at its node."""
        gates, order = self._log_gates(eta, np)
        out: np.ndarray = np.empty_like(gates)
        out[:, order] = np.exp(gates)
        return out

    def slopes(self, eta: np.ndarray) -> np.ndarray:
        return np.asarray(self.reach.T - self._gates(eta)[:, None, :] * self.siblings.T)

    def pull(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        return np.asarray(mass @ self.reach.T - self._gates(eta) * (mass @ self.siblings.T))

    def bends(self, eta: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        gates, total = self._gates(eta), mass @ self.siblings.T
        out = []
        for block in self.blocks:
            own, size = gates[:, block.rows], len(block.rows)
            square = own[:, :, None] * own[:, None, :] - own[:, :, None] * np.eye(size)
            out.append(total[:, block.rows[0], None, None] * square)
        return out

    # -- labels ------------------------------------------------------------------------------------------------

    def orders(self, features: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        return arrangements(self.root, features, mass, _ORDERS) if len(self.root.nodes) > 1 else []

    def row_order(self, permutations: np.ndarray) -> np.ndarray:
        depth = self.reach.cumsum(axis=0) - 1.0  # of a branch on the path to an expert: it follows the one above it
        first = self.reach.argmax(axis=1)
        level = depth[np.arange(self.predictors), first].astype(int)
        branch_at = np.zeros((self.experts, int(depth.max()) + 1), dtype=np.int64)
        branch, expert = np.nonzero(self.reach)
        branch_at[expert, depth[branch, expert].astype(int)] = branch
        return np.asarray(branch_at[permutations[:, first], level])

    def steepest(self, slopes: np.ndarray) -> float:
        return max(float(np.ptp(slopes[block.rows], axis=0).max()) for block in self.blocks)
