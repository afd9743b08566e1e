"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator with a fixed seed, the same for every test."""
    return np.random.default_rng(20_240_229)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of published data; a folder that is named but missing is a failure, not a skip."""
    named = os.environ.get("BAYES_MOE_DATA")
    if not named:
        pytest.skip("BAYES_MOE_DATA is unset")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"BAYES_MOE_DATA: expected a folder, got {named!r} → unset it, or name the data folder")
    return folder
