"""Progress of long work: a bar in a terminal or notebook, a line every tenth elsewhere, never an error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
"""``advance(done, note)``: how much is done of the total, and a few words beside the bar."""


@dataclass(frozen=True)
class Report:
    """Where progress goes.

    Parameters
    ----------
    visible
        False shows nothing.
    within
        The longer work that tasks are part of: words before every title.
    """

    visible: bool = True
    within: str = ""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Show one task while the block runs.

        Parameters
        ----------
        title
            What is being done.
        total
            How many steps it has.
        """
        if not self.visible:
            yield _silent
            return
        title = f"{self.within}: {title}" if self.within else title
        console = Console(stderr=True)
        if not (console.is_terminal or console.is_jupyter):
            yield _Lines(title, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, refresh_per_second=2) as progress:
            identity = progress.add_task(title, total=total, note="")

            def advance(done: int, note: str) -> None:
                progress.update(identity, completed=done, note=note)

            yield advance

    def say(self, text: str) -> None:
        """Write some lines, if anything is shown at all."""
        if self.visible:
            _write(text)


def _silent(done: int, note: str) -> None:
    """Show nothing."""


class _Lines:
    """One line per tenth of the work, for logs; nothing for work under two seconds."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, max(total, 1)
        self.shown, self.began = 0, time.monotonic()

    def __call__(self, done: int, note: str) -> None:
        tenth = 10 * done // self.total
        past = time.monotonic() - self.began
        if tenth > self.shown and past > 2:
            self.shown = tenth
            left = past * (self.total - done) / done
            _write(f"{self.title}: {done}/{self.total}, about {left:.0f} s left {note}")


def _write(text: str) -> None:
    """Write lines to where progress goes; a closed, full or narrow stream must not stop a fit."""
    try:
        sys.stderr.write(f"{text}\n")
    except UnicodeEncodeError:
        _write(text.encode("ascii", "replace").decode())
    except (OSError, ValueError, AttributeError):
        return
