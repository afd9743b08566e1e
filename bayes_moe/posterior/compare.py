"""Comparison of fits by leave-one-out cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import FitWarning, InputError
from .fit import Fit


def compare(fits: Mapping[str, Fit]) -> Any:
    """Compare posterior fits of the same target by their expected log predictive density.

    Parameters
    ----------
    fits
        Fits by name; all by an engine with draws, all of the same y and weights.

    Returns
    -------
    pandas.DataFrame
        ArviZ's comparison table, best first, with stacking weights (Yao et al. 2018). Its column ``diag_elpd`` says
        which estimates have Pareto k-hats above their limit; a `FitWarning` names them.

    Raises
    ------
    InputError
        If fewer than two fits are given, or their targets differ.
    NotFittedError
        If a fit has no draws.

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
        if not isinstance(fit, Fit):
            raise InputError(f"fits[{name!r}]: expected a Fit, got {type(fit).__name__} → pass what bm.fit returned")
    first, *others = fits
    for name in others:
        if fits[name].data.digest != fits[first].data.digest:
            raise InputError(
                f"fits[{name!r}]: expected the target of {first!r}, got another y or other weights → refit"
            )
    # arviz_stats takes a second to import, which `import bayes_moe` must not cost
    import arviz_stats

    scores = {name: fit.loo() for name, fit in fits.items()}
    unreliable = [name for name, score in scores.items() if bool((score.pareto_k > score.good_k).any())]
    if unreliable:
        warnings.warn(
            f"compare: expected Pareto k-hats below their limit, and leave-one-out of {unreliable} has "
            "some above → their ranks may be wrong; sample with bm.NUTS, or compare held-out log densities",
            FitWarning,
            stacklevel=2,
        )
    return arviz_stats.compare(scores, round_to="none")
