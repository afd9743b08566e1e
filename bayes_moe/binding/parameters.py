"""From one flat vector to the coefficients of every linear predictor, and back.

The vector q holds the unconstrained values of the PyMC model's free variables in the model's order. Experts' entries
are copied into their places (several places for shared ones); the gate's go through the gate's own small map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..families import Parameter, Role
from ..gates import BoundGate, Free
from ..gates.base import zero_sum_basis
from ..mixture import MixtureOfExperts
from ..predictors.base import Predictor
from ..priors import Normal
from .design import Design, Term


@dataclass(frozen=True, eq=False)
class ExpertTerm:
    """The coefficients of one parameter in one block of equal experts."""

    parameter: Parameter
    predictor: Predictor
    term: Term
    experts: tuple[int, ...]
    row: int
    start: int
    free: tuple[Free, ...]

    @property
    def shared(self) -> bool:
        """Whether the experts of the block share their coefficients."""
        return self.predictor.shared

    @cached_property
    def places(self) -> np.ndarray:
        """Positions in q, (experts, 1 + p): a row per expert, equal rows when shared."""
        count = 1 if self.shared else len(self.experts)
        width = self.term.width
        intercepts = self.start + np.arange(count)[:, None]
        slopes = self.start + count + np.arange(count * width).reshape(count, width)
        full = np.broadcast_to(np.concatenate([intercepts, slopes], axis=1), (len(self.experts), 1 + width))
        return np.ascontiguousarray(full)

    @cached_property
    def grid(self) -> tuple[np.ndarray, ...]:
        """Index of the term's elements in an array (K, P)."""
        return np.ix_(self.experts, self.term.positions)

    @cached_property
    def cube(self) -> tuple[np.ndarray, ...]:
        """Index of the term's squares in an array (K, P, P)."""
        return np.ix_(self.experts, self.term.positions, self.term.positions)


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
    def gather(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat positions in the coefficients and the positions in q they copy."""
        targets, sources = [], []
        for term in self.terms:
            rows = term.row + np.array(term.experts)
            targets.append((rows[:, None] * self.width + term.term.positions[None, :]).ravel())
            sources.append(term.places.ravel())
        return np.concatenate(targets), np.concatenate(sources)

    @cached_property
    def gate_grid(self) -> tuple[np.ndarray, ...]:
        """Index of the gate's squares in an array (P, P)."""
        return np.ix_(self.gate_positions, self.gate_positions)

    @cached_property
    def active(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the coefficients that are not structurally zero."""
        mask = np.zeros((self.rows, self.width), dtype=bool)
        mask.ravel()[self.gather[0]] = True
        if self.gate.free:
            mask[: self.experts, self.gate_positions] = True
        rows, columns = np.nonzero(mask)
        return rows, columns

    def coefficients(self, q: np.ndarray) -> np.ndarray:
        """Return the coefficients (predictors, P): K gate rows, then K rows per parameter of the family."""
        out = np.zeros((self.rows, self.width))
        targets, sources = self.gather
        out.ravel()[targets] = q[sources]
        if self.gate.free:
            values = [unpack_free(free, q[self.slices[free.value_name]]) for free in self.gate.free]
            out[: self.experts, self.gate_positions] = self.gate.coefficients(values, np)
        return out

    def pull_back(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to q from that with respect to the coefficients."""
        targets, sources = self.gather
        out = np.bincount(sources, weights=gradient.ravel()[targets], minlength=self.size)
        if self.gate_start < self.size:
            jacobian = self.gate.jacobian(q[self.gate_start :])
            out[self.gate_start :] = np.tensordot(gradient[: self.experts, self.gate_positions], jacobian, 2)
        return out

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Return d coefficients / d q, (predictors * P, size)."""
        out = np.zeros((self.rows, self.width, self.size))
        targets, sources = self.gather
        out.reshape(-1, self.size)[targets, sources] = 1.0
        if self.gate_start < self.size:
            block = self.gate.jacobian(q[self.gate_start :])
            out[: self.experts, self.gate_positions, self.gate_start :] = block
        return out.reshape(-1, self.size)

    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the Hessian of <gradient, coefficients(q)>, (size, size)."""
        out = np.zeros((self.size, self.size))
        inner = gradient[: self.experts, self.gate_positions]
        out[self.gate_start :, self.gate_start :] = self.gate.curvature(q[self.gate_start :], inner)
        return out

    def mean_width(self, expert: int) -> int:
        """Return the number of coefficients of an expert's location, at which it passes through as many rows."""
        widths = (1 + t.term.width for t in self.terms if expert in t.experts and t.parameter.role is Role.LOCATION)
        return 1 + sum(widths)

    def named(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Return {value variable name: unconstrained value}; leading dimensions of q are kept."""
        shapes = {free.value_name: free.value_shape for free in self.free}
        return {name: q[..., where].reshape((*q.shape[:-1], *shapes[name])) for name, where in self.slices.items()}


def unpack_free(free: Free, values: np.ndarray) -> np.ndarray:
    """Return constrained values (..., shape) of one free variable from its unconstrained ones (..., size)."""
    shaped = values.reshape((*values.shape[:-1], *free.value_shape))
    if not free.zero_sum:
        return shaped
    return np.asarray(shaped @ zero_sum_basis(free.shape[-1]).T)


def make_parameters(model: MixtureOfExperts, design: Design) -> Parameters:
    """Return the layout of ``model`` on ``design``, its priors on the standardised scale."""
    count = len(model.experts)
    family = model.experts[0].family
    terms: list[ExpertTerm] = []
    at = 0
    for index, (expert, positions) in enumerate(model.blocks):
        suffix = "" if len(model.blocks) == 1 else f"_{index}"
        for order, parameter in enumerate(family.parameters):
            predictor = expert.predictors[parameter.name]
            term = design.experts[index][order]
            free = _expert_free(parameter, predictor, term, positions, design, suffix)
            terms.append(ExpertTerm(parameter, predictor, term, positions, count * (1 + order), at, free))
            at += sum(piece.size for piece in free)
    gate = model.gate.bind(count, design.gate.basis)
    rows = count * (1 + len(family.parameters))
    return Parameters(count, design.width, rows, tuple(terms), gate, design.gate.positions, at)


def _expert_free(
    parameter: Parameter,
    predictor: Predictor,
    term: Term,
    experts: Sequence[int],
    design: Design,
    suffix: str,
) -> tuple[Free, ...]:
    predicted = parameter.predicted
    stretch = design.scaling.y_scale if parameter.role is Role.LOCATION else 1.0
    loc, scale = _standardised(predictor.intercept or parameter.prior.intercept, stretch, np.ones(()))
    if not (predictor.intercept or parameter.prior.intercept).standardised:
        if parameter.role is Role.LOCATION:
            loc = loc - design.scaling.y_center / design.scaling.y_scale
        elif parameter.role is Role.LOG_SCALE:
            loc = loc - np.log(design.scaling.y_scale)
    count, dims = ((), ()) if predictor.shared else ((len(experts),), (f"expert{suffix}",))
    if term.width == 0 and parameter.logarithmic:
        return (Free(f"{predicted}{suffix}_z", dims, count, loc, scale),)
    out = [Free(f"{predicted}_intercept{suffix}_z", dims, count, loc, scale)]
    if term.width:
        slopes = predictor.slopes_prior or parameter.prior.slopes
        loc, scale = _standardised(slopes, stretch, term.basis.slope_units())
        shape, names = (*count, term.width), (*dims, f"{parameter.name}_feature{suffix}")
        out.append(Free(f"{predicted}_slopes{suffix}_z", names, shape, loc, scale))
    return tuple(out)


def _standardised(prior: Normal, stretch: float, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prior.standardised:
        return np.asarray(prior.loc, dtype=float), np.asarray(prior.scale, dtype=float)
    return prior.loc * units / stretch, prior.scale * units / stretch


def _flat(pieces: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(piece) for piece in pieces] or [np.zeros(0)]).astype(float)
