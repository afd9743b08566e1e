"""What `select` returns: every fit, its score, and the one that was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..inference.outcome import Status
from ..posterior.criteria import likelihood_parameters
from ..posterior.fit import Fit
from . import tables
from .candidates import Candidate, Key, experts_text
from .criteria import LOO, Criterion, KFold, Score

NO_DIFFERENCE = 4.0
"""Nats between densities of all rows left out that tell nothing of two models."""


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """A choice between models.

    Parameters
    ----------
    fits
        The fit of every model that was scored, by number of experts or by name.
    scores
        What the criterion said of each.
    criterion
        The criterion.
    failed
        Models whose fit came to nothing, and why.
    unfinished
        Models that an interrupt left without a fit or a score.
    """

    fits: Mapping[Key, Fit]
    scores: Mapping[Key, Score]
    criterion: Criterion
    failed: Mapping[Key, str] = field(default_factory=dict)
    unfinished: tuple[Key, ...] = ()

    @property
    def best(self) -> Fit:
        """The chosen fit."""
        return self.fits[self.chosen]

    @property
    def chosen(self) -> Key:
        """Number of experts, or name, of the chosen fit.

        By densities of rows left out: of the models whose score is within one standard error of the highest, or within
        4 nats of it, the one of fewest experts, of fewest coefficients among these, and of the higher score among
        these. The error is that of the paired difference; where models say nearly the same it is known to be too small,
        and differences below 4 nats tell nothing (Sivula, Magnusson, Matamoros and Vehtari 2020, Uncertainty in
        Bayesian leave-one-out cross-validation based model comparison). By BIC and ICL, which weigh the size of a model
        already: the lowest.
        """
        within = [key for key in self.fits if _within(self.scores[key], self.scores[self.leader])]
        return min(within, key=lambda key: (*_size(self.fits[key]), -self.scores[key].value))

    @property
    def leader(self) -> Key:
        """Number of experts, or name, of the fit with the best score."""
        return max(self.fits, key=lambda key: self.scores[key].value)

    @property
    def pointwise(self) -> np.ndarray | None:
        """Log predictive density of every row, or group, left out (n, models); None for BIC and ICL."""
        each = [score.pointwise for score in self.scores.values()]
        if any(values is None for values in each):
            return None
        return np.stack([values for values in each if values is not None], axis=1)

    @property
    def table(self) -> Any:
        """A row per model (a pandas frame).

        Coefficients that the likelihood sees; the score; how far it lies behind the best in nats (for BIC and ICL: in
        their own units), and the standard error of that difference; whether the fit converged. Under LOO, how many rows
        had a high k-hat, and how many fits were made without them.
        """
        return tables.table(self.fits, self.scores, self.leader, by_count=self._by_count)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was chosen and why, in words."""
        chosen, leader = self.chosen, self.leader
        title, name = self._title(chosen), self.criterion.name
        among = f"{title}, chosen among {len(self.fits)} models"
        best = f"the {self.criterion.better} {name}"
        if chosen == leader:
            first = f"{among}: {best}."
            rival = self._next()
            if rival is not None:
                first = f"{first[:-1]}; {self._title(rival)} next, {self._behind(rival)}."
        else:
            first = (
                f"{among}: the smallest within one standard error, or {NO_DIFFERENCE:g} nats, of {best}, that of "
                f"{self._title(leader)}. It is {self._behind(chosen)}."
            )
        return (first, *self._how(), *self._caveats())

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, "", tables.as_text(self.table)])

    def _repr_html_(self) -> str:
        return tables.as_html(self.sentences, self.table, self.chosen)

    @property
    def _by_count(self) -> bool:
        return all(isinstance(key, int) for key in self.fits)

    def _title(self, key: Key) -> str:
        return Candidate(key, self.fits[key].model).title

    def _behind(self, key: Key) -> str:
        behind, error = self.scores[key].behind(self.scores[self.leader])
        if np.isnan(error):
            return f"worse by {behind:.1f}"
        return f"worse by {behind:.1f} nats (standard error {error:.1f})"

    def _next(self) -> Key | None:
        others = [key for key in self.fits if key != self.leader]
        return max(others, key=lambda key: self.scores[key].value, default=None)

    def _how(self) -> list[str]:
        """Say what the scores are made of."""
        columns = [score.columns for score in self.scores.values()]
        refits = sum(int(each.get("refits", 0)) for each in columns)
        if isinstance(self.criterion, KFold):
            folds = self.criterion.folds
            return [f"elpd: the log density of rows held out in {folds} folds, summed; {refits} fits besides."]
        if not isinstance(self.criterion, LOO):
            return []
        high = sum(int(each["high_k"]) for each in columns)
        text = "elpd: the log density of rows left out, by importance sampling (PSIS), summed."
        if not high:
            return [text]
        if not refits:
            return [f"{text} For {high} rows the k-hat is too high: do not rely on it."]
        shared = any(each["high_k"] > each["refits"] for each in columns)
        how = f"{_counted(refits, 'fit')} made without rows whose k-hat is too high, {high} over all models"
        alone = ", several rows at a time, which makes their scores a little too low" if shared else ", one each"
        return [text, f"{how}{alone}."]

    def _caveats(self) -> list[str]:
        found = []
        # training ends where rows held out are predicted best, and never converges
        stopped = Status.STOPPED
        loose = [
            self._title(key)
            for key, fit in self.fits.items()
            if not (fit.status.converged or fit.outcome.status is stopped)
        ]
        if loose:
            found.append(
                f"Not converged, or unreliable: {', '.join(loose)}. Read .fits[...].status before their scores."
            )
        counts = [key for key in self.fits if isinstance(key, int)]
        if self._by_count and len(counts) > 1 and self.chosen == max(counts) and not self.unfinished:
            found.append(f"{experts_text(max(counts))} are the most that were tried: try more.")
        found += [f"{Candidate(key, self.best.model).title} failed: {why}" for key, why in self.failed.items()]
        if self.unfinished:
            names = ", ".join(Candidate(key, self.best.model).title for key in self.unfinished)
            found.append(f"Interrupted before these were fitted and scored: {names}.")
        return found


def _within(score: Score, best: Score) -> bool:
    """Return whether a score is the best, or not to be told from it."""
    behind, error = score.behind(best)
    return behind <= 0.0 or bool(score.pointwise is not None and behind <= np.fmax(error, NO_DIFFERENCE))


def _counted(count: int, what: str) -> str:
    return f"{count} {what} was" if count == 1 else f"{count} {what}s were"


def _size(fit: Fit) -> tuple[int, int]:
    return len(fit.model.experts), likelihood_parameters(fit.bound)
