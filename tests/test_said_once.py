"""What a fit has to say is said once: as a warning where it did not converge, beside the progress where it did."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.errors import FitWarning
from tests.fits import QUICK, TWO, X, Y

LINE = np.concatenate([X, np.ones((len(X), 1))], axis=1)
"""A column that is constant: a notice on the data, and no harm."""


def test_notices_are_printed_once_beside_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    found = bm.fit(TWO, LINE, Y, QUICK)
    assert found.status.converged
    assert capsys.readouterr().err.count("[constant_column]") == 1
    bm.fit(TWO, LINE, Y, QUICK, progress=False)
    assert "constant_column" not in capsys.readouterr().err


def test_nothing_is_said_where_there_is_nothing_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert not bm.fit(TWO, X, Y, QUICK).status.notices
    assert "Converged" not in capsys.readouterr().err


def test_what_has_not_converged_warns_and_prints_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bm.fit(TWO, LINE, Y, bm.NUTS(draws=4, tune=20, chains=1, seed=1))
    assert sum("constant_column" in str(w.message) for w in caught if w.category is FitWarning) == 1
    assert "constant_column" not in capsys.readouterr().err


@pytest.mark.parametrize("stream", [io.TextIOWrapper(io.BytesIO(), "ascii"), None], ids=["narrow", "none"])
def test_a_stream_that_cannot_take_it_stops_nothing(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from bayes_moe.inference.progress import Report

    monkeypatch.setattr(sys, "stderr", stream)
    Report().say("ν has run away")
    if isinstance(stream, io.TextIOWrapper):
        stream.seek(0)
        assert stream.read() == "? has run away\n"
