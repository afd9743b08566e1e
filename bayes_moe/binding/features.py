"""Learned features: networks in front of the design, their variables, their priors and their weights.

Given its features a network is an ordinary mixture of experts on the table of features. So trained networks are a few
more columns at the end of the raw table, and everything behind them, from EM to predictions, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
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

_MEAN_SLOPES = 2.5  # default prior standard deviation of the slopes of a mean

type Owner = str | tuple[int, int]
"""Whose network it is: all predictors' (``"features"``), the ``"gate"``'s, or that of (block, parameter)."""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One network that knows its columns.

    Parameters
    ----------
    network
        The specification.
    name
        What its free variables and their dimensions begin with.
    columns
        Names of the columns of the table it reads.
    positions
        Where these stand in the raw table.
    center, scale
        Their standardisation.
    features
        What its features are called.
    """

    network: MLP
    name: str
    columns: tuple[str, ...]
    positions: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    features: tuple[str, ...]

    @cached_property
    def free(self) -> tuple[Free, ...]:
        """The free variables, in order: weights and biases of every layer."""
        out, inputs, dim = [], len(self.columns), f"{self.name}_column"
        zero, scale = np.zeros(()), self.network.scale
        for layer, units in enumerate(self.network.hidden):
            into = f"{self.name}_hidden_{layer}"
            spread = np.array(scale / np.sqrt(inputs))
            out.append(Free(f"{self.name}_weights_{layer}_z", (dim, into), (inputs, units), zero, spread))
            out.append(Free(f"{self.name}_biases_{layer}_z", (into,), (units,), zero, np.array(float(scale))))
            inputs, dim = units, into
        return tuple(out)

    @cached_property
    def size(self) -> int:
        """Number of weights and biases."""
        return sum(free.size for free in self.free)

    @property
    def coords(self) -> dict[str, Sequence[Any]]:
        """Coordinates of the dimensions of its free variables."""
        hidden = {f"{self.name}_hidden_{layer}": range(units) for layer, units in enumerate(self.network.hidden)}
        return {f"{self.name}_column": self.columns, **hidden}

    @property
    def nonlinearity(self) -> Nonlinearity:
        """What follows every layer."""
        return _NONLINEARITIES[self.network.activation]

    def layers(self, weights: np.ndarray) -> list[Layer]:
        """Return the layers as views of flat weights (size,)."""
        pieces, at = [], 0
        for free in self.free:
            pieces.append(weights[at : at + free.size].reshape(free.shape))
            at += free.size
        return list(zip(pieces[::2], pieces[1::2], strict=True))

    def inputs(self, table: Any) -> Any:
        """Return the standardised columns of the network at rows of the raw table."""
        return (table[:, self.positions] - self.center) / self.scale


@dataclass(frozen=True, eq=False)
class Networks:
    """All networks of a model, with their weights.

    Parameters
    ----------
    maps
        The networks, in the order of their features behind the columns of the raw table.
    weights
        (size,) values of all weights and biases, network by network, in each those of a layer after those of the one
        before.
    """

    maps: tuple[FeatureMap, ...]
    weights: np.ndarray

    @cached_property
    def free(self) -> tuple[Free, ...]:
        """The free variables of all networks, in order."""
        return tuple(free for one in self.maps for free in one.free)

    @cached_property
    def size(self) -> int:
        """Number of weights and biases."""
        return sum(one.size for one in self.maps)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all features."""
        return tuple(name for one in self.maps for name in one.features)

    @cached_property
    def prior_scale(self) -> np.ndarray:
        """Prior standard deviation of every weight; their means are 0."""
        return np.concatenate([np.full(free.size, float(free.scale)) for free in self.free])

    def split(self, weights: np.ndarray) -> list[list[Layer]]:
        """Return the layers of every network as views of flat weights (size,)."""
        return [one.layers(weights[where]) for one, where in zip(self.maps, self._where, strict=True)]

    @cached_property
    def _where(self) -> list[slice]:
        ends = np.cumsum([one.size for one in self.maps]).tolist()
        return [slice(end - one.size, end) for one, end in zip(self.maps, ends, strict=True)]

    def extended(self, table: np.ndarray) -> np.ndarray:
        """Return rows of the raw table with the features as further columns."""
        pairs = zip(self.maps, self.split(self.weights), strict=True)
        features = [networks.forward(one.inputs(table), layers, one.nonlinearity, np) for one, layers in pairs]
        return np.concatenate([table, *features], axis=1)

    def numbered(self, table: np.ndarray) -> np.ndarray:
        """Return rows of the raw table with columns that stand for the features: no two equal, whatever weights are."""
        stand_ins = np.random.default_rng(0).random((len(table), len(self.names)))
        return np.concatenate([table, stand_ins], axis=1)

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
        layers = (layer for own in self.split(self.weights) for layer in own)
        pieces = [piece for layer in layers for piece in layer]
        return {free.name: piece for free, piece in zip(self.free, pieces, strict=True)}


def suffix(model: MixtureOfExperts, block: int, expert: int | None = None) -> str:
    """Return the end of the names of a block's free variables, or of those that one of its experts has alone."""
    own = "" if expert is None else f"_{expert}"
    return own if len(model.blocks) == 1 else f"_{block}{own}"


def owners(model: MixtureOfExperts) -> dict[Owner, dict[str, MLP]]:
    """Return the networks of a model by name, for every owner."""
    found: dict[Owner, dict[str, MLP]] = {}
    if model.features is not None:
        found["features"] = {"network": model.features}
    if isinstance(model.gate.predictor, MLP):
        found["gate"] = {"gate_network": model.gate.predictor}
    for block, (expert, positions) in enumerate(model.blocks):
        for place, parameter in enumerate(expert.family.parameters):
            predictor = expert.predictors[parameter.name]
            if isinstance(predictor, MLP):
                alone = [None] if predictor.shared or len(positions) == 1 else positions
                ends = [suffix(model, block, one) for one in alone]
                found[block, place] = {f"{parameter.predicted}_network{end}": predictor for end in ends}
    return found


