"""Ordinal experts: one of several labels in an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SpecError
from ..predictors import Constant, Linear
from .base import Closure, Family, Parameter, Role, Support, default_priors
from .checks import check_labels, codes
from .draws import common_shape
from .elementary import expit
from .formulas import Functions, graphs, on_arrays


@dataclass(frozen=True)
class Ordinal(Family):
    r"""Probabilities of ordered labels: a logistic variable around mu, cut into levels (cumulative logit).

    .. math:: P(Y \le j) = \operatorname{logit}^{-1}(c_j - \mu), \qquad c_j = c_0 + \sum_{i=1}^{j} e^{g_i}

    y holds codes 0, 1, ... of the levels. Parameters of the distribution: ``mu`` (default ``bm.Linear()``),
    ``cutpoint`` (c_0, between the two lowest levels) and ``gap`` (the width of every level but the lowest and the
    highest; its predictors are those of the log widths g). Cutpoints are ``bm.Constant(shared=True)`` by default: the
    experts cut the same scale. A shift of mu and c_0 together changes no probability; their priors decide it.

    Parameters
    ----------
    levels
        The labels, lowest first; None: those in the data.

    Raises
    ------
    SpecError
        If there are fewer than two labels, or two are alike.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Ordinal(("low", "middle", "high")).predicted
    ('mu', 'cutpoint', 'log_gap_middle')

    References
    ----------
    McCullagh (1980), Regression models for ordinal data, JRSS B 42.
    """

    levels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", check_labels("Ordinal", "levels", self.levels))

    @property
    def support(self) -> Support:
        return Support.LEVELS

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters; two levels have no gap, and before the levels are known the gap has no labels."""
        inner = () if self.levels is None else self.levels[1:-1]
        gap = Parameter("gap", "log_gap", Role.FREE, Constant(shared=True), default_priors(0.0, 1.0, 0.5), inner)
        return (*_PARAMETERS, gap) if inner or self.levels is None else _PARAMETERS

    @property
    def named(self) -> tuple[str, ...] | None:
        return self.levels

    def labelled(self, labels: tuple[str, ...]) -> Ordinal:
        return self if self.levels else Ordinal(labels)

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Ordinal:
        way_out = "name all levels, lowest first: bm.Ordinal(levels=...)"
        count = codes(y, "Ordinal()", None if self.levels is None else len(self.levels), way_out)
        return self if self.levels else Ordinal(tuple(str(code) for code in range(count)))

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        self._known()
        return _log_density(graphs(), y, *predicted)

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        self._known()
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def probabilities(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the probability of every level, (..., levels)."""
        shape = (*common_shape(*predicted.values()), self._known())
        inner = {name: np.asarray(value)[..., None] for name, value in predicted.items()}
        return np.broadcast_to(np.exp(self.log_density(np.arange(shape[-1]), **inner)), shape)

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the mean of the code."""
        chances = self.probabilities(**predicted)
        return np.asarray(chances @ np.arange(chances.shape[-1], dtype=float))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the variance of the code."""
        chances = self.probabilities(**predicted)
        code = np.arange(chances.shape[-1], dtype=float)
        return np.asarray((chances * (code - (chances @ code)[..., None]) ** 2).sum(axis=-1))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        """Return P(Y <= y) for the code."""
        top = self._known() - 1
        cut = _cut(
            predicted["cutpoint"], [np.exp(predicted[name]) for name in self.predicted[2:]], np.floor(y), np.where
        )
        return np.where(np.asarray(y) < 0, 0.0, np.where(np.asarray(y) >= top, 1.0, expit(cut - predicted["mu"])))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        below = self.probabilities(**predicted).cumsum(axis=-1)[..., :-1]
        uniform = rng.random(common_shape(*predicted.values()))
        return np.asarray((uniform[..., None] >= below).sum(axis=-1), dtype=float)

    def _known(self) -> int:
        if self.levels is None:
            raise SpecError("Ordinal: expected known levels, got None → call meet(y, weights), or name them")
        return len(self.levels)


def _cut(first: Any, gaps: Sequence[Any], level: Any, where: Any) -> Any:
    """Return the cutpoint above a level."""
    cut = first
    for code, gap in enumerate(gaps, start=1):
        cut = cut + where(level >= code, gap, 0.0)
    return cut


def _log_density(f: Functions, y: Any, mu: Any, cutpoint: Any, *log_gaps: Any) -> Any:
    """Expit(b) - expit(a) is expit(b) expit(-a) (1 - exp(a - b)), and b - a is the gap itself: nothing cancels."""
    top = len(log_gaps) + 1.0
    gaps = [f.exp(log_gap) for log_gap in log_gaps]
    value = f.where(y < top, -f.softplus(mu - _cut(cutpoint, gaps, y, f.where)), 0.0)
    value = value + f.where(y > 0, -f.softplus(_cut(cutpoint, gaps, y - 1.0, f.where) - mu), 0.0)
    for code, gap in enumerate(gaps, start=1):
        value = value + f.where(f.equal(y, float(code)), f.log(-f.expm1(-gap)), 0.0)
    inside = (y >= 0) & (y <= top) & f.equal(y, f.floor(y))
    return f.where(inside, value, -np.inf)


_PARAMETERS = (
    Parameter("mu", "mu", Role.FREE, Linear(), default_priors(0.0, 2.5, 2.5)),
    Parameter("cutpoint", "cutpoint", Role.FREE, Constant(shared=True), default_priors(0.0, 2.5, 0.5)),
)
