"""The design: every column that gate or experts use, once, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SpecError, nearest
from ..mixture import MixtureOfExperts
from ..predictors.base import Basis, Columns, Predictor
from ..scaling import Scaling
from ..smoothing import LOG_SD, MEAN
from .features import Networks, Owner, make_networks


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
        For every block of equal experts and every parameter of the family, one term for all of them, or a term each.
    bases
        The distinct bases, in the order of their columns.
    keep
        Per basis, which of its columns enter the design (others stand there already).
    width
        Number of design columns, the intercept included.
    features
        The networks whose features are columns behind those of the raw table.
    feature_places
        For every network, where its features stand in the design.
    """

    scaling: Scaling
    gate: Term
    experts: tuple[tuple[tuple[Term, ...], ...], ...]
    bases: tuple[Basis, ...]
    keep: tuple[np.ndarray, ...]
    width: int
    features: Networks | None = None
    feature_places: tuple[np.ndarray, ...] = ()

    @property
    def gate_learned(self) -> bool:
        """Whether the gate sees learned features."""
        return any(np.isin(self.gate.positions, places).any() for places in self.feature_places)

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
    names the user's column that every column came from. Where there is a network under gate and experts, it uses what
    nothing else claims, and predictors without ``columns=`` its features; a predictor that is a network uses its own.

    Raises
    ------
    SpecError
        If a predictor names a column that the table does not have, or one has no meaning in a gate.
    """
    predictors = [model.gate.predictor, *(p for expert, _ in model.blocks for p in expert.predictors.values())]
    table_columns = Columns(tuple(names), (), scaling.x_center, scaling.x_scale, tuple(dropped), tuple(sources))
    claimed = {
        j for p in predictors for column in p.claimed() for j in table_columns.places(column, type(p).__name__)
    } | {list(names).index(name) for name in reserved if name in names}
    model.gate.predictor.refuse_in_gate()
    shared = {list(names).index(name) for name in (MEAN, LOG_SD) if model.mean is not None}  # columns besides
    claimed |= {offset for p in predictors if (offset := _offset(p, names)) is not None} - shared
    appended = sorted(list(names).index(name) for name in gate_columns)
    free = [j for j in range(len(names)) if j not in claimed and j not in appended]
    table_columns = replace(table_columns, default=tuple(free))
    found = make_networks(model, table_columns, appended or free, weights_of_network)
    networks, learned = (None, {}) if found is None else found
    if networks is not None:
        table, scaling = networks.numbered(table), networks.extend_scaling(scaling)
        table_columns = networks.extend_columns(table_columns)
    standardised = scaling.standardise_x(table)
    collector = _Collector(standardised)

    def terms(predictor: Predictor, owner: Owner, unclaimed: Sequence[int]) -> tuple[Term, ...]:
        seen = learned.get(owner, (unclaimed,))
        bases = [predictor.basis(replace(table_columns, default=tuple(j)), standardised, weights) for j in seen]
        return tuple(collector.add(basis, _offset(predictor, names)) for basis in bases)

    default = learned["features"][0] if "features" in learned else free
    gate = terms(model.gate.predictor, "gate", appended or default)[0]
    experts = tuple(
        tuple(terms(predictor, (block, place), default) for place, predictor in enumerate(expert.predictors.values()))
        for block, (expert, _) in enumerate(model.blocks)
    )
    places = collector.places(len(names), [] if networks is None else [len(one.features) for one in networks.maps])
    return Design(
        scaling, gate, experts, tuple(collector.bases), tuple(collector.keep), collector.width, networks, places
    )


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
                equal = self.seen.setdefault(basis.elsewhere + values[:, j].tobytes(), [])
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

    def places(self, first: int, widths: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Return where features stand in the design: columns of the table from ``first`` on, network by network.

        Raises
        ------
        SpecError
            If nothing uses them.
        """
        found = []
        for width in widths:
            keys = [self.table[:, first + unit].tobytes() for unit in range(width)]
            if keys[0] not in self.seen:
                raise SpecError(
                    "MixtureOfExperts.features: expected a gate or experts that use them, got none → leave features= "
                    "out, or give some predictor bm.Linear() without columns"
                )
            found.append(np.array([self.seen[key][0] for key in keys], dtype=np.int64))
            first += width
        return tuple(found)
