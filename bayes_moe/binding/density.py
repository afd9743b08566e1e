"""The log posterior of a mixture of Normal experts over one flat vector, on compiled kernels.

It is the density of the PyMC model that `bayes_moe.build` returns (a test holds them equal), evaluated by the same
kernel as that model's mixing operation, without compiling anything for a new data set, another number of experts
or other priors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..graph.hessian import normal_hessian
from ..log_density import Expectation, Funnel, Machine, Scene
from .describe import user_coefficients
from .design import Design
from .maximise import Statistics, maximise, settle
from .parallel import parts
from .parameters import Parameters
from .passes import em_pass, gradient_pass
from .rows import Rows, make_rows

_HALF_LOG_2PI = 0.9189385332046727
_LABEL_ROUNDS = 6
_CERTAIN = 0.99  # mean of the largest responsibility from which labels count as certain
_OLDEST_CURVATURE = 3
_CHEAP_CURVATURE = 5e6  # multiplications
_NARROW = 0.01  # share of the largest sigma below which an expert counts as collapsed


@dataclass(frozen=True, eq=False)
class MixtureDensity:
    """Log posterior of a model on data; implements `Compiled` and `Latent`.

    Parameters
    ----------
    design, parameters
        The design columns and the layout of q.
    table
        Design matrix (n, P) of the training rows.
    y, weights
        Standardised target and row weights (n,).
    log_units
        (n,) log of what a unit of y is in the user's unit.
    """

    design: Design
    parameters: Parameters
    table: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    log_units: np.ndarray

    @property
    def size(self) -> int:
        return self.parameters.size

    @property
    def experts(self) -> int:
        return self.parameters.experts

    @cached_property
    def rows(self) -> Rows:
        """The data in the kernels' layout."""
        return make_rows(self.table, self.y, self.weights)

    @cached_property
    def sigma_varies(self) -> bool:
        """Whether sigma depends on x for any expert."""
        return any(term.parameter.logarithmic and term.term.width > 0 for term in self.parameters.terms)

    @cached_property
    def _parts(self) -> list[slice]:
        """How the blocks of rows are cut for several processors in an E-step."""
        return parts(len(self.rows.blocks), self.rows.count * self.parameters.rows * self.design.width)

    @cached_property
    def _gradient_parts(self) -> list[slice]:
        """The same for a gradient, which does a tenth of the work."""
        return parts(len(self.rows.blocks), 0.1 * self.rows.count * self.parameters.rows * self.design.width)

    @property
    def scale(self) -> int | None:
        """Position in q of the gate's learned log scale, if there is one that matters."""
        return self.parameters.gate_scale

    @property
    def funnel(self) -> Funnel | None:
        """The gate's values that its learned scale multiplies."""
        return self.parameters.funnel

    @cached_property
    def offset(self) -> float:
        """The log posterior's part that depends on no parameter: normalisers and the unit of y."""
        prior = -np.sum(np.log(self.parameters.prior_scale)) - self.size * _HALF_LOG_2PI
        return float(prior - self.weights @ self.log_units)

    # -- log density -------------------------------------------------------------------------------------------

    def log_prior(self, q: np.ndarray) -> float:
        """Return the log prior density of the free variables."""
        z = (q - self.parameters.prior_loc) / self.parameters.prior_scale
        return float(-0.5 * z @ z - np.sum(np.log(self.parameters.prior_scale)) - self.size * _HALF_LOG_2PI)

    def log_likelihood(self, q: np.ndarray) -> float:
        """Return the weighted log likelihood, in the user's units of y."""
        return float(self.logp(q) - self.log_prior(q))

    def logp(self, q: np.ndarray) -> float:
        return self.logp_and_gradient(q)[0]

    def gradient(self, q: np.ndarray) -> np.ndarray:
        return self.logp_and_gradient(q)[1]

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        if len(self._parts) == 1:
            # few rows: not worth a second kernel, whose first compilation takes a second
            expectation = self._sums(q, curvature=False)
            return expectation.log_posterior, expectation.gradient
        used = self._used(self.parameters.coefficients(q))
        value, (scores, d_log_sigma) = gradient_pass(self.rows, self._gradient_parts, *used)
        return self._with_prior(q, value, self._padded(scores, d_log_sigma))

    def _used(self, full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients that the kernels multiply with the design, and the log sigmas beside them."""
        count = 2 * self.experts
        return np.ascontiguousarray(full if self.sigma_varies else full[:count]), np.ascontiguousarray(full[count:, 0])

    def _with_prior(self, q: np.ndarray, value: float, scores: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log posterior and its gradient from those of the rows in the coefficients."""
        z = (q - self.parameters.prior_loc) / self.parameters.prior_scale
        gradient = self.parameters.pull_back(q, scores) - z / self.parameters.prior_scale
        return float(value - 0.5 * z @ z + self.offset), gradient

    def _padded(self, scores: np.ndarray, d_log_sigma: np.ndarray) -> np.ndarray:
        """Return scores in all coefficients; those of a constant log sigma stand in its intercept."""
        if self.sigma_varies:
            return scores
        out = np.zeros((3 * self.experts, self.design.width))
        out[: 2 * self.experts], out[2 * self.experts :, 0] = scores, d_log_sigma
        return out

    def compiled(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        if len(self._gradient_parts) > 1:
            return self.logp_and_gradient
        from .posterior_kernel import make_inputs, posterior_function  # numba, as below

        return posterior_function(make_inputs(self.parameters, self.rows, self.offset, sigma_varies=self.sigma_varies))

    def machine(self) -> Machine:
        from .posterior_kernel import make_inputs, posterior_machine  # numba, as below

        return posterior_machine(make_inputs(self.parameters, self.rows, self.offset, sigma_varies=self.sigma_varies))

    def hessian(self, q: np.ndarray) -> np.ndarray:
        coefficients = self.parameters.coefficients(q)
        rows, columns = self.parameters.active
        inner, slope = normal_hessian(coefficients, self.parameters.layout, self.table, self.y, self.weights)
        jacobian = self.parameters.jacobian(q)[rows * self.design.width + columns]
        gradient = np.zeros_like(coefficients)
        gradient[rows, columns] = slope
        out = jacobian.T @ inner @ jacobian + self.parameters.curvature(q, gradient)
        out -= np.diag(1.0 / self.parameters.prior_scale**2)
        return np.asarray(0.5 * (out + out.T))

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        return user_coefficients(self.parameters, self.design, q)

    # -- latent labels -----------------------------------------------------------------------------------------

    @property
    def phases(self) -> int:
        return 2 if self.sigma_varies else 1

    def e_step(self, q: np.ndarray, previous: Expectation | None = None) -> Expectation:
        last = previous.statistics if previous is not None else None
        sigma_phase = self.sigma_varies and last is not None and not last.sigma_phase
        if last is None or last.pairs_age >= _OLDEST_CURVATURE or self._cheap_curvature:
            return self._sums(q, sigma_phase=sigma_phase)
        return _with_pairs(last, self._sums(q, curvature=False, sigma_phase=sigma_phase))

    @property
    def _cheap_curvature(self) -> bool:
        """Whether the gate's Hessian is little work; else it is most of it, and changes slowly."""
        pairs = self.experts * (self.experts + 1) // 2 * self.design.width**2
        return self.rows.count * pairs < _CHEAP_CURVATURE

    def _sums(
        self,
        q: np.ndarray,
        *,
        curvature: bool = True,
        sigma_phase: bool = False,
        given: np.ndarray | None = None,
    ) -> Expectation:
        """Return the log posterior at q and the sums of the M-step; the keywords are those of `em_pass`."""
        full = self.parameters.coefficients(q)
        value, (d_log_sigma, sizes, scores, pairs, moments) = em_pass(
            self.rows, self._parts, *self._used(full), curvature=curvature, sigma_phase=sigma_phase, given=given
        )
        padded = self._padded(scores, d_log_sigma)
        log_posterior, gradient = self._with_prior(q, value, padded)
        statistics = Statistics(sizes, padded, pairs, moments, full, sigma_phase=sigma_phase)
        return Expectation(q, log_posterior, gradient, sizes, statistics)

    def m_step(self, expectation: Expectation, *, damping: float = 1.0) -> np.ndarray:
        return maximise(self.parameters, expectation.q, expectation.statistics, damping=damping)

    def settle(self, q: np.ndarray) -> np.ndarray:
        return settle(self.parameters, q)

    def scene(self) -> Scene:
        return Scene(self.table[:, 1:], self.y, self.weights)

    def collapsed(self, expectation: Expectation) -> tuple[int, ...]:
        k = self.experts
        log_sigma = expectation.statistics.coefficients[2 * k :] @ self._average_row
        needed = np.array([self.parameters.mean_width(expert) for expert in range(k)])
        empty = expectation.sizes <= needed
        narrow = log_sigma < log_sigma.max() + np.log(_NARROW)
        return tuple(int(expert) for expert in np.flatnonzero(empty | narrow))

    @cached_property
    def _average_row(self) -> np.ndarray:
        """Where intercepts stand for a whole predictor: columns are centred, but not learned features."""
        return np.asarray(np.average(self.table, axis=0, weights=self.weights))

    def thinned(self, rows: np.ndarray) -> MixtureDensity:
        factor = self.weights.sum() / max(self.weights[rows].sum(), 1e-300)
        y, weights, units = self.y[rows], self.weights[rows] * factor, self.log_units[rows]
        return replace(self, table=self.table[rows], y=y, weights=weights, log_units=units)

    def responsibilities(self, q: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        if temperature == 1.0:
            return self.by_row(q)[1]
        joint = _log_joint(self.parameters.coefficients(q), self.table, self.y) / temperature
        joint = np.exp(joint - joint.max(axis=1, keepdims=True))
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))

    def row_log_density(self, q: np.ndarray) -> np.ndarray:
        return self.by_row(q)[0]

    def by_row(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log density of y in the user's units (n,) and responsibilities (n, K) of every row."""
        from ..graph.kernels import normal_rows  # numba, as above

        k = self.experts
        full = self.parameters.coefficients(q)
        used = full if self.sigma_varies else full[: 2 * k]
        log_density, responsibilities = np.empty(self.rows.count), np.empty((self.rows.count, k))
        normal_rows(
            np.ascontiguousarray(used),
            np.ascontiguousarray(full[2 * k :, 0]),
            self.rows.blocks,
            self.rows.y,
            log_density,
            responsibilities,
        )
        return log_density - self.log_units, responsibilities

    def fit_labels(self, responsibilities: np.ndarray) -> np.ndarray:
        given = self.rows.blocked(responsibilities)
        q = self.parameters.prior_loc.copy()
        certain = float(responsibilities.max(axis=1).mean()) > _CERTAIN
        last: Statistics | None = None
        for round_ in range(2 * _LABEL_ROUNDS if certain else _LABEL_ROUNDS):
            curvature = last is None or round_ < _LABEL_ROUNDS // 2 or self._cheap_curvature
            sigma_phase = self.sigma_varies and round_ % 2 == 1
            found = self._sums(q, given=given, sigma_phase=sigma_phase, curvature=curvature)
            found = found if curvature or last is None else _with_pairs(last, found)
            q, last = self.m_step(found), found.statistics
        return q

    def expected(self, q: np.ndarray, responsibilities: np.ndarray) -> float:
        total = np.sum(
            self.weights[:, None] * responsibilities * _log_joint(self.parameters.coefficients(q), self.table, self.y)
        )
        return float(total + self.log_prior(q) - self.weights @ self.log_units)


def _log_joint(coefficients: np.ndarray, table: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return log gate + log density of standardised y (n, K)."""
    eta = table @ coefficients.T
    k = len(coefficients) // 3
    gate, mu, log_sigma = eta[:, :k], eta[:, k : 2 * k], eta[:, 2 * k :]
    top = gate.max(axis=1, keepdims=True)
    log_gate = gate - top - np.log(np.exp(gate - top).sum(axis=1, keepdims=True))
    z = (y[:, None] - mu) * np.exp(-log_sigma)
    return np.asarray(log_gate - _HALF_LOG_2PI - log_sigma - 0.5 * z**2)


def _with_pairs(last: Statistics, fresh: Expectation) -> Expectation:
    """Return sums with the gate's Hessian of earlier ones."""
    return replace(fresh, statistics=replace(fresh.statistics, pairs=last.pairs, pairs_age=last.pairs_age + 1))
