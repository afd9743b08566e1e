"""A network of hidden layers: features that are learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from ..errors import SpecError
from .base import check_columns

MOST_UNITS = 4096
MOST_LAYERS = 20


class Activation(Enum):
    """What a hidden unit makes of its weighted sum."""

    TANH = "tanh(a)"
    SILU = "a / (1 + exp(-a)), smooth and unbounded"
    RELU = "max(a, 0)"


@dataclass(frozen=True)
class MLP:
    r"""A multilayer perceptron whose last hidden layer gate and experts see instead of the columns.

    .. math:: h_0 = \tilde x, \quad h_l = \phi(W_l h_{l-1} + b_l), \qquad
              W_l \sim N(0, s^2 / \text{fan-in}), \; b_l \sim N(0, s^2)

    with standardised columns x̃. It is given as ``features=`` of `MixtureOfExperts`; the linear functions of gate and
    experts are its output layer. The prior is what is called weight decay elsewhere.

    Parameters
    ----------
    hidden
        Number of units of every hidden layer, first to last.
    activation
        ``bm.Activation.SILU`` (default), ``TANH`` or ``RELU``.
    columns
        Names or positions of the columns to use; None for every column that nothing else claims.
    scale
        s: prior standard deviation of a unit's weighted sum where its inputs have size one.

    Raises
    ------
    SpecError
        If a layer has no units, there is no layer, or an argument is of another kind.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MLP((64, 64)).hidden
    (64, 64)

    References
    ----------
    Bishop (1994), Mixture density networks, Aston University NCRG/94/004; Neal (1996), Bayesian learning for neural
    networks, for the scale of the prior.
    """

    hidden: tuple[int, ...] = (32, 32)
    activation: Activation = Activation.SILU
    columns: tuple[str | int, ...] | None = None
    scale: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _read_hidden(self.hidden))
        if not isinstance(self.activation, Activation):
            names = ", ".join(f"bm.Activation.{member.name}" for member in Activation)
            raise SpecError(f"MLP.activation: expected one of {names}, got {self.activation!r} → pass one of them")
        check_columns("MLP", self.columns)
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))
        number = isinstance(self.scale, int | float) and not isinstance(self.scale, bool)
        if not number or not (math.isfinite(self.scale) and self.scale > 0):
            raise SpecError(f"MLP.scale: expected a finite number above 0, got {self.scale!r} → e.g. 2.0")

    @property
    def width(self) -> int:
        """Number of features: units of the last hidden layer."""
        return self.hidden[-1]

    def claimed(self) -> tuple[str | int, ...]:
        """Return the columns the specification names explicitly."""
        return self.columns or ()


def _read_hidden(hidden: object) -> tuple[int, ...]:
    if isinstance(hidden, int) and not isinstance(hidden, bool):
        raise SpecError(f"MLP.hidden: expected units of every layer, got {hidden!r} → write ({hidden},)")
    if not isinstance(hidden, tuple | list) or not 1 <= len(hidden) <= MOST_LAYERS:
        raise SpecError(
            f"MLP.hidden: expected units of 1 to {MOST_LAYERS} layers, got {hidden!r} → e.g. (32, 32); without a "
            "hidden layer leave features= out"
        )
    for units in hidden:
        if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= MOST_UNITS:
            raise SpecError(
                f"MLP.hidden: expected whole numbers of units from 1 to {MOST_UNITS}, got {units!r} → e.g. (32, 32)"
            )
    return tuple(hidden)
