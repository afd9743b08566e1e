"""The softmax gate over a linear predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..predictors import Linear
from ..predictors.base import Basis, Predictor
from .base import BoundGate, Free, Gate, zero_sum_basis
from .scaled import BoundScaled, check_predictor, read_spread


@dataclass(frozen=True)
class SoftmaxGate(Gate):
    r"""Softmax of zero-sum linear predictors.

    .. math:: \log g_k(x) = \eta_k(x) - \log\sum_j e^{\eta_j(x)}, \quad \sum_k \eta_k(x) = 0

    Slopes are :math:`s z_j/\sqrt p` with zero-sum standard normal z over the experts and one learned scale s,
    log s ~ Normal(log 1.5, 1): smooth gates by default, sharp ones when the data ask. Intercepts are zero-sum normal
    with standard deviation :math:`\sqrt{1+s^2}/1.8`. The prior is unchanged by renaming the experts.

    Parameters
    ----------
    predictor
        ``bm.Linear()`` (default), ``bm.Polynomial(d)`` or ``bm.Constant()`` for a plain mixture. Its priors may be
        ``priors.Normal(0, scale)`` (fixed) or ``priors.LearnedScale`` (slopes).

    Raises
    ------
    SpecError
        If the predictor is not one, is shared, or its priors have a mean other than 0.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.SoftmaxGate(bm.Linear(columns=("z",))).predictor.columns
    ('z',)
    """

    predictor: Predictor = field(default_factory=Linear)

    def __post_init__(self) -> None:
        check_predictor("SoftmaxGate", self.predictor)

    def bind(self, experts: int, basis: Basis) -> BoundGate:
        return BoundSoftmax(experts, **asdict(read_spread(self.predictor, basis)))


@dataclass(frozen=True, eq=False)
class BoundSoftmax(BoundScaled):
    """One linear predictor per expert; they sum to zero over the experts."""

    @cached_property
    def basis(self) -> np.ndarray:
        return zero_sum_basis(self.experts)

    @cached_property
    def free(self) -> tuple[Free, ...]:
        zero, one = np.zeros(()), np.ones(())
        out = [Free("gate_intercept_z", ("expert",), (self.experts,), zero, one, zero_sum=True)]
        if self.width:
            shape = (self.width, self.experts)
            out.append(Free("gate_slopes_z", ("gate_feature", "expert"), shape, zero, one, zero_sum=True))
        if self.scaled:
            out.append(Free("gate_scale_z", (), (), zero, one))
        return tuple(out)

    def levels(self, values: Sequence[Any], functions: Any) -> list[Any]:
        return list(values[:-1] if self.scaled else values)
