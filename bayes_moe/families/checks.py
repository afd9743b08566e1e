"""What targets are refused for."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, SpecError, listed

LARGEST_COUNT = 1e9  # beyond, log probabilities keep fewer than seven digits after the point


def refuse(bad: np.ndarray, y: np.ndarray, family: str, expected: str, way_out: str) -> None:
    """Raise InputError where ``bad`` holds in any row, with the values and rows at fault."""
    rows = np.flatnonzero(bad)
    if rows.size:
        values = listed(f"{value:.10g}" for value in np.unique(y[rows]))
        where = f"{'row' if rows.size == 1 else 'rows'} {listed(rows.tolist())}"
        raise InputError(f"y: expected {expected} for bm.{family}, got {values} ({where}) → {way_out}")


def refuse_not_positive(y: np.ndarray, family: str) -> None:
    """Refuse anything but finite numbers above 0."""
    y = np.asarray(y, dtype=float)
    bad = ~((y > 0) & (y < np.inf))
    way_out = "leave these rows out or model whether y is 0 apart, or use a family of the whole line: bm.Normal()"
    refuse(bad, y, family, "numbers above 0", way_out)


def refuse_not_counts(y: np.ndarray, family: str) -> None:
    """Refuse anything but whole numbers from 0 to 1e9."""
    y = np.asarray(y, dtype=float)
    refuse(
        ~((y >= 0) & (y == np.floor(y))),
        y,
        family,
        "whole numbers from 0",
        "use bm.Normal() if y is no count of events",
    )
    way_out = "count in larger units, or use bm.LogNormal(): counts this large are as good as continuous"
    refuse(y > LARGEST_COUNT, y, family, f"counts up to {LARGEST_COUNT:g}", way_out)


def codes(y: np.ndarray, family: str, expected: int | None, way_out: str) -> int:
    """Return the number of classes of codes 0, 1, ...: ``expected`` where it is known, else one above the largest.

    Raises
    ------
    InputError
        If a number is no code, or if the number of classes is not known and a code between others is missing.
    """
    y = np.asarray(y, dtype=float)
    most = np.inf if expected is None else expected - 1
    limit = "" if expected is None else f" to {expected - 1}"
    refuse(~((y >= 0) & (y == np.floor(y)) & (y <= most)), y, family, f"codes 0, 1, ...{limit}", way_out)
    if expected is not None:
        return expected
    found = np.unique(y)
    if found.size < 2:
        raise InputError(
            f"y: expected two classes or more for bm.{family}, got only {found[0]:g} → there is nothing to model"
        )
    gaps = np.flatnonzero(found != np.arange(found.size))
    if gaps.size:
        raise InputError(
            f"y: expected codes 0, 1, ... without gaps for bm.{family}, got {found[gaps[0]]:g} and no {gaps[0]} "
            f"→ {way_out}"
        )
    return found.size


def weighted_mean(y: np.ndarray, weights: np.ndarray, prior: float = 0.0, rows: float = 0.0) -> float:
    """Return the mean of y with ``rows`` further rows whose sum is ``prior``."""
    return float((np.sum(weights * y) + prior) / (np.sum(weights) + rows))


def check_column(owner: str, name: str, column: object, *, optional: bool) -> None:
    """Refuse anything but the name of a column."""
    if not (isinstance(column, str) or (optional and column is None)):
        expected = "the name of a column or None" if optional else "the name of a column"
        raise SpecError(f"{owner}.{name}: expected {expected}, got {column!r} → pass the name as text")


def check_labels(owner: str, name: str, labels: object) -> tuple[str, ...] | None:
    """Return two or more different labels as a tuple; None stays None."""
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, tuple | list):
        raise SpecError(f"{owner}.{name}: expected a tuple of labels or None, got {labels!r} → write ('a', 'b')")
    for label in labels:
        if not isinstance(label, str):
            raise SpecError(f"{owner}.{name}: expected labels as text, got {label!r} → write {str(label)!r}")
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise SpecError(f"{owner}.{name}: expected two different labels or more, got {labels!r} → name every one once")
    return tuple(labels)
