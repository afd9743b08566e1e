"""How a fit looks in a notebook: verdict, warnings, tables and settings as HTML, in which everything is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from html import escape
from typing import Any, Protocol

import numpy as np

from ..inference.outcome import Outcome
from .draws import Labels
from .status import FitStatus

_ROWS = 60
# White on these has a contrast of 5 and more (WCAG AA); all other text has the colour of the notebook's theme.
_GREEN, _BROWN, _RED = "#2e7d32", "#8d5300", "#c62828"
_BADGE = "color: #fff; border-radius: 0.6em; padding: 0 0.6em; white-space: nowrap"


class Shown(Protocol):
    """What the representation asks of a fit."""

    @property
    def engine(self) -> Any:
        """The engine that ran."""

    @property
    def outcome(self) -> Outcome:
        """What it returned."""

    @property
    def labels(self) -> Labels:
        """Permutations of the draws."""

    @property
    def status(self) -> FitStatus:
        """The verdict and the coded warnings."""


def as_html(title: str, fit: Shown, parameters: Any, modes: Any = None) -> str:
    """Return the notebook representation of a fit.

    Parameters
    ----------
    title
        What was fitted by what.
    fit
        The fit.
    parameters, modes
        Its tables (pandas frames); modes are shown where there are several.
    """
    status = fit.status
    name = "Parameters by expert, whose names mean little here" if fit.labels.ambiguous else "Parameters"
    parts = {name: parameters} | ({"Modes": modes} if modes is not None and len(modes) > 1 else {})
    good = status.converged
    colour, word = (_GREEN, "converged") if good and not status.notices else (_BROWN, "converged, with warnings")
    colour, word = (colour, word) if good else (_RED, "not converged")
    return "".join(
        [
            "<div style='font-family: sans-serif; max-width: 60em'>",
            f"<div><strong>{escape(title)}</strong> ",
            f"<span style='{_BADGE}; background: {colour}'>{word}</span></div>",
            f"<p style='border-left: 0.25em solid {colour}; padding-left: 0.6em'>{escape(status.sentence)}</p>",
            paragraphs(status.report),
            *_notices(status),
            *(_folded(name, _table(frame), opened=i == 0) for i, (name, frame) in enumerate(parts.items())),
            _folded("Settings", _pairs(_settings(fit.engine, fit.outcome.facts)), opened=False),
            "</div>",
        ]
    )


def paragraphs(report: str) -> str:
    """Return lines of text, one below the other."""
    return "".join(f"<p style='margin: 0.3em 0'>{escape(line)}</p>" for line in report.splitlines())


def _notices(status: FitStatus) -> Iterator[str]:
    if not status.notices:
        return
    yield "<ul>"
    for notice in status.notices:
        text = "see above" if notice.message in status.sentence else notice.message
        yield f"<li><code>{escape(notice.code)}</code> {escape(text)}</li>"
    yield "</ul>"


def _folded(name: str, content: str, *, opened: bool) -> str:
    """Return what can be folded away; a table that is wider than the notebook scrolls by itself."""
    inside = f"<div style='overflow-x: auto'>{content}</div>"
    return f"<details{' open' if opened else ''}><summary>{escape(name)}</summary>{inside}</details>"


def _table(frame: Any) -> str:
    """Return a frame as HTML; pandas escapes the names of rows and columns and the texts in it."""
    return str(frame.to_html(float_format=lambda value: f"{value:.4g}", max_rows=_ROWS, escape=True, border=0))


def _pairs(pairs: Iterator[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th style='text-align: left'>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in pairs)
    return f"<table>{rows}</table>"


def _settings(engine: Any, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "engine", type(engine).__name__
    for field in fields(engine):
        if field.name != "seed" or "seed" not in facts:
            yield field.name, repr(getattr(engine, field.name))
    for name, value in facts.items():
        number = isinstance(value, float | np.floating)
        label = name.replace("_", " ") if name == "seed" else f"{name.replace('_', ' ')} (recorded)"
        yield label, f"{value:.4g}" if number else str(value)
