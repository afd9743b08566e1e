"""Several fits as one predictive distribution: a weighted average of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..data import Data
from ..errors import InputError, SpecError
from ..families import Family, Support
from . import tables
from .blend import Blend
from .fit import Fit
from .notebook import paragraphs
from .predictive import Predictive
from .saving_average import save_average
from .scores import averaged_loo

_OF_ONE_FIT = ("gate", "expert_means", "responsibilities", "prior_summary", "point", "bic", "icl", "model")


@dataclass(frozen=True, eq=False, repr=False)
class FitAverage(Predictive):
    """A weighted average of fits, with every method of a fit that does not depend on the experts' labels.

    Its predictive density is ``Σ_m w_m p_m(y | x)``: densities and distribution functions are averaged, quantiles and
    intervals invert the averaged distribution function, and the variance has the spread between fits in it. It has no
    experts of its own: those of its ``fits`` have.

    Parameters
    ----------
    fits
        By name.
    weights
        By name; at least 0, with sum 1. A fit of weight 0 is not asked for predictions.
    origin
        Where the weights come from, in words.
    scores
        ``fit.loo()`` by name, where weights come from that; empty otherwise.
    report
        What `bm.auto_fit` chose and why, in words; empty for other averages.
    """

    fits: Mapping[str, Fit]
    weights: Mapping[str, float]
    origin: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    report: str = ""

    @property
    def data(self) -> Data:
        """The checked training data of the first fit that counts."""
        return self.counting[0].data

    @property
    def support(self) -> Support:
        """Where y lives."""
        return self.counting[0].support

    @property
    def counting(self) -> tuple[Fit, ...]:
        """The fits of positive weight."""
        return tuple(fit for name, fit in self.fits.items() if self.weights[name] > 0)

    @property
    def weighed(self) -> tuple[tuple[Fit, float], ...]:
        """The fits that count, with their weights."""
        return tuple((fit, self.weights[name]) for name, fit in self.fits.items() if self.weights[name] > 0)

    def summary(self) -> Any:
        """Return a row for every fit: weight, number of experts, engine, verdict and warnings (pandas frame).

        Experts of different fits have nothing in common that a table could hold: ``effects()`` says what every column
        does to the predictions of the average, ``fits[name].summary()`` what the experts of one fit are.
        """
        return tables.members(self.weights, self.fits)

    def mixture(self, X: Any, gate_X: Any = None, groups: Any = None) -> Blend:
        """Return the weighted mixtures of all fits at rows."""
        weights = np.array([weight for weight in self.weights.values() if weight > 0])
        return Blend(tuple(fit.mixture(X, gate_X, groups) for fit in self.counting), weights)

    def loo(self) -> Any:
        """Return leave-one-out cross-validation of the average (ArviZ's ELPDData): ``log Σ_m w_m p_m(y_i | y_-i)``.

        Weights that were chosen by the same rows make it a little too good: by less than a nat for each fit.

        Raises
        ------
        NotFittedError
            If a fit has no draws, or weights of rows are not whole numbers.
        InputError
            If fits have not seen the same y, weights and groups.
        """
        names = [name for name, weight in self.weights.items() if weight > 0]
        for name in names[1:]:
            refuse_other_rows(self.fits[names[0]], self.fits[name], names[0], name)
        each = [(self.weights[name], self.scores.get(name) or self.fits[name].loo()) for name in names]
        return averaged_loo(each, [self.fits[name] for name in names])

    def save(self, path: Any) -> None:
        """Save as netCDF with a JSON specification inside; ``bm.load`` reads it back."""
        save_average(self, path)

    if not TYPE_CHECKING:  # to a type checker, attributes that are not there are not there

        def __getattr__(self, name: str) -> NoReturn:
            if name in _OF_ONE_FIT:
                first = next(iter(self.fits))
                raise AttributeError(
                    f"{name}: expected one fit, whose experts have labels, got an average of {len(self.fits)} → ask "
                    f"one of them: .fits[{first!r}].{name}"
                )
            raise AttributeError(f"'FitAverage' object has no attribute {name!r}")

    def __repr__(self) -> str:
        width = max(map(len, self.fits))
        rows = [f"  {self.weights[name]:.3f}  {name:<{width}}  {_short(fit)}" for name, fit in self.fits.items()]
        return "\n".join([f"Average of {len(self.fits)} fits, {self.origin}", *rows, *self.report.splitlines()])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{self.weights[name]:.3f}</td><td>{escape(name)}</td><td>{escape(_short(fit))}</td></tr>"
            for name, fit in self.fits.items()
        )
        head = "<tr><th>weight</th><th>fit</th><th></th></tr>"
        title = f"<strong>{escape(repr(self).splitlines()[0])}</strong>"
        return f"<div>{title}<table>{head}{rows}</table>{paragraphs(self.report)}</div>"


def average(fits: Mapping[str, Fit] | Sequence[Fit], weights: Sequence[float] | None = None) -> FitAverage:
    """Return the average of the predictive distributions of fits.

    Parameters
    ----------
    fits
        Fits by name, or in order: of one model under several seeds, of several models, by any engines.
    weights
        One for each, at least 0; they are divided by their sum. None: equal weights.

    Raises
    ------
    InputError
        If there is none, something is no fit, fits have other columns, labels or outputs, or one has
        densities and another probabilities.

    See Also
    --------
    stack : weights by what fits predict of rows left out.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(60, seed=1)
    >>> one, two = (bm.fit(bm.MixtureOfExperts(k), data.X, data.y, bm.EM(seed=1), progress=False) for k in (1, 2))
    >>> both = bm.average([one, two])
    >>> bool(np.allclose(both.predict(data.X), 0.5 * one.predict(data.X) + 0.5 * two.predict(data.X)))
    True
    """
    named = read_fits(fits)
    if weights is None:
        return FitAverage(named, dict.fromkeys(named, 1.0 / len(named)), "equally weighted")
    given = np.asarray(weights, dtype=float)
    if given.shape != (len(named),) or not np.all(np.isfinite(given)) or np.any(given < 0) or given.sum() <= 0:
        raise InputError(
            f"weights: expected {len(named)} numbers of at least 0, one per fit, got {weights!r} → pass e.g. "
            f"{[1] * len(named)}"
        )
    shares = (given / given.sum()).tolist()
    return FitAverage(named, dict(zip(named, shares, strict=True)), "weighted as given")


def read_fits(fits: object) -> dict[str, Fit]:
    """Return fits by name, all of which can be averaged.

    Raises
    ------
    InputError
        As `average`.
    """
    if isinstance(fits, Mapping):
        named = {str(name): fit for name, fit in fits.items()}
    elif isinstance(fits, Sequence) and not isinstance(fits, str):
        named = {f"fit {position}": fit for position, fit in enumerate(fits)}
    else:
        named = {}
    if not named:
        raise InputError(f"fits: expected fits, by name or in a list, got {fits!r} → pass what bm.fit returned")
    for name, fit in named.items():
        if not isinstance(fit, Fit):
            raise InputError(f"fits[{name!r}]: expected a Fit, got {type(fit).__name__} → pass what bm.fit returned")
    first, *others = named
    for name in others:
        _refuse_unlike(named[first], named[name], first, name)
    return named


def _refuse_unlike(one: Fit, other: Fit, first: str, name: str) -> None:
    """Refuse fits whose predictions are not of the same thing from the same columns."""
    refuse_other_kind(one, other, first, name)
    for what, values in {
        "labels of y": (one.data.classes, other.data.classes),
        "outputs": (one.data.outputs, other.data.outputs),
        "columns for the gate": (one.data.gate_columns, other.data.gate_columns),
        "use of groups": (one.data.groups is None, other.data.groups is None),
        "use of a formula": (one.data.formula is None, other.data.formula is None),
    }.items():
        if values[0] != values[1]:
            raise InputError(
                f"fits[{name!r}]: expected the {what} of {first!r}, got others → fit both to the same data"
            )
    if one.data.formula is None and one.data.own.names != other.data.own.names:
        raise InputError(
            f"fits[{name!r}]: expected the columns of {first!r}, {list(one.data.own.names)}, got "
            f"{list(other.data.own.names)} → fit both to the same X; a model may use some of its columns"
        )


def sharing_means(fits: Sequence[Fit]) -> list[Fit]:
    """Return fits that hold one shared mean where theirs are equal: its covariance of all rows is large."""
    found: list[Fit] = []
    for fit in fits:
        own = fit.data.mean
        same = next((f.data.mean for f in found if own and f.data.mean and f.data.mean.same(own)), None)
        if same is not None:
            fit = replace(fit, bound=replace(fit.bound, data=replace(fit.data, mean=same)))
        found.append(fit)
    return found


def refuse_other_rows(one: Fit, other: Fit, first: str, name: str) -> None:
    """Refuse fits whose rows cannot be left out side by side.

    Raises
    ------
    InputError
        Naming both.
    """
    if other.data.digest != one.data.digest:
        raise InputError(
            f"fits[{name!r}]: expected the target of {first!r}, got another y, other weights or other groups → "
            "fit them to the same rows"
        )


def refuse_other_kind(one: Fit, other: Fit, first: str, name: str) -> None:
    """Refuse fits of which one has densities of y and the other probabilities.

    Raises
    ------
    SpecError
        Naming both.
    """
    kinds = [kind_of(fit.model.experts[0].family) for fit in (one, other)]
    if kinds[0] != kinds[1]:
        raise SpecError(
            f"fits[{name!r}]: expected {kinds[0]} as {first!r} has, got {kinds[1]} → a density and a probability "
            "cannot be weighed against each other; use families of one kind"
        )


def kind_of(family: Family) -> str:
    """Return what the log of is a log density of a family: ``densities of y``, or ``probabilities of y``."""
    kinds = ["probabilities" if support in _DISCRETE else "densities" for support in family.supports]
    return " and ".join(kinds) + " of y"


_DISCRETE = (Support.COUNT, Support.BINARY, Support.CLASSES, Support.LEVELS)


def _short(fit: Fit) -> str:
    return repr(fit).splitlines()[0]
