"""Compiled code is kept on disk until one of its sources changes, the functions it calls included."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest

from bayes_moe import pointers
from bayes_moe.families import kernels


def test_a_changed_source_is_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def hits() -> int:
        callback = pointers._Callback(
            kernels._known_rows, (pointers.ROWS.args, pointers.ROWS.return_type), locals={}, options={}
        )
        callback.enable_caching()
        callback.compile()
        return callback.cache_hits

    assert hits() == 0
    assert hits() == 1
    monkeypatch.setattr(pointers, "_sources", lambda: "other")
    assert hits() == 0
    assert hits() == 1
