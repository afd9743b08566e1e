"""The notebook's view of a fit: complete, and safe whatever columns and levels are called."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.errors import Notice
from bayes_moe.posterior.notebook import as_html
from bayes_moe.posterior.status import FitStatus
from tests.fits import QUICK, TWO, X, Y, fit

HOSTILE = ["<script>alert(1)</script>", "a'><img src=x onerror=alert(1)>", "&lt;b&gt;", '"quoted" & <b>']
ALLOWED = {
    *("div", "strong", "span", "p", "ul", "li", "code", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(found: bm.Fit) -> Reader:
    reader = Reader()
    reader.feed(found._repr_html_())
    assert not reader.open
    return reader


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_are(name: str) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({name: X[:, 0], "level": rng.choice([name, "b"], len(Y))})
    found = bm.fit(TWO, frame, Y, QUICK, progress=False)
    status = FitStatus(converged=False, sentence=f"About {name}.", notices=(Notice("code", f"column {name}"),))
    reader = read(replace(found, status=status))
    assert reader.tags <= ALLOWED
    assert reader.attributes <= {"style", "class", "border", "open"}
    assert reader.text.count(name) >= 4
    assert "script" not in reader.tags


def test_it_has_verdict_warnings_tables_and_settings() -> None:
    found = fit(engine=bm.Laplace(draws=100, seed=7))
    reader = read(found)
    assert found.status.sentence in reader.text
    for notice in found.status.notices:
        assert notice.code in reader.text
        assert notice.message in reader.text
    assert "mu_slopes[0, x0]" in reader.text
    assert "Laplace" in reader.text
    assert "seed7" in reader.text
    assert "draws100" in reader.text


@pytest.mark.parametrize(
    ("good", "notices", "word"),
    [
        (True, (), "converged"),
        (True, (Notice("a", "b"),), "converged, with warnings"),
        (False, (), "not converged"),
    ],
)
def test_the_badge_is_the_verdict(good: bool, notices: tuple[Notice, ...], word: str) -> None:
    found = replace(fit(), status=FitStatus(good, "Said.", notices))
    assert f">{word}</span>" in found._repr_html_()


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as in #rrggbb (WCAG 2.2)."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_it_can_be_read_in_any_theme() -> None:
    """White stands on a badge of its own; no other text has a colour, and nothing else a background."""
    found = fit()
    for good, notices in ((True, ()), (True, (Notice("a", "b"),)), (False, ())):
        page = replace(found, status=FitStatus(good, "Said.", notices))._repr_html_()
        (ground,) = re.findall(r"background: (#[0-9a-f]{6})", page)
        assert 1.05 / (luminance(ground) + 0.05) >= 4.5
        assert re.findall(r"[;' ]color: ([^;']+)", page) == ["#fff"]


def test_what_the_sentence_says_is_not_said_again() -> None:
    notice = Notice("r_hat", "The chains do not agree.")
    page = replace(fit(), status=FitStatus(False, f"Not converged: {notice.message}", (notice,)))._repr_html_()
    assert page.count(notice.message) == 1
    assert "<code>r_hat</code> see above" in page


def test_modes_are_shown_where_there_are_several_and_labels_are_doubted() -> None:
    found = fit()
    one, two = (pd.DataFrame({"share": np.full(count, 1 / count)}) for count in (1, 2))
    assert "Modes" in as_html("", found, found.summary(), two)
    assert "Modes" not in as_html("", found, found.summary(), one)
    doubted = replace(found, labels=replace(found.labels, ambiguous=True))
    assert "Parameters by expert, whose names mean little here" in read(doubted).text
