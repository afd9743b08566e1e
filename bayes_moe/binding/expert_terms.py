"""The coefficients of the experts: one term per parameter and block of equal experts, and where they stand in q."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..families import Parameter, Role
from ..gates import Free
from ..gates.base import zero_sum_basis
from ..mixture import MixtureOfExperts
from ..predictors.base import Predictor, Weights
from ..priors import Normal
from .design import Design, Term
from .features import suffix


@dataclass(frozen=True, eq=False)
class ExpertTerm:
    """The coefficients of one parameter in one block of equal experts.

    Parameters
    ----------
    parameter, predictor
        What is predicted, and how.
    term
        The predictor's columns in the design.
    experts
        Positions of the experts.
    row, stride
        Expert e has its coefficients for label l in row ``row + l stride + e`` of the coefficients.
    start
        Position in q.
    free
        The free variables, in order.
    offset_center
        Mean over the training rows of what is added to the linear predictor; it is added less that, so that priors of
        the intercept are about the average row.
    weights
        What multiplies the slopes, if anything does.
    """

    parameter: Parameter
    predictor: Predictor
    term: Term
    experts: tuple[int, ...]
    row: int
    stride: int
    start: int
    free: tuple[Free, ...]
    offset_center: float = 0.0
    weights: Weights | None = None

    @property
    def shared(self) -> bool:
        """Whether the experts of the block share all their coefficients."""
        return self.predictor.shared is True

    @cached_property
    def tied(self) -> np.ndarray:
        """Which of the 1 + p coefficients the experts of the block share."""
        if self.shared:
            return np.ones(1 + self.term.width, dtype=bool)
        return np.concatenate([[False], self.term.basis.pooled()])

    @property
    def partly(self) -> bool:
        """Whether they share some coefficients and not others."""
        return bool(self.tied.any()) and not self.shared

    @cached_property
    def order(self) -> np.ndarray:
        """Position of every one of the 1 + p coefficients among intercept, own slopes and shared slopes."""
        shared = self.tied if self.partly else np.zeros_like(self.tied)
        return np.argsort(np.argsort(shared, kind="stable"))

    @cached_property
    def sources(self) -> np.ndarray:
        """Positions in q, (experts, 1 + p, free labels): a row per expert, equal rows where they are shared."""
        count, free = 1 if self.shared else len(self.experts), self.free_labels
        tied = int(self.tied.sum()) if self.partly else 0
        width, lead = self.term.width - tied, len(self.experts)
        intercepts = self.start + np.arange(count * free).reshape(count, 1, free)
        slopes = self.start + count * free + np.arange(count * width * free).reshape(count, width, free)
        pooled = self.start + count * (1 + width) * free + np.arange(tied * free).reshape(1, tied, free)
        pieces = [np.broadcast_to(piece, (lead, *piece.shape[1:])) for piece in (intercepts, slopes, pooled)]
        return np.ascontiguousarray(np.concatenate(pieces, axis=1)[:, self.order])

    @cached_property
    def hyper(self) -> np.ndarray:
        """Positions in q of what the weights depend on, (experts, H)."""
        count = 1 if self.shared else len(self.experts)
        number = len(self.weights.names) if self.weights is not None else 0
        first = self.start + sum(piece.size for piece in self.free) - number * count
        found = first + np.arange(number * count).reshape(number, count).T
        return np.ascontiguousarray(np.broadcast_to(found, (len(self.experts), number)))

    def coordinate(self, dim: str) -> Sequence[object]:
        """Return the labels along a dimension of the free variables: experts, or columns of the basis."""
        if dim.startswith("expert"):
            return self.experts
        if dim.startswith(f"{self.parameter.name}_label"):
            return self.parameter.labels
        tied = self.tied[1:]
        wanted = {"shared": tied, "own": ~tied}.get(dim.removeprefix(f"{self.parameter.name}_").split("_")[0])
        names = self.term.basis.names
        return names if wanted is None else tuple(name for name, used in zip(names, wanted, strict=True) if used)

    @property
    def labels(self) -> int:
        """Number of linear predictors of an expert."""
        return max(1, len(self.parameter.labels))

    @property
    def free_labels(self) -> int:
        """Number of values of q behind one coefficient of all labels."""
        return self.labels - 1 if self.parameter.zero_sum else self.labels

    @cached_property
    def places(self) -> np.ndarray:
        """Positions in q of a parameter without labels, (experts, 1 + p)."""
        return np.ascontiguousarray(self.sources[:, :, 0])

    @cached_property
    def members(self) -> slice | np.ndarray:
        """Positions of the experts, as an index."""
        return span(self.experts)

    @cached_property
    def grid(self) -> tuple[slice | np.ndarray, ...]:
        """Index of the term's elements in an array (K, P)."""
        return grid(self.experts, self.term.positions)

    @cached_property
    def cube(self) -> tuple[slice | np.ndarray, ...]:
        """Index of the term's squares in an array (K, P, P)."""
        return grid(self.experts, self.term.positions, self.term.positions)

    @cached_property
    def intercepts(self) -> slice | np.ndarray:
        """Positions in q of the distinct intercepts of a parameter without labels, as an index."""
        return span(self.places[: 1 if self.shared else None, 0])

    def rows(self, label: int) -> np.ndarray:
        """Return the rows of the coefficients that hold one label's coefficients, an expert each."""
        return self.row + label * self.stride + np.array(self.experts)

    def links(self, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return flat targets in coefficients of ``width`` columns, sources in q and factors between them."""
        rows = np.stack([self.rows(label) for label in range(self.labels)], axis=-1)
        targets = rows[:, None, :] * width + self.term.positions[None, :, None]
        if not self.parameter.zero_sum:
            return targets.ravel(), self.sources.ravel(), np.ones(targets.size)
        shape = (*targets.shape, self.free_labels)
        factors = np.broadcast_to(zero_sum_basis(self.labels), shape)
        sources = np.broadcast_to(self.sources[:, :, None, :], shape)
        return np.broadcast_to(targets[..., None], shape).ravel(), sources.ravel(), factors.ravel()


def span(positions: Sequence[int] | np.ndarray) -> slice | np.ndarray:
    """Return positions as an index: a slice where they follow each other, which NumPy takes ten times as fast."""
    found = np.asarray(positions)
    if len(found) and np.array_equal(found, np.arange(found[0], found[0] + len(found))):
        return slice(int(found[0]), int(found[-1]) + 1)
    return found


def grid(*axes: Sequence[int] | np.ndarray) -> tuple[slice | np.ndarray, ...]:
    """Return the index of all combinations of positions along some axes; of slices where all can be."""
    spans = tuple(span(axis) for axis in axes)
    return spans if all(isinstance(one, slice) for one in spans) else np.ix_(*axes)


def make_expert_terms(
    model: MixtureOfExperts, design: Design, centres: Sequence[Mapping[str, float]], ahead: int
) -> tuple[tuple[ExpertTerm, ...], int, int]:
    """Return the terms, the number of values of q they take and the number of rows of coefficients.

    Parameters
    ----------
    model
        The specification, its families met with the data.
    design
        Its design.
    centres
        Per block, where default priors of intercepts lie.
    ahead
        Rows of coefficients before the experts': the gate's.
    """
    count = len(model.experts)
    terms: list[ExpertTerm] = []
    at = slots = 0
    for index, (expert, positions) in enumerate(model.blocks):
        slot = 0
        for order, parameter in enumerate(expert.family.parameters):
            predictor, row = expert.predictors[parameter.name], ahead + slot * count
            pieces = design.experts[index][order]
            for place, term in enumerate(pieces):
                alone = positions[place] if len(pieces) > 1 else None
                experts, end = positions if alone is None else (alone,), suffix(model, index, alone)
                weights = term.basis.weights(parameter.prior.slopes.scale)
                free = _expert_free(parameter, predictor, term, experts, design, centres[index], end, weights)
                center = 0.0 if term.offset is None else design.scaling.x_center[term.offset]
                terms.append(ExpertTerm(parameter, predictor, term, experts, row, count, at, free, center, weights))
                at += sum(piece.size for piece in free)
            slot += max(1, len(parameter.labels))
        slots = max(slots, slot)
    return tuple(terms), at, ahead + slots * count


def _expert_free(
    parameter: Parameter,
    predictor: Predictor,
    term: Term,
    experts: Sequence[int],
    design: Design,
    centre: Mapping[str, float],
    end: str,
    weights: Weights | None,
) -> tuple[Free, ...]:
    predicted, scaling = parameter.predicted, design.scaling
    units = np.array([scaling.unit(output) for output in parameter.units])
    y_center, y_scale = (units[:, i] if parameter.labels else units[0, i] for i in range(2))
    stretch = y_scale if parameter.role is Role.LOCATION else np.ones(())
    prior = predictor.intercept or parameter.prior.intercept
    loc, scale = _standardised(prior, stretch, np.ones(()))
    if predictor.intercept is None and any(name in centre for name in parameter.columns):
        loc = np.array([centre.get(name, float(loc)) for name in parameter.columns])
        loc = loc if parameter.labels else loc[0]
        loc = loc @ zero_sum_basis(len(loc)) if parameter.zero_sum else loc
    elif not prior.standardised and parameter.role is Role.LOCATION:
        loc = loc - y_center / y_scale
    elif not prior.standardised and parameter.role is Role.LOG_SCALE:
        loc = loc - np.log(y_scale)
    whole_shared = predictor.shared is True
    lead: tuple[int, ...] = () if whole_shared else (len(experts),)
    dims: tuple[str, ...] = () if whole_shared else (f"expert{end}",)
    tail: tuple[int, ...] = (len(parameter.labels),) if parameter.labels else ()
    names: tuple[str, ...] = (f"{parameter.name}_label",) if parameter.labels else ()
    zero_sum = parameter.zero_sum
    if term.width == 0 and parameter.logarithmic:
        return (Free(f"{predicted}{end}_z", (*dims, *names), (*lead, *tail), loc, scale, zero_sum),)
    whole = Free(f"{predicted}_intercept{end}_z", (*dims, *names), (*lead, *tail), loc, scale, zero_sum)
    if not term.width:
        return (whole,)
    loc, scale = _slopes(parameter, predictor, term, stretch, weights)
    tied = np.zeros(term.width, dtype=bool) if whole_shared else term.basis.pooled()
    out = [whole]
    for used, word, ahead, along in ((~tied, "own_", lead, dims), (tied, "shared_", (), ())):
        if used.any():
            some = tied.any()
            own_loc, own_scale = (_of_columns(v, used, labelled=bool(tail)) for v in (loc, scale))
            inner = (*along, f"{parameter.name}_{word if some else ''}feature{end}", *names)
            name = f"{predicted}_slopes{'_shared' if word == 'shared_' else ''}{end}_z"
            out.append(Free(name, inner, (*ahead, int(used.sum()), *tail), own_loc, own_scale, zero_sum))
    moved = weights.names if weights is not None else ()
    zero, one = np.zeros(()), np.ones(())
    return (*out, *(Free(f"{predicted}_log_{name}{end}_z", dims, lead, zero, one) for name in moved))


def _slopes(
    parameter: Parameter, predictor: Predictor, term: Term, stretch: np.ndarray, weights: Weights | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return locations and scales of the slopes' priors: numbers, or one per column, or column and label."""
    units, chosen, found = term.basis.slope_units(), predictor.slopes_priors, []
    at = 0
    for prior, width in zip(chosen, term.basis.widths(), strict=True):
        own = parameter.prior.slopes if prior is None else prior
        if weights is not None:
            own = Normal(0.0, 1.0, standardised=True)
        some = units[at : at + width]
        found.append((_standardised(own, stretch, some[:, None] if parameter.labels else some), width))
        at += width
    if len(found) == 1:
        return found[0][0]
    tail = (len(parameter.labels),) if parameter.labels else ()
    loc, scale = (
        np.concatenate([np.broadcast_to(values[i], (width, *tail)) for values, width in found]) for i in range(2)
    )
    return loc, scale


def _of_columns(values: np.ndarray, used: np.ndarray, *, labelled: bool) -> np.ndarray:
    """Return a number per column, or per column and label, for some of the columns; one number stays one."""
    if values.ndim == 0:
        return values
    shape = (len(used), *values.shape[1:]) if labelled else (len(used),)
    return np.asarray(np.broadcast_to(values, shape)[used])


def _standardised(prior: Normal, stretch: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prior.standardised:
        return np.asarray(prior.loc, dtype=float), np.asarray(prior.scale, dtype=float)
    return prior.loc * units / stretch, prior.scale * units / stretch
