"""Predictive distributions of training rows that were left out, by weighing the draws of all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SpecError
from .average import FitAverage
from .compare import refuse_other_targets
from .fit import Fit
from .mixtures import Floats, MixtureDraws, marginal, weighted_cdf
from .scores import loo_log_weights, refuse_without_loo
from .tree import counted_units


@dataclass(frozen=True, eq=False)
class LeftOut:
    """One fit's distribution of every training row that counts, given the others.

    Parameters
    ----------
    mixture
        Of the draws, at these rows.
    y
        (n,) or (n, outputs), what was seen there.
    weights
        (S, n) of the draws, with sum 1 in every row.
    rows
        (n,) positions of the rows in what was passed to ``bm.fit``.
    k_hat
        (n,) Pareto shapes of the weights.
    good_k
        Up to which they can be relied on.
    """

    mixture: MixtureDraws
    y: np.ndarray
    weights: Floats
    rows: np.ndarray
    k_hat: Floats
    good_k: float

    def cdf(self, y: np.ndarray) -> Floats:
        """Return P(Y <= y) given the other rows (n,), of each output by itself (n, outputs)."""
        if self.mixture.outputs is None:
            return weighted_cdf(self.mixture, y, self.weights)
        each = [weighted_cdf(marginal(self.mixture, i), y[:, i], self.weights) for i in range(self.mixture.outputs)]
        return np.stack(each, axis=1)


def left_out(fit: Fit) -> LeftOut:
    """Return the distribution of the training rows, each left out, or each with its whole group.

    Raises
    ------
    NotFittedError
        For a point fit, and where weights are not whole numbers.
    """
    refuse_without_loo(
        fit.draws,
        fit.outcome,
        "loo_pit",
        "point fits have bm.scores.pit on held-out rows",
        "hold rows out and take bm.scores.pit of them",
    )
    data, counted = fit.data, fit.bound.counted
    each = counted if data.groups is None else data.groups.codes[counted]
    units, found = np.searchsorted(counted_units(fit.bound), each), fit.loo()
    return LeftOut(
        mixture=fit.draws.mixture(np.asarray(data.table.values)[counted]),
        y=data.y[counted],
        weights=np.exp(loo_log_weights(fit.draws, fit.outcome, fit.idata, found)[:, units]),
        rows=data.rows[counted],
        k_hat=found.pareto_k.values[units],
        good_k=float(found.good_k),
    )


def left_out_by_weight(fit: object) -> list[tuple[float, LeftOut]]:
    """Return the weights of the fits of an average, and their `left_out`; a fit alone has weight 1.

    Raises
    ------
    SpecError
        For what is neither.
    InputError
        If the fits of an average have other targets.
    """
    if isinstance(fit, FitAverage):
        refuse_other_targets(dict(fit.fits))
        return [(fit.weights[name], left_out(one)) for name, one in fit.fits.items() if fit.weights[name] > 0]
    if isinstance(fit, Fit):
        return [(1.0, left_out(fit))]
    raise SpecError(f"fit: expected a fit or an average of fits, got {type(fit).__name__} → pass what bm.fit returned")
