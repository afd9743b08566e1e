"""Plant the bugs one by one: ``python -m mutants``, or some by their numbers: ``python -m mutants 3 7``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .bugs import BUGS, Bug

ROOT = Path(__file__).parents[1]
COPIED = ("bayes_moe", "tests", "calibration", "conftest.py", "pyproject.toml")


def planted(bug: Bug, folder: Path) -> None:
    """Make a copy of the repository with the bug in it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    file = folder / "bayes_moe" / bug.file
    text = file.read_text()
    found = text.count(bug.right)
    if found != 1:
        raise SystemExit(
            f"{bug.name}: expected its line once in {bug.file}, found it {found} times → mend mutants/bugs.py"
        )
    file.write_text(text.replace(bug.right, bug.wrong))


def caught(bug: Bug) -> str | None:
    """Return the first test that fails with the bug, or None."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted(bug, folder)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *bug.tests]
        environment = os.environ | {"PYTHONPATH": name}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    if done.returncode != 1:
        raise SystemExit(f"{bug.name}: the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    named = re.search(r"^_+ (?:ERROR at setup of )?(.*?) _+$", done.stdout, re.MULTILINE)
    return named[1] if named else "a test"


def main(numbers: list[str]) -> int:
    """Print the table; fail if a bug went unnoticed."""
    chosen = [BUGS[int(number) - 1] for number in numbers] or list(BUGS)
    missed = 0
    sys.stdout.write("| planted bug | where | caught by |\n|---|---|---|\n")
    for bug in chosen:
        by = caught(bug)
        missed += by is None
        sys.stdout.write(f"| {bug.name} | `{bug.file}` | {by or '**nothing**'} |\n")
        sys.stdout.flush()
    sys.stdout.write(f"\n{len(chosen) - missed} of {len(chosen)} caught\n")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
