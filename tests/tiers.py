"""Rows for the two tiers of tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def seeds(quick: int, full: int) -> list[Any]:
    """Return the seeds below ``full``: the first ``quick`` always run, the others in the long tier."""
    return [*range(quick), *long(range(quick, full))]


def long(rows: Iterable[Any]) -> list[Any]:
    """Mark every row as one of the long tier."""
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.full) for row in rows]
