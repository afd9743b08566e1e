"""The draws of a fit as coefficients, relabelled, and as mixtures at any rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..binding.bind import Bound
from ..binding.describe import all_coefficients, user_coefficients, user_dims
from ..families import Role
from ..gates import BoundGate
from ..log_density import CoefficientPosterior
from .matching import Matching, TreeOrder
from .mixed import WHICH, Mixed, slot
from .mixtures import ASKED_ELEMENTS, MixtureDraws, Straight, allocation, gate_probabilities
from .powers import Powered
from .relabel import Relabelling, choose_rows, permuted, relabel
from .shared_labels import group_rows, log_shares, training_joint, with_known_labels

_HELD = 8_000_000  # responsibilities that are computed once and kept, 64 MB, instead of once a pass
_LABEL_ROWS = 500


@dataclass(frozen=True, eq=False)
class Draws:
    """Posterior draws (or one mode) of a bound model.

    Parameters
    ----------
    bound
        The model on its data.
    q
        (chains, draws, size) unconstrained vectors, as the engine gave them.
    permutations
        (chains * draws, K): relabelled expert j is raw expert ``permutations[s, j]``.
    posterior
        Posteriors of the coefficients of the experts' means, where one draw holds but their means.
    """

    bound: Bound
    q: np.ndarray
    permutations: np.ndarray
    posterior: CoefficientPosterior | None = None

    @property
    def flat(self) -> np.ndarray:
        """All draws (chains * draws, size)."""
        return self.q.reshape(-1, self.q.shape[-1])

    @cached_property
    def coefficients(self) -> np.ndarray:
        """Relabelled coefficients (draws, predictors, P) on the standardised scale."""
        parameters = self.bound.parameters
        return permute_rows(all_coefficients(parameters, self.flat), self.permutations, parameters.gate)

    @np.errstate(all="ignore")  # what is not finite is named by the verdict
    def user(self) -> dict[str, np.ndarray]:
        """Return relabelled parameters in the user's units, (chains, draws, ...)."""
        parameters = self.bound.parameters
        raw = user_coefficients(parameters, self.bound.design, self.flat)
        dims, lead = user_dims(parameters), self.q.shape[:2]
        out = {}
        for name, values in raw.items():
            first = dims[name][0] if dims[name] else None
            if first == "expert":
                values = permuted(values, self.permutations)
            elif first == parameters.gate.dim:
                values = parameters.gate.permuted(values, self.permutations)
            out[name] = values.reshape(lead + values.shape[1:])
        return out

    def mixture(self, table: np.ndarray, groups: np.ndarray | None = None) -> MixtureDraws:
        """Return the mixture of every draw at rows of the raw table.

        ``groups`` (n,) are positions of the rows' groups among those of training, -1 for others: where training knows
        a group, what it says of its label under every draw stands in place of the gate.
        """
        found = mixture_draws(self.bound, self.coefficients, table, self.posterior)
        if groups is None or not np.any(groups >= 0):
            return found
        known, joint = self.group_joint(groups)
        return with_known_labels(found, groups, known, log_shares(joint))

    def group_joint(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (G,) of those wanted groups that have rows that count, and `group_joint` of them."""
        rows = group_rows(self.bound, wanted)
        table = np.asarray(self.bound.data.table.values)[rows]
        return training_joint(self.bound, mixture_draws(self.bound, self.coefficients, table), wanted)

    def training_responsibilities(self) -> np.ndarray:
        """Return p(expert | all training data) of the training rows (n, K), averaged over draws."""
        data = self.bound.data
        table = np.asarray(data.table.values)
        if data.groups is None:
            return allocation(self.mixture(table), data.y)
        return gate_probabilities(self.mixture(table, data.groups.codes))


def permute_rows(coefficients: np.ndarray, permutations: np.ndarray, gate: BoundGate) -> np.ndarray:
    """Return coefficients (draws, predictors, P) with the experts of every draw in their new order."""
    ahead, experts = gate.predictors, permutations.shape[1]
    starts = range(ahead, coefficients.shape[1], experts)
    pieces = [gate.permuted(coefficients[:, :ahead], permutations)]
    pieces += [permuted(coefficients[:, start : start + experts], permutations) for start in starts]
    return np.concatenate(pieces, axis=1)


def mixture_draws(
    bound: Bound, coefficients: np.ndarray, table: np.ndarray, posterior: CoefficientPosterior | None = None
) -> MixtureDraws:
    """Return the mixture of every draw at rows of the raw table, in the user's units of y.

    With a ``posterior`` of coefficients, φ'Sφ is added to the variance of every Normal expert.
    """
    parameters, scaling = bound.parameters, bound.design.scaling
    design = bound.design.matrix(table)
    added, given = bound.extras.added(table), bound.extras.arguments(table)
    center, scale, power = np.asarray(scaling.y_center), np.asarray(scaling.y_scale), scaling.y_power
    plain = [group.family.standardised(-center / scale, 1.0 / scale) for group in bound.groups]
    families: list[Any] = [*plain] if power is None else [Powered(family, power) for family in plain]
    which = np.empty(parameters.experts)
    for position, group in enumerate(bound.groups):
        which[group.experts] = position
    alone = families[0] if len(families) == 1 and families[0].predicted else None

    def components(rows: slice, draws: slice) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        eta = design[rows] @ coefficients[draws].transpose(0, 2, 1)
        if added is not None:
            eta += added[rows]
        log_gate = _log_gate(parameters.gate, eta[:, :, : parameters.gate.predictors])
        slots = _in_units(bound, eta)
        if posterior is not None:
            variances = posterior.variances(design[rows])
            slots[1] = 0.5 * np.logaddexp(2.0 * slots[1], np.log(variances) + 2.0 * np.log(scale))
        values = {name: column[None, rows, None] for name, column in given.items()}
        if alone is not None:
            return log_gate, values | dict(zip(alone.predicted, slots, strict=True))
        values[WHICH] = which[None, None, :]
        return log_gate, values | {slot(i): predicted for i, predicted in enumerate(slots)}

    return MixtureDraws(
        len(design),
        len(coefficients),
        parameters.experts,
        components,
        alone or Mixed(families),
        outputs=len(bound.data.outputs) or None,
        power=None if power is None else Straight(power, plain[0] if alone else Mixed(plain)),
    )


def _log_gate(gate: BoundGate, eta: np.ndarray) -> np.ndarray:
    """Return log gate probabilities (draws, rows, K)."""
    draws, rows, predictors = eta.shape  # a gate of one expert may have no predictor
    flat = gate.log_weights(eta.reshape(draws * rows, predictors))
    return flat.reshape(draws, rows, -1)


def _in_units(bound: Bound, eta: np.ndarray) -> list[np.ndarray]:
    """Return, for every position in a family's list, the experts' linear predictors (draws, rows, K) in units of y."""
    parameters, scaling = bound.parameters, bound.design.scaling
    slots = max(len(group.rows) for group in bound.groups)
    out = [np.zeros((*eta.shape[:2], parameters.experts)) for _ in range(slots)]
    for group in bound.groups:
        units = [(p.role, *scaling.unit(output)) for p in group.family.parameters for output in p.units]
        for into, rows, (role, center, scale) in zip(out, group.rows, units, strict=False):
            predicted = eta[:, :, rows]
            if role is Role.LOCATION:
                predicted = center + scale * predicted
            elif role is Role.LOG_SCALE:
                predicted = predicted + np.log(scale)
            into[:, :, group.experts] = predicted
    return out


@dataclass(frozen=True, eq=False)
class Labels:
    """The labelling of all draws.

    Parameters
    ----------
    permutations
        (draws, K).
    agreement
        Share of rows and draws that agree with the mode's allocation.
    ambiguity
        Share of draws with two labellings of similar standing.
    ambiguous
        Whether labelled tables mean little.
    """

    permutations: np.ndarray
    agreement: float
    ambiguity: float
    ambiguous: bool


def label_draws(bound: Bound, q: np.ndarray, mode: np.ndarray | None) -> Labels:
    """Relabel draws (draws, size) by Stephens' algorithm with the mode as pivot.

    Only experts that are equal as specifications and have no networks of their own may be exchanged, and under a gate
    that is a tree only as its symmetries allow. Draws that are not finite keep their labels.
    """
    sound = np.isfinite(q).all(axis=1)
    if sound.all():
        return _label_sound(bound, q, mode)
    permutations = np.tile(np.arange(bound.parameters.experts), (len(q), 1))
    if not sound.any():
        return Labels(permutations, 0.0, 1.0, ambiguous=True)
    found = _label_sound(bound, q[sound], mode)
    permutations[sound] = found.permutations
    return replace(found, permutations=permutations)


def _label_sound(bound: Bound, q: np.ndarray, mode: np.ndarray | None) -> Labels:
    """Relabel draws that are finite."""
    experts = bound.parameters.experts
    permutations = np.tile(np.arange(experts), (len(q), 1))
    if experts == 1 or len(q) == 1:
        return Labels(permutations, 1.0, 0.0, ambiguous=False)
    pivot = bound.density.responsibilities(q[0] if mode is None else mode)
    members = bound.members
    if members is None:
        rows, weights = choose_rows(pivot, weights=bound.density.weights, limit=_LABEL_ROWS)
    else:
        groups, weights = choose_rows(pivot[members.starts], weights=members.counts, limit=_LABEL_ROWS)
        rows = members.starts[groups]
    coefficients = all_coefficients(bound.parameters, q)
    if bound.parameters.gate.tree is not None:
        kinds = {position: kind for kind, positions in enumerate(bound.kinds) for position in positions}
        order = TreeOrder(bound.parameters.gate.tree, [kinds[expert] for expert in range(experts)])
        if order.trivial:
            return Labels(permutations, 1.0, 0.0, ambiguous=False)
        found = _label_block(bound, coefficients, rows, weights, pivot[rows], np.arange(experts), order)
        return Labels(found.permutations, found.agreement, found.ambiguity, ambiguous=found.ambiguous)
    agreement, ambiguity, ambiguous = 1.0, 0.0, False
    for positions in bound.kinds:
        if len(positions) > 1:
            found = _label_block(bound, coefficients, rows, weights, pivot[rows], np.array(positions))
            permutations[:, positions] = np.array(positions)[found.permutations]
            agreement, ambiguity = min(agreement, found.agreement), max(ambiguity, found.ambiguity)
            ambiguous |= found.ambiguous
    return Labels(permutations, agreement, ambiguity, ambiguous=ambiguous)


def _label_block(
    bound: Bound,
    coefficients: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    pivot: np.ndarray,
    positions: np.ndarray,
    matching: Matching | None = None,
) -> Relabelling:
    """Relabel one block of equal experts by the responsibilities within it."""
    inside = pivot[:, positions]
    share = inside.sum(axis=1)
    step = max(1, ASKED_ELEMENTS // max(1, len(rows) * bound.parameters.experts))

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(coefficients), step):
            joint = _log_joint(bound, coefficients[start : start + step], rows)[:, :, positions]
            joint = np.exp(joint - joint.max(axis=2, keepdims=True))
            yield joint / joint.sum(axis=2, keepdims=True)

    uniform = np.full_like(inside, 1.0 / len(positions))
    conditional = np.divide(inside, share[:, None], out=uniform, where=share[:, None] > 1e-12)
    small = len(coefficients) * inside.size <= _HELD
    source = np.concatenate(list(chunks())) if small else chunks
    return relabel(source, conditional, weights=weights * share, matching=matching)


def _log_joint(bound: Bound, coefficients: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return log gate plus log density (draws, rows, K) of rows that count, or of the groups that begin there."""
    chosen = bound.counted[rows]
    table = np.asarray(bound.data.table.values)
    if bound.data.groups is not None:
        wanted = bound.data.groups.codes[chosen]
        return training_joint(bound, mixture_draws(bound, coefficients, table[group_rows(bound, wanted)]), wanted)[1]
    mixture = mixture_draws(bound, coefficients, table[chosen])
    log_gate, values = mixture.components(slice(0, len(rows)), slice(0, len(coefficients)))
    return np.asarray(log_gate + mixture.family.log_density(bound.data.y[chosen, None], **values))
