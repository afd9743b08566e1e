"""Leave-one-out cross-validation of fits on their own data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr

from ..errors import NotFittedError
from ..inference.arviz import statistics
from ..inference.outcome import Outcome
from .draws import Draws
from .tree import counted_units, log_likelihood_group


def loo(draws: Draws, outcome: Outcome, idata: xr.DataTree) -> Any:
    """Return ArviZ's PSIS-LOO of a posterior fit: one row is left out, or one group of rows."""
    refuse_without_loo(
        draws,
        outcome,
        "loo",
        "point fits by bm.EM() have fit.bic and fit.icl",
        "compare predictions on held-out rows with fit.log_density",
    )
    group = _log_likelihood(draws, idata)
    tree = xr.DataTree.from_dict({"posterior": idata["posterior"].to_dataset(), "log_likelihood": group})
    stats = outcome.sample_stats
    with warnings.catch_warnings():
        # the k-hats stand in the result, and its text says how many are bad
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto", category=UserWarning)
        if "log_p" in stats and "log_q" in stats:
            log_p, log_q = np.ravel(stats["log_p"]), np.ravel(stats["log_q"])
            return statistics().loo_approximate_posterior(tree, log_p, log_q, pointwise=True, var_name="y")
        return statistics().loo(tree, pointwise=True, var_name="y")


def refuse_without_loo(draws: Draws, outcome: Outcome, asked: str, of_points: str, of_powers: str) -> None:
    """Refuse fits of which no row can be left out by weighing draws.

    Raises
    ------
    NotFittedError
        In the name of what was asked for, with what there is for point fits, and for power likelihoods.
    """
    if outcome.point:
        raise NotFittedError(
            f"{asked}: expected posterior draws, got a point fit → fit with bm.NUTS(), bm.Laplace() or bm.ADVI(); "
            f"{of_points}"
        )
    weights = draws.bound.data.weights
    if np.any(weights != np.round(weights)):
        raise NotFittedError(
            f"{asked}: expected whole-number weights, got fractions → rows of a power likelihood cannot be left out "
            f"one by one; {of_powers}"
        )


def loo_log_weights(draws: Draws, outcome: Outcome, idata: xr.DataTree, found: Any) -> np.ndarray:
    """Return the logs of the smoothed weights (S, units) that make draws those without a row or group that counts.

    They are the weights behind ``found``, what `loo` returned, and sum to 1 over draws.
    """
    stats = outcome.sample_stats
    if "log_p" in stats and "log_q" in stats:  # ArviZ keeps no weights of these
        values = _log_likelihood(draws, idata)["y"]
        ratio = np.reshape(stats["log_p"] - stats["log_q"], values.shape[:2])
        smoothed, _ = (values - ratio[:, :, None]).azstats.psislw(r_eff=1.0, dim=["chain", "draw"])
    else:
        smoothed = found.log_weights
    shaped = smoothed.transpose("chain", "draw", ...).values
    flat = shaped.reshape(-1, shaped.shape[-1])
    return np.asarray(flat - np.logaddexp.reduce(flat, axis=0))


class Scored(Protocol):
    """What of a fit its scores need."""

    @property
    def draws(self) -> Draws:
        """The relabelled draws."""

    @property
    def idata(self) -> xr.DataTree:
        """Everything in ArviZ's schema."""


def averaged_loo(scores: Sequence[tuple[float, Any]], fits: Sequence[Scored]) -> Any:
    """Return ArviZ's PSIS-LOO of a weighted average of fits, from weights and LOO of each.

    A row's k-hat is the largest of those under the fits.
    """
    logs = [np.log(weight) for weight, _ in scores]
    left_out = np.logaddexp.reduce([log + loo.elpd_i.values for log, (_, loo) in zip(logs, scores, strict=True)])
    inside = np.logaddexp.reduce([log + _in_sample(fit) for log, fit in zip(logs, fits, strict=True)])
    first = scores[0][1]
    worst = np.max([loo.pareto_k.values for _, loo in scores], axis=0)
    good = min(loo.good_k for _, loo in scores)
    return statistics().utils.ELPDDataLOO(
        elpd=float(left_out.sum()),
        se=float(np.sqrt(len(left_out) * left_out.var(ddof=1))),
        p=float(inside.sum() - left_out.sum()),
        n_samples=sum(loo.n_samples for _, loo in scores),
        n_data_points=first.n_data_points,
        scale="log",
        warning=bool((worst > good).any()),
        good_k=good,
        elpd_i=first.elpd_i.copy(data=left_out),
        pareto_k=first.pareto_k.copy(data=worst),
    )


def _in_sample(fit: Scored) -> np.ndarray:
    """Return the log of the averaged density of every row, or group, that the draws have seen."""
    values = _log_likelihood(fit.draws, fit.idata)["y"].values
    flat = values.reshape(-1, values.shape[-1])
    return np.asarray(np.logaddexp.reduce(flat, axis=0) - np.log(len(flat)))


def _log_likelihood(draws: Draws, idata: xr.DataTree) -> xr.Dataset:
    """Return the log likelihood of rows or groups that count by draw: that stored with the fit, or a new one."""
    if "log_likelihood" not in idata.children:
        return log_likelihood_group(draws.bound, draws)
    stored, counted = idata["log_likelihood"].to_dataset(), counted_units(draws.bound)
    unit = stored["y"].dims[-1]
    # early files hold rows of weight 0 too
    return stored if stored.sizes[unit] == len(counted) else stored.isel({unit: counted})
