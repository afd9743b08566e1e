"""What a fit's gate and experts look like where a model has more than the data need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..binding.bind import Bound
from ..errors import Notice, listed
from .draws import Draws, Labels
from .label_free import LEAST_ROWS, training_shares
from .mixtures import gate_probabilities

_SEPARATED = 15.0
"""Largest slope of a gate's log odds, per sd of a column, that still counts as smooth."""
_NORMAL_TAILS = 30.0
"""Degrees of freedom above which a Student's t is hardly told from a normal."""
_ALIKE = 0.1
"""Distance of two experts' means in their standard deviations, and of the logs of these, below which they are one."""
_ROWS, _DRAWS, _MOST_ROWS = 500, 200, 5000


def expert_notices(bound: Bound, draws: Draws, *, point: bool) -> Iterator[Notice]:
    """Name gates that separate, experts without rows, ν that has run away and experts that are copies in the draws."""
    with np.errstate(all="ignore"):
        yield from _separated(bound, draws)
        yield from _unused(bound, draws)
        yield from _normal_tails(bound, draws)
        if not point:
            yield from _alike(bound, draws)


def ambiguous(labels: Labels) -> Notice:
    """Say that labels mean little, and what does not need them."""
    return Notice(
        "labels_ambiguous",
        f"Labels are ambiguous (agreement with the mode {labels.agreement:.2f}): tables per expert mean little; read "
        f"{LABEL_FREE}, which do not depend on labels.",
    )


LABEL_FREE = (
    "predictions, fit.partition(X) (how the gate divides x), fit.co_assignment() (which rows go together), "
    "fit.experts_used() and fit.loo()"
)


def about_experts_used(draws: Draws) -> str:
    """Return a sentence on how many experts hold rows, from some rows and draws where there are many."""
    data, experts = draws.bound.data, draws.permutations.shape[1]
    rows = np.arange(0, len(data.y), max(1, len(data.y) // _ROWS))
    weights = data.weights[rows] * (data.weights.sum() / max(data.weights[rows].sum(), 1e-300))
    held = [np.einsum("r,srk->sk", weights, shares) for shares in training_shares(some(draws), rows)]
    used = (np.concatenate(held) >= 0.5).sum(axis=1)
    counts = [(count, float(np.mean(used == count))) for count in range(experts + 1)]
    told = [
        f"{count} of {experts} ({share:.0%})" for count, share in sorted(counts, key=lambda c: -c[1]) if share > 0.02
    ]
    return f"Experts that hold rows, by share of the draws: {listed(told, limit=3)}."


def some(draws: Draws) -> Draws:
    """Return every so many of the draws, as one chain."""
    step = max(1, len(draws.flat) // _DRAWS)
    return Draws(draws.bound, draws.flat[None, ::step], draws.permutations[::step])


def _separated(bound: Bound, draws: Draws) -> Iterator[Notice]:
    """Find gates that separate: their log odds change by more than a step function needs."""
    gate, positions = bound.parameters.gate, bound.parameters.gate_positions[1:]
    if gate.experts == 1 or len(positions) == 0 or bound.design.gate_learned:
        return
    steepest = gate.steepest(np.median(draws.coefficients[:, : gate.predictors, positions], axis=0))
    if steepest > _SEPARATED:
        yield Notice(
            "gate_separation",
            f"The gate is almost a step: the log odds of two experts change by {steepest:.0f} per sd of a column. Its "
            "slopes are held by their prior; read the place of the step, not the size of the slopes.",
        )


def _unused(bound: Bound, draws: Draws) -> Iterator[Notice]:
    """Find experts to which the gate gives less than half a row."""
    if bound.parameters.experts == 1 or not bound.parameters.gate.count:
        return
    rows = bound.counted[:: -(-len(bound.counted) // _MOST_ROWS)]
    weights = bound.data.weights
    sizes = weights[rows] @ gate_probabilities(draws.mixture(np.asarray(bound.data.table.values)[rows]))
    unused = np.flatnonzero(sizes / weights[rows].sum() < LEAST_ROWS / weights.sum())
    if len(unused):
        yield Notice("unused_experts", f"Experts {unused.tolist()} hold less than half a row: use fewer experts.")


def _normal_tails(bound: Bound, draws: Draws) -> Iterator[Notice]:
    """Find Student's t experts whose ν has run to where the tails are normal."""
    far: list[int] = []
    for group in bound.groups:
        if "log_nu_minus_2" not in group.family.predicted:
            continue
        rows = group.rows[group.family.predicted.index("log_nu_minus_2")]
        nu = 2.0 + np.exp(np.median(draws.coefficients[:, rows, 0], axis=0))
        far += [int(expert) for expert, value in zip(group.experts, nu, strict=True) if value > _NORMAL_TAILS]
    if far:
        yield Notice(
            "normal_tails",
            f"ν of experts {sorted(far)} has run above {_NORMAL_TAILS:.0f}, where its prior holds it: their tails are "
            "those of a normal, and ν itself is not to be read. Use bm.Normal() for them.",
        )


def _alike(bound: Bound, draws: Draws) -> Iterator[Notice]:
    """Find experts that have the same distribution of y in most draws."""
    if bound.parameters.experts == 1 or bound.data.outputs or bound.data.classes:
        return
    rows = bound.counted[:: max(1, len(bound.counted) // _ROWS)]
    mixture = some(draws).mixture(np.asarray(bound.data.table.values)[rows])
    every, whole = slice(0, mixture.rows), slice(0, mixture.draws)
    _, parameters = mixture.components(every, whole)
    shape = (mixture.draws, mixture.rows, mixture.experts)
    mean = np.broadcast_to(mixture.family.mean(**parameters), shape)
    sd = np.sqrt(np.broadcast_to(mixture.family.variance(**parameters), shape))
    twins = []
    for _, positions in bound.model.blocks:
        for i, one in enumerate(positions):
            for other in positions[i + 1 :]:
                gap = np.abs(mean[:, :, one] - mean[:, :, other]) / np.minimum(sd[:, :, one], sd[:, :, other])
                ratio = np.abs(np.log(sd[:, :, one] / sd[:, :, other]))
                if np.mean(np.maximum(gap.mean(axis=1), ratio.mean(axis=1)) < _ALIKE) > 0.5:
                    twins.append(f"{one} and {other}")
    if twins:
        yield Notice(
            "duplicate_experts",
            f"Experts {listed(twins)} are copies of each other in most draws: the data do not tell them apart. Use "
            "fewer experts.",
        )
