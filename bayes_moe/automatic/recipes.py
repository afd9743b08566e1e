"""The models that `auto_fit` chooses among, as any user could write them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..experts import Expert
from ..families import Family, Normal, StudentT
from ..gates import SoftmaxGate
from ..inference.em import EM
from ..inference.variational_em import VariationalEM
from ..mixture import MixtureOfExperts
from ..predictors import Constant, Linear, Predictor, Products, Spline, Sum
from ..priors import Normal as NormalPrior
from ..smoothing import LOG_SD, MEAN, KernelMean
from ..transforms import Power

_MOST_ALONE = 20  # columns that have a kernel of their own beside the joint one
_GATE, _SIGMA = 2.0**-0.5, 0.15  # prior deviations of slopes, of standardised columns
_KNOTS = 5
_LEVELS = 4  # distinct values that a column needs for a curve
_MOST_CURVED = 30  # columns
_STARTS, _CURVED_FITS = 6, 3


@dataclass(frozen=True)
class Recipe:
    """One model with the words for it.

    Parameters
    ----------
    name
        A few words.
    model
        The specification.
    rows_each
        Rows that a parameter needs, or the model is not tried.
    engine
        By what it is fitted.
    turn
        Which of several fits of one model it is.
    sampled
        The model for other engines, where that of ``engine`` leaves to it what they need; None: the same.
    """

    name: str
    model: MixtureOfExperts
    rows_each: float = 4.0
    engine: EM | VariationalEM = field(default_factory=lambda: EM(starts=_STARTS))
    turn: int = 0
    sampled: MixtureOfExperts | None = None


def alone(power: Power | None) -> Recipe:
    """Return the density of y alone: one Normal for all rows."""
    expert = Expert(Normal(), mu=Constant(), sigma=Constant())
    return Recipe("y alone", MixtureOfExperts([expert], SoftmaxGate(Constant()), target=power))


def lines(experts: int, power: Power | None) -> Recipe:
    """Return linear experts with log sigma linear, bounded beyond the training rows.

    The uncertainty of their coefficients, which `VariationalEM` knows, makes intervals widen far from these rows.
    """
    expert = Expert(Normal(), mu=Linear(), sigma=_line(_SIGMA) if experts > 1 else Constant())
    gate = SoftmaxGate(Linear(bounded=True)) if experts > 1 else SoftmaxGate(Constant())
    name = f"{experts} lines" if experts > 1 else "one line"
    engine = VariationalEM(starts=_STARTS)
    return Recipe(name, MixtureOfExperts([expert] * experts, gate, target=power), engine=engine)


def curves(names: tuple[str, ...], table: np.ndarray, experts: int, power: Power | None) -> tuple[Recipe, ...]:
    """Return rich experts: lines, curves and products of columns; none for too many columns.

    The priors of their slopes are learned by `VariationalEM`, one for every group of columns and every expert. These
    are fits from several starts: to average them gains more than to search longer.

    Parameters
    ----------
    names, table
        Columns by name, without constant ones, and their training rows (n, p).
    experts, power
        Number of experts, and the power of y they are of.
    """
    if not 0 < len(names) <= _MOST_CURVED:
        return ()
    bounded = Linear(names, slopes=NormalPrior(0.0, _SIGMA, standardised=True), bounded=True)
    gate = SoftmaxGate(Linear(names, bounded=True) if experts > 1 else Constant())
    learned, given = (
        MixtureOfExperts([Expert(Normal(), mu=mean, sigma=bounded)] * experts, gate, target=power)
        for mean in (_curve(names, table, None, None), _curve(names, table, 0.5, 0.15))
    )
    engine = VariationalEM(starts=1)
    return tuple(
        Recipe(f"{experts} curved experts, start {turn + 1}", learned, 0.5, engine, turn, given)
        for turn in range(_CURVED_FITS)
    )


def _curve(names: tuple[str, ...], table: np.ndarray, line: float | None, rest: float | None) -> Predictor:
    """Return lines, curves and products, with prior deviations of their slopes; None: learned."""
    lines, others = (None if scale is None else NormalPrior(0.0, scale, standardised=True) for scale in (line, rest))
    sizes: dict[int, list[str]] = {}
    for name, column in zip(names, table.T, strict=True):
        count = len(np.unique(column))
        if count >= _LEVELS:
            sizes.setdefault(min(_KNOTS, count - 1), []).append(name)
    parts: list[Predictor] = [Linear(names, slopes=lines)]
    parts += [Spline(size, columns=tuple(some), slopes=others) for size, some in sizes.items()]
    if len(names) > 1:
        parts.append(Products(names, slopes=others))
    return Sum(tuple(parts)) if len(parts) > 1 else parts[0]


def smooth(mean: KernelMean, power: Power | None) -> Recipe:
    """Return the kernel mean alone: a Gaussian process with one level of noise."""
    expert = Expert(Normal(), mu=Constant(), sigma=Constant())
    model = MixtureOfExperts([expert], SoftmaxGate(Constant()), target=power, mean=mean)
    return Recipe("kernel mean alone", model)


def residuals(mean: KernelMean, power: Power | None) -> tuple[Recipe, ...]:
    """Return small mixtures of what the kernel mean leaves, the smallest first.

    Gate and log sigma are linear in the columns, in m(x) and in log √v(x), or in the last two alone, and go on level
    beyond the training rows: what residuals do there is unknown. Experts have no slopes of their own in the mean:
    cross-validation on training rows was against them.
    """
    own = (MEAN, LOG_SD)
    return (
        _residual("one Student-t", mean, power, 1, None, StudentT()),
        _residual("2 experts", mean, power, 2),
        _residual("3 experts by level", mean, power, 3, own),
        _residual("3 experts", mean, power, 3),
        _residual("5 experts", mean, power, 5),
    )


def kernel(columns: int, rounding: float) -> KernelMean:
    """Return the kernel mean for a number of columns and y rounded to steps of ``rounding``."""
    return KernelMean(additive=columns <= _MOST_ALONE, rounding=rounding)


def _residual(
    name: str,
    mean: KernelMean,
    power: Power | None,
    experts: int,
    columns: tuple[str, ...] | None = None,
    family: Family | None = None,
) -> Recipe:
    expert = Expert(Normal() if family is None else family, mu=Constant(), sigma=_line(_SIGMA, columns))
    gate = SoftmaxGate(_line(_GATE, columns) if experts > 1 else Constant())
    return Recipe(name, MixtureOfExperts([expert] * experts, gate, target=power, mean=mean))


def _line(scale: float, columns: tuple[str, ...] | None = None) -> Linear:
    return Linear(columns, slopes=NormalPrior(0.0, scale, standardised=True), bounded=True)
