"""Fits again without some rows, and what they predict of these rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..binding.bind import Bound
from ..fitting import fit_bound, outcome_of
from ..inference.outcome import Outcome, Status
from ..inference.progress import Report
from ..posterior.draws import Draws
from ..posterior.fit import Fit
from ..posterior.mixtures import pointwise_log_density
from ..posterior.shared_labels import log_totals
from ..posterior.tree import counted_units

_SILENT = Report(visible=False)


def units(fit: Fit) -> np.ndarray:
    """Return what is left out one by one: positions of rows of positive weight, or of groups that have some."""
    return counted_units(fit.bound)


def log_densities_left_out(fit: Fit, blocks: Sequence[np.ndarray], report: Report, title: str) -> list[np.ndarray]:
    """Return, block by block, the log predictive density of units by a fit to all rows but those of the block.

    Each begins at the mode of ``fit``, unless features are learned: these are trained anew. Standardisation, knots and
    the centres of default priors stay those of all rows, so that it is the same posterior less some factors.

    Raises
    ------
    KeyboardInterrupt
        If a fit was interrupted: half a fit is of no use here.
    """
    out = []
    with report.task(title, len(blocks)) as advance:
        for done, block in enumerate(blocks):
            out.append(_left_out(fit, block))
            advance(done + 1, "")
    return out


def _left_out(fit: Fit, block: np.ndarray) -> np.ndarray:
    data = fit.data
    rows = block if data.groups is None else np.flatnonzero(np.isin(data.groups.codes, block))
    weights = data.weights.copy()
    weights[rows] = 0.0
    bound = replace(fit.bound, data=replace(data, weights=weights))
    bound, outcome = _run(fit, bound)
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    permutations = np.tile(np.arange(bound.parameters.experts), (outcome.draws[..., 0].size, 1))
    draws = Draws(replace(bound, data=data), outcome.draws, permutations, outcome.posterior)
    return _mean_log_density(draws, block)


def _run(fit: Fit, bound: Bound) -> tuple[Bound, Outcome]:
    """Return the outcome of the fit's own engine, and the model it belongs to."""
    if bound.features is not None:
        again = fit_bound(bound, fit.engine, None, _SILENT)
        return again.bound, again.outcome
    start = fit.outcome.mode if fit.outcome.posterior is None else fit.outcome.draws[0, 0]
    return bound, outcome_of(bound, fit.engine, start, _SILENT)


def _mean_log_density(draws: Draws, block: np.ndarray) -> np.ndarray:
    """Return the log of the density of every unit (U,), averaged over draws."""
    data = draws.bound.data
    if data.groups is None:
        mixture = draws.mixture(np.asarray(data.table.values)[block])
        values = pointwise_log_density(mixture, data.y[block]) * data.weights[block]
    else:
        known, joint = draws.group_joint(block)
        values = log_totals(joint)[:, np.argsort(known)][:, np.searchsorted(np.sort(known), block)]
    return np.asarray(np.logaddexp.reduce(values, axis=0) - np.log(len(values)))
