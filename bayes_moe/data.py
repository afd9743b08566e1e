"""The border: what the user passed is checked here once, before anything compiles.

Behind it every array is float64, C-ordered, finite, read-only and never the user's own memory, and every row
and column has a name to be called by in a message. Rows are counted from 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from bayes_moe.columns import FloatArray, rows_text
from bayes_moe.errors import InputError, Notice, listed, nearest
from bayes_moe.formula import Formula
from bayes_moe.groups import Groups, group_notices, kept_groups, read_groups
from bayes_moe.newdata import read_new, read_target
from bayes_moe.scaling import Scaling, checked, measure, refuse_huge
from bayes_moe.screening import Screened, screen, weak_data
from bayes_moe.smoothing import SharedMean
from bayes_moe.tables import Reading, Table, encoded, read_column, read_table, refuse_misaligned
from bayes_moe.targets import Label, Outcome, Target, read_outcome, refuse_without_power

__all__ = ["Data", "Missing", "Scaling", "Table", "read_new", "read_target", "read_training", "scaling_of"]

_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e15  # totals outside: the data, or the priors, are lost in rounding
DEFAULT_TARGET = Target()
_FILL = "drop or fill these rows, or pass missing=Missing.DROP"


class Missing(Enum):
    """What becomes of training rows that miss a value of X, gate_X or y."""

    REFUSE = "Refuse the data with an error that names the rows."
    DROP = "Leave these rows out and say so in a notice."


@dataclass(frozen=True, eq=False)
class Data:
    """Checked training data; every array is float64 and read-only.

    Parameters
    ----------
    table
        The columns of X, then those appended through ``gate_X``.
    y
        ``(n,)`` or ``(n, outputs)`` responses in the user's units; codes 0, 1, ... where they are labels.
    y_name
        Name of y as passed, or ``"y"``.
    weights
        ``(n,)``; row i counts ``weights[i]`` times: its log density is multiplied by it, as if the row were
        repeated. Used as they are, never normalised; all 1 when none were passed. A row of weight 0 stays in
        the arrays and counts for nothing.
    weighted
        Whether weights were passed.
    gate_columns
        Names of the columns appended through ``gate_X``.
    dropped
        Constant columns, left out of every basis.
    notices
        Findings about the data, for ``fit.status``.
    digest
        SHA-256 of y, the weights and the groups: two fits with the same digest saw the same target.
    scaling
        The scaling passed in, or the one measured on these rows.
    rows
        ``(n,)`` positions of the rows in what was passed; with gaps where rows were dropped.
    classes
        Labels of y in the order of the codes that ``y`` holds; empty where y is numbers.
    outputs
        Names of several outputs, the columns of y; empty for one.
    groups
        Which rows share one latent label, or None where every row has its own.
    formula
        How the columns are computed from a raw frame, or None where they are the user's own.
    mean
        The shared mean whose columns ``mean`` and ``log_sd`` are the last of the table, or None. In training rows they
        are leave-one-out moments.
    """

    table: Table
    y: FloatArray
    y_name: str
    weights: FloatArray
    weighted: bool
    gate_columns: tuple[str, ...]
    dropped: tuple[str, ...]
    notices: tuple[Notice, ...]
    digest: str
    scaling: Scaling
    rows: npt.NDArray[np.intp]
    classes: tuple[Label, ...] = ()
    outputs: tuple[str, ...] = ()
    groups: Groups | None = None
    formula: Formula | None = None
    mean: SharedMean | None = None

    @property
    def own(self) -> Table:
        """The table as the user passed it, without the columns of a shared mean."""
        if self.mean is None:
            return self.table
        return replace(self.table, values=self.table.values[:, :-2], names=self.table.names[:-2])


def read_training(
    X: Any,
    y: Any,
    *,
    gate_X: Any = None,
    weights: Any = None,
    groups: Any = None,
    missing: Missing = Missing.REFUSE,
    experts: int,
    parameters: int | Callable[[tuple[str, ...]], int],
    scaling: Scaling | None = None,
    target: Target = DEFAULT_TARGET,
) -> Data:
    """Check training data for a location-scale response and take them over.

    Parameters
    ----------
    X
        Table of covariates, ``(n, p)``: array, list of rows, masked array, pandas, polars or pyarrow frame,
        xarray DataArray; 1-D is one column. ``(n, 0)`` is a mixture without covariates. A frame's columns of text or
        categories become 0/1 columns, one for every level but the first: ``site[b]``, ``site[c]``, ...
    y
        ``(n,)`` or ``(n, 1)`` real numbers that vary.
    gate_X
        A second table, appended for the gate alone.
    weights
        ``(n,)`` finite numbers, none negative, with a total between 1e-6 and 1e15.
    groups
        ``(n,)`` labels of groups, or the name of a column of X that holds them and is no covariate then; none may be
        missing.
    missing
        What becomes of rows that miss a value; weights may miss none.
    experts
        Number of experts K; at least 2K rows of positive weight are needed.
    parameters
        Number of free parameters, or a function of the names of the columns in use that returns it.
    scaling
        A scaling to use as it is, as in cross-validation; then constant y is no error.
    target
        What the model expects of y, and how it is standardised where no scaling is given.

    Raises
    ------
    InputError
        Naming the argument, the first offending row, column or value, and the way out.

    Examples
    --------
    >>> data = read_training([[0.0], [1.0], [2.5], [4.0]], [1, 3, 2, 5], experts=1, parameters=3)
    >>> data.table.names, data.scaling.y_center
    (('x0',), 2.75)
    """
    if not isinstance(missing, Missing):
        raise InputError(f"missing: expected a Missing, got {missing!r} → pass Missing.REFUSE or Missing.DROP")
    joined, parts = _read_covariates(X, gate_X, groups if isinstance(groups, str) else None)
    column = _read_y(y, X, target)
    n = _common_length(parts[0], column)
    refuse_misaligned(joined.index, column.index, ("X", "y"))
    weight = _read_weights(weights, n, joined.index)
    members = None if groups is None else read_groups(groups, X, n, joined.index)
    kept, drop_notices = _complete_rows(parts, column, missing)
    for argument, part in zip(("X", "gate_X"), parts, strict=False):
        refuse_huge(part.values, argument, part.names)
    refuse_huge(column.values.reshape(n, -1), "y", column.outputs or ("y",))
    values, y_values, weight = (_frozen(a, kept) for a in (joined.values, column.values, weight))
    rows = int((weight > 0).sum())
    _refuse_few_rows(rows, experts)
    refuse_without_power(y_values, weight > 0, kept, target.power)
    members = None if members is None else kept_groups(members, kept)
    values, columns, encodings, level_notices = encoded(joined, values, weight > 0, "X")
    scaling = checked(scaling, columns, target.power) or measure(
        _frozen(values), y_values, weight, columns, target.scales, target.power
    )
    used = ~np.array(scaling.x_constant or [False] * values.shape[1], dtype=bool)
    names = tuple(name for name, use in zip(columns, used, strict=True) if use)
    dropped = tuple(name for name, use in zip(columns, used, strict=True) if not use)
    weak = weak_data(rows, parameters(names) if callable(parameters) else parameters)
    table = Table(values, columns, joined.named, _kept_index(joined.index, kept, n), encodings)
    appended = parts[1].names if len(parts) > 1 else ()
    gate_columns = tuple(n for n, source in zip(columns, table.sources, strict=True) if source in appended)
    notices = (
        *(notice for part in parts for notice in part.notices),
        *column.notices,
        *drop_notices,
        *level_notices,
        *_weight_notices(weight),
        *(() if weak is None else (weak,)),
        *_constant_notices(dropped),
        *([] if members is None else group_notices(members, weight > 0, experts)),
        *screen(
            replace(
                _screened(
                    values if used.all() else values[:, used],
                    names,
                    y_values if target.continuous and y_values.ndim == 1 else None,
                    weight > 0,
                    kept,
                    experts,
                ),
                gate=len({*names} & {*gate_columns}),
            )
        ),
    )
    return Data(
        table=table,
        y=y_values,
        y_name=column.name or "y",
        weights=weight,
        weighted=weights is not None,
        gate_columns=gate_columns,
        dropped=dropped,
        notices=notices,
        digest=_digest(y_values, weight, members),
        scaling=scaling,
        rows=kept,
        classes=column.classes,
        outputs=column.outputs,
        groups=members,
    )


def scaling_of(data: Data) -> Scaling:
    """Return the scaling of training data, passed to :func:`read_training` or measured there."""
    return data.scaling


def _read_covariates(X: Any, gate_X: Any, without: str | None) -> tuple[Reading, tuple[Reading, ...]]:
    """Read X and gate_X, but for the column that names groups; return them joined, and one by one."""
    if X is None:
        raise InputError("X: expected a table, got None → pass np.empty((len(y), 0)) for a model without columns")
    x = read_table(X, "X", prefix="x", without=without)
    if gate_X is None:
        return x, (x,)
    z = read_table(gate_X, "gate_X", prefix="z")
    if len(x.values) != len(z.values):
        raise InputError(
            f"gate_X: expected {len(x.values)} rows as in X, got {len(z.values)} → pass one row per row of X"
        )
    refuse_misaligned(x.index, z.index, ("X", "gate_X"))
    clash = [repr(name) for name in z.names if name in x.names]
    if clash:
        raise InputError(
            f"gate_X: expected columns that X lacks, got {listed(clash)} → rename them, or leave gate_X "
            f"out and name the gate's columns in its predictor: Linear(columns=...)"
        )
    both = np.hstack([x.values, z.values])
    encodings, unused = x.encodings + z.encodings, {**x.unused, **z.unused}
    return Reading(both, x.names + z.names, x.named, x.index, encodings=encodings, unused=unused), (x, z)


def _read_y(y: Any, X: Any, target: Target) -> Outcome:
    if isinstance(y, str):
        hint = nearest(y, map(str, getattr(X, "columns", ())))
        raise InputError(f"y: expected the values of y, got the text {y!r}{hint} → pass the column itself")
    return read_outcome(y, target)


def _common_length(x: Reading, target: Outcome) -> int:
    n, m = len(x.values), len(target.values)
    if n != m and x.flat:
        raise InputError(
            f"X: expected a table with {m} rows as in y, got 1-D of length {n} → X.reshape(-1, 1) makes it "
            f"one column, X.reshape(1, -1) one row"
        )
    if n != m:
        raise InputError(f"y: expected {n} values, one per row of X, got {m} → pass the same rows of X and y")
    if n == 0:
        raise InputError("X: expected at least 2 rows, got 0 rows → check how X was selected")
    return n


def _read_weights(weights: Any, n: int, index: object | None) -> FloatArray:
    if weights is None:
        return np.ones(n)
    column = read_column(weights, "weights")
    w = column.values
    if w.size != n:
        raise InputError(f"weights: expected {n} values, one per row of X, got {w.size} → pass one weight per row")
    refuse_misaligned(index, column.index, ("X", "weights"))
    column.refuse_missing("weights", "use weight 0 for rows that are to be ignored")
    negative = w < 0
    if negative.any():
        raise InputError(
            f"weights: expected weights of at least 0, got {w[negative][0]:.6g} ({rows_text(negative)}) → "
            f"use weight 0 for rows that are to be ignored"
        )
    with np.errstate(over="ignore"):
        total = w.sum()
    if not _LEAST_WEIGHT <= total <= _MOST_WEIGHT:
        raise InputError(
            f"weights: expected a total between {_LEAST_WEIGHT:g} and {_MOST_WEIGHT:g}, got {total:.6g} → "
            f"weights count as repeated rows; use e.g. weights / weights.mean()"
        )
    return w


def _complete_rows(
    parts: tuple[Reading, ...], target: Outcome, missing: Missing
) -> tuple[npt.NDArray[np.intp], list[Notice]]:
    """Return the positions of the rows to keep, all of them or an error under ``Missing.REFUSE``."""
    incomplete = target.missing()
    for part in parts:
        incomplete |= part.incomplete()
    if not incomplete.any():
        return _frozen(np.arange(incomplete.size)), []
    if missing is Missing.REFUSE:
        for argument, part in zip(("X", "gate_X"), parts, strict=False):
            part.refuse_missing(argument, _FILL)
        target.refuse_missing(_FILL)
    if incomplete.all():
        raise InputError("X, y: expected rows without missing values, got none → fill the missing values")
    share = f"{incomplete.sum()} of {incomplete.size} rows"
    text = f"{share} miss a value and were left out: {rows_text(incomplete)}."
    return _frozen(np.flatnonzero(~incomplete)), [Notice("rows_dropped", text)]


def _refuse_few_rows(rows: int, experts: int) -> None:
    least = max(2, 2 * experts)
    if rows < least:
        raise InputError(
            f"X: expected at least {least} rows of positive weight (two per expert, {experts} "
            f"{'expert' if experts == 1 else 'experts'}), got {rows} → pass more rows or use fewer experts"
        )


def _weight_notices(weights: FloatArray) -> list[Notice]:
    if (weights == np.floor(weights)).all():
        return []
    text = (
        "Some weights are not whole numbers: the likelihood of a row is raised to its weight, so posterior "
        "widths follow the total of the weights, and leave-one-out comparison is not available."
    )
    return [Notice("power_likelihood", text)]


def _constant_notices(dropped: tuple[str, ...]) -> list[Notice]:
    if not dropped:
        return []
    text = f"Columns {listed(map(repr, dropped))} are constant and were left out of every predictor."
    return [Notice("constant_column", text)]


def _screened(
    values: FloatArray,
    names: tuple[str, ...],
    y: FloatArray | None,
    counted: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.intp],
    experts: int,
) -> Screened:
    """Leave out rows of weight 0, without a copy where there are none."""
    if counted.all():
        return Screened(values, names, y, rows, experts)
    return Screened(values[counted], names, None if y is None else y[counted], rows[counted], experts)


def _kept_index(index: Any, kept: npt.NDArray[np.intp], n: int) -> object | None:
    """Return the labels of the rows that stayed."""
    labels: object | None = index if index is None or kept.size == n else index[kept]
    return labels


def _frozen(array: Any, rows: npt.NDArray[np.intp] | None = None) -> Any:
    """Return our own array read-only, with only the given rows where some are left out."""
    if rows is not None and rows.size < len(array):
        array = array[rows]
    array.setflags(write=False)
    return array


def _digest(y: FloatArray, weights: FloatArray, groups: Groups | None) -> str:
    """SHA-256 of y and weights as little-endian float64, -0.0 read as 0.0, and of the rows' groups."""
    content = (np.concatenate([y.ravel(), weights]) + 0.0).astype("<f8").tobytes()
    return hashlib.sha256(content + (b"" if groups is None else groups.codes.astype("<i8").tobytes())).hexdigest()
