"""Scores of a fit on its own data: information criteria and leave-one-out cross-validation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..errors import NotFittedError
from ..inference.outcome import Outcome
from .draws import Draws
from .tree import log_likelihood_group


def likelihood_parameters(bound: Bound) -> int:
    """Return the number of coefficients the likelihood sees: experts' and gate's, not the gate's prior scale."""
    parameters = bound.parameters
    return parameters.gate_start + parameters.gate.count


def label_entropy(bound: Bound, q: np.ndarray) -> float:
    """Return the entropy of the labels at q, in nats: of the rows by their weights, or of the groups."""
    r, counts = bound.density.responsibilities(q), bound.density.weights
    if bound.members is not None:
        r, counts = r[bound.members.starts], bound.members.counts
    logs = np.log(np.where(r > 0, r, 1.0))
    return float(-np.sum(counts[:, None] * r * logs))


def at_point(name: str, engine: object, outcome: Outcome) -> np.ndarray:
    """Return the point of a point fit, for what ``name`` says of it.

    Raises
    ------
    NotFittedError
        If the fit has draws.
    """
    if not outcome.point or outcome.mode is None:
        raise NotFittedError(
            f"{name}: expected a point fit, got draws from {type(engine).__name__} → use engine=bm.EM(), or fit.loo() "
            "for a posterior"
        )
    return outcome.mode


def at_mode(name: str, engine: object, outcome: Outcome, bound: Bound) -> np.ndarray:
    """Return the point of a point fit that is a mode.

    Raises
    ------
    NotFittedError
        If the fit has draws, or holds a network.
    """
    if bound.features is not None:
        raise NotFittedError(
            f"{name}: expected a fit at a mode, got a network whose training was stopped early → compare log densities "
            "of held-out rows, fit.log_density(X, y)"
        )
    return at_point(name, engine, outcome)


def loo(draws: Draws, outcome: Outcome, idata: xr.DataTree) -> Any:
    """Return ArviZ's PSIS-LOO of a posterior fit: one row is left out, or one group of rows."""
    if outcome.point:
        raise NotFittedError(
            "loo: expected posterior draws, got a point fit → fit with bm.NUTS(), bm.Laplace() or bm.ADVI(); point "
            "fits by bm.EM() have fit.bic and fit.icl"
        )
    weights = draws.bound.data.weights
    if np.any(weights != np.round(weights)):
        raise NotFittedError(
            "loo: expected whole-number weights, got fractions → rows of a power likelihood cannot be left out one by "
            "one; compare predictions on held-out rows with fit.log_density"
        )
    # arviz_stats takes a second to import, which `import bayes_moe` must not cost
    import arviz_stats

    stored = "log_likelihood" in idata.children
    group = idata["log_likelihood"].to_dataset() if stored else log_likelihood_group(draws.bound, draws)
    tree = xr.DataTree.from_dict({"posterior": idata["posterior"].to_dataset(), "log_likelihood": group})
    stats = outcome.sample_stats
    with warnings.catch_warnings():
        # the k-hats stand in the result, and its text says how many are bad
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto", category=UserWarning)
        if "log_p" in stats and "log_q" in stats:
            log_p, log_q = np.ravel(stats["log_p"]), np.ravel(stats["log_q"])
            return arviz_stats.loo_approximate_posterior(tree, log_p, log_q, pointwise=True, var_name="y")
        return arviz_stats.loo(tree, pointwise=True, var_name="y")
