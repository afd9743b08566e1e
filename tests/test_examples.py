"""Every example runs, answers its question and leaves its picture."""

from __future__ import annotations

import json
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
    "vowels": "esl_vowel_train.csv",
}
"""Examples that read a file, and which."""


def test_every_example_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*NEEDS, "bishop_inverse", "quickstart"}


@pytest.mark.full
@pytest.mark.parametrize("name", NEEDS)
def test_example(name: str, data_dir: Path, tmp_path: Path) -> None:
    lines = _run(name, str(data_dir / "classic" / NEEDS[name]), str(tmp_path))
    assert len(lines) >= 2
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.full
def test_example_of_a_network(tmp_path: Path) -> None:
    picture = tmp_path / "bishop_inverse.png"
    assert len(_run("bishop_inverse", str(picture))) >= 2
    assert picture.stat().st_size > 10_000


@pytest.mark.full
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook(path: Path, tmp_path: Path) -> None:
    """Its cells run in order, and it was saved as they ran: with pictures, and without errors."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert "display_data" in kinds
    assert "error" not in kinds
    script = tmp_path / "cells.py"
    script.write_text("\n".join("".join(cell["source"]) for cell in cells), encoding="utf-8")
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _run(name: str, *arguments: str) -> list[str]:
    """Return the lines that an example prints."""
    script = FOLDER / f"{name}.py"
    first = script.read_text(encoding="utf-8").splitlines()[0]
    assert first.endswith("?"), "an example begins with its question"
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, env=os.environ | {"MPLBACKEND": "agg"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
