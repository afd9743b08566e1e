"""The search of `auto_fit`: from the simplest model to the richest, each judged by rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..binding.bind import Bound, bind
from ..data import Missing
from ..errors import NumericalError
from ..fitting import bound_to, rows_of
from ..inference.em import EM
from ..inference.variational_em import VariationalEM
from ..mixture import MixtureOfExperts
from ..posterior.fit import Fit
from ..posterior.stacking import stacking_weights
from ..smoothing import LOG_SD, MEAN
from ..smoothing.smoother import MOST_ROWS, SUBSET, SUBSET_ABOVE
from ..transforms import Power
from . import recipes
from .power import candidates, power_scores, preferred
from .recipes import Recipe
from .report import Story
from .validation import decided, fit_once, folds, lead, log_density_left_out, rounding_of, spiky

_CURVED = 4  # curved experts
_RICH_ROWS = 2000  # up to which rich experts are tried beside a kernel mean
_LEAST_ROWS = 30  # from which on they are
_HOPELESS = 2.0  # standard errors behind the best, after one fold, at which a candidate is given up
_COUNTS = 12  # different values of y that are worth a word
_ROWS_BESIDES, _SHARE_BESIDES, _LEAST_WEIGHT = 5.0, 0.01, 0.05


@dataclass
class Member:
    """A model that was fitted, and the log densities that it gives rows left out."""

    recipe: Recipe
    fit: Fit
    left_out: np.ndarray


@dataclass
class Family:
    """Models that are averaged: of one structure, differing in detail.

    Parameters
    ----------
    name
        A few words.
    members
        Those that could be fitted.
    optimism
        By how much a row's score is too good, since something of them has seen the rows left out.
    """

    name: str
    members: list[Member] = field(default_factory=list)
    optimism: float = 0.0

    def weights(self) -> list[tuple[Member, float]]:
        """Return the members that count and their weights: those under which rows left out are most probable.

        Every member is given five rows besides, or a hundredth of few, so that near-equal ones have near-equal weights.
        """
        scores = np.stack([member.left_out for member in self.members], axis=1)
        found = stacking_weights(scores, 1.0 + min(_ROWS_BESIDES, _SHARE_BESIDES * len(scores)))
        found = np.where(found < min(_LEAST_WEIGHT, found.max()), 0.0, found)
        pairs = zip(self.members, (found / found.sum()).tolist(), strict=True)
        return [(member, weight) for member, weight in pairs if weight > 0]

    def left_out(self) -> np.ndarray:
        """Return log densities of rows left out under the average, less what they are too good by."""
        each = [np.log(weight) + member.left_out for member, weight in self.weights()]
        return np.asarray(np.logaddexp.reduce(each, axis=0)) - self.optimism


class Search:
    """One search: what has been fitted and scored so far, and the story of it.

    Parameters
    ----------
    X, y
        As passed.
    seed
        Integer seed.
    """

    def __init__(self, X: Any, y: Any, seed: int) -> None:
        self.X, self.y, self.seed = X, y, seed
        self.tick: Callable[[str, float], None] = _silent
        self.story = Story()
        self.families: list[Family] = []
        self.base = self._bound(recipes.alone(None).model)
        self.rows = len(self.base.data.y)
        names = self.base.data.table.names
        self.used = [j for j, name in enumerate(names) if name not in self.base.data.dropped]
        self.blocks = folds(self.rows, seed)
        clash = [name for name in (MEAN, LOG_SD) if name in names]
        self.kernel = len(self.used) > 0 and self.rows <= MOST_ROWS and not clash
        self.story.asides += _asides(self.base, clash)
        self.power: Power | None = None

    @property
    def plan(self) -> list[tuple[Callable[[], None], float]]:
        """The steps in their order, with the seconds that they will take, more or less."""
        n, p = self.rows, len(self.used)
        steps = [(self._choose_power, 3.0 * _search_seconds(min(n, 300), p)), (self._alone, 0.5)]
        if self.kernel:
            mixtures = sum(_mixture_seconds(n, p + 2, experts) for experts in (1, 1, 2, 3, 3, 5))
            steps.append((self._kernel, _search_seconds(n, p) + 2e-11 * n**3 + mixtures))
        if self._line_counts:
            steps.append((self._lines, sum(_mixture_seconds(n, p, experts) for experts in self._line_counts)))
        if self.used and self.rows >= _LEAST_ROWS and (self.rows <= _RICH_ROWS or not self.kernel):
            steps.append((self._curves, _curved_seconds(n, p)))
        return steps

    def _choose_power(self) -> None:
        tried = candidates(self.base.data)
        scores = power_scores(self.base.data, tried, self.seed) if len(tried) > 1 and self.used else {}
        if scores:
            name = preferred(scores)
            self.power = tried[name]
            self.story.power(name, {key: lead(scores[name], scores[key]) for key in scores if key != name})
        else:
            self.story.no_power(positive=bool(self.base.data.y.min() > 0))
        self.rounding = rounding_of(self.base.data.y, self.power)

    def _alone(self) -> None:
        recipe = recipes.alone(self.power)
        self._family("y alone", [recipe], self._bound(recipe.model))

    @property
    def _line_counts(self) -> tuple[int, ...]:
        """Numbers of linear experts to try: beside a kernel mean, where they cost little; else in its place."""
        if not self.used:
            return ()
        if not self.kernel:
            return (1, 4, 8)
        return (2, 4, 6) if self.rows <= _RICH_ROWS else ()

    def _lines(self) -> None:
        """Try linear experts: after the kernel mean, which shows quickly where they are hopeless, though simpler."""
        each = [recipes.lines(experts, self.power) for experts in self._line_counts]
        self._family("linear experts", each, self._bound(each[0].model), place=1)

    def _kernel(self) -> None:
        mean = recipes.kernel(len(self.used), self.rounding)
        first = recipes.smooth(mean, self.power)
        bound = self._bound(first.model)
        shared = bound.data.mean
        assert shared is not None
        power = bound.data.scaling.y_power
        y = self.base.data.y if power is None else power.forward(self.base.data.y)
        n, p = self.rows, len(self.used)
        self.tick("kernel mean", _search_seconds(n, p) + 2e-11 * n**3)
        count = decided(shared.smoother, (y - shared.y_center) / shared.y_scale)
        self.story.decided = count
        family = "a kernel mean and a mixture of what it leaves"
        self._family(family, [first, *recipes.residuals(mean, self.power)], bound, count / self.rows)

    def _curves(self) -> None:
        table = self.base.data.table
        names = tuple(table.names[j] for j in self.used)
        each = recipes.curves(names, np.asarray(table.values)[:, self.used], _CURVED, self.power)
        if each:
            self._family("curved experts", each, self._bound(each[0].model))

    def _bound(self, model: MixtureOfExperts) -> Bound:
        rows = rows_of(model, self.X, self.y, None, None, None, None, Missing.REFUSE)
        return bound_to(model, rows, None, Missing.REFUSE, None)

    def _family(
        self, name: str, tried: Sequence[Recipe], bound: Bound, optimism: float = 0.0, place: int | None = None
    ) -> None:
        """Fit and score models that share what ``bound`` has made of the data, a shared mean among it."""
        family = Family(name, optimism=optimism)
        self.families.insert(len(self.families) if place is None else place, family)
        for recipe in tried:
            own = bind(recipe.model, bound.data)
            try:
                member = self._member(recipe, own)
            except NumericalError as error:
                self.story.dropped[recipe.name] = f"it could not be fitted ({str(error).split(' → ')[0]})"
                member = None
            if member is not None:
                family.members.append(member)
                self.story.scores[recipe.name] = _mean(member.left_out) - optimism
            self.tick(recipe.name, _mixture_seconds(self.rows, own.design.width - 1, len(own.model.experts)))
        if not family.members:
            self.families.remove(family)

    def _member(self, recipe: Recipe, bound: Bound) -> Member | None:
        """Return a model with its scores and its fit, or None where it is given up, which the story tells."""
        if len(bound.model.experts) > 1 and bound.parameters.size > self.rows / recipe.rows_each:
            self.story.dropped[recipe.name] = f"{bound.parameters.size} parameters are too many for {self.rows} rows"
            return None
        engine = replace(recipe.engine, seed=self.seed + recipe.turn)
        scores = self._scores(recipe.name, bound, engine)
        if scores is None:
            return None
        fit = fit_once(bound, engine)
        if spiky(fit, self.rounding):
            self.story.dropped[recipe.name] = "its experts would stand in spikes on the few values of y"
            return None
        return Member(recipe, fit, scores)

    def _scores(self, name: str, bound: Bound, engine: EM | VariationalEM) -> np.ndarray | None:
        """Return log densities of rows left out, fold by fold; None where the first fold is hopeless."""
        best = self._best_so_far()
        out: list[np.ndarray] = []
        for block in self.blocks:
            out.append(log_density_left_out(bound, engine, block))
            if not np.all(np.isfinite(out[-1])):
                self.story.dropped[name] = "it gives rows left out no density"
                return None
            if best is not None and len(out) == 1 < len(self.blocks):
                gain, error = lead(out[0], best[: len(block)])
                if gain < -_HOPELESS * error:
                    self.story.dropped[name] = f"it was {-gain:.2f} nats a row behind on the first rows left out"
                    return None
        return np.concatenate(out)

    @property
    def finished(self) -> list[Family]:
        """The families with a model that has been fitted and scored, the simplest first."""
        return [family for family in self.families if family.members]

    def _best_so_far(self) -> np.ndarray | None:
        return max((family.left_out() for family in self.finished), key=_mean, default=None)

    def best(self) -> Family | None:
        """Return the simplest family that no later one beats by more than a standard error; None if there is none."""
        current: Family | None = None
        for family in self.finished:
            if current is None:
                current = family
                continue
            gain, error = lead(family.left_out(), current.left_out())
            if gain > error:
                current = family
        return current


def _asides(base: Bound, clash: Sequence[str]) -> list[str]:
    """Return what the user should know of the data beside the choice."""
    out = [str(notice) for notice in base.data.notices]
    values = len(np.unique(base.data.y))
    if values <= min(_COUNTS, len(base.data.y) // 2):  # a few rows have few values of any kind
        out.append(f"y has {values} different values: a family for counts, levels or classes may serve it better.")
    if len(base.data.y) > MOST_ROWS:
        out.append(f"No kernel mean: it takes {MOST_ROWS} rows at most.")
    if clash:
        out.append(f"No kernel mean: X has a column {clash[0]!r}, as a shared mean brings; rename it.")
    return out


def _silent(words: str, seconds: float) -> None:
    """Show nothing."""


def _search_seconds(rows: int, columns: int) -> float:
    """Return about how long a search for hyper-parameters of kernels takes."""
    some = rows if rows <= SUBSET_ABOVE else SUBSET
    return 1e-6 * some**2 * (1 + columns)


def _mixture_seconds(rows: int, columns: int, experts: int) -> float:
    """Return about how long it takes to fit and to score a mixture."""
    return 0.3 + 2.5e-5 * rows * experts**2 * (columns + 1)


def _curved_seconds(rows: int, columns: int) -> float:
    """Return about how long it takes to fit and to score the curved experts."""
    return 0.5 + 1e-4 * rows * (5 * columns + columns**2 // 2)


def _mean(values: np.ndarray) -> float:
    return float(values.mean())
