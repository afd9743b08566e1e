"""The log posterior of networks and their output layers over one flat vector, for some rows at a time.

The vector holds the weights of the networks, then the values of the mixture of experts on their features. A gradient
goes through the same pieces as that of a mixture, as far as the linear predictors, and from there back through the
layers of every network: what pulls at a feature are the predictors that use it, times their coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..families import Role
from ..graph import networks
from .chunks import pulled
from .density import MixtureDensity
from .features import FeatureMap, Networks
from .general import GeneralDensity
from .members import Members

_HALF_LOG_2PI = 0.9189385332046727
_CHUNK = 1024
_SPREAD = 0.1  # of the output layer where training begins, in prior standard deviations


@dataclass(frozen=True, eq=False)
class _Place:
    """One network before the design.

    Parameters
    ----------
    network
        The network.
    inputs
        (n, columns) what it reads.
    columns
        Where its features stand in the design.
    predictors
        Which linear predictors use them.
    """

    network: FeatureMap
    inputs: np.ndarray
    columns: slice | np.ndarray
    predictors: slice | np.ndarray


class _Some(NamedTuple):
    """Some rows, and their groups where they have some."""

    rows: np.ndarray
    members: Members | None


@dataclass(frozen=True, eq=False)
class NetworkDensity:
    """Implements `Trainable`.

    Parameters
    ----------
    features
        The networks; only their layout is used.
    output
        The density of the output layers on features of the training rows; these are not used. Where its rows share
        labels by groups, what is taken a few at a time are groups.
    raw
        (n, columns) raw table of the same rows.
    """

    features: Networks
    output: MixtureDensity | GeneralDensity
    raw: np.ndarray

    @property
    def size(self) -> int:
        return self.features.size + self.output.size

    @cached_property
    def prior_loc(self) -> np.ndarray:
        return np.concatenate([np.zeros(self.features.size), self.output.parameters.prior_loc])

    @cached_property
    def prior_scale(self) -> np.ndarray:
        return np.concatenate([self.features.prior_scale, self.output.parameters.prior_scale])

    @cached_property
    def weights(self) -> np.ndarray:
        members = self._members
        return self.output.weights if members is None else members.summed(self.output.weights)

    @property
    def _members(self) -> Members | None:
        return None if isinstance(self.output, MixtureDensity) else self.output.members

    def parts(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return vector[: self.features.size], vector[self.features.size :]

    def beginning(self, rng: np.random.Generator) -> np.ndarray:
        """Return the networks at a draw from their prior, and output layers that hardly use them.

        Means stand at quantiles of y, so that every component has rows of its own from the first step: components that
        begin alike soon leave the gate with a few of them, and the others never come back.
        """
        draw = rng.standard_normal(self.size)
        draw[self.features.size :] *= _SPREAD
        out = self.prior_loc + self.prior_scale * draw
        bands = _bands(
            self.output.y if isinstance(self.output, MixtureDensity) else self.output.outcomes.y, self.output
        )
        for term in self.output.parameters.terms:
            if term.parameter.role is Role.LOCATION and not term.shared:
                places = self.features.size + term.sources[:, 0, :]
                out[places] = bands[list(term.experts)]
        return out

    def joined(self, network: np.ndarray, output: np.ndarray) -> np.ndarray:
        return np.concatenate([network, output])

    def prior_slope(self, z: np.ndarray) -> np.ndarray:
        out = -z
        parameters, inner = self.output.parameters, slice(self.features.size, None)
        if parameters.gate.joint:  # variances of a Gaussian gate
            q = (self.prior_loc + self.prior_scale * z)[inner]
            out[inner] = self.prior_scale[inner] * parameters.log_prior(q)[1]
        return out

    def log_prior(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log prior density and its gradient."""
        network, q = self.parts(vector)
        z = network / self.features.prior_scale
        value, slope, _ = self.output.parameters.log_prior(q)
        offset = np.sum(np.log(self.features.prior_scale)) + len(z) * _HALF_LOG_2PI
        return float(value - 0.5 * z @ z - offset), np.concatenate([-z / self.features.prior_scale, slope])

    @cached_property
    def _places(self) -> tuple[_Place, ...]:
        rows, columns = self.output.parameters.active
        out = []
        for network, places in zip(self.features.maps, self.output.design.feature_places, strict=True):
            inputs = np.ascontiguousarray(network.inputs(self.raw))
            out.append(_Place(network, inputs, _run(places), _run(np.unique(rows[np.isin(columns, places)]))))
        return tuple(out)

    # -- rows --------------------------------------------------------------------------------------------------

    def logp_and_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log posterior of all rows, in the user's units of y, and its gradient."""
        value, gradient = self.log_prior(vector)
        for start in range(0, len(self.weights), _CHUNK):
            some, slope = self.rows_gradient(vector, np.arange(start, min(start + _CHUNK, len(self.weights))))
            value, gradient = value + some, gradient + slope
        return value, gradient

    def rows_gradient(self, vector: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        network, q = self.parts(vector)
        at_once = self._at(rows)
        table, memories = self.output.table[at_once.rows], []
        all_layers = self.features.split(network)
        for place, layers in zip(self._places, all_layers, strict=True):
            memories.append(networks.remembered(place.inputs[at_once.rows], layers, place.network.nonlinearity))
            table[:, place.columns] = memories[-1][-1]
        parameters = self.output.parameters
        coefficients = parameters.coefficients(q)
        log_density, slopes = self._slopes(coefficients, q, table, at_once)
        out, at = np.empty(self.size), 0
        for place, layers, memory in zip(self._places, all_layers, memories, strict=True):
            pull = slopes[place.predictors].T @ coefficients[place.predictors][:, place.columns]
            for piece in (piece for layer in networks.backward(memory, layers, pull) for piece in layer):
                out[at : at + piece.size] = piece.ravel()
                at += piece.size
        out[at:] = parameters.pull_back(q, slopes @ table)
        return float(self.weights[rows] @ log_density), out

    def rows_log_density(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        network, q = self.parts(vector)
        all_layers = self.features.split(network)
        coefficients = self.output.parameters.coefficients(q)
        out = []
        for start in range(0, len(rows), _CHUNK):
            some = self._at(rows[start : start + _CHUNK])
            table = self.output.table[some.rows]
            for place, layers in zip(self._places, all_layers, strict=True):
                inputs, bend = place.inputs[some.rows], place.network.nonlinearity
                table[:, place.columns] = networks.forward(inputs, layers, bend, np)
            out.append(self._slopes(coefficients, q, table, some)[0])
        return np.concatenate(out)

    def _at(self, rows: np.ndarray) -> _Some:
        members = self._members
        return _Some(rows, None) if members is None else _Some(*members.chosen(rows))

    def _slopes(
        self, coefficients: np.ndarray, q: np.ndarray, table: np.ndarray, some: _Some
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log densities in the user's units, and weighted derivatives (R, n) in the rows' linear predictors.

        Where the gate models x too they are of x and y; that of a group is divided by its weight.
        """
        output, rows = self.output, some.rows
        if isinstance(output, MixtureDensity):
            from ..graph.slope_kernels import normal_row_slopes  # numba, which `import bayes_moe` does not pay

            eta, log_density = coefficients @ table.T, np.empty(len(rows))
            normal_row_slopes(eta, output.y[rows], output.weights[rows], log_density)
            log_density -= _HALF_LOG_2PI + output.log_units[rows]
            return log_density, eta
        functions = output.functions or output._terms
        outcomes, gate = output.outcomes.at(rows), output.parameters.gate
        here = replace(output, table=table, outcomes=outcomes, members=some.members, functions=functions)
        found = [(c.mixed[0], pulled(c, c.mass(c.by_row[1]), gate, output.groups)) for c in here.chunks(q)]
        log_density = np.concatenate([value for value, _ in found])
        if some.members is not None:
            log_density = log_density / some.members.summed(outcomes.weights)
        units = outcomes.log_units if some.members is None else outcomes.log_units[some.members.starts]
        return log_density - units, np.concatenate([slopes for _, slopes in found]).T


def _bands(y: np.ndarray, output: MixtureDensity | GeneralDensity) -> np.ndarray:
    """Return mean y (K, outputs) of as many bands of rows, of equal size along the line that y varies most along."""
    line = y if y.ndim == 1 else output.scene().target
    order = np.argsort(line, kind="stable")
    columns = y.reshape(len(y), -1)
    return np.array([columns[rows].mean(axis=0) for rows in np.array_split(order, output.experts)])


def _run(places: np.ndarray) -> slice | np.ndarray:
    """Return positions as a slice, which copies nothing, where they follow each other."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if np.array_equal(places, np.arange(first, last + 1)) else places
