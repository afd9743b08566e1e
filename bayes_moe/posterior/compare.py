"""Comparison of fits by leave-one-out cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import FitWarning, InputError, NotFittedError
from ..inference.arviz import statistics
from .average import FitAverage, refuse_other_kind, refuse_other_rows
from .fit import Fit


def compare(fits: Mapping[str, Fit | FitAverage]) -> Any:
    """Compare posterior fits of the same target by their expected log predictive density.

    Parameters
    ----------
    fits
        Fits by name, or averages of fits; all by an engine with draws, all of the same y, weights and groups.

    Returns
    -------
    pandas.DataFrame
        ArviZ's comparison table, best first, with stacking weights (Yao et al. 2018). Its column ``diag_elpd`` says
        which estimates have Pareto k-hats above their limit; a `FitWarning` names them.

    Raises
    ------
    InputError
        If fewer than two fits are given, or their targets differ.
    SpecError
        If some have densities of y and others probabilities.
    NotFittedError
        If a fit has no draws; the message names it.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(60, seed=1)
    >>> one, two = (
    ...     bm.fit(bm.MixtureOfExperts(k), data.X, data.y, engine=bm.NUTS(draws=500, seed=1), progress=False)
    ...     for k in (1, 2)
    ... )
    >>> list(bm.compare({"one": one, "two": two}).index)
    ['two', 'one']
    """
    if not isinstance(fits, Mapping) or len(fits) < 2:
        raise InputError('fits: expected at least two fits by name, got fewer → pass {"two": fit2, "three": fit3}')
    for name, fit in fits.items():
        if not isinstance(fit, Fit | FitAverage):
            raise InputError(f"fits[{name!r}]: expected a Fit, got {type(fit).__name__} → pass what bm.fit returned")
    refuse_other_targets(fits)
    scores = scored(fits)
    unreliable = [name for name, score in scores.items() if bool((score.pareto_k > score.good_k).any())]
    if unreliable:
        warnings.warn(
            f"compare: expected Pareto k-hats below their limit, and leave-one-out of {unreliable} has "
            "some above → their ranks may be wrong; bm.select fits again without such rows, and bm.scores rates "
            "predictions of rows held out",
            FitWarning,
            stacklevel=2,
        )
    return statistics().compare(scores, round_to="none")


def refuse_other_targets(fits: Mapping[str, Fit | FitAverage]) -> None:
    """Refuse fits of other targets than that of the first: y, weights, groups, or densities beside probabilities."""
    first, *others = fits
    for name in others:
        refuse_other_rows(_one(fits[first]), _one(fits[name]), first, name)
        refuse_other_kind(_one(fits[first]), _one(fits[name]), first, name)


def scored(fits: Mapping[str, Fit | FitAverage]) -> dict[str, Any]:
    """Return ``fit.loo()`` by name; what it cannot be had of is refused by that name."""
    out = {}
    for name, fit in fits.items():
        try:
            out[name] = fit.loo()
        except NotFittedError as error:
            raise NotFittedError(f"fits[{name!r}]: {error}") from error
    return out


def _one(fit: Fit | FitAverage) -> Fit:
    return fit if isinstance(fit, Fit) else fit.counting[0]
