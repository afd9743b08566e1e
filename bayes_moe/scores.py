"""Held-out scores: how well a fit predicts rows that it has not seen.

Every function takes what predicts (a fit, or an average of fits), rows and their y, and returns one number per row, so
that means, sums and standard errors are one call away; `table` makes these for several fits. What is scored is the
predictive distribution averaged over draws, never the draws one by one. A score is *proper* where the truth has the
best expected score (Gneiting and Raftery 2007, Strictly proper scoring rules, prediction, and estimation, JASA 102):
`log_score` and `crps` are; `coverage` and `width` say where calibration and sharpness come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .errors import InputError, SpecError
from .families import Support
from .inference.settings import Seed, check_seed, generator, settle_seed
from .posterior import blend
from .posterior.blend import Blend
from .posterior.left_out import left_out_by_weight
from .posterior.mixtures import MixtureDraws
from .posterior.predictive import Predictive
from .posterior.ranked import crps_of_counts, crps_of_numbers

_PIT_ROLE = 30
_LABELS = (Support.BINARY, Support.CLASSES, Support.LEVELS)


def log_score(fit: Predictive, X: Any, y: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
    """Return the log of the averaged predictive density at y (obs,), in nats; larger is better.

    Parameters
    ----------
    fit
        A fit, or an average of fits.
    X, y, gate_X, groups
        Rows, as for ``fit.predict``, and what was seen there.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bm.scores.log_score(fit, new.X, new.y).sizes["obs"]
    50
    """
    _check(fit)
    return fit.log_density(X, y, gate_X=gate_X, groups=groups).rename("log_score")


def crps(fit: Predictive, X: Any, y: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
    r"""Return the continuous ranked probability score (obs,) or (obs, output), in units of y; smaller is better.

    .. math:: \int (F_i(t) - 1\{t \ge y_i\})^2 \, dt

    with the averaged distribution function F; of counts, the sum over whole numbers. It is the mean absolute error of
    a point prediction. The integral is adaptive quadrature, to five digits, however much narrower one expert is than
    another; so is the sum where counts are spread over more than 1024 values.

    Parameters
    ----------
    fit, X, y, gate_X, groups
        As for `log_score`.

    Raises
    ------
    SpecError
        If y is labels.

    References
    ----------
    Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bool((bm.scores.crps(fit, new.X, new.y) < abs(new.y).max()).all())
    True
    """
    mixture, target = _read("crps", fit, X, y, gate_X, groups)
    score = crps_of_counts if fit.support is Support.COUNT else crps_of_numbers
    return _each(fit, mixture, target, score, "crps")


def pit(fit: Predictive, X: Any, y: Any, *, gate_X: Any = None, groups: Any = None, seed: Seed = 0) -> xr.DataArray:
    """Return the probability integral transform F_i(y_i) (obs,) or (obs, output): uniform where a fit is calibrated.

    Of counts it is randomised: uniform between ``P(Y < y)`` and ``P(Y <= y)``.

    Parameters
    ----------
    fit, X, y, gate_X, groups
        As for `log_score`.
    seed
        Of the random numbers that counts need.

    Raises
    ------
    SpecError
        If y is labels.

    References
    ----------
    Czado, Gneiting and Held (2009), Predictive model assessment for count data, Biometrics 65.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> values = bm.scores.pit(fit, new.X, new.y)
    >>> bool(((values >= 0) & (values <= 1)).all())
    True
    """
    mixture, target = _read("pit", fit, X, y, gate_X, groups)
    check_seed("pit", seed)
    if fit.support is not Support.COUNT:
        return _each(fit, mixture, target, blend.cdf, "pit")
    random = generator(settle_seed(seed), _PIT_ROLE).random(mixture.rows)

    def between(m: MixtureDraws | Blend, counts: np.ndarray) -> np.ndarray:
        below, at = blend.cdf(m, counts - 1.0), blend.cdf(m, counts)
        return below + random * (at - below)

    return _each(fit, mixture, target, between, "pit")


def loo_pit(fit: Predictive, *, seed: Seed = 0) -> xr.DataArray:
    r"""Return the PIT of every training row (obs,) or (obs, output) by what the other rows say of it.

    .. math:: \sum_s w_{si} F_s(y_i \mid x_i)

    with draws s of all rows and the Pareto-smoothed weights of ``fit.loo()``, which make them draws given all rows but
    i. No rows need be held out, and no fit is made again. Of counts it is randomised, as `pit` is. Rows of weight 0 are
    left out; those of a group are left out together, and each is then predicted by itself.

    Parameters
    ----------
    fit
        A fit by an engine with draws, or an average of such fits.
    seed
        Of the random numbers that counts need.

    Returns
    -------
    xarray.DataArray
        With coordinates ``obs``, positions of the rows, and ``pareto_k``: where it is above ``attrs["good_k"]``, the
        weights, and so the value, are not to be relied on.

    Raises
    ------
    NotFittedError
        For a point fit, or when weights are not whole numbers.
    SpecError
        If y is labels.

    References
    ----------
    Gelfand, Dey and Chang (1992), Model determination using predictive distributions, Bayesian Statistics 4.
    Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation,
    Statistics and Computing 27.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(60, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(1), data.X, data.y, bm.Laplace(draws=500, seed=1), progress=False)
    >>> values = bm.scores.loo_pit(fit)
    >>> values.sizes["obs"], bool(((values >= 0) & (values <= 1)).all())
    (60, True)
    """
    _refuse_labels("loo_pit", fit)
    check_seed("loo_pit", seed)
    parts = left_out_by_weight(fit)
    first = parts[0][1]

    def cdf(y: np.ndarray) -> np.ndarray:
        return np.minimum(sum(weight * part.cdf(y) for weight, part in parts), 1.0)

    values = cdf(first.y)
    if fit.support is Support.COUNT:
        below = cdf(first.y - 1.0)
        values = below + generator(settle_seed(seed), _PIT_ROLE).random(len(below)) * (values - below)
    outputs = list(fit.data.outputs)
    coords = {"obs": first.rows, "pareto_k": ("obs", np.max([part.k_hat for _, part in parts], axis=0))}
    return xr.DataArray(
        values,
        dims=("obs", "output") if outputs else ("obs",),
        coords=coords | ({"output": outputs} if outputs else {}),
        name="loo_pit",
        attrs={"good_k": min(part.good_k for _, part in parts)},
    )


def coverage(
    fit: Predictive, X: Any, y: Any, prob: float = 0.9, *, gate_X: Any = None, groups: Any = None
) -> xr.DataArray:
    """Return whether the equal-tailed interval of ``prob`` holds y (obs,) or (obs, output).

    The mean should be ``prob``; of counts it may be more, since no interval has just that probability.

    Parameters
    ----------
    fit, X, y, gate_X, groups
        As for `log_score`.
    prob
        Probability of the interval.

    Raises
    ------
    SpecError
        If y is labels.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bool(bm.scores.coverage(fit, new.X, new.y, 0.9).mean() > 0.7)
    True
    """
    _refuse_labels("coverage", fit)
    ends = fit.interval(X, prob, gate_X=gate_X, groups=groups)
    seen = xr.DataArray(fit.target(y, X, ends.sizes["obs"]), dims=ends.dims[:-1])
    inside = (ends.sel(bound="lower", drop=True) <= seen) & (seen <= ends.sel(bound="upper", drop=True))
    return inside.rename("coverage").assign_attrs(prob=prob)


def width(fit: Predictive, X: Any, prob: float = 0.9, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
    """Return the width of the equal-tailed interval of ``prob`` (obs,) or (obs, output), in units of y.

    Of two fits whose intervals cover as they should, the one with narrower intervals is better.

    Parameters
    ----------
    fit, X, gate_X, groups
        As for `log_score`.
    prob
        Probability of the interval.

    Raises
    ------
    SpecError
        If y is labels.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> bool((bm.scores.width(fit, new.X) > 0).all())
    True
    """
    _refuse_labels("width", fit)
    ends = fit.interval(X, prob, gate_X=gate_X, groups=groups)
    wide = ends.sel(bound="upper", drop=True) - ends.sel(bound="lower", drop=True)
    return wide.rename("width").assign_attrs(prob=prob)


def table(
    fits: Predictive | Mapping[str, Predictive],
    X: Any,
    y: Any,
    probs: Sequence[float] = (0.5, 0.9),
    *,
    gate_X: Any = None,
    groups: Any = None,
) -> pd.DataFrame:
    """Return mean scores of fits on the same rows, with standard errors, a row per fit.

    Columns: ``log_score`` and ``crps`` with ``_se``, and for every interval ``coverage`` and mean ``width``. Of
    labels, the log score alone; of several outputs, means over outputs. A standard error is that of a mean over rows;
    for the difference of two fits take that of the differences, row by row.

    Parameters
    ----------
    fits
        One, or several by name.
    X, y, gate_X, groups
        As for `log_score`.
    probs
        Probabilities of the intervals.

    Raises
    ------
    InputError
        If there are no fits, or ``probs`` is a single number.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> list(bm.scores.table({"two": fit}, new.X, new.y, probs=[0.9]).columns)
    ['log_score', 'log_score_se', 'crps', 'crps_se', 'coverage_90%', 'width_90%']
    """
    named = fits if isinstance(fits, Mapping) else {"fit": fits}
    if not named:
        raise InputError("fits: expected at least one fit, got none → pass what bm.fit returned")
    if isinstance(probs, float | int | str):
        raise InputError(f"probs: expected a list of probabilities, got {probs!r} → pass [{probs!r}]")
    rows = {}
    for name, fit in named.items():
        more = {"gate_X": gate_X, "groups": groups}
        row = _mean(log_score(fit, X, y, gate_X=gate_X, groups=groups), "log_score")
        if fit.support not in _LABELS:
            row |= _mean(crps(fit, X, y, **more), "crps")
            for prob in probs:
                row[f"coverage_{100 * prob:g}%"] = float(coverage(fit, X, y, prob, **more).mean())
                row[f"width_{100 * prob:g}%"] = float(width(fit, X, prob, **more).mean())
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _mean(values: xr.DataArray, name: str) -> dict[str, float]:
    by_row = values.mean([dim for dim in values.dims if dim != "obs"]).values
    error = by_row.std(ddof=1) / np.sqrt(len(by_row)) if len(by_row) > 1 else np.nan
    return {name: float(by_row.mean()), f"{name}_se": float(error)}


def _read(
    score: str, fit: Predictive, X: Any, y: Any, gate_X: Any, groups: Any
) -> tuple[MixtureDraws | Blend, np.ndarray]:
    _refuse_labels(score, fit)
    mixture = fit.mixture(X, gate_X, groups)
    return mixture, fit.target(y, X, mixture.rows)


def _each(fit: Predictive, mixture: MixtureDraws | Blend, target: np.ndarray, score: Any, name: str) -> xr.DataArray:
    """Return a score of the one output (obs,), or of each by itself (obs, output)."""
    outputs = fit.data.outputs
    if not outputs:
        return xr.DataArray(score(mixture, target), dims=("obs",), name=name)
    values = [score(blend.marginal(mixture, i), target[:, i]) for i in range(len(outputs))]
    return xr.DataArray(np.stack(values, axis=1), dims=("obs", "output"), coords={"output": list(outputs)}, name=name)


def _check(fit: object) -> None:
    if not isinstance(fit, Predictive):
        raise SpecError(f"fit: expected a fit, got {type(fit).__name__} → pass what bm.fit returned")


def _refuse_labels(score: str, fit: object) -> None:
    _check(fit)
    if isinstance(fit, Predictive) and fit.support in _LABELS:
        raise SpecError(f"{score}: expected a target that is a number, got labels → use bm.scores.log_score")
