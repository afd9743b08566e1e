"""The gate that has nothing to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..predictors import Constant
from ..predictors.base import Basis, Predictor
from .base import BoundGate, Free, Gate


@dataclass(frozen=True)
class EqualGate(Gate):
    """Equal weights for every expert at every x: ``log g_k(x) = -log K``.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MixtureOfExperts(3, gate=bm.EqualGate()).gate
    EqualGate()
    """

    predictor: Predictor = field(default_factory=Constant, init=False, repr=False)

    def bind(self, experts: int, basis: Basis) -> BoundGate:
        return BoundEqual(experts)


@dataclass(frozen=True)
class BoundEqual(BoundGate):
    """Equal weights."""

    experts: int

    @property
    def free(self) -> tuple[Free, ...]:
        return ()

    def coefficients(self, values: Sequence[Any], functions: Any) -> Any:
        return functions.zeros((self.experts, 1))

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        return np.zeros((self.experts, 1, 0))

    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return np.zeros((0, 0))

    def described(self, values: Mapping[str, Any], functions: Any = np) -> dict[str, Any]:
        return {}
