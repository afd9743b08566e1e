"""From one flat vector to the coefficients of every linear predictor, and back.

The vector q holds the unconstrained values of the PyMC model's free variables in the model's order. Experts' entries
are copied into their places (several places for shared ones); the gate's go through the gate's own small map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..families import Role
from ..gates import BoundGate, Free
from ..graph.hessian import Layout
from ..log_density import Funnel
from ..mixture import MixtureOfExperts
from .design import Design
from .expert_terms import ExpertTerm, grid, make_expert_terms
from .islands import Island, make_islands
from .scaled import Scaled

_HALF_LOG_2PI = 0.9189385332046727


@dataclass(frozen=True, eq=False)
class Parameters:
    """Layout of q and its map to coefficients (predictors, design columns).

    Parameters
    ----------
    experts, width
        Number of experts K and of design columns P.
    terms
        The expert terms, block by block, parameter by parameter.
    gate
        The bound gate; its values stand last in q.
    gate_positions
        Design columns of the gate.
    """

    experts: int
    width: int
    rows: int
    terms: tuple[ExpertTerm, ...]
    gate: BoundGate
    gate_positions: np.ndarray
    gate_start: int

    @cached_property
    def free(self) -> tuple[Free, ...]:
        """All free variables in the order of q."""
        return (*(free for term in self.terms for free in term.free), *self.gate.free)

    @cached_property
    def size(self) -> int:
        """Length of q."""
        return sum(free.size for free in self.free)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where every free variable's unconstrained values stand in q, by value variable name."""
        out, at = {}, 0
        for free in self.free:
            out[free.value_name] = slice(at, at + free.size)
            at += free.size
        return out

    @cached_property
    def prior_loc(self) -> np.ndarray:
        """Prior mean of every entry of q."""
        return _flat(np.broadcast_to(free.loc, free.value_shape) for free in self.free)

    @cached_property
    def prior_scale(self) -> np.ndarray:
        """Prior standard deviation of every entry of q."""
        return _flat(np.broadcast_to(free.scale, free.value_shape) for free in self.free)

    @cached_property
    def precision(self) -> np.ndarray:
        """Prior precision of every entry of q."""
        return np.asarray(self.prior_scale**-2.0)

    def log_prior(self, q: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log prior density of the free variables, its gradient and the diagonal of its Hessian."""
        z = (q - self.prior_loc) / self.prior_scale
        value = -0.5 * z**2 - self._log_normaliser
        slope, bend = -z / self.prior_scale, -self.precision
        for free in self._not_normal:
            where = self.slices[free.value_name]
            value[where], slope[where], bend[where] = free.log_prior(q[where])
        return float(value.sum()), slope, bend

    @cached_property
    def _log_normaliser(self) -> np.ndarray:
        return np.asarray(np.log(self.prior_scale) + _HALF_LOG_2PI)

    @cached_property
    def _not_normal(self) -> tuple[Free, ...]:
        return tuple(free for free in self.gate.free if free.inverse_gamma is not None)

    @cached_property
    def links(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flat positions in the coefficients, positions in q, and the factors by which these enter those."""
        links = [term.links(self.width) for term in self.terms]
        targets, sources, factors = (np.concatenate(part) for part in zip(*links, strict=True))
        return targets, sources, factors

    @cached_property
    def scaled(self) -> tuple[Scaled, ...]:
        """What learned weights multiply."""
        out, at = [], 0
        for term in self.terms:
            size = len(term.links(self.width)[0])
            if term.weights is not None:
                experts, width = term.hyper.shape[0], 1 + term.term.width
                out.append(Scaled(term.weights, term.hyper, at, (experts, width, size // (experts * width))))
            at += size
        return tuple(out)

    @cached_property
    def hyper(self) -> np.ndarray:
        """Positions in q of what learned weights depend on."""
        found = [one.hyper.ravel() for one in self.scaled]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)

    def factors(self, q: np.ndarray) -> np.ndarray:
        """Return all links' factors at vectors (..., size): (..., links), or (links,) where they are constant."""
        constant = self.links[2]
        if not self.scaled:
            return constant
        out = np.array(np.broadcast_to(constant, (*q.shape[:-1], len(constant))))
        for one in self.scaled:
            out[..., one.where] *= one.values(q)
        return out

    @cached_property
    def copied(self) -> bool:
        """Whether every coefficient of the experts is one value of q."""
        return not self.scaled and not any(term.parameter.zero_sum for term in self.terms)

    @property
    def gather(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of coefficients that are copies of values of q, and of those values; for unlabelled parameters."""
        targets, sources, _ = self.links
        return targets, sources

    @cached_property
    def islands(self) -> tuple[Island, ...]:
        """The experts' values of q, cut into parts as small as shared coefficients allow."""
        return make_islands(self.terms, self.links, self.gate_rows, self.experts, self.width)

    def maps(self, island: Island, q: np.ndarray) -> tuple[tuple[int, np.ndarray], ...]:
        """Return the island's experts, each with the derivatives (m P, places) of its coefficients at q."""
        if not self.scaled:
            return island.maps
        jacobian = self.jacobian(q).reshape(self.rows, self.width, self.size)[:, :, island.places]
        out = []
        for expert, matrix in island.maps:
            rows = self.gate_rows + expert + self.experts * np.arange(len(matrix) // self.width)
            out.append((expert, jacobian[rows].reshape(len(matrix), -1)))
        return tuple(out)

    @property
    def gate_rows(self) -> int:
        """Rows of coefficients before the experts': the gate's linear predictors."""
        return self.gate.predictors

    @property
    def gate_scale(self) -> int | None:
        """Position in q of the gate's learned log scale, if there is one that matters."""
        return self.size - 1 if self.experts > 1 and self.gate.rate is not None else None

    @property
    def funnel(self) -> Funnel | None:
        """The gate's values that its learned scale multiplies."""
        if self.gate_scale is None or not self.gate.rate:
            return None
        return Funnel(slice(self.gate_start, self.size - 1), self.gate_scale, self.gate.rate)

    @cached_property
    def gate_grid(self) -> tuple[slice | np.ndarray, ...]:
        """Index of the gate's elements in the coefficients."""
        return grid(range(self.gate_rows), self.gate_positions)

    @cached_property
    def gate_pairs(self) -> np.ndarray:
        """Where the Hessian (K w, K w) of the log normaliser, in the gate's columns, stands in sums of packed pairs."""
        k, columns = self.experts, full_from_packed(self.width)[grid(self.gate_positions, self.gate_positions)]
        blocks = full_from_packed(k)[:, None, :, None] * (self.width * (self.width + 1) // 2)
        return np.ascontiguousarray((blocks + columns[None, :, None, :]).reshape(k * len(columns), -1))

    @cached_property
    def active(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the coefficients that are not structurally zero."""
        mask = np.zeros((self.rows, self.width), dtype=bool)
        mask.ravel()[self.links[0]] = True
        if self.gate.free:
            mask[: self.gate_rows, self.gate_positions] = True
        rows, columns = np.nonzero(mask)
        return rows, columns

    @cached_property
    def layout(self) -> Layout:
        """Which elements the Hessian of Normal experts in these coefficients has."""
        return Layout(self.experts, *self.active)

    def coefficients(self, q: np.ndarray) -> np.ndarray:
        """Return the coefficients (predictors, P): K gate rows, then K rows per parameter of the family."""
        targets, sources, _ = self.links
        if self.copied:
            flat = np.zeros(self.rows * self.width)
            flat[targets] = q[sources]
        else:
            flat = np.bincount(targets, weights=self.factors(q) * q[sources], minlength=self.rows * self.width)
        out = flat.reshape(self.rows, self.width)
        if self.gate.free:
            out[self.gate_grid] = self.gate.at(q[self.gate_start :])
        return out

    def pull_back(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to q from that with respect to the coefficients."""
        targets, sources, _ = self.links
        pulls = gradient.ravel()[targets]
        pulls = pulls if self.copied else self.factors(q) * pulls
        out = np.bincount(sources, weights=pulls, minlength=self.size)
        for one in self.scaled:
            one.add_pull(q, (pulls * q[sources])[one.where], out)
        if self.gate_start < self.size:
            out[self.gate_start :] = self.gate.pull_back(q[self.gate_start :], gradient[self.gate_grid])
        return out

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Return d coefficients / d q, (predictors * P, size)."""
        out = np.zeros((self.rows, self.width, self.size))
        targets, sources, _ = self.links
        factors, flat = self.factors(q), out.reshape(-1, self.size)
        flat[targets, sources] = factors
        for one in self.scaled:
            one.add_jacobian(q, targets[one.where], (factors * q[sources])[one.where], flat)
        if self.gate_start < self.size:
            block = self.gate.jacobian(q[self.gate_start :])
            out[: self.gate_rows, self.gate_positions, self.gate_start :] = block
        return out.reshape(-1, self.size)

    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the Hessian of <gradient, coefficients(q)>, (size, size)."""
        out = np.zeros((self.size, self.size))
        inner = self.gate.curvature(q[self.gate_start :], gradient[self.gate_grid])
        out[self.gate_start :, self.gate_start :] = inner
        targets, sources, _ = self.links
        for one in self.scaled:
            pulls = self.factors(q)[one.where] * gradient.ravel()[targets[one.where]]
            one.add_curvature(q, sources[one.where], pulls, out)
        return out

    def mean_width(self, expert: int) -> int:
        """Return the number of coefficients of an expert's location, at which it passes through as many rows."""
        own = [t for t in self.terms if expert in t.experts and t.parameter.role is Role.LOCATION]
        # a Gaussian process has as many degrees of freedom as the rows can pay for
        return 1 + sum(1 + (t.term.width if t.weights is None else t.hyper.shape[1]) for t in own)

    def named(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Return {value variable name: unconstrained value}; leading dimensions of q are kept."""
        shapes = {free.value_name: free.value_shape for free in self.free}
        return {name: q[..., where].reshape((*q.shape[:-1], *shapes[name])) for name, where in self.slices.items()}


def make_parameters(
    model: MixtureOfExperts, design: Design, centres: Sequence[Mapping[str, float]] | None = None
) -> Parameters:
    """Return the layout of ``model`` on ``design``, its priors on the standardised scale.

    ``centres`` says, for every block of equal experts, where default priors of intercepts lie.
    """
    count = len(model.experts)
    gate = model.gate.bind(count, design.gate.basis)
    terms, at, rows = make_expert_terms(model, design, centres or [{} for _ in model.blocks], gate.predictors)
    return Parameters(count, design.width, rows, terms, gate, design.gate.positions, at)


@lru_cache(maxsize=64)
def full_from_packed(width: int) -> np.ndarray:
    """Return positions in a packed lower triangle of every element of the full symmetric matrix."""
    out = np.empty((width, width), dtype=np.int64)
    lower = np.tril_indices(width)
    out[lower] = np.arange(len(lower[0]))
    out.T[lower] = out[lower]
    return out


def _flat(pieces: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(piece) for piece in pieces] or [np.zeros(0)]).astype(float)
