"""The stick-breaking gate: one choice after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..predictors import Linear
from ..predictors.base import Basis, Predictor
from .arranging import arrangements
from .base import Block, BoundGate, Free, Gate
from .branching import Branching
from .scaled import BoundScaled, check_predictor, read_spread

_ORDERS = 4
"""Orders of a start's clusters that are tried."""


@dataclass(frozen=True)
class StickBreakingGate(Gate):
    r"""Experts are asked one after the other whether they take a row; the last takes what is left.

    .. math:: \log g_k(x) = -\log(1 + e^{-\eta_k(x)}) - \sum_{j<k} \log(1 + e^{\eta_j(x)}), \quad k < K,
        \qquad \log g_K(x) = -\sum_{j<K} \log(1 + e^{\eta_j(x)})

    :math:`\eta_k` are the log odds of expert k against all later ones. Its slopes are :math:`s z_j/\sqrt p` with
    standard normal z and one learned scale s, log s ~ Normal(log 1.5, 1); its intercept is
    :math:`-\log(K-k)`, with which all weights are equal, plus a normal deviation of standard deviation
    :math:`\sqrt{1+s^2}/1.8`.

    The order of the experts is part of the model: the first has a border of its own, the last only what the others
    leave. Experts keep their places even where they are equal as specifications, and another order is another model
    (of which EM's search over starts finds the best). Only the last two, which share the last border, are mirror
    images of each other: where they are equal, their labels are settled like those of any equal experts.

    Parameters
    ----------
    predictor
        ``bm.Linear()`` (default), ``bm.Polynomial(d)`` or ``bm.Constant()``. Its priors may be
        ``priors.Normal(0, scale)`` (fixed) or ``priors.LearnedScale`` (slopes); that of the intercept is about its
        deviation from equal weights.

    Raises
    ------
    SpecError
        If the predictor is not one, is shared, or its priors have a mean other than 0.

    References
    ----------
    Ren, Du, Carin and Dunson (2011), Logistic stick-breaking process, Journal of Machine Learning Research 12.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MixtureOfExperts(3, gate=bm.StickBreakingGate(bm.Linear(columns=("z",)))).gate.predictor.columns
    ('z',)
    """

    predictor: Predictor = field(default_factory=Linear)

    def __post_init__(self) -> None:
        check_predictor("StickBreakingGate", self.predictor, "the prior is about deviations from equal weights")

    def bind(self, experts: int, basis: Basis) -> BoundGate:
        centre = -np.log(np.arange(experts - 1, 0, -1.0))
        return BoundSticks(experts, **asdict(read_spread(self.predictor, basis)), centre=centre)


@dataclass(frozen=True, eq=False)
class BoundSticks(BoundScaled):
    """One linear predictor per expert but the last.

    Parameters
    ----------
    centre
        (K - 1,) intercepts at which all weights are equal.
    """

    centre: np.ndarray

    @property
    def predictors(self) -> int:
        return self.experts - 1

    @property
    def dim(self) -> str:
        return "gate_stick"

    @property
    def coords(self) -> Mapping[str, Sequence[Any]]:
        return {"gate_stick": list(range(self.experts - 1))}

    @cached_property
    def free(self) -> tuple[Free, ...]:
        zero, one = np.zeros(()), np.ones(())
        out = [Free("gate_intercept_z", ("gate_stick",), (self.predictors,), zero, one)]
        if self.width:
            shape = (self.width, self.predictors)
            out.append(Free("gate_slopes_z", ("gate_feature", "gate_stick"), shape, zero, one))
        if self.scaled:
            out.append(Free("gate_scale_z", (), (), zero, one))
        return tuple(out)

    @cached_property
    def basis(self) -> np.ndarray:
        return np.eye(self.predictors)

    def levels(self, values: Sequence[Any], functions: Any) -> list[Any]:
        return list(values[:-1] if self.scaled else values)

    def centred(self, intercepts: Any) -> Any:
        return intercepts + self.centre

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        level, sides = self.places
        every = range(self.predictors)
        return tuple(Block(np.array([j]), np.concatenate([level[[j]], sides[:, j]])) for j in every)

    # -- log weights -------------------------------------------------------------------------------------------

    def log_weights(self, eta: np.ndarray) -> np.ndarray:
        out = np.zeros((len(eta), self.experts))
        out[:, :-1] = -np.logaddexp(0.0, -eta)
        out[:, 1:] -= np.logaddexp(0.0, eta).cumsum(axis=1)
        return out

    def log_weights_graph(self, eta: Any) -> Any:
        from pytensor import tensor as pt  # what `import bayes_moe` does not pay

        zero = pt.zeros((eta.shape[0], 1))
        taken = pt.concatenate([-pt.softplus(-eta), zero], axis=1)
        left = pt.concatenate([zero, pt.cumsum(pt.softplus(eta), axis=1)], axis=1)
        return taken - left

    def slopes(self, eta: np.ndarray) -> np.ndarray:
        asked = np.tri(self.experts, self.predictors)
        return np.asarray(np.eye(self.experts, self.predictors) - _share(eta)[:, None, :] * asked)

    def pull(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        return np.asarray(mass[:, :-1] - _share(eta) * self._asked(mass))

    def bends(self, eta: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        bend = -self._asked(mass) * _share(eta) * _share(-eta)
        return list(bend.T[:, :, None, None])

    @staticmethod
    def _asked(mass: np.ndarray) -> np.ndarray:
        """Return the mass (n, K - 1) that reaches each choice: that of its expert and of all later ones."""
        return np.asarray(mass[:, ::-1].cumsum(axis=1)[:, :0:-1])

    # -- labels ------------------------------------------------------------------------------------------------

    @property
    def tree(self) -> Branching:
        # every choice is a node of two: an expert, and all later ones; the last is one between equals
        last = self.experts - 1
        chain = Branching(f"stick {last - 1}", (last - 1, last)) if last else Branching("stick 0", (0,))
        for expert in range(last - 2, -1, -1):
            chain = Branching(f"stick {expert}", (expert, chain), ordered=True)
        return chain

    def orders(self, features: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        return arrangements(self.tree, features, mass, _ORDERS) if self.experts > 1 else []

    def row_order(self, permutations: np.ndarray) -> np.ndarray:
        return np.tile(np.arange(self.predictors), (len(permutations), 1))

    def permuted(self, values: np.ndarray, permutations: np.ndarray) -> np.ndarray:
        out = values.copy()
        exchanged = permutations[:, -1] != self.experts - 1
        out[exchanged, -1:] *= -1.0  # the log odds of the last two turn round
        return out

    def steepest(self, slopes: np.ndarray) -> float:
        return float(np.abs(slopes).max())


def _share(eta: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-eta)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -eta)))
