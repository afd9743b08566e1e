"""Learned features: a network in front of the design, its variables, its prior and its weights.

Given its features a network is an ordinary mixture of experts on the table of features. So a trained network is a
few more columns at the end of the raw table, and everything behind them, from EM to predictions, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import SpecError
from ..experts import Expert
from ..gates import Free, GaussianGate, SoftmaxGate
from ..graph import networks
from ..graph.networks import Layer, Nonlinearity
from ..mixture import MixtureOfExperts
from ..predictors import MLP, Activation, Constant, Linear, Predictor
from ..predictors.base import Columns
from ..priors import LearnedScale, Normal
from ..scaling import Scaling

_NONLINEARITIES = {
    Activation.TANH: networks.TANH,
    Activation.SILU: networks.SILU,
    Activation.RELU: networks.RELU,
}

_GATE_SCALE = LearnedScale(median=4.0, spread=1.0)  # features are smaller than standardised columns


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A network that knows its columns and its weights.

    Parameters
    ----------
    network
        The specification.
    columns
        Names of the columns of the table it reads.
    positions
        Where these stand in the raw table.
    center, scale
        Their standardisation.
    names
        What the features are called.
    weights
        (size,) values of all weights and biases: those of a layer after those of the one before.
    """

    network: MLP
    columns: tuple[str, ...]
    positions: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    names: tuple[str, ...]
    weights: np.ndarray

    @cached_property
    def free(self) -> tuple[Free, ...]:
        """The free variables, in order: weights and biases of every layer."""
        out, inputs, dim = [], len(self.columns), "network_column"
        zero, scale = np.zeros(()), self.network.scale
        for layer, units in enumerate(self.network.hidden):
            into = f"hidden_{layer}"
            spread = np.array(scale / np.sqrt(inputs))
            out.append(Free(f"network_weights_{layer}_z", (dim, into), (inputs, units), zero, spread))
            out.append(Free(f"network_biases_{layer}_z", (into,), (units,), zero, np.array(float(scale))))
            inputs, dim = units, into
        return tuple(out)

    @cached_property
    def size(self) -> int:
        """Number of weights and biases."""
        return sum(free.size for free in self.free)

    @cached_property
    def prior_scale(self) -> np.ndarray:
        """Prior standard deviation of every weight; their means are 0."""
        return np.concatenate([np.full(free.size, float(free.scale)) for free in self.free])

    @property
    def nonlinearity(self) -> Nonlinearity:
        """What follows every layer."""
        return _NONLINEARITIES[self.network.activation]

    def layers(self, weights: np.ndarray) -> list[Layer]:
        """Return the layers as views of flat weights."""
        pieces, at = [], 0
        for free in self.free:
            pieces.append(weights[at : at + free.size].reshape(free.shape))
            at += free.size
        return list(zip(pieces[::2], pieces[1::2], strict=True))

    def inputs(self, table: Any) -> Any:
        """Return the standardised columns of the network at rows of the raw table."""
        return (table[:, self.positions] - self.center) / self.scale

    def extended(self, table: np.ndarray) -> np.ndarray:
        """Return rows of the raw table with the features as further columns."""
        features = networks.forward(self.inputs(table), self.layers(self.weights), self.nonlinearity, np)
        return np.concatenate([table, features], axis=1)

    def extend_scaling(self, scaling: Scaling) -> Scaling:
        """Return the scaling of the extended table: features stay as they are."""
        none, one = (0.0,) * len(self.names), (1.0,) * len(self.names)
        constant = (*scaling.x_constant, *(False for _ in none)) if scaling.x_constant else ()
        return replace(scaling, x_center=scaling.x_center + none, x_scale=scaling.x_scale + one, x_constant=constant)

    def extend_columns(self, columns: Columns) -> Columns:
        """Return the columns of the extended table."""
        none, one = (0.0,) * len(self.names), (1.0,) * len(self.names)
        return replace(
            columns,
            names=columns.names + self.names,
            center=columns.center + none,
            scale=columns.scale + one,
            sources=columns.sources + self.names if columns.sources else (),
        )

    def log_prior(self) -> float:
        """Return the log prior density of the weights."""
        z = self.weights / self.prior_scale
        return float(-0.5 * z @ z - np.sum(np.log(self.prior_scale)) - 0.5 * self.size * np.log(2.0 * np.pi))

    def named(self) -> dict[str, np.ndarray]:
        """Return {free variable: values}."""
        pieces = [piece for layer in self.layers(self.weights) for piece in layer]
        return {free.name: piece for free, piece in zip(self.free, pieces, strict=True)}

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Return weights drawn from the prior."""
        return self.prior_scale * rng.standard_normal(self.size)


def make_features(network: MLP, columns: Columns, weights: np.ndarray | None) -> FeatureMap:
    """Return a network on a table.

    Without ``weights`` they are drawn from the prior by a fixed seed.

    Raises
    ------
    SpecError
        If a named column is not in the table, or none is left.
    """
    chosen = columns.positions(network.columns, "MLP")
    if not chosen:
        raise SpecError("MLP.columns: expected a column that varies, got none → leave features= out without covariates")
    prefix = "h"
    while any(f"{prefix}{unit}" in (*columns.names, *columns.sources) for unit in range(network.width)):
        prefix += "_"
    names = tuple(f"{prefix}{unit}" for unit in range(network.width))
    center, scale = (np.array([values[j] for j in chosen]) for values in (columns.center, columns.scale))
    read = tuple(columns.names[j] for j in chosen)
    blank = FeatureMap(network, read, np.array(chosen), center, scale, names, np.zeros(0))
    if weights is None:
        return replace(blank, weights=blank.drawn(np.random.default_rng(0)))
    if weights.shape != (blank.size,):
        raise SpecError(f"MLP: expected {blank.size} weights, got shape {weights.shape} → take them from its own fit")
    return replace(blank, weights=weights)


def output_layer(model: MixtureOfExperts, *, gate: bool) -> MixtureOfExperts:
    """Return the model with its linear functions of features as the output layer of the network.

    Slopes without a prior of their own get that of the network's weights, those of a softmax gate a wider learned
    scale. ``gate`` says whether the gate sees the features.

    Raises
    ------
    SpecError
        If a predictor on the features is not linear in them.
    """
    assert model.features is not None
    prior = Normal(0.0, model.features.scale / float(np.sqrt(model.features.width)), standardised=True)
    chosen = model.gate
    if isinstance(chosen, GaussianGate):
        raise SpecError(
            "MixtureOfExperts.gate: expected a gate without a density of its own beside learned features, got "
            f"{chosen!r} → features could shrink to raise that density; use bm.SoftmaxGate()"
        )
    if gate:
        _refuse_curved(chosen.predictor, "gate.predictor")
        if isinstance(chosen, SoftmaxGate) and _takes_default(chosen.predictor):
            chosen = replace(chosen, predictor=replace(chosen.predictor, slopes=_GATE_SCALE))  # type: ignore[type-var]
    experts = []
    for place, expert in enumerate(model.experts):
        predictors = dict(expert.predictors)
        for name, predictor in predictors.items():
            _refuse_curved(predictor, f"experts[{place}].{name}")
            if _takes_default(predictor):
                predictors[name] = replace(predictor, slopes=prior)  # type: ignore[type-var]
        experts.append(Expert(expert.family, **predictors))
    return MixtureOfExperts(experts, chosen, model.features)


def _takes_default(predictor: Predictor) -> bool:
    """Whether a predictor is linear in the features with the default prior."""
    return isinstance(predictor, Linear) and predictor.columns is None and predictor.slopes is None


def _refuse_curved(predictor: Predictor, owner: str) -> None:
    if predictor.claimed() or isinstance(predictor, Constant | Linear):
        return
    raise SpecError(
        f"MixtureOfExperts.{owner}: expected bm.Linear or bm.Constant on learned features, got {predictor!r} → the "
        "network bends enough; or name the columns it is to see instead of the features, columns=(...)"
    )
