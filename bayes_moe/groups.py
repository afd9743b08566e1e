"""Reads which rows belong together: labels of groups, in training and at prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bayes_moe.categories import as_labels
from bayes_moe.columns import refuse_lazy, rows_text
from bayes_moe.errors import InputError, Notice, nearest
from bayes_moe.tables import column_names, pick_column, refuse_misaligned, row_index

Label = int | str
_WAY_OUT = "give each of these rows a label of its own if it belongs to no group"


@dataclass(frozen=True, eq=False)
class Groups:
    """Which rows share one latent label.

    Parameters
    ----------
    codes
        ``(n,)`` position in ``labels`` for every row.
    labels
        The groups' labels in order: whole numbers, or text.
    column
        Name of the column of X they were, or None.
    """

    codes: npt.NDArray[np.intp]
    labels: tuple[Label, ...]
    column: str | None = None


def read_groups(groups: Any, X: Any, n: int, index: object | None) -> Groups:
    """Read the labels of training rows.

    Parameters
    ----------
    groups
        One label a row: text, whole numbers, or anything that reads as text; or the name of a column of X.
    X
        The table, of which a column may be meant.
    n, index
        Its number of rows and its pandas index.

    Raises
    ------
    InputError
        Naming the argument, and the rows that miss a label.

    Examples
    --------
    >>> found = read_groups(["b", "a", "b"], None, 3, None)
    >>> found.codes, found.labels
    (array([1, 0, 1]), ('a', 'b'))
    """
    found = _labels(groups, X, n, index)
    distinct = set(found)
    if len({type(label) for label in distinct}) > 1:  # numbers and text have no common order, nor a common file
        found = [str(label) for label in found]
        distinct = set(found)
    order = tuple(sorted(distinct))
    position = {label: i for i, label in enumerate(order)}
    codes = np.array([position[label] for label in found], dtype=np.intp)
    return Groups(codes, order, groups if isinstance(groups, str) else None)


def read_new_groups(groups: Any, X: Any, n: int, index: object | None, training: Groups) -> npt.NDArray[np.intp]:
    """Read the labels of rows to predict at: positions in those of training, -1 for groups that training had not.

    Raises
    ------
    InputError
        As `read_groups`.
    """
    position: dict[Label, int] = {label: i for i, label in enumerate(training.labels)}
    text = any(isinstance(label, str) for label in training.labels)
    found = _labels(groups, X, n, index)
    return np.array([position.get(str(label) if text else label, -1) for label in found], dtype=np.intp)


def kept_groups(groups: Groups, rows: npt.NDArray[np.intp]) -> Groups:
    """Return the groups of some of the rows, without those that have none of them."""
    codes = groups.codes[rows]
    present, codes = np.unique(codes, return_inverse=True)
    codes = codes.astype(np.intp)
    codes.setflags(write=False)
    return Groups(codes, tuple(groups.labels[code] for code in present), groups.column)


def group_notices(groups: Groups, counted: npt.NDArray[np.bool_], experts: int) -> list[Notice]:
    """Find fewer than two groups per expert."""
    count = np.unique(groups.codes[counted]).size
    if count >= 2 * experts or experts == 1:
        return []
    text = (
        f"There are {count} groups for {experts} experts, and every group has one label: use fewer experts, or "
        "read what the priors decide."
    )
    return [Notice("few_groups", text)]


def refuse_groups_column(X: Any, groups: Any, training: Groups) -> None:
    """Refuse rows to predict at whose frame names their groups while nothing says whether to use them."""
    column = training.column
    if groups is None and column is not None and column in column_names(X):
        raise InputError(
            f"groups: expected the groups of rows whose X has the column {column!r}, got None → pass groups={column!r} "
            f"to use what training says of them, or leave the column out to predict from the gate"
        )


def named_column(groups: Any, X: Any) -> Any:
    """Return the column of X that a name means; anything else as it is.

    Raises
    ------
    InputError
        If there is no such column.
    """
    if not isinstance(groups, str):
        return groups
    names = column_names(X)
    if groups not in names:
        raise InputError(
            f"groups: expected the name of a column of X, one of {list(names)}, got {groups!r}"
            f"{nearest(groups, names)} → correct the name, or pass one label a row"
        )
    return pick_column(X, groups)


def _labels(groups: Any, X: Any, n: int, index: object | None) -> list[Label]:
    groups = named_column(groups, X)
    refuse_lazy(groups, "groups")
    labels = as_labels(groups)
    if labels is None:
        raise InputError(
            f"groups: expected one label for each row, got {type(groups).__name__} → pass a list, an array or a column "
            "of labels, or the name of a column of X"
        )
    if len(labels) != n:
        raise InputError(f"groups: expected {n} labels, one per row of X, got {len(labels)} → pass one label per row")
    refuse_misaligned(index, row_index(groups), ("X", "groups"))
    missing = np.array([label is None for label in labels], dtype=bool)
    if missing.any():
        raise InputError(f"groups: expected a label in every row, got none ({rows_text(missing)}) → {_WAY_OUT}")
    return [label for label in labels if label is not None]
