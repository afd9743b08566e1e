"""Every exception and warning the package raises, and the coded notices a fit carries."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class BayesMoEError(Exception):
    """Base of every exception of the package."""


class InputError(BayesMoEError, ValueError):
    """Data that cannot be used: the message names the argument, the place and the way out."""


class SpecError(BayesMoEError, ValueError):
    """A specification or an engine setting that has no meaning."""


class NotFittedError(BayesMoEError, RuntimeError):
    """Something was asked of a fit that this fit cannot give; the message names the engine needed."""


class NumericalError(BayesMoEError, RuntimeError):
    """A computation left the numbers it can be trusted in."""


class EMDecreased(NumericalError):  # noqa: N818 - the name users read in the message
    """EM lowered the log posterior, which its theory excludes.

    Attributes
    ----------
    before, after
        Log posterior before and after the step.
    iteration
        Iteration at which it happened.
    point
        The last unconstrained vector before the decrease.
    """

    def __init__(self, before: float, after: float, iteration: int, point: object) -> None:
        self.before, self.after, self.iteration, self.point = before, after, iteration, point
        super().__init__(
            f"EM: expected a log posterior of at least {before:.10g} at iteration {iteration}, got "
            f"{after:.10g} → please report this; the last good point is in the exception's `.point`"
        )


class SaveFileError(BayesMoEError, OSError):
    """A file that cannot be saved, read or believed."""


class InterruptedFit(BayesMoEError, KeyboardInterrupt):  # noqa: N818 - a fit, not a failure
    """The fit was interrupted before it had anything to return."""


class MissingExtraError(BayesMoEError, ImportError):
    """An optional package is needed; the message gives the install line."""


class FitWarning(UserWarning):
    """A coded warning about a fit; the same text stands in ``fit.status.notices``."""


@dataclass(frozen=True)
class Notice:
    """One coded finding about data or a fit.

    Parameters
    ----------
    code
        A short stable name, for programs.
    message
        A plain sentence, for people.
    """

    code: str
    message: str

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string.

    Examples
    --------
    >>> nearest("sigmma", ["mu", "sigma"])
    "; did you mean 'sigma'?"
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""


def listed(items: Iterable[object], limit: int = 5) -> str:
    """Return the first few items as text, with the number of those left out.

    Examples
    --------
    >>> listed([3, 7, 9], limit=2)
    '3, 7 and 1 more'
    """
    all_items = [str(item) for item in items]
    shown = ", ".join(all_items[:limit])
    left = len(all_items) - limit
    return f"{shown} and {left} more" if left > 0 else shown
