"""Every example runs, answers its question and leaves its picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
NEEDS = {
    "lidar_bands": "semipar_lidar.csv",
    "patents": "flexmix_patent.csv",
    "robust_tones": "tonedata.csv",
    "two_regimes": "CO2data.csv",
}
"""Examples that read a file, and which."""


def test_every_example_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*NEEDS, "quickstart"}


@pytest.mark.full
@pytest.mark.parametrize("name", NEEDS)
def test_example(name: str, data_dir: Path, tmp_path: Path) -> None:
    script = FOLDER / f"{name}.py"
    first = script.read_text(encoding="utf-8").splitlines()[0]
    assert first.endswith("?"), "an example begins with its question"
    command = [sys.executable, str(script), str(data_dir / "classic" / NEEDS[name]), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"MPLBACKEND": "agg"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
