"""What models predict of training rows that they have not seen, and what no honest density of y may do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..binding.bind import Bound
from ..fitting import fit_bound, outcome_of
from ..inference.em import EM
from ..inference.outcome import Status
from ..inference.progress import Report
from ..inference.settings import generator
from ..inference.variational_em import VariationalEM
from ..posterior.draws import Draws
from ..posterior.fit import Fit
from ..posterior.mixtures import pointwise_log_density
from ..smoothing import Smoother, log_evidence
from ..transforms import Power

_ROLE = 40
_FOLDS, _MANY_ROWS, _FOLDS_USED = 5, 2000, 2
_STARTS = 3
_FEW_VALUES = 0.2  # distinct values per row, below which y counts as rounded
_LEAST_SHARE = 0.005  # of all rows, that a spike holds
_SPIKE = 0.15  # of a rounding step: a sigma below it is a spike on a grid
_MOST_CURVED = 500  # rows up to which curvatures are worth their time
_STEP = 1e-4


def folds(rows: int, seed: int) -> list[np.ndarray]:
    """Return fifths of the rows at random: all five, or two of them where there are many rows."""
    order = generator(seed, _ROLE).permutation(rows)
    parts = min(_FOLDS, rows)
    return [order[k::parts] for k in range(parts if rows <= _MANY_ROWS else _FOLDS_USED)]


def log_density_left_out(bound: Bound, engine: EM | VariationalEM, block: np.ndarray) -> np.ndarray:
    """Return the log density of rows ``block`` (positions) under a fit to all others, from starts of its own.

    A search that began at the optimum of all rows would remember those left out. Standardisation and, with a shared
    mean, its hyper-parameters are those of all rows.

    Raises
    ------
    KeyboardInterrupt
        If the fit was interrupted.
    """
    weights = bound.data.weights.copy()
    weights[block] = 0.0
    part = replace(bound, data=replace(bound.data, weights=weights))
    fewer = replace(engine, starts=min(engine.starts or _STARTS, _STARTS))
    outcome = outcome_of(part, fewer, None, Report(visible=False))
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    draws = Draws(bound, outcome.draws, np.arange(bound.parameters.experts)[None, :], outcome.posterior)
    mixture = draws.mixture(np.asarray(bound.data.table.values)[block])
    return np.asarray(pointwise_log_density(mixture, bound.data.y[block])[0])


def fit_once(bound: Bound, engine: EM | VariationalEM) -> Fit:
    """Return the fit of all rows.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted.
    """
    fit = fit_bound(bound, engine, None, Report(visible=False))
    if fit.outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return fit


def rounding_of(y: np.ndarray, power: Power | None) -> float:
    """Return the step to which y was rounded, in units of y or of its power; 0 where most values differ."""
    values = np.unique(y)
    if len(values) < 2 or len(values) > _FEW_VALUES * len(y):
        return 0.0
    step = float(np.median(np.diff(values)))
    return step if power is None else step * float(np.median(np.exp(power.log_slope(values))))


def spiky(fit: Fit, rounding: float) -> bool:
    """Return whether an expert's sigma at training rows is small beside the step that y was rounded to."""
    if not rounding:
        return False
    mixture = fit.draws.mixture(np.asarray(fit.data.table.values))
    log_gate, parameters = mixture.components(slice(0, mixture.rows), slice(0, 1))
    narrow = np.exp(np.broadcast_to(parameters["log_sigma"], log_gate.shape)) < _SPIKE * rounding
    return float((np.exp(log_gate) * narrow).sum()) > _LEAST_SHARE * mixture.rows


def decided(smoother: Smoother, y: np.ndarray) -> float:
    r"""Return how many hyper-parameters the rows have decided: what leave-one-out scores are too good by, in nats.

    .. math:: \sum_i (1 - 1 / \lambda_i)

    where λ are the eigenvalues of the negative Hessian of the log posterior of the hyper-parameters, in units in which
    their prior's is 1; above 500 rows, their number, which it cannot exceed.
    """
    covariance, theta = smoother.covariance, smoother.log_parameters
    if len(y) > _MOST_CURVED:
        return float(covariance.size)
    scale, x = covariance.prior_scale, smoother.centres
    base = log_evidence(covariance, theta, x, y)[1]
    rows = [
        (base - log_evidence(covariance, theta + _STEP * scale[j] * unit, x, y)[1]) * scale / _STEP
        for j, unit in enumerate(np.eye(covariance.size))
    ]
    hessian = np.array(rows)
    found = np.linalg.eigvalsh(0.5 * (hessian + hessian.T))
    return float(np.sum(1.0 - 1.0 / np.maximum(found, 1.0)))


def lead(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return by how much the mean of ``one`` lies above that of ``other``, and the standard error of that."""
    with np.errstate(invalid="ignore"):
        gap = one - other
        return float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