def make_networks(
    model: MixtureOfExperts, columns: Columns, gate_default: Sequence[int], weights: np.ndarray | None
) -> tuple[Networks, dict[Owner, tuple[tuple[int, ...], ...]]] | None:
    """Return the networks of a model on a table, and where every owner's features stand; None without networks.

    A network without ``columns=`` reads the default ``columns``, in the gate ``gate_default``. Without ``weights`` they
    are drawn from the prior by a fixed seed.

    Raises
    ------
    SpecError
        If a named column is not in the table, or none is left.
    """
    found = owners(model)
    if not found:
        return None
    maps: list[FeatureMap] = []
    places: dict[Owner, tuple[tuple[int, ...], ...]] = {}
    at, taken = len(columns.names), {*columns.names, *columns.sources}
    for owner, own in found.items():
        default = gate_default if owner == "gate" else columns.default
        called = _called(next(iter(own.values())).width, taken)
        if owner == "features":
            taken |= {*called}
        for name, network in own.items():
            maps.append(_feature_map(network, name, replace(columns, default=tuple(default)), called))
            places[owner] = (*places.get(owner, ()), tuple(range(at, at + network.width)))
            at += network.width
    blank = Networks(tuple(maps), np.zeros(0))
    if weights is None:
        drawn = blank.prior_scale * np.random.default_rng(0).standard_normal(blank.size)
        return replace(blank, weights=drawn), places
    if weights.shape != (blank.size,):
        raise SpecError(f"MLP: expected {blank.size} weights, got shape {weights.shape} → take them from its own fit")
    return replace(blank, weights=weights), places


def _called(width: int, taken: set[str]) -> tuple[str, ...]:
    """Return names of features that no column has."""
    prefix = "h"
    while any(f"{prefix}{unit}" in taken for unit in range(width)):
        prefix += "_"
    return tuple(f"{prefix}{unit}" for unit in range(width))


def _feature_map(network: MLP, name: str, columns: Columns, features: tuple[str, ...]) -> FeatureMap:
    chosen = columns.positions(network.columns, "MLP")
    if not chosen:
        raise SpecError(
            "MLP.columns: expected a column that varies, got none → without covariates use bm.Constant(), and leave "
            "features= out"
        )
    center, scale = (np.array([values[j] for j in chosen]) for values in (columns.center, columns.scale))
    read = tuple(columns.names[j] for j in chosen)
    return FeatureMap(network, name, read, np.array(chosen), center, scale, features)


def output_layers(model: MixtureOfExperts, *, gate: bool) -> MixtureOfExperts:
    """Return the model with the priors of its networks' output layers.

    Slopes on features without a prior of their own get that of their network's weights, those of a softmax gate a wider
    learned scale. Where a parameter's default is narrower than a mean's, as that of log sigma, they are narrower by the
    fourth root: as wide as for a mean they let sigma be 0 at single rows, and the mode of the output layer is there;
    much narrower, networks of many rows predict worse. ``gate`` says whether a gate that names no columns sees the
    shared features, if there are some.

    Raises
    ------
    SpecError
        If a predictor on shared features is not linear in them, or the gate has a density of its own for them.
    """
    shared = model.features
    chosen = model.gate
    if shared is not None and gate and isinstance(chosen, GaussianGate) and not chosen.predictor.claimed():
        raise SpecError(
            "MixtureOfExperts.gate: expected a gate without a density of its own on learned features, got "
            f"{chosen!r} → features could shrink to raise that density; use bm.SoftmaxGate(), or name columns of X"
        )
    if isinstance(chosen, SoftmaxGate):
        chosen = replace(chosen, predictor=_output_layer(chosen.predictor, shared if gate else None, _GATE_SCALE))
    if shared is not None and gate:
        _refuse_curved(chosen.predictor, "gate.predictor")
    experts = []
    for place, expert in enumerate(model.experts):
        if shared is not None:
            for name, predictor in expert.predictors.items():
                _refuse_curved(predictor, f"experts[{place}].{name}")
        predictors = {}
        for parameter in expert.family.parameters:
            predictor = expert.predictors[parameter.name]
            narrower = (parameter.prior.slopes.scale / _MEAN_SLOPES) ** 0.25
            predictors[parameter.name] = _output_layer(predictor, shared, narrower=narrower)
        experts.append(Expert(expert.family, **predictors))
    return MixtureOfExperts(experts, chosen, shared, model.target)


def _output_layer(
    predictor: Predictor, shared: MLP | None, prior: LearnedScale | None = None, *, narrower: float = 1.0
) -> Predictor:
    """Return a predictor with the default prior of slopes on features, if it has such slopes and no prior of them."""
    network = predictor if isinstance(predictor, MLP) else shared
    linear = isinstance(predictor, Linear) and predictor.columns is None
    if network is None or not (linear or isinstance(predictor, MLP)) or predictor.slopes_prior is not None:
        return predictor
    slopes = prior or Normal(0.0, narrower * network.scale / float(np.sqrt(network.width)), standardised=True)
    return replace(predictor, slopes=slopes)  # type: ignore[type-var]


def _refuse_curved(predictor: Predictor, owner: str) -> None:
    if predictor.claimed() or isinstance(predictor, Constant | Linear):
        return
    raise SpecError(
        f"MixtureOfExperts.{owner}: expected bm.Linear or bm.Constant on learned features, got {predictor!r} → the "
        "network bends enough; or name the columns it is to see instead of the features, columns=(...)"
    )
