"""The design: every column that gate or experts use, once, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SpecError, nearest
from ..mixture import MixtureOfExperts
from ..predictors.base import Basis, Columns, Predictor
from ..scaling import Scaling
from .features import FeatureMap, make_features


@dataclass(frozen=True, eq=False)
class Term:
    """One linear predictor.

    Parameters
    ----------
    basis
        Its basis.
    positions
        Where its columns stand in the design.
    offset
        Position in the raw table of the column that is added to it, if there is one.
    """

    basis: Basis
    positions: np.ndarray
    offset: int | None = None

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
    sources: Sequence[str] = (),
) -> Design:
    """Return the design of ``model`` for a raw training table.

    Columns appended for the gate belong to the gate, and columns that one predictor names belong to it; a predictor
    without ``columns=`` uses all that nothing else claims. ``reserved`` columns are claimed by families; ``sources``
    names the user's column that every column came from. Where there is a network, it uses what nothing else claims, and
    predictors without ``columns=`` its features.

    Raises
    ------
    SpecError
        If a predictor names a column that the table does not have, or one has no meaning in a gate.
    """
    gate_predictor = model.gate.predictor
    expert_predictors = [tuple(expert.predictors.values()) for expert, _ in model.blocks]
    predictors = [gate_predictor, *(p for block in expert_predictors for p in block)]
    table_columns = Columns(tuple(names), (), scaling.x_center, scaling.x_scale, tuple(dropped), tuple(sources))
    claimed = {
        j for p in predictors for column in p.claimed() for j in table_columns.places(column, type(p).__name__)
    } | {list(names).index(name) for name in reserved if name in names}
    gate_predictor.refuse_in_gate()
    offsets = [[_offset(predictor, names) for predictor in block] for block in expert_predictors]
    claimed |= {offset for block in offsets for offset in block if offset is not None}
    appended = {list(names).index(name) for name in gate_columns}
    free = [j for j in range(len(names)) if j not in claimed and j not in appended]
    features = None
    if model.features is not None:
        features = make_features(model.features, replace(table_columns, default=tuple(free)), weights_of_network)
        free = list(range(len(names), len(names) + len(features.names)))
        table, scaling = features.extended(table), features.extend_scaling(scaling)
        table_columns = features.extend_columns(table_columns)
    standardised = scaling.standardise_x(table)

    def columns(default: Sequence[int]) -> Columns:
        return replace(table_columns, default=tuple(default))

    for_experts, for_gate = columns(free), columns(sorted(appended) if appended else free)
    collector = _Collector(standardised)
    gate = collector.add(gate_predictor.basis(for_gate, standardised, weights))
    experts = tuple(
        tuple(
            collector.add(predictor.basis(for_experts, standardised, weights), offset)
            for predictor, offset in zip(block, added, strict=True)
        )
        for block, added in zip(expert_predictors, offsets, strict=True)
    )
    return Design(scaling, gate, experts, tuple(collector.bases), tuple(collector.keep), collector.width, features)


def _offset(predictor: Predictor, names: Sequence[str]) -> int | None:
    if predictor.offset is None:
        return None
    return column_named(predictor.offset, names, f"{type(predictor).__name__}.offset")


def column_named(name: str, names: Sequence[str], owner: str) -> int:
    """Return the position of a column.

    Raises
    ------
    SpecError
        If there is no such column.
    """
    if name in names:
        return list(names).index(name)
    raise SpecError(
        f"{owner}: expected the name of a column of X, one of {list(names)}, got {name!r}{nearest(name, names)} "
        "→ correct the name"
    )


class _Collector:
    """Gathers the columns of several bases, each distinct column once; equal columns of one basis stay apart."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table
        self.seen: dict[bytes, list[int]] = {}
        self.bases: list[Basis] = []
        self.keep: list[np.ndarray] = []
        self.width = 1

    def add(self, basis: Basis, offset: int | None = None) -> Term:
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
        return Term(basis, np.array(positions, dtype=np.int64), offset)
