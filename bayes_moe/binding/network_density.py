"""The log posterior of a network and its output layer over one flat vector, for some rows at a time.

The vector holds the weights of the network, then the values of the mixture of experts on its features. A gradient
goes through the same pieces as that of a mixture, as far as the linear predictors, and from there back through the
layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..families import Role
from ..graph import networks
from .chunks import pulled
from .density import MixtureDensity
from .features import FeatureMap
from .general import GeneralDensity

_HALF_LOG_2PI = 0.9189385332046727
_CHUNK = 1024
_SPREAD = 0.1  # of the output layer where training begins, in prior standard deviations


@dataclass(frozen=True, eq=False)
class NetworkDensity:
    """Implements `Trainable`.

    Parameters
    ----------
    features
        The network; only its layout is used.
    output
        The density of the output layer on features of the training rows; these are not used.
    raw
        (n, columns) raw table of the same rows.
    """

    features: FeatureMap
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

    @property
    def weights(self) -> np.ndarray:
        return self.output.weights

    def parts(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return vector[: self.features.size], vector[self.features.size :]

    def beginning(self, rng: np.random.Generator) -> np.ndarray:
        """Return the network at a draw from its prior, and an output layer that hardly uses it.

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

    @cached_property
    def _inputs(self) -> np.ndarray:
        return np.ascontiguousarray(self.features.inputs(self.raw))

    @cached_property
    def _places(self) -> slice:
        """Where the features stand in the design."""
        names = [name for basis, keep in self._bases for name in np.array(basis.names, dtype=object)[keep]]
        at = 1 + names.index(self.features.names[0])
        return slice(at, at + len(self.features.names))

    @property
    def _bases(self):  # type: ignore[no-untyped-def]
        return zip(self.output.design.bases, self.output.design.keep, strict=True)

    # -- rows --------------------------------------------------------------------------------------------------

    def logp_and_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log posterior of all rows, in the user's units of y, and its gradient."""
        value, gradient = 0.0, np.zeros(self.size)
        for start in range(0, len(self.weights), _CHUNK):
            some, slope = self.rows_gradient(vector, np.arange(start, min(start + _CHUNK, len(self.weights))))
            value, gradient = value + some, gradient + slope
        z = (vector - self.prior_loc) / self.prior_scale
        offset = -np.sum(np.log(self.prior_scale)) - self.size * _HALF_LOG_2PI
        return float(value - 0.5 * z @ z + offset), gradient - z / self.prior_scale

    def rows_gradient(self, vector: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        network, q = self.parts(vector)
        layers = self.features.layers(network)
        memory = networks.remembered(self._inputs[rows], layers, self.features.nonlinearity)
        table = self.output.table[rows]
        table[:, self._places] = memory[-1]
        parameters = self.output.parameters
        coefficients = parameters.coefficients(q)
        log_density, slopes = self._slopes(coefficients, q, table, rows)
        out = np.empty(self.size)
        pieces = networks.backward(memory, layers, slopes.T @ coefficients[:, self._places])
        at = 0
        for piece in (piece for layer in pieces for piece in layer):
            out[at : at + piece.size] = piece.ravel()
            at += piece.size
        out[at:] = parameters.pull_back(q, slopes @ table)
        return float(self.weights[rows] @ log_density), out

    def rows_log_density(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        network, q = self.parts(vector)
        layers = self.features.layers(network)
        coefficients = self.output.parameters.coefficients(q)
        out = []
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            table = self.output.table[some]
            table[:, self._places] = networks.forward(self._inputs[some], layers, self.features.nonlinearity, np)
            out.append(self._slopes(coefficients, q, table, some)[0])
        return np.concatenate(out)

    def _slopes(
        self, coefficients: np.ndarray, q: np.ndarray, table: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the log density of rows in the user's units, and weighted derivatives (R, n) in their predictors."""
        output = self.output
        if isinstance(output, MixtureDensity):
            from ..graph.slope_kernels import normal_row_slopes  # numba, which `import bayes_moe` does not pay

            eta, log_density = coefficients @ table.T, np.empty(len(rows))
            normal_row_slopes(eta, output.y[rows], output.weights[rows], log_density)
            log_density -= _HALF_LOG_2PI + output.design.scaling.log_unit
            return log_density, eta
        some = replace(
            output, table=table, outcomes=output.outcomes.at(rows), functions=output.functions or output._terms
        )
        found = [
            (c.mixed[0], pulled(c, c.mass(c.mixed[1]), output.parameters.gate, output.groups)) for c in some.chunks(q)
        ]
        log_density = np.concatenate([value for value, _ in found]) - output.outcomes.log_unit
        return log_density, np.concatenate([slopes for _, slopes in found]).T


def _bands(y: np.ndarray, output: MixtureDensity | GeneralDensity) -> np.ndarray:
    """Return mean y (K, outputs) of as many bands of rows, of equal size along the line that y varies most along."""
    line = y if y.ndim == 1 else output.scene().target
    order = np.argsort(line, kind="stable")
    columns = y.reshape(len(y), -1)
    return np.array([columns[rows].mean(axis=0) for rows in np.array_split(order, output.experts)])
