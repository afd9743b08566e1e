r"""Variational EM for Normal experts: coefficients of the means integrated out, gate and log sigma as points.

The bound on the log evidence, with :math:`q(\beta_k) = N(m_k, S_k)` and precisions :math:`\lambda` of groups of slopes,

.. math:: \sum_i w_i \log \sum_k g_{ik} \exp\big(\log N(y_i; \phi_i' m_k, \sigma_{ik}^2) -
    \tfrac{\phi_i' S_k \phi_i}{2 \sigma_{ik}^2}\big) - \sum_k \mathrm{KL}\big(q(\beta_k) \,\|\, N(b, \Lambda_k^{-1})
    \big) + \log p(\lambda, \sigma, \text{gate})

is climbed a block at a time: the labels, then coefficients and precisions of every expert (`ridge`), log sigma and the
gate, these two by Newton steps that are checked. No step lowers it. Sigma cannot collapse onto rows that an expert's
many columns pass through: what these could still be stays in :math:`\phi' S \phi`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..families import Role
from ..log_density import Approximation, CoefficientPosterior, Scene
from .expert_terms import ExpertTerm
from .maximise import gate_step, settle
from .outcomes import Outcomes
from .parameters import Parameters
from .ridge import RidgePosterior, RidgePrior, climb_evidence, effective, posterior

_HALF_LOG_2PI = 0.9189385332046727
_PART = 0.3  # prior median of the standard deviation of a group's part of the mean, in that of y
_FIRST_ROUNDS = 3
_HALVINGS = 6
_STEPS = 2  # of Newton in log sigma, each round
_LAST_DIGITS = np.log(1e-6)  # of standardised y, below which normal equations do not know residuals
_NOTHING = -230.0  # log of a share of a row below which it is none
_DEAR, _OLDEST = 2e8, 8  # multiplications from which the gate's curvature is kept, and for how many rounds


class Inner(NamedTuple):
    """What a round hands to the next.

    Parameters
    ----------
    ridges
        Posterior of every expert's coefficients.
    curvature, age
        The gate's curvature, and how many rounds ago it was summed.
    """

    ridges: tuple[RidgePosterior, ...]
    curvature: np.ndarray | None = None
    age: int = 0


@dataclass(frozen=True, eq=False)
class VariationalDensity:
    """The bound of a model on data; implements `Conjugate`.

    Parameters
    ----------
    parameters
        Layout of q.
    table
        Design matrix (n, P) of the training rows.
    outcomes
        Target, weights and offsets.
    inputs
        (n, p) standardised columns that starts are made from.
    """

    parameters: Parameters
    table: np.ndarray
    outcomes: Outcomes
    inputs: np.ndarray

    @property
    def experts(self) -> int:
        return self.parameters.experts

    def scene(self) -> Scene:
        return Scene(self.inputs, self.outcomes.line, self.outcomes.weights)

    # -- layout ------------------------------------------------------------------------------------------------

    @cached_property
    def _means(self) -> tuple[tuple[ExpertTerm, int, np.ndarray], ...]:
        """For every expert its term of the mean, its place in that and the term's columns (n, 1 + p)."""
        found = {}
        for term in self._terms(Role.LOCATION):
            columns = np.ascontiguousarray(self.table[:, term.term.positions])
            found.update({expert: (term, place, columns) for place, expert in enumerate(term.experts)})
        return tuple(found[expert] for expert in range(self.experts))

    @cached_property
    def _sigmas(self) -> tuple[tuple[ExpertTerm, np.ndarray], ...]:
        """The terms of log sigma, each with its columns."""
        return tuple((term, self.table[:, term.term.positions]) for term in self._terms(Role.LOG_SCALE))

    def _terms(self, role: Role) -> list[ExpertTerm]:
        return [term for term in self.parameters.terms if term.parameter.role is role]

    @cached_property
    def priors(self) -> tuple[RidgePrior, ...]:
        """Of every expert's coefficients: learned precisions where the model states no prior of slopes."""
        out = []
        for expert, (term, place, _) in enumerate(self._means):
            del expert
            places = term.places[place]
            group = np.concatenate([[-1], learned_groups(term)])
            sizes = np.bincount(group[group >= 0])
            loc, fixed = self.parameters.prior_loc[places], self.parameters.precision[places]
            out.append(RidgePrior(loc, fixed, group, np.log(np.maximum(sizes, 1.0) / _PART**2)))
        return tuple(out)

    @cached_property
    def _points(self) -> np.ndarray:
        """Which values of q are points: those of log sigma and the gate."""
        out = np.ones(self.parameters.size, dtype=bool)
        for term, place, _ in self._means:
            out[term.places[place]] = False
        return out

    @cached_property
    def _targets(self) -> np.ndarray:
        """The target less what is added to the means (n, K)."""
        y = np.broadcast_to(self.outcomes.y[:, None], (len(self.outcomes.y), self.experts))
        added = self.outcomes.offsets
        return y if added is None else y - added[:, self._rows(0)]

    def _rows(self, slot: int) -> np.ndarray:
        """Return the rows of the coefficients of means (0) or log sigmas (1)."""
        return self.parameters.gate_rows + slot * self.experts + np.arange(self.experts)

    @cached_property
    def _gate_columns(self) -> np.ndarray:
        return np.ascontiguousarray(self.table[:, self.parameters.gate_positions])

    # -- what q says of the rows -------------------------------------------------------------------------------

    def _log_sigma(self, q: np.ndarray) -> np.ndarray:
        out = np.empty((len(self.table), self.experts))
        for term, columns in self._sigmas:
            out[:, list(term.experts)] = columns @ q[term.places].T
        added = self.outcomes.offsets
        return out if added is None else out + added[:, self._rows(1)]

    def _gate_coefficients(self, q: np.ndarray) -> np.ndarray:
        parameters = self.parameters
        return parameters.coefficients(q)[: parameters.gate_rows, parameters.gate_positions]

    def _log_gate(self, q: np.ndarray) -> np.ndarray:
        return self.parameters.gate.log_weights(self._gate_columns @ self._gate_coefficients(q).T)

    def _log_prior(self, q: np.ndarray) -> float:
        """Return the log prior density of the points."""
        z = ((q - self.parameters.prior_loc) / self.parameters.prior_scale)[self._points]
        scale = self.parameters.prior_scale[self._points]
        return float(-0.5 * z @ z - np.log(scale).sum() - _HALF_LOG_2PI * len(z))

    def _squares(self, ridges: tuple[RidgePosterior, ...]) -> np.ndarray:
        """Return expected squared residuals (n, K)."""
        out = np.empty((len(self.table), self.experts))
        for k, (ridge, (_, _, columns)) in enumerate(zip(ridges, self._means, strict=True)):
            spread = columns @ ridge.root
            out[:, k] = (self._targets[:, k] - columns @ ridge.mean) ** 2 + np.einsum("np,np->n", spread, spread)
        return out

    # -- rounds ------------------------------------------------------------------------------------------------

    def begin(self, responsibilities: np.ndarray) -> Approximation:
        q = self.parameters.prior_loc.copy()
        ridges = tuple(self._unknown(prior) for prior in self.priors)
        start = Approximation(q, -np.inf, responsibilities, Inner(ridges))
        for _ in range(_FIRST_ROUNDS):
            start, squares = self._maximise(start)
        return self._e_step(start, squares)

    def begin_at(self, q: np.ndarray) -> Approximation:
        ridges = []
        for prior, (term, place, _) in zip(self.priors, self._means, strict=True):
            empty = self._unknown(prior)
            ridges.append(replace(empty, mean=q[term.places[place]], root=np.zeros_like(empty.root)))
        start = Approximation(q, -np.inf, np.empty(0), Inner(tuple(ridges)))
        return self.ascend(self._e_step(start, self._squares(tuple(ridges))))

    @staticmethod
    def _unknown(prior: RidgePrior) -> RidgePosterior:
        """Return the prior itself."""
        width = len(prior.loc)
        return posterior(prior, np.zeros((width, width)), np.zeros(width), prior.centre)

    def ascend(self, before: Approximation) -> Approximation:
        return self._e_step(*self._maximise(before))

    def _e_step(self, at: Approximation, squares: np.ndarray) -> Approximation:
        """Return the approximation with the labels that belong to it, and its bound."""
        log_sigma = self._log_sigma(at.q)
        joint = self._log_gate(at.q) - _HALF_LOG_2PI - log_sigma - 0.5 * squares * np.exp(-2.0 * log_sigma)
        top = joint.max(axis=1)
        shares = _exp(joint - top[:, None])
        total = shares.sum(axis=1)
        inner: Inner = at.inner
        elbo = float(self.outcomes.weights @ (top + np.log(total) - self.outcomes.log_units)) + self._log_prior(at.q)
        for prior, ridge in zip(self.priors, inner.ridges, strict=True):
            elbo += prior.log_prior(ridge.logs) - ridge.divergence
        return Approximation(at.q, elbo, shares / total[:, None], inner)

    def _maximise(self, at: Approximation) -> tuple[Approximation, np.ndarray]:
        """Return the approximation after one turn of everything but the labels, and expected squares (n, K)."""
        mass = self.outcomes.weights[:, None] * at.responsibilities
        inner: Inner = at.inner
        q, ridges = self._regress(at.q, inner, mass)
        squares = self._squares(ridges)
        q = self._log_sigma_step(q, mass, squares)
        q, curvature, age = self._gate_step(q, mass, inner)
        return Approximation(q, -np.inf, at.responsibilities, Inner(ridges, curvature, age)), squares

    def _regress(self, q: np.ndarray, inner: Inner, mass: np.ndarray) -> tuple[np.ndarray, tuple[RidgePosterior, ...]]:
        out, ridges = q.copy(), []
        weights = mass * np.exp(-2.0 * self._log_sigma(q))
        for k, (term, place, columns) in enumerate(self._means):
            weighted = columns * weights[:, k, None]
            square, product = weighted.T @ columns, weighted.T @ self._targets[:, k]
            ridge = climb_evidence(self.priors[k], square, product, inner.ridges[k].logs)
            out[term.places[place]] = ridge.mean
            ridges.append(ridge)
        return out, tuple(ridges)

    def _log_sigma_step(self, q: np.ndarray, mass: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Return q after Newton steps on the concave objective in the coefficients of log sigma."""
        for _ in range(_STEPS):
            log_sigma = self._log_sigma(q)
            pull = mass * squares * np.exp(-2.0 * log_sigma)
            step = np.zeros_like(q)
            for term, columns in self._sigmas:
                self._add_sigma_step(step, q, term, columns, pull, mass)
            q = self._lifted(q, step, lambda q: self._sigma_objective(q, mass, squares))
        return q

    def _sigma_objective(self, q: np.ndarray, mass: np.ndarray, squares: np.ndarray) -> float:
        log_sigma = self._log_sigma(q)
        return float(-np.sum(mass * (log_sigma + 0.5 * squares * np.exp(-2.0 * log_sigma)))) + self._log_prior(q)

    def _add_sigma_step(
        self, step: np.ndarray, q: np.ndarray, term: ExpertTerm, columns: np.ndarray, pull: np.ndarray, mass: np.ndarray
    ) -> None:
        """Write one term's Newton step into ``step``: one system for all its experts, which may share values."""
        distinct, where = np.unique(term.places, return_inverse=True)
        where = where.reshape(term.places.shape)
        precision = self.parameters.precision[distinct]
        matrix, vector = np.diag(precision), precision * (self.parameters.prior_loc[distinct] - q[distinct])
        for place, expert in enumerate(term.experts):
            own = where[place]
            np.add.at(matrix, (own[:, None], own), 2.0 * (columns * pull[:, expert, None]).T @ columns)
            np.add.at(vector, own, columns.T @ (pull[:, expert] - mass[:, expert]))
        found = np.linalg.solve(matrix, vector)
        # log sigma may not move by more than 1 at a time: beyond that the quadratic says nothing
        step[distinct] = found / max(1.0, float(np.abs(found).max()))

    def _gate_step(self, q: np.ndarray, mass: np.ndarray, inner: Inner) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Return q after a Newton step of the gate, and the curvature it used with its age."""
        parameters, k = self.parameters, self.experts
        if k == 1 or parameters.gate_start == parameters.size:
            return q, None, 0
        columns, gate = self._gate_columns, _exp(self._log_gate(q))
        total = mass.sum(axis=1)
        scores = (mass - total[:, None] * gate).T @ columns
        dear = len(columns) * (k * columns.shape[1]) ** 2 > _DEAR
        curvature, age = inner.curvature, inner.age + 1
        if curvature is None or not dear or age > _OLDEST:
            curvature, age = gate_curvature(columns, gate, total), 0
        step = np.zeros_like(q)
        coefficients = self._gate_coefficients(q)
        step[parameters.gate_start :] = gate_step(parameters, q, curvature, scores, coefficients)
        moved = self._lifted(q, step, lambda q: float(np.sum(mass * self._log_gate(q))) + self._log_prior(q))
        return settle(parameters, moved), curvature if dear else None, age

    @staticmethod
    def _lifted(q: np.ndarray, step: np.ndarray, objective: object) -> np.ndarray:
        """Return q moved by the first of ever shorter steps that does not lower the objective."""
        assert callable(objective)
        floor = objective(q)
        for _ in range(_HALVINGS):
            if objective(q + step) >= floor:
                return np.asarray(q + step)
            step = 0.25 * step
        return q

    def at_rounding(self, found: Approximation) -> bool:
        held = found.responsibilities > 0.5
        return bool(self._log_sigma(found.q)[held].min(initial=0.0) < _LAST_DIGITS)

    def posterior(self, found: Approximation) -> CoefficientPosterior:
        inner: Inner = found.inner
        pairs = list(zip(self.priors, inner.ridges, strict=True))
        return CoefficientPosterior(
            tuple(term.term.positions for term, _, _ in self._means),
            tuple(ridge.root for ridge in inner.ridges),
            tuple(ridge.logs for ridge in inner.ridges),
            tuple(effective(prior, ridge.root, ridge.logs) for prior, ridge in pairs),
        )


def _exp(logs: np.ndarray) -> np.ndarray:
    """Return exp, and 0 where it is so small that products with it are subnormal, which processors are slow at."""
    return np.where(logs < _NOTHING, 0.0, np.exp(np.maximum(logs, _NOTHING)))


def learned_groups(term: ExpertTerm) -> np.ndarray:
    """Return to which group (p,) of learned precision every slope belongs; -1 where its prior is stated."""
    chosen, widths = term.predictor.slopes_priors, term.term.basis.widths()
    open_ = np.repeat([prior is None for prior in chosen], widths)
    groups = np.where(open_, term.term.basis.groups(), -1)
    kept = np.unique(groups[groups >= 0])
    return np.where(open_, np.searchsorted(kept, groups), -1)


def gate_curvature(columns: np.ndarray, gate: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the Hessian (K w, K w) of Σ_i total_i log Σ_k exp(logit_ik) in the coefficients of w columns."""
    k, width = gate.shape[1], columns.shape[1]
    out = np.empty((k, width, k, width))
    for i in range(k):
        for j in range(i + 1):
            bend = total * gate[:, i] * ((i == j) - gate[:, j])
            out[i, :, j] = out[j, :, i] = (columns * bend[:, None]).T @ columns
    return out.reshape(k * width, -1)
