"""Reads what a fit is asked to predict at: rows put into the column order of training, and their y."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bayes_moe.categories import Encoding
from bayes_moe.columns import FloatArray
from bayes_moe.errors import InputError, listed, nearest
from bayes_moe.formula import Formula
from bayes_moe.groups import Groups, read_new_groups, refuse_groups_column
from bayes_moe.scaling import refuse_huge
from bayes_moe.smoothing import SharedMean
from bayes_moe.tables import Reading, column_names, expanded, read_table, refuse_misaligned, row_index
from bayes_moe.targets import Label, read_like


class Named(Protocol):
    """Anything that knows the columns of a fit, such as a :class:`Table`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in training order."""

    @property
    def named(self) -> bool:
        """Whether the user gave these names."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Name of the user's column that every column came from."""

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        """What columns of text or categories became."""


def read_new(
    X: Any,
    training: Named,
    *,
    gate_X: Any = None,
    gate_columns: tuple[str, ...] = (),
    without: str | None = None,
) -> FloatArray:
    """Read rows to predict at, ``(m, p)`` in the column order of the training table, in the user's units.

    Frames are matched by name when the training columns were named, in any order; arrays by position. Columns of
    text or categories become the 0/1 columns they were in training. The gate's columns come through ``gate_X``, or
    stand in ``X`` with the others.

    Parameters
    ----------
    X
        Table with the training columns; 0 rows give shape ``(0, p)``. 1-D is one column where p = 1.
    training
        The training table.
    gate_X, gate_columns
        The gate's own table, and the names of the columns it brought in training.
    without
        Name of a column of X that is no covariate.

    Raises
    ------
    InputError
        For missing or extra columns (named, with the nearest known name), another width, a level that training had
        not, or values that are missing, infinite or no numbers.

    Examples
    --------
    >>> from bayes_moe.tables import Table
    >>> training = Table(np.zeros((2, 1)), ("x0",), False)
    >>> read_new([3, 4], training)
    array([[3.], [4.]])
    """
    reading = read_table(X, "X", prefix="x", known=training.encodings, without=without)
    if gate_X is None:
        theirs = {source for name, source in zip(training.names, training.sources, strict=True) if name in gate_columns}
        if gate_columns and len(reading.names) < len(training.names) and not theirs & set(reading.names):
            raise InputError(
                f"gate_X: expected columns {listed(map(repr, gate_columns))} for the gate, got None → pass "
                f"gate_X as in training"
            )
        return _matched(reading, training, training.names, "X", named=training.named)
    if not gate_columns:
        raise InputError("gate_X: expected None, since the fit was made without it, got a table → leave it out")
    own = tuple(name for name in training.names if name not in gate_columns)
    gate = read_table(gate_X, "gate_X", prefix="z", known=training.encodings)
    x = _matched(reading, training, own, "X", named=training.named)
    named = gate_columns != _positional("z", len(gate_columns))
    z = _matched(gate, training, gate_columns, "gate_X", named=named)
    if len(x) != len(z):
        raise InputError(f"gate_X: expected {len(x)} rows as in X, got {len(z)} → pass one row per row of X")
    refuse_misaligned(reading.index, gate.index, ("X", "gate_X"))
    return np.hstack([x, z])


def read_rows(
    X: Any,
    training: Named,
    *,
    gate_X: Any = None,
    gate_columns: tuple[str, ...] = (),
    groups: Any = None,
    known: Groups | None = None,
    formula: Formula | None = None,
    mean: SharedMean | None = None,
) -> tuple[FloatArray, npt.NDArray[np.intp] | None]:
    """Read rows to predict at, and the positions of their groups among those of training: -1 for other groups.

    Parameters
    ----------
    X, training, gate_X, gate_columns
        As for `read_new`.
    groups
        Labels of the rows' groups, the name of a column of X that holds them, or None to do without.
    known
        The groups of training.
    formula
        How training computed its columns from a raw frame; arrays hold the computed columns themselves.
    mean
        The shared mean, whose columns are appended; ``training`` is the table without them.

    Raises
    ------
    InputError
        As `read_new`; for groups where training had none, and for a frame with training's column of groups while
        ``groups`` does not say whether to use it.
    """
    if known is None and groups is not None:
        raise InputError("groups: expected None, since the fit was made without groups, got some → leave them out")
    if formula is not None and column_names(X):
        if gate_X is not None:
            raise InputError(
                "gate_X: expected None, since the formula says what the gate sees, got a table → leave it out"
            )
        table = formula.table(X)
    else:
        column = None
        if known is not None:
            refuse_groups_column(X, groups, known)
            column = groups if isinstance(groups, str) else known.column
        table = read_new(X, training, gate_X=gate_X, gate_columns=gate_columns, without=column)
    if mean is not None:
        table = mean.extended(table)
    if known is None or groups is None:
        return table, None
    return table, read_new_groups(groups, X, len(table), row_index(X), known)


