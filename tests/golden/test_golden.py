"""What users saved with earlier releases loads, and predicts what it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from tests.golden.fits import CASES, HERE, predictions

FILES = sorted(HERE.glob("*.nc"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_fit_of_an_earlier_release_predicts_what_it_did(path: Path) -> None:
    said = json.loads(path.with_suffix(".json").read_text())
    fit = bm.load(path)
    assert bool(fit.status.converged) == said["converged"]
    found = predictions(fit, rows(**said["rows"]))
    assert found.keys() == said["predictions"].keys()
    for name, values in said["predictions"].items():
        if isinstance(values[0], str):
            assert found[name] == values
        else:
            # another processor may add up in another order
            np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)


def rows(frame: dict[str, list[Any]] | None = None, array: list[list[float]] | None = None) -> Any:
    return np.array(array) if frame is None else pd.DataFrame(frame)


def test_every_case_has_its_files() -> None:
    assert {path.stem.rsplit("-", 1)[0] for path in FILES} == {case.__name__ for case in CASES}


def test_a_fit_of_an_earlier_release_can_be_fitted_again_from() -> None:
    old = bm.load(HERE / "draws_of_chains-0.1.0.nc")
    table = np.asarray(old.data.table.values)
    again = bm.fit(old.model, table, old.data.y, bm.EM(starts=1, seed=0), start=old, progress=False)
    np.testing.assert_allclose(again.outcome.mode, old.outcome.mode, atol=1e-6)
