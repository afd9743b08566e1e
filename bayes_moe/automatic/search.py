"""The search of `auto_fit`: from the simplest model to the richest, each judged by rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..binding.bind import Bound, bind
from ..data import Missing
from ..errors import NumericalError
from ..fitting import bound_to, rows_of
from ..mixture import MixtureOfExperts
from ..posterior.fit import Fit
from ..posterior.stacking import stacking_weights
from ..smoothing.smoother import MOST_ROWS
from ..transforms import Power
from . import recipes
from .power import candidates, power_scores, preferred
from .recipes import Recipe
from .report import Story
from .validation import decided, fit_once, folds, lead, log_density_left_out, rounding_of, spiky

_STARTS = 6
_RICH_ROWS = 2000  # up to which rich experts are tried beside a kernel mean
_HOPELESS = 2.0  # standard errors behind the best, after one fold, at which a candidate is given up
_ROWS_EACH = 4  # rows that a parameter of a mixture needs
_ROWS_BESIDES, _LEAST_WEIGHT = 5.0, 0.05


@dataclass
class Member:
    """A model that was fitted, and what it says of rows left out (None until it has been asked)."""

    recipe: Recipe
    fit: Fit
    left_out: np.ndarray | None = None


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

        Every member is given five rows besides, so that near-equal ones have near-equal weights.
        """
        scored = [(member, member.left_out) for member in self.members if member.left_out is not None]
        if not scored:
            return [(member, 1.0) for member in self.members[-1:]]
        found = stacking_weights(np.stack([values for _, values in scored], axis=1), 1.0 + _ROWS_BESIDES)
        found = np.where(found < _LEAST_WEIGHT, 0.0, found)
        pairs = zip(scored, found / found.sum(), strict=True)
        return [(member, float(weight)) for (member, _), weight in pairs if weight > 0]

    def left_out(self) -> np.ndarray | None:
        """Return log densities of rows left out under the average, less what they are too good by."""
        each = [np.log(weight) + member.left_out for member, weight in self.weights() if member.left_out is not None]
        return np.asarray(np.logaddexp.reduce(each, axis=0)) - self.optimism if each else None


class Search:
    """One search: what has been fitted and scored so far, and the story of it.

    Parameters
    ----------
    X, y
        As passed.
    seed
        Integer seed.
    tick
        Called with the seconds' worth of work that has been done and a few words.
    """

    def __init__(self, X: Any, y: Any, seed: int, tick: Callable[[str], None]) -> None:
        self.X, self.y, self.seed, self.tick = X, y, seed, tick
        self.story = Story()
        self.families: list[Family] = []
        self.base = self._bound(recipes.alone(None).model)
        self.rows = len(self.base.data.y)
        names = self.base.data.table.names
        self.used = [j for j, name in enumerate(names) if name not in self.base.data.dropped]
        self.blocks = folds(self.rows, seed)
        self.kernel = 0 < len(self.used) and self.rows <= MOST_ROWS
        self.power: Power | None = None

    @property
    def plan(self) -> list[Callable[[], None]]:
        """The steps in their order."""
        steps: list[Callable[[], None]] = [self._choose_power, self._alone]
        if self.kernel:
            steps.append(self._kernel)
        elif self.used:
            steps.append(self._lines)
        if self.used and (self.rows <= _RICH_ROWS or not self.kernel):
            steps.append(self._curves)
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

    def _lines(self) -> None:
        each = [recipes.lines(experts, self.power) for experts in (1, 4, 8)]
        self._family("linear experts", each, self._bound(each[0].model))

    def _kernel(self) -> None:
        self.tick("kernel mean")
        mean = recipes.kernel(len(self.used), self.rounding)
        first = recipes.smooth(mean, self.power)
        bound = self._bound(first.model)
        shared = bound.data.mean
        assert shared is not None
        power = bound.data.scaling.y_power
        y = self.base.data.y if power is None else power.forward(self.base.data.y)
        count = decided(shared.smoother, (y - shared.y_center) / shared.y_scale)
        self.story.decided = count
        family = "a kernel mean and a mixture of what it leaves"
        self._family(family, [first, *recipes.residuals(mean, self.power)], bound, count / self.rows)

    def _curves(self) -> None:
        table = np.asarray(self.base.data.table.values)[:, self.used]
        recipe = recipes.curves(table, 3, self.power)
        if recipe is not None:
            self._family("curved experts", [recipe], self._bound(recipe.model))

    def _bound(self, model: MixtureOfExperts) -> Bound:
        rows = rows_of(model, self.X, self.y, None, None, None, None, Missing.REFUSE)
        return bound_to(model, rows, None, Missing.REFUSE, None)

    def _family(self, name: str, tried: Sequence[Recipe], bound: Bound, optimism: float = 0.0) -> None:
        """Fit and score models that share what ``bound`` has made of the data, a shared mean among it."""
        family = Family(name, optimism=optimism)
        self.families.append(family)
        for recipe in tried:
            self.tick(recipe.name)
            try:
                own = bind(recipe.model, bound.data)
                if own.parameters.size > self.rows / _ROWS_EACH and len(own.model.experts) > 1:
                    self.story.dropped[recipe.name] = f"{own.parameters.size} parameters are too many for the rows"
                    continue
                fit = fit_once(own, self.seed, _STARTS)
                if spiky(fit, self.rounding):
                    self.story.dropped[recipe.name] = "its experts would stand in spikes on the few values of y"
                    continue
                member = Member(recipe, fit)
                family.members.append(member)
                member.left_out = self._scores(recipe.name, own)
            except NumericalError as error:
                family.members = [member for member in family.members if member.recipe is not recipe]
                self.story.dropped[recipe.name] = f"it could not be fitted ({str(error).split(' → ')[0]})"
                continue
            if member.left_out is None:
                family.members.remove(member)
            else:
                self.story.scores[recipe.name] = _mean(member.left_out) - optimism
        if not family.members:
            self.families.remove(family)

    def _scores(self, name: str, bound: Bound) -> np.ndarray | None:
        """Return log densities of rows left out, fold by fold; None where the first fold is hopeless."""
        best = self._best_so_far()
        out: list[np.ndarray] = []
        for block in self.blocks:
            out.append(log_density_left_out(bound, block, self.seed))
            if not np.all(np.isfinite(out[-1])):
                self.story.dropped[name] = "it gives rows left out no density"
                return None
            if best is not None and len(out) == 1 < len(self.blocks):
                gain, error = lead(out[0], best[: len(block)])
                if gain < -_HOPELESS * error:
                    self.story.dropped[name] = f"it was {-gain:.2f} nats a row behind on the first rows left out"
                    return None
        return np.concatenate(out)

    def _best_so_far(self) -> np.ndarray | None:
        scores = [found for family in self.families if (found := family.left_out()) is not None]
        return max(scores, key=_mean) if scores else None

    def best(self) -> Family | None:
        """Return the simplest family that no later one beats by more than a standard error."""
        current: Family | None = None
        for family in self.families:
            if not family.members:
                continue
            if current is None:
                current = family
                continue
            one, other = family.left_out(), current.left_out()
            if one is None or other is None:
                current = family if other is None else current
                continue
            gain, error = lead(one, other)
            if gain > error:
                current = family
        return current


def _mean(values: np.ndarray | None) -> float:
    return -np.inf if values is None else float(values.mean())