def read_target(
    y: Any, n: int, classes: Sequence[Label] = (), outputs: Sequence[str] = (), index: object | None = None
) -> FloatArray:
    """Read responses at which a density, a cdf or responsibilities are asked for: ``(n,)``, finite.

    With ``classes`` they are labels, which become codes; with several ``outputs`` they are ``(n, outputs)``.
    ``index`` is the pandas index of their X.

    Raises
    ------
    InputError
        For another length, other row labels than those of X, or values that are missing, infinite, no numbers or no
        known labels.
    """
    values = read_like(y, n, classes, outputs)
    refuse_misaligned(index, row_index(y), ("X", "y"))
    refuse_huge(values if values.ndim == 2 else values[:, None], "y", tuple(outputs) or ("y",))
    return values


def _matched(reading: Reading, training: Named, expected: tuple[str, ...], argument: str, *, named: bool) -> FloatArray:
    """Put the columns of a reading into the expected order, by name where both sides have names.

    Columns of text or categories become the 0/1 columns they were in training; a table that holds these already, as
    ``fit.data.table`` does, is taken as it is.
    """
    origin = dict(zip(training.names, training.sources, strict=True))
    own = tuple(dict.fromkeys(origin[name] for name in expected))
    if reading.named and own != expected and set(reading.names) != set(expected):
        reading.refuse_missing(argument, "leave out or fill these rows")
        _refuse_other_columns(reading.names, own, argument)
        values = reading.values[:, [reading.names.index(name) for name in own]]
        encodings = tuple(encoding for encoding in training.encodings if encoding.column in own)
        refuse_huge(values, argument, own)
        return expanded(values, own, encodings)[0]
    p, values = len(expected), reading.values
    if reading.flat and p != 1:
        if values.size == 0:
            return np.empty((0, p))
        raise InputError(
            f"{argument}: expected {p} columns, got 1-D of length {len(values)} → {argument}.reshape(1, "
            f"-1) makes it one row, {argument}.reshape(-1, 1) one column"
        )
    if reading.named and (named or set(reading.names) == set(expected)):
        _refuse_other_columns(reading.names, expected, argument)
        values = values[:, [reading.names.index(name) for name in expected]]
    elif values.shape[1] != p:
        raise InputError(
            f"{argument}: expected {p} columns as in training ({listed(expected)}), got {values.shape[1]} "
            f"→ pass the same columns in the same order"
        )
    reading.refuse_missing(argument, "leave out or fill these rows")
    refuse_huge(values, argument, expected)
    return np.ascontiguousarray(values)


def _refuse_other_columns(names: tuple[str, ...], expected: tuple[str, ...], argument: str) -> None:
    extra = [name for name in names if name not in expected]
    missing = [name for name in expected if name not in names]
    if missing:
        raise InputError(
            f"{argument}: expected the training columns, got none named {listed(map(repr, missing))}"
            f"{nearest(missing[0], extra)} → add or rename {'them' if len(missing) > 1 else 'it'}"
        )
    if extra:
        raise InputError(
            f"{argument}: expected the training columns only, got also {listed(map(repr, extra))} → leave "
            f"{'them' if len(extra) > 1 else 'it'} out"
        )


def _positional(prefix: str, width: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{j}" for j in range(width))
