"""Weights of fits, or of chains, by what they predict of rows left out."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import FitWarning, InputError, NotFittedError
from ..fitting import assemble
from ..posterior.average import FitAverage, read_fits
from ..posterior.compare import refuse_other_targets, scored
from ..posterior.fit import Fit
from ..posterior.stacking import stacking_weights
from .selection import Selection

_CHAINS = 1.1
"""λ of the Dirichlet prior of chains' weights: chains that say the same get the same weight."""


def stack(
    fits: Mapping[str, Fit] | Sequence[Fit] | Fit | Selection, *, by: Sequence[Hashable] | None = None
) -> FitAverage:
    r"""Return the average of fits, or of the chains of one, that best predicts rows left out.

    .. math:: \max_w \; \sum_i \log \sum_m w_m p_m(y_i \mid y_{-i}), \quad w_m \ge 0, \; \sum_m w_m = 1

    Leave-one-out densities are those of ``fit.loo``. Stacking does not ask which fit is right: where none is, the
    average predicts better than any. Chains that are stuck in different modes have no right proportions: their draws,
    taken together, count each mode by the number of chains that went there. Weights by prediction are a way out,
    though no posterior probabilities.

    Parameters
    ----------
    fits
        Posterior fits of the same target, by name or in a list; what ``bm.select`` returned under ``bm.LOO``, whose
        exact refits are used then; or one fit, whose chains are weighted.
    by
        For one fit: one label per chain; chains with the same label are taken together. None: every chain by itself.

    Returns
    -------
    FitAverage
        With every method of a fit that does not depend on labels: ``predict``, ``interval``, ``log_density``, ...

    Raises
    ------
    InputError
        If fits are not of the same target, or ``by`` has another length.
    NotFittedError
        If a fit has no draws, or the one fit has one chain.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13. Yao, Vehtari and Gelman (2022), Stacking for non-mixing Bayesian computations, JMLR 23.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(60, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(1), data.X, data.y, bm.NUTS(chains=2, seed=1), progress=False)
    >>> {name: round(weight, 1) for name, weight in bm.stack(fit).weights.items()}
    {'chain 0': 0.5, 'chain 1': 0.5}
    """
    if isinstance(fits, Fit):
        return _stacked(_by_chain(fits, by), "weighted by what chains predict of rows left out", _CHAINS)
    if by is not None:
        raise InputError("by: expected None for several fits, got labels → they are for the chains of one fit")
    if isinstance(fits, Selection):
        return _of_selection(fits)
    return _stacked(read_fits(fits), "weighted by what they predict of rows left out", 1.0)


def _stacked(fits: dict[str, Fit], origin: str, concentration: float) -> FitAverage:
    refuse_other_targets(fits)
    scores = scored(fits)
    unreliable = [name for name, score in scores.items() if bool((score.pareto_k > score.good_k).any())]
    if unreliable:
        warnings.warn(
            f"stack: expected Pareto k-hats below their limit, and leave-one-out of {unreliable} has some above → "
            "their weights may be wrong; stack what bm.select returns, which fits again without such rows",
            FitWarning,
            stacklevel=3,
        )
    log_densities = np.stack([score.elpd_i.values for score in scores.values()], axis=1)
    return _weighted(fits, log_densities, origin, concentration, scores)


def _of_selection(selection: Selection) -> FitAverage:
    pointwise = selection.pointwise
    if pointwise is None:
        raise NotFittedError(
            "fits: expected a selection by densities of rows left out, got one by an information criterion → "
            "bm.select(..., criterion=bm.LOO()) with an engine for posteriors, or criterion=bm.KFold()"
        )
    fits = read_fits({str(name): fit for name, fit in selection.fits.items()})
    origin = "weighted by what they predict of rows left out"
    return _weighted(fits, pointwise, origin, 1.0, {})


def _weighted(
    fits: dict[str, Fit], log_densities: np.ndarray, origin: str, concentration: float, scores: Mapping[str, Any]
) -> FitAverage:
    weights = stacking_weights(log_densities, concentration).tolist()
    return FitAverage(fits, dict(zip(fits, weights, strict=True)), origin, scores)


def _by_chain(fit: Fit, by: Sequence[Hashable] | None) -> dict[str, Fit]:
    """Return the chains of a fit, or groups of them, as fits of their own, each with its own labelling."""
    chains = fit.outcome.draws.shape[0]
    if fit.outcome.point or chains < 2:
        raise NotFittedError(
            f"fits: expected several fits, or one with several chains, got one by {fit.engine!r} → fit with bm.NUTS(), "
            "or pass fits from several starts"
        )
    labels = [f"chain {chain}" for chain in range(chains)] if by is None else list(by)
    if len(labels) != chains:
        raise InputError(f"by: expected {chains} labels, one per chain, got {len(labels)} → pass one per chain")
    return {
        str(label): _only(fit, [chain for chain in range(chains) if labels[chain] == label])
        for label in dict.fromkeys(labels)
    }


def _only(fit: Fit, chains: list[int]) -> Fit:
    stats = {name: np.asarray(values)[chains] for name, values in fit.outcome.sample_stats.items()}
    outcome = replace(fit.outcome, draws=fit.outcome.draws[chains], sample_stats=stats)
    return assemble(fit.bound, fit.engine, outcome)
