"""How a fit ended, in words."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Notice


@dataclass(frozen=True)
class FitStatus:
    """The verdict on a fit and its coded warnings.

    Parameters
    ----------
    converged
        Whether the engine reached what it was after and no check failed.
    sentence
        The verdict as a sentence.
    notices
        Coded warnings: about the data first, then about the fit.
    report
        What `bm.auto_fit` chose and why, in words; empty for other fits.
    """

    converged: bool
    sentence: str
    notices: tuple[Notice, ...] = ()
    report: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the notices."""
        return tuple(notice.code for notice in self.notices)

    def __str__(self) -> str:
        said = [f"[{notice.code}]" for notice in self.notices if notice.message in self.sentence]
        others = [f"  {notice}" for notice in self.notices if notice.message not in self.sentence]
        return "\n".join([self.sentence, *([f"  {' '.join(said)} see above"] if said else []), *others])
