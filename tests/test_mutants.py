"""``make mutants`` plants every bug in place of a line, which has to be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants.bugs import BUGS, Bug

PACKAGE = Path(__file__).parents[1] / "bayes_moe"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bugs_have_their_lines(bug: Bug) -> None:
    assert (PACKAGE / bug.file).read_text(encoding="utf-8").count(bug.right) == 1
