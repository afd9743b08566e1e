"""Reads y, whatever it is: numbers, several columns of numbers, or labels that become codes 0, 1, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from bayes_moe.columns import FloatArray, as_array, refuse_lazy, rows_text
from bayes_moe.errors import InputError, Notice, listed, nearest
from bayes_moe.scaling import TargetScale
from bayes_moe.tables import Column, read_column, read_table, row_index
from bayes_moe.transforms import Power

Label = str | int | float | bool

_MOST_CLASSES = 1000


class TargetKind(Enum):
    """What a row of y is."""

    NUMBER = "one number"
    SEVERAL = "several numbers"
    BINARY = "0 or 1"
    CLASSES = "a label without an order"
    LEVELS = "a label in an order"


@dataclass(frozen=True)
class Target:
    """What a model expects of y.

    Parameters
    ----------
    kind
        What a row is.
    owner
        The family, for messages.
    scales
        How every output is standardised; one stands for all.
    named
        Labels of classes, levels or outputs that the specification names, or None.
    continuous
        Whether y has a density, so that ties and extremes are worth a notice.
    power
        The power of y that the model is of, or None; y is above 0 then.
    """

    kind: TargetKind = TargetKind.NUMBER
    owner: str = "Normal()"
    scales: tuple[TargetScale, ...] = (TargetScale.AFFINE,)
    named: tuple[str, ...] | None = None
    continuous: bool = True
    power: Power | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """A target as read.

    Parameters
    ----------
    values
        (n,) or (n, outputs) numbers or codes, NaN where missing.
    name
        Name of y, or None.
    index
        A pandas index, or None.
    notices
        Findings.
    classes
        Labels in the order of their codes; empty where y is numbers.
    outputs
        Names of several outputs; empty for one.
    """

    values: FloatArray
    name: str | None
    index: object | None
    notices: tuple[Notice, ...] = ()
    classes: tuple[Label, ...] = ()
    outputs: tuple[str, ...] = ()

    def missing(self) -> npt.NDArray[np.bool_]:
        """Return the rows that miss a value."""
        gone: npt.NDArray[np.bool_] = np.isnan(self.values)
        return gone if gone.ndim == 1 else gone.any(axis=1)

    def refuse_missing(self, way_out: str) -> None:
        """Raise :class:`InputError` naming the rows that miss a value."""
        missing = self.missing()
        if missing.any():
            raise InputError(f"y: expected a value in every row, got missing values ({rows_text(missing)}) → {way_out}")


def read_outcome(source: Any, target: Target) -> Outcome:
    """Read the training target.

    Raises
    ------
    InputError
        If y is not what the model expects; the message names values and rows.

    Examples
    --------
    >>> target = Target(TargetKind.CLASSES, "Categorical()", (TargetScale.PLAIN,))
    >>> read_outcome(["car", "bus", "car"], target).values
    array([1., 0., 1.])
    """
    if target.kind is TargetKind.SEVERAL:
        return _read_several(source, target)
    if target.kind is TargetKind.NUMBER:
        return _plain(read_column(source, "y"))
    labels = _read_labels(source)
    if target.kind is TargetKind.BINARY:
        return _read_binary(source, labels, target)
    declared = _declared(source)
    classes, notices = _classes(labels, declared, target)
    found = [label for label in labels if label is not None]
    return Outcome(
        _codes(labels, classes, f"a label of bm.{target.owner}"),
        _name(source),
        row_index(source),
        (*notices, *_crowded(classes, len(found))),
        classes,
    )


def read_like(source: Any, rows: int, classes: Sequence[Label], outputs: Sequence[str]) -> FloatArray:
    """Read a target for other rows, (rows,) or (rows, outputs), by the labels and outputs of training.

    Raises
    ------
    InputError
        For another length, missing or unknown values.
    """
    if classes:
        values = _codes(_read_labels(source), tuple(classes), "a label of the training data")
        outcome = Outcome(values, None, None)
    elif outputs:
        outcome = _read_several(source, Target(TargetKind.SEVERAL, named=tuple(outputs)))
    else:
        outcome = _plain(read_column(source, "y"))
    if len(outcome.values) != rows:
        raise InputError(
            f"y: expected {rows} values, one per row of X, got {len(outcome.values)} → pass the y of these rows"
        )
    outcome.refuse_missing("leave out these rows")
    return outcome.values


def refuse_without_power(
    y: FloatArray, counted: npt.NDArray[np.bool_], rows: npt.NDArray[np.intp], power: Power | None
) -> None:
    """Refuse numbers from 0 down in rows that count, ``rows`` by position, where the model is of a power of y."""
    wrong = np.zeros(len(y), dtype=bool) if power is None else ~(y > 0) & counted
    if wrong.any():
        bad = np.zeros(int(rows.max()) + 1, dtype=bool)
        bad[rows[wrong]] = True
        raise InputError(
            f"y: expected numbers above 0 for target={power!r}, got {y[wrong][0]:.6g} ({rows_text(bad)}) → leave "
            "target out, or leave out these rows"
        )


def _plain(column: Column) -> Outcome:
    return Outcome(column.values, column.name, column.index, column.notices)


def _read_several(source: Any, target: Target) -> Outcome:
    reading = read_table(source, "y", prefix="y")
    values, names = reading.values, reading.names
    wanted = target.named
    if wanted is not None:
        if reading.named:
            absent = [name for name in wanted if name not in names]
            if absent:
                raise InputError(
                    f"y: expected the columns {list(wanted)}, got none named {absent[0]!r}{nearest(absent[0], names)} "
                    "→ rename it"
                )
            values = values[:, [names.index(name) for name in wanted]]
        elif values.shape[1] != len(wanted):
            raise InputError(
                f"y: expected {len(wanted)} columns {list(wanted)}, got {values.shape[1]} → pass (rows, outputs)"
            )
        names = wanted
    return Outcome(np.ascontiguousarray(values), None, reading.index, reading.notices, outputs=names)


def _read_binary(source: Any, labels: list[Label | None], target: Target) -> Outcome:
    found = sorted({label for label in labels if label is not None}, key=_by_kind)
    text = [label for label in found if isinstance(label, str)]
    if text:
        way_out = f"y == {found[-1]!r}" if len(found) == 2 else "bm.Categorical()"
        raise InputError(
            f"y: expected the levels 0 and 1 for bm.{target.owner}, got the levels {listed(map(repr, found))} → pass "
            f"{way_out}"
        )
    column = read_column(source, "y")
    truths = bool(found) and all(isinstance(label, bool) for label in found)
    return Outcome(
        column.values, column.name, column.index, column.notices, classes=(False, True) if truths else (0, 1)
    )


def _read_labels(source: Any) -> list[Label | None]:
    """Return one label a row, None where it is missing."""
    refuse_lazy(source, "y")
    if hasattr(source, "columns") and not isinstance(source, str):
        columns = list(source.columns)
        if len(columns) != 1:
            raise InputError(f"y: expected one column of labels, got a frame of {len(columns)} → pass one of them")
        source = source.iloc[:, 0] if hasattr(source, "iloc") else source[columns[0]]
    values = source.tolist() if hasattr(source, "tolist") else None
    if values is None:
        values = source.to_list() if hasattr(source, "to_list") else as_array(source, "y").tolist()
    if any(isinstance(value, list) for value in values):
        if not all(isinstance(value, list) and len(value) == 1 for value in values):
            raise InputError("y: expected one label per row, got several → pass one column")
        values = [value[0] for value in values]
    return [_label(value, row) for row, value in enumerate(values)]


def _label(value: Any, row: int) -> Label | None:
    if value is None or type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int | float | bool):
        return value
    raise InputError(
        f"y: expected labels as text or numbers, got {type(value).__name__} {value!r:.40} (row {row}) → convert it"
    )


def _declared(source: Any) -> tuple[tuple[Label, ...], bool] | None:
    """Return the categories that a categorical column declares, and whether they are in an order."""
    kind: Any = getattr(source, "dtype", None)
    if str(kind) != "category" or not hasattr(kind, "categories"):
        return None
    labels = [_label(value, 0) for value in kind.categories.tolist()]
    return tuple(label for label in labels if label is not None), bool(kind.ordered)


def _classes(
    labels: list[Label | None], declared: tuple[tuple[Label, ...], bool] | None, target: Target
) -> tuple[tuple[Label, ...], tuple[Notice, ...]]:
    """Return the labels in the order of their codes, with findings."""
    found = {label for label in labels if label is not None}
    if target.named is not None:
        by_text = {str(label): label for label in found}
        return tuple(by_text.get(name, name) for name in target.named), ()
    if len(found) < 2:
        shown = listed(repr(label) for label in found) or "none"
        raise InputError(
            f"y: expected two classes or more for bm.{target.owner}, got only {shown} → there is nothing to model"
        )
    if target.kind is TargetKind.LEVELS:
        return _levels(found, declared, target), ()
    order = [label for label in declared[0] if label in found] if declared else sorted(found, key=_by_kind)
    if len({str(label) for label in order}) < len(order):
        raise InputError(f"y: expected labels of different texts, got {listed(map(repr, order))} → rename some")
    if len(order) > _MOST_CLASSES:
        raise InputError(f"y: expected at most {_MOST_CLASSES} classes, got {len(order)} → is y a number? then use "
                         "a family of numbers")  # fmt: skip
    unused = [label for label in declared[0] if label not in found] if declared else []
    notices = (Notice("unused_levels", f"Classes {listed(map(repr, unused))} do not occur in y and were left out."),)
    return tuple(order), notices if unused else ()


def _levels(found: set[Label], declared: tuple[tuple[Label, ...], bool] | None, target: Target) -> tuple[Label, ...]:
    if declared and declared[1]:
        return declared[0]
    numbers = [label for label in found if not isinstance(label, str)]
    if len(numbers) < len(found):
        shown = listed(map(repr, sorted(map(str, found))))
        raise InputError(
            f"y: expected levels in a known order for bm.{target.owner}, got text {shown} "
            "→ name them, lowest first: bm.Ordinal(levels=(...)), or pass an ordered categorical column"
        )
    order = sorted(numbers, key=float)
    if all(isinstance(level, int) for level in order):
        gaps = [level for level in range(int(order[0]), int(order[-1])) if level not in found]
        if gaps:
            raise InputError(
                f"y: expected levels without gaps for bm.{target.owner}, got {order[0]} to {order[-1]} and no "
                f"{listed(map(str, gaps))} → name all levels, lowest first: bm.Ordinal(levels=(...))"
            )
    return tuple(order)


def _codes(labels: list[Label | None], classes: tuple[Label, ...], expected: str) -> FloatArray:
    by_value = {label: float(code) for code, label in enumerate(classes)}  # in which True is 1
    by_text = {str(label): float(code) for code, label in enumerate(classes)}
    found = [np.nan if v is None else by_value.get(v, by_text.get(str(v), -1.0)) for v in labels]
    out = np.array(found, dtype=np.float64)
    bad = out == -1.0
    if bad.any():
        others = sorted({str(label) for label, wrong in zip(labels, bad, strict=True) if wrong})
        raise InputError(
            f"y: expected {expected}, one of {listed(repr(str(c)) for c in classes)}, got {listed(map(repr, others))} "
            f"({rows_text(bad)}){nearest(others[0], map(str, classes))} → correct these rows"
        )
    return out


def _crowded(classes: tuple[Label, ...], rows: int) -> tuple[Notice, ...]:
    if len(classes) <= max(2, rows / 5):
        return ()
    return (Notice("many_classes", f"y has {len(classes)} classes in {rows} rows: most are seen a few times only."),)


def _by_kind(label: Label) -> tuple[bool, float, str]:
    return (isinstance(label, str), 0.0 if isinstance(label, str) else float(label), str(label))


def _name(source: Any) -> str | None:
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else None
