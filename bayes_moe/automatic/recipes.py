"""The models that `auto_fit` chooses among, as any user could write them."""

from __future__ import annotations

from dataclasses import dataclass

from ..experts import Expert
from ..families import Normal
from ..gates import SoftmaxGate
from ..mixture import MixtureOfExperts
from ..predictors import Constant, Linear
from ..priors import Normal as NormalPrior
from ..smoothing import KernelMean
from ..transforms import Power

_MOST_ALONE = 20  # columns that have a kernel of their own beside the joint one


@dataclass(frozen=True)
class Recipe:
    """One model with the words for it.

    Parameters
    ----------
    name
        A few words.
    model
        The specification.
    """

    name: str
    model: MixtureOfExperts


def constant(power: Power | None) -> Recipe:
    """Return the density of y alone: one Normal for all rows."""
    expert = Expert(Normal(), mu=Constant(), sigma=Constant())
    return Recipe("y alone", MixtureOfExperts([expert], SoftmaxGate(Constant()), target=power))


def smooth(columns: int, power: Power | None) -> Recipe:
    """Return the kernel mean alone: a Gaussian process with one level of noise."""
    expert = Expert(Normal(), mu=Constant(), sigma=Constant())
    mean = KernelMean(additive=columns <= _MOST_ALONE)
    return Recipe("kernel mean alone", MixtureOfExperts([expert], SoftmaxGate(Constant()), target=power, mean=mean))


def residual(experts: int, columns: int, power: Power | None, *, shifts: bool) -> Recipe:
    """Return a small mixture of what the kernel mean leaves.

    Gate, log sigma and, with ``shifts``, means are linear in the columns, the mean m(x) and log √v(x), and go on level
    beyond the training rows: what residuals do there is unknown.
    """
    expert = Expert(
        Normal(),
        mu=_line(20.0**-0.5) if shifts else Constant(),
        sigma=_line(0.15),
    )
    mean = KernelMean(additive=columns <= _MOST_ALONE)
    model = MixtureOfExperts([expert] * experts, SoftmaxGate(_line(2.0**-0.5)), target=power, mean=mean)
    return Recipe(f"{experts} experts{'' if shifts else ' without shifts'}", model)


def _line(scale: float) -> Linear:
    return Linear(slopes=NormalPrior(0.0, scale, standardised=True), bounded=True)
