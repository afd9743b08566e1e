"""Whether y falls where a predictive distribution says it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from .. import scores
from ..errors import InputError
from ..inference.settings import Seed, generator
from ..posterior.predictive import Predictive
from .canvas import ALARM, GREY, INK, canvas

_LEVELS = np.arange(1, 100) / 100.0
_SIMULATIONS = 2000
_BAND = "#dfe6ee"
_NAMED = (0.5, 0.9)


def calibration(
    fit: Predictive,
    X: Any = None,
    y: Any = None,
    *,
    gate_X: Any = None,
    groups: Any = None,
    prob: float = 0.95,
    seed: Seed = 0,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw whether rows fall where the fit says, in two panels: rows it has not seen, or its own, each left out.

    Left: the share of rows whose y lies below the predictive quantile of each level, less that level. A curve that
    rises first and falls later means predictions too wide, one that falls first too narrow, one that stays above 0 too
    high. Right: the share of rows in the central intervals, against their probability. Where all is well, each curve
    stays within its band everywhere with probability ``prob``: bands are simultaneous. Of several outputs, each has a
    curve. Values of counts are randomised.

    Parameters
    ----------
    fit
        A fit, or an average of fits.
    X, y, gate_X, groups
        Rows, as for ``fit.predict``, and what was seen there. Without them: the training rows, each by what the others
        say of it (`bayes_moe.scores.loo_pit`), which needs draws; passed as if they were new, training rows look
        better than they are.
    prob
        Probability that a curve of a calibrated fit stays within its band.
    seed
        Of the random numbers that counts need.
    figure
        Figure or subfigure to draw in; None makes one.

    Raises
    ------
    SpecError
        If y is labels.
    InputError
        If only some of X, y and what belongs to them are given.
    NotFittedError
        Without X and y, for a point fit, or when weights are not whole numbers.

    References
    ----------
    Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity, Statistics and Computing 32.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> train, new = bm.datasets.two_lines(100, seed=1), bm.datasets.two_lines(50, seed=2)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), train.X, train.y, bm.EM(starts=4, seed=1), progress=False)
    >>> len(bm.plots.calibration(fit, new.X, new.y).axes)
    2
    """
    values = _values(fit, X, y, gate_X, groups, seed)
    names = [f"{name}" for name in values["output"].values] if "output" in values.dims else [fit.data.y_name]
    curves = values.values.reshape(values.sizes["obs"], -1)
    if figure is None:
        figure = plt.figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = (canvas(ax) for ax in figure.subplots(1, 2))
    low, high = band(len(curves), prob)
    left.fill_between(_LEVELS, low - _LEVELS, high - _LEVELS, color=_BAND, linewidth=0)
    right.fill_between(_LEVELS, low, high, color=_BAND, linewidth=0, label=f"{100 * prob:g} % band")
    left.axhline(0.0, color=GREY, linewidth=0.8)
    right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    central = np.abs(2.0 * curves - 1.0)
    for position, name in enumerate(names):
        below, inside = _share(curves[:, position]), _share(central[:, position])
        for ax, line, out in (
            (left, below - _LEVELS, _out(below, low, high)),
            (right, inside, _out(inside, low, high)),
        ):
            ax.plot(_LEVELS, line, color=INK, linewidth=1.3, label=name if len(names) > 1 else "share of rows")
            ax.plot(_LEVELS[out], line[out], ".", color=ALARM, markersize=5.0, label="_out")
    _words(left, right, curves, central, (low, high))
    if "pareto_k" in values.coords:
        left.set_xlabel(f"level u ({_about_rows(values)})")
    return figure


def _values(fit: Predictive, X: Any, y: Any, gate_X: Any, groups: Any, seed: Seed) -> xr.DataArray:
    """Return the PIT of new rows, or of the training rows left out."""
    if X is None and y is None and gate_X is None and groups is None:
        return scores.loo_pit(fit, seed=seed)
    if X is None or y is None:
        missing = "X" if X is None else "y"
        raise InputError(
            f"{missing}: expected rows and their y, got one without the other → pass both, or neither X, y, gate_X nor "
            "groups for the training rows, each left out"
        )
    return scores.pit(fit, X, y, gate_X=gate_X, groups=groups, seed=seed)


def _about_rows(values: xr.DataArray) -> str:
    bad = int((values["pareto_k"] > values.attrs["good_k"]).sum())
    doubt = f", {bad} of {values.sizes['obs']} with a k-hat above {values.attrs['good_k']:.2g}" if bad else ""
    return f"training rows, each left out{doubt}"


def band(rows: int, prob: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the band (99,), (99,) that holds the distribution function of uniform numbers with probability ``prob``.

    At every one of the levels 0.01, ..., 0.99 it is the binomial interval of one and the same probability, found by
    simulation with a fixed seed.
    """
    from scipy.stats import binom  # a third of a second that `import bayes_moe` does not pay

    rng = generator(0, 40)
    cells = rng.multinomial(rows, np.full(100, 0.01), size=_SIMULATIONS)
    counts = np.cumsum(cells, axis=1)[:, :-1]
    tails = np.minimum(binom.cdf(counts, rows, _LEVELS), binom.sf(counts - 1, rows, _LEVELS))
    level = np.quantile(tails.min(axis=1), 1.0 - prob)
    return binom.ppf(level, rows, _LEVELS) / rows, binom.isf(level, rows, _LEVELS) / rows


def _share(values: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(values), _LEVELS, side="right") / len(values)


def _out(share: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray((share < low) | (share > high))


def _words(
    left: Axes, right: Axes, curves: np.ndarray, central: np.ndarray, limits: tuple[np.ndarray, np.ndarray]
) -> None:
    """Name the axes, and say in the titles what is seen."""
    low, high = limits
    all_below, all_inside = (np.stack([_share(column) for column in values.T]) for values in (curves, central))
    strays = bool(_out(all_below, low, high).any())
    left.set_title("PIT leaves its band" if strays else "PIT within its band", color=ALARM if strays else INK)
    narrow, wide = bool((all_inside < low).any()), bool((all_inside > high).any())
    covered = ", ".join(f"{100 * prob:g} %: {100 * np.mean(central <= prob):.0f} %" for prob in _NAMED)
    verdict = {(True, False): "too narrow", (False, True): "too wide", (True, True): "too narrow and too wide"}
    fault = verdict.get((narrow, wide))
    right.set_title(f"intervals {fault or 'cover as they should'} ({covered})", color=ALARM if fault else INK)
    left.set(xlabel="level u", ylabel="share of rows below the quantile of u, less u", xlim=(0, 1))
    right.set(xlabel="probability of the interval", ylabel="share of rows inside", xlim=(0, 1), ylim=(0, 1))
    right.legend(frameon=False, fontsize="small", loc="upper left")
    for ax in (left, right):
        ax.title.set_fontsize("medium")
