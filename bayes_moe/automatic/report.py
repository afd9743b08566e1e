"""What was chosen and why, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import listed


@dataclass
class Story:
    """What a search has to tell, filled in as it goes.

    Parameters
    ----------
    scores
        Mean log density of rows left out, by model.
    dropped
        Models that were given up, and why.
    decided
        Number of hyper-parameters of a kernel mean that the rows have decided.
    target
        What is said of the power of y.
    asides
        What else the user should know.
    unfinished
        Whether an interrupt ended the search.
    """

    scores: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    decided: float | None = None
    target: str = ""
    asides: list[str] = field(default_factory=list)
    unfinished: bool = False

    def power(self, name: str, leads: Mapping[str, tuple[float, float]]) -> None:
        """Tell which power of y was chosen, and by how much it leads the others."""
        others = ", ".join(f"{key} {gain:.2f} ± {error:.2f}" for key, (gain, error) in leads.items())
        self.target = f"Target: {name}; it leads, in nats a row left out: {others}."

    def no_power(self, *, positive: bool) -> None:
        """Tell why there was no choice between powers of y."""
        why = "no columns tell powers apart" if positive else "y is not all above 0, so that it has no power"
        self.target = f"Target: y itself; {why}."

    def sentences(self, chosen: str, weights: Mapping[str, float], rows: int, engine: str) -> list[str]:
        """Return the whole report."""
        several = len(weights) > 1
        parts = listed((f"{name} {weight:.2f}" if several else name for name, weight in weights.items()), len(weights))
        what = chosen if list(weights) == [chosen] else f"{chosen}: {parts}"
        if several:
            what += f" ({len(weights)} fits and their weights in the average)"
        out = [f"Chosen: {what}.", self.target]
        if self.scores:
            each = ", ".join(f"{name} {score:.3f}" for name, score in self.scores.items())
            out.append(f"Why: mean log density a row of training rows left out: {each}.")
            out.append(
                "Models of one kind are averaged, with the weights under which rows left out are most probable; a "
                "richer kind must lead a simpler one by more than one standard error."
            )
        if self.decided is not None:
            out.append(
                f"The kernels' hyper-parameters have seen all {rows} rows: rows decide about {self.decided:.1f} of "
                f"them, and {self.decided / rows:.3f} nats a row have been taken off."
            )
        out += [f"Given up: {name}: {why}." for name, why in self.dropped.items()]
        out += self.asides
        if self.unfinished:
            out.append("Interrupted: what stands here is the best that had been fitted by then.")
        return [*out, f"Engine: {engine}."]
