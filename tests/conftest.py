"""Fixtures every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator with a fixed seed, the same for every test."""
    return np.random.default_rng(20_240_229)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be one: what a shell starts in the background ignores it, and so would a test of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
