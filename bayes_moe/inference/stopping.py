"""When to stop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gain:
    """Stop when one round gains less than ``tol`` relative to the size of the log posterior.

    Examples
    --------
    >>> Gain(1e-8).reached(-100.0, -100.0)
    True
    """

    tol: float

    def reached(self, before: float, after: float) -> bool:
        """Whether the gain from ``before`` to ``after`` is below the tolerance."""
        return after - before <= self.tol * (1.0 + abs(after))
