"""The design: every column that gate or experts use, once, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SpecError
from ..mixture import MixtureOfExperts
from ..predictors.base import Basis, Columns
from ..scaling import Scaling
from .features import FeatureMap, make_features


@dataclass(frozen=True, eq=False)
class Term:
    """One linear predictor: its basis and where its columns stand in the design."""

    basis: Basis
    positions: np.ndarray

    @property
    def width(self) -> int:
        """Number of slopes."""
        return len(self.positions) - 1


@dataclass(frozen=True, eq=False)
class Design:
    """The columns of a mixture, from the raw table to one matrix whose first column is 1.

    Parameters
    ----------
    scaling
        Standardisation of the raw table, with the features if there are some, and of y.
    gate
        Term of the gate.
    experts
        For every block of equal experts, one term per parameter of the family.
    bases
        The distinct bases, in the order of their columns.
    keep
        Per basis, which of its columns enter the design (others stand there already).
    width
        Number of design columns, the intercept included.
    features
        The network whose features are columns behind those of the raw table.
    """

    scaling: Scaling
    gate: Term
    experts: tuple[tuple[Term, ...], ...]
    bases: tuple[Basis, ...]
    keep: tuple[np.ndarray, ...]
    width: int
    features: FeatureMap | None = None

    def matrix(self, table: np.ndarray) -> np.ndarray:
        """Return the design (rows, width) at rows of the raw table."""
        if self.features is not None:
            table = self.features.extended(table)
        standardised = self.scaling.standardise_x(table)
        out = np.ones((len(table), self.width))
        at = 1
        for basis, keep in zip(self.bases, self.keep, strict=True):
            if len(keep):
                out[:, at : at + len(keep)] = np.concatenate(basis.blocks(standardised), axis=1)[:, keep]
                at += len(keep)
        return out


def make_design(
    model: MixtureOfExperts,
    names: Sequence[str],
    table: np.ndarray,
    weights: np.ndarray,
    scaling: Scaling,
    *,
    gate_columns: Sequence[str] = (),
    dropped: Sequence[str] = (),
    reserved: Sequence[str] = (),
    weights_of_network: np.ndarray | None = None,
) -> Design:
    """Return the design of ``model`` for a raw training table.

    Columns appended for the gate belong to the gate, and columns that one predictor names belong to it; a predictor
    without ``columns=`` uses all that nothing else claims. ``reserved`` columns are claimed by families. Where there is
    a network, it uses these instead, and the others its features.

    Raises
    ------
    SpecError
        If a predictor names a column that the table does not have.
    """
    gate_predictor = model.gate.predictor
    expert_predictors = [tuple(expert.predictors.values()) for expert, _ in model.blocks]
    predictors = [gate_predictor, *(p for block in expert_predictors for p in block)]
    claimed = {_position(column, names) for predictor in predictors for column in predictor.claimed()}
    claimed |= {_position(name, names) for name in reserved}
    appended = {list(names).index(name) for name in gate_columns}
    free = [j for j in range(len(names)) if j not in claimed and j not in appended]
    features = None
    if model.features is not None:
        features = make_features(model.features, names, free, scaling, dropped, weights_of_network)
        free = list(range(len(names), len(names) + len(features.names)))
        names, table, scaling = [*names, *features.names], features.extended(table), features.extend_scaling(scaling)
    standardised = scaling.standardise_x(table)

    def columns(default: Sequence[int]) -> Columns:
        return Columns(tuple(names), tuple(default), scaling.x_center, scaling.x_scale, tuple(dropped))

    for_experts, for_gate = columns(free), columns(sorted(appended) if appended else free)
    collector = _Collector(standardised)
    gate = collector.add(gate_predictor.basis(for_gate, standardised, weights))
    experts = tuple(
        tuple(collector.add(predictor.basis(for_experts, standardised, weights)) for predictor in block)
        for block in expert_predictors
    )
    return Design(scaling, gate, experts, tuple(collector.bases), tuple(collector.keep), collector.width, features)


def _position(column: str | int, names: Sequence[str]) -> int:
    if isinstance(column, str):
        return list(names).index(column) if column in names else -1
    return column


class _Collector:
    """Gathers the columns of several bases, each distinct column once; equal columns of one basis stay apart."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table
        self.seen: dict[bytes, list[int]] = {}
        self.bases: list[Basis] = []
        self.keep: list[np.ndarray] = []
        self.width = 1

    def add(self, basis: Basis) -> Term:
        blocks = basis.blocks(self.table)
        positions, keep = [0], []
        if blocks:
            values = np.concatenate(blocks, axis=1)
            if not np.all(np.isfinite(values)):
                bad = [name for name, ok in zip(basis.names, np.isfinite(values).all(axis=0), strict=True) if not ok]
                raise SpecError(f"predictor: expected finite columns, got overflow in {bad} → lower the degree")
            for j in range(values.shape[1]):
                equal = self.seen.setdefault(values[:, j].tobytes(), [])
                position = next((at for at in equal if at not in positions), None)
                if position is None:
                    position = self.width
                    equal.append(position)
                    self.width += 1
                    keep.append(j)
                positions.append(position)
        self.bases.append(basis)
        self.keep.append(np.array(keep, dtype=np.int64))
        return Term(basis, np.array(positions, dtype=np.int64))
