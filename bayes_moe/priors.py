"""Prior specifications: small frozen values, stated in the user's units.

A prior says what is believed about one quantity *in the user's units*: the expert's mean at the average row (reported
intercepts are those at 0), the change of the mean per unit of a column, the logarithm of sigma in units of y. The
samplers see standardised data; the conversion happens when a model meets data. ``standardised=True`` states a prior on
that scale directly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import SpecError


def _check_positive(owner: str, name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpecError(f"{owner}.{name}: expected a number, got {value!r} → pass a finite number above 0")
    if not (math.isfinite(value) and value > 0):
        raise SpecError(
            f"{owner}.{name}: expected a finite number above 0, got {value!r} → an improper or degenerate "
            "prior leaves the posterior without a mode"
        )


def _check_finite(owner: str, name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"{owner}.{name}: expected a finite number, got {value!r} → pass a number")


@dataclass(frozen=True)
class Normal:
    """Normal prior of one coefficient or of every coefficient of a group.

    Parameters
    ----------
    loc
        Mean, in the user's units.
    scale
        Standard deviation, in the user's units; above 0.
    standardised
        True when ``loc`` and ``scale`` are meant on the standardised scale (x and y with mean 0 and sd 1).

    Raises
    ------
    SpecError
        If ``scale`` is not a finite number above 0 or ``loc`` is not finite.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.priors.Normal(0, 2.5)
    Normal(loc=0, scale=2.5, standardised=False)
    """

    loc: float = 0.0
    scale: float = 1.0
    standardised: bool = False

    def __post_init__(self) -> None:
        _check_finite("priors.Normal", "loc", self.loc)
        _check_positive("priors.Normal", "scale", self.scale)


@dataclass(frozen=True)
class LearnedScale:
    r"""Normal prior whose standard deviation is itself learned, on the standardised scale.

    .. math:: b_j = \frac{s}{\sqrt{p}} z_j, \quad z_j \sim N(0, 1), \quad \log s \sim N(\log m, t^2)

    Parameters
    ----------
    median
        Prior median m of the total standard deviation s of the linear predictor.
    spread
        Standard deviation t of log s; 0 fixes s at its median (the parameter is then without effect).

    Raises
    ------
    SpecError
        If ``median`` is not above 0 or ``spread`` is below 0.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.priors.LearnedScale(median=1.5, spread=1.0)
    LearnedScale(median=1.5, spread=1.0)
    """

    median: float = 1.5
    spread: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("priors.LearnedScale", "median", self.median)
        _check_finite("priors.LearnedScale", "spread", self.spread)
        if self.spread < 0:
            raise SpecError(f"priors.LearnedScale.spread: expected at least 0, got {self.spread!r} → use 0 to fix s")


@dataclass(frozen=True)
class Coefficients:
    """Priors of one linear predictor: its intercept and all its slopes."""

    intercept: Normal
    slopes: Normal
