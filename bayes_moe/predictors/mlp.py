"""A network of hidden layers: features that are learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, check_flag, check_predictor
from .linear import Linear

MOST_UNITS = 4096
MOST_LAYERS = 20


class Activation(Enum):
    """What a hidden unit makes of its weighted sum."""

    TANH = "tanh(a)"
    SILU = "a / (1 + exp(-a)), smooth and unbounded"
    RELU = "max(a, 0)"


@dataclass(frozen=True)
class MLP(Predictor):
    r"""A multilayer perceptron: a linear function of the last hidden layer of a network.

    .. math:: h_0 = \tilde x, \quad h_l = \phi(W_l h_{l-1} + b_l), \quad \eta_k = a_k + v_k \cdot h_L, \qquad
              W_l \sim N(0, s^2 / \text{fan-in}), \; b_l \sim N(0, s^2)

    with standardised columns x̃. The prior is what is called weight decay elsewhere.

    As the predictor of a gate, ``bm.SoftmaxGate(bm.MLP((16,)))``, it is one network whose output layer has a row for
    every expert. As that of a parameter, ``bm.Expert(mu=bm.MLP((16,)))``, every expert has a network of its own, also
    where several experts are equal as specifications; with ``shared=True`` these have one network and output layer. As
    ``features=`` of `MixtureOfExperts` there is one network under gate and experts, and their linear functions of its
    features are its output layer.

    Training finds the weights of all networks of a model together (`Training`); the other engines hold them fixed then
    and go on with the output layers.

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
    intercept
        Prior of a, as for `Linear`.
    slopes
        Prior of v, per unit of a feature. None: on the standardised scale Normal(0, s c / sqrt(units)) with c = 1 for
        means, 0.67 for log sigma and in general (t/2.5)^(1/4), where t is the default prior standard deviation of that
        parameter's slopes; in a gate ``priors.LearnedScale(4, 1)`` (softmax) or the gate's own.
    shared
        True when all equal experts share network and output layer.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If a layer has no units, there is no layer, or an argument is of another kind.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MLP((64, 64)).hidden
    (64, 64)
    >>> expert = bm.Expert(bm.Normal(), mu=bm.MLP((16,)), sigma=bm.Linear())
    >>> bm.MixtureOfExperts([expert] * 2, bm.SoftmaxGate(bm.MLP((8,)))).learned
    True

    References
    ----------
    Bishop (1994), Mixture density networks, Aston University NCRG/94/004; Neal (1996), Bayesian learning for neural
    networks, for the scale of the prior; Jordan and Jacobs (1994), Hierarchical mixtures of experts and the EM
    algorithm, Neural Computation 6, for networks as gates and experts.
    """

    hidden: tuple[int, ...] = (32, 32)
    activation: Activation = Activation.SILU
    columns: tuple[str | int, ...] | None = None
    scale: float = 2.0
    intercept: Normal | None = None
    slopes: Normal | LearnedScale | None = None
    shared: bool = False
    offset: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _read_hidden(self.hidden))
        if not isinstance(self.activation, Activation):
            names = ", ".join(f"bm.Activation.{member.name}" for member in Activation)
            raise SpecError(f"MLP.activation: expected one of {names}, got {self.activation!r} → pass one of them")
        check_predictor("MLP", self)
        check_flag("MLP", "shared", self.shared)
        number = isinstance(self.scale, int | float) and not isinstance(self.scale, bool)
        if not number or not (math.isfinite(self.scale) and self.scale > 0):
            raise SpecError(f"MLP.scale: expected a finite number above 0, got {self.scale!r} → e.g. 2.0")

    @property
    def slopes_prior(self) -> Normal | LearnedScale | None:
        return self.slopes

    @property
    def width(self) -> int:
        """Number of features: units of the last hidden layer."""
        return self.hidden[-1]

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        """Return the output layer's basis: the features, which are the default ``columns`` of the table."""
        return Linear().basis(columns, table, weights)


def _read_hidden(hidden: object) -> tuple[int, ...]:
    if isinstance(hidden, int) and not isinstance(hidden, bool):
        raise SpecError(f"MLP.hidden: expected units of every layer, got {hidden!r} → write ({hidden},)")
    if not isinstance(hidden, tuple | list) or not 1 <= len(hidden) <= MOST_LAYERS:
        raise SpecError(
            f"MLP.hidden: expected units of 1 to {MOST_LAYERS} layers, got {hidden!r} → e.g. (32, 32); without a "
            "hidden layer it is bm.Linear()"
        )
    for units in hidden:
        if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= MOST_UNITS:
            raise SpecError(
                f"MLP.hidden: expected whole numbers of units from 1 to {MOST_UNITS}, got {units!r} → e.g. (32, 32)"
            )
    return tuple(hidden)
