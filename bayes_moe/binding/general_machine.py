"""A general density as a C function: its structure and its data in the tables that the compiled code reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lgamma

import numpy as np

from ..families.kernels import Part, parts_of
from ..gates.gaussian import BoundGaussian
from ..gates.kernels import GateKernel, kernel_of
from ..gates.scaled import BoundScaled
from ..gates.stick_breaking import BoundSticks
from ..log_density import Machine
from ..pointers import DENSITY, address_of, called_at
from ..predictors.hsgp import Kernel, SpectralWeights
from .chunks import Group
from .general_kernel import Arrays, Sizes, log_posterior
from .members import Members
from .outcomes import Outcomes
from .parameters import Parameters
from .rows import BLOCK_ROWS

type Function = Callable[[np.ndarray], tuple[float, np.ndarray]]

_HALF_LOG_2PI = 0.9189385332046727
_NOWHERE = -1


def make_machine(
    parameters: Parameters,
    groups: Sequence[Group],
    table: np.ndarray,
    outcomes: Outcomes,
    members: Members | None,
    offset: float,
) -> Machine | None:
    """Return the log posterior as a C function, or None where a piece of the model is not compiled.

    Parameters
    ----------
    parameters, groups
        The layout of q and the experts by family.
    table, outcomes
        Design matrix (n, P) and what is observed in its rows.
    members
        Which rows share one label, where not every row has its own.
    offset
        The log posterior's part that depends on no parameter, beside the priors' normalisers.
    """
    parts = [parts_of(g.family, outcomes.y, [outcomes.given[name] for name in g.family.given]) for g in groups]
    kernel, processes = kernel_of(parameters.gate), _processes(parameters)
    found = [part for part in parts if part is not None]
    if kernel is None or processes is None or len(found) < len(parts):
        return None
    blocked = _blocks(len(table)) if members is None else _grouped_blocks(members)
    part_table, known = _part_table(parameters, groups, found, blocked)
    coefficients = (*_links(parameters), *processes, *_powers(parameters), *_gate_map(parameters), kernel.shape)
    added = np.zeros((0, 0, 0)) if outcomes.offsets is None else blocked(outcomes.offsets)
    weights = blocked.only(outcomes.weights)
    counts = weights if members is None else blocked.only(members.once(members.counts))
    rows = (blocked(table), weights, counts, blocked.heads, added, part_table)
    arrays = (*coefficients, *_priors(parameters), *rows, np.array([offset + _normaliser(parameters)]))
    return _machine(parameters, kernel, Arrays._make(arrays), known)


def quick_function(machine: Machine, slow: Function) -> Function:
    """Return a machine as ``f(q) -> (log posterior, gradient)`` that calls ``slow`` where it gives no numbers.

    Where floating-point numbers end, the graphs of the densities still say what closed forms do not.
    """
    called = called_at(machine.function, machine.data)

    def function(q: np.ndarray, held: Machine = machine) -> tuple[float, np.ndarray]:
        del held  # what the addresses lead to lives as long as the function
        code, value, gradient = called(q)
        return (value, gradient) if code == 0 else slow(q)

    return function


def _machine(parameters: Parameters, kernel: GateKernel, arrays: Arrays, known: Sequence[np.ndarray]) -> Machine:
    exact = Arrays(*(np.ascontiguousarray(a, dtype=np.int64 if a.dtype.kind in "iu" else float) for a in arrays))
    scale = parameters.size - 1 if parameters.gate.rate is not None else _NOWHERE
    sizes = Sizes(
        links=len(exact.targets),
        scaled=len(exact.scaled_places),
        powers=len(exact.power_targets),
        rank=exact.basis.shape[1],
        gate_columns=len(exact.positions),
        predictors=parameters.rows,
        width=parameters.width,
        blocks=exact.table.shape[0],
        rows=exact.table.shape[2],
        experts=parameters.experts,
        gate_predictors=parameters.gate_rows,
        parts=len(exact.parts),
        sloped=len(exact.sloped),
        added=len(exact.added),
        grouped=exact.heads.shape[1],
        gate_scale=scale,
        gate_kernel=address_of(kernel.kernel),
    )
    data = np.array([*sizes, *(a.ctypes.data for a in exact)], dtype=np.int64)
    return Machine(address_of(log_posterior, DENSITY), data.ctypes.data, (data, exact, tuple(known)))


# -- from q to coefficients ----------------------------------------------------------------------------------------


def _links(parameters: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, sources and factors of the coefficients that are linear in q; a Gaussian gate's come last."""
    links = parameters.links
    gate = parameters.gate
    if not isinstance(gate, BoundGaussian):
        return links
    start = parameters.gate_start
    slopes = gate.jacobian(np.zeros(parameters.size - start))
    rows, columns = _diagonal(gate)
    slopes[rows, columns] = 0.0
    row, column, source = np.nonzero(slopes)
    targets = row * parameters.width + parameters.gate_positions[column]
    found = (targets, start + source, slopes[row, column, source])
    return tuple(np.concatenate(pair) for pair in zip(links, found, strict=True))  # type: ignore[return-value]


def _powers(parameters: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, sources and rates of the coefficients that are exponentials of values of q."""
    gate = parameters.gate
    if not isinstance(gate, BoundGaussian):
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    rows, columns = _diagonal(gate)
    targets = rows * parameters.width + parameters.gate_positions[columns]
    sources = parameters.gate_start + gate.places[2].ravel()
    return targets, sources, np.full(len(targets), -0.5)


def _diagonal(gate: BoundGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the coefficients that are inverse standard deviations, expert by expert."""
    rows = 2 * gate.experts + np.arange(gate.experts * gate.width)
    return rows, 1 + np.tile(np.arange(gate.width), gate.experts)


def _processes(parameters: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return places, numbers and squared frequencies of Gaussian processes, or None for other learned weights."""
    places, numbers, squares = [], [], [np.zeros(0)]
    for one in parameters.scaled:
        weights = one.weights
        if type(weights) is not SpectralWeights:
            return None
        experts, width, each = one.shape
        matern, at = weights.kernel is Kernel.MATERN52, sum(map(len, squares))
        squares.append(np.asarray(weights.squares, dtype=float))
        for expert in range(experts):
            hyper = iter(one.hyper[expert].tolist())
            learned = [next(hyper) if is_learned else _NOWHERE for is_learned in weights.learned]
            places.append((one.first + expert * width * each, width - 1, each, *learned, int(matern), at))
            scales = (weights.log_amplitude, weights.amplitude_spread)
            lengths = (weights.log_lengthscale, weights.lengthscale_spread)
            numbers.append((weights.dims, weights.constant, *scales, *lengths))
    table = np.array(places, dtype=np.int64).reshape(-1, 7)
    return table, np.array(numbers, dtype=float).reshape(-1, 6), np.concatenate(squares)


def _gate_map(parameters: Parameters) -> tuple[np.ndarray, ...]:
    """Return basis, places, positions, units, numbers and centre of a gate with a learned scale; else empty ones."""
    gate = parameters.gate
    if not isinstance(gate, BoundScaled):
        none = np.zeros(0, dtype=np.int64)
        return np.zeros((gate.predictors, 0)), none, none, np.zeros(0), np.zeros(3), np.zeros(gate.predictors)
    level, sides = gate.places
    places = parameters.gate_start + np.concatenate([level[None], sides])
    fixed = np.nan if gate.fixed_intercept is None else gate.fixed_intercept
    numbers = np.array([gate.spread if gate.scaled else 0.0, gate.total, fixed])
    centre = gate.centre if isinstance(gate, BoundSticks) else np.zeros(gate.predictors)
    return gate.basis, places, parameters.gate_positions, gate.units, numbers, centre


# -- priors --------------------------------------------------------------------------------------------------------


def _priors(parameters: Parameters) -> tuple[np.ndarray, ...]:
    """Return means and scales of normal priors, then positions, shapes and scales of inverse-gamma ones."""
    scale = parameters.prior_scale.copy()
    where, alphas, betas = [np.zeros(0, dtype=np.int64)], [np.zeros(0)], [np.zeros(0)]
    for free in parameters.free:
        if free.inverse_gamma is not None:
            inside = parameters.slices[free.value_name]
            scale[inside] = np.inf
            where.append(np.arange(inside.start, inside.stop))
            for found, values in zip((alphas, betas), free.inverse_gamma, strict=True):
                found.append(np.broadcast_to(values, free.value_shape).ravel())
    return parameters.prior_loc, scale, np.concatenate(where), np.concatenate(alphas), np.concatenate(betas)


def _normaliser(parameters: Parameters) -> float:
    """Return what the log prior has beside the terms in q."""
    _, scale, _, alpha, beta = _priors(parameters)
    normal = scale[np.isfinite(scale)]
    gamma = sum(a * np.log(b) - lgamma(a) for a, b in zip(alpha, beta, strict=True))
    return float(gamma - np.sum(np.log(normal)) - len(normal) * _HALF_LOG_2PI)


# -- rows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Which rows stand in which block.

    Parameters
    ----------
    places
        (blocks, rows) positions among all rows; the last row of a block fills it up.
    real
        (blocks, rows) whether it is the row, and not a copy of it that fills the block up.
    heads
        (blocks, rows) where in the block the first row of each row's group stands; (blocks, 0) without groups.
    """

    places: np.ndarray
    real: np.ndarray
    heads: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return values (n, m) as (blocks, m, rows)."""
        return np.ascontiguousarray(values[self.places].transpose(0, 2, 1), dtype=float)

    def only(self, values: np.ndarray) -> np.ndarray:
        """Return values (n,) as (blocks, rows), with zeros where a block is filled up."""
        return np.asarray(np.where(self.real, values[self.places], 0.0))


def _blocks(count: int) -> _Blocks:
    rows = min(BLOCK_ROWS, max(8, -(-count // 8) * 8))
    blocks = -(-count // rows)
    places = np.arange(blocks * rows).reshape(blocks, rows)
    return _Blocks(np.minimum(places, count - 1), places < count, np.zeros((blocks, 0), dtype=np.int64))


def _grouped_blocks(members: Members) -> _Blocks:
    """Return blocks of whole groups, none of which is longer than the longest group needs."""
    longest = max(int(members.sizes.max()), min(BLOCK_ROWS, members.rows))
    rows = -(-longest // 8) * 8
    inside = list(members.parts(rows))
    shape = (len(inside), rows)
    places, real, heads = np.empty(shape, dtype=np.int64), np.zeros(shape, dtype=bool), np.empty(shape, dtype=np.int64)
    for i, (span, groups) in enumerate(inside):
        places[i] = np.minimum(span.start + np.arange(rows), span.stop - 1)
        real[i, : groups.rows] = True
        heads[i] = np.arange(rows)
        heads[i, : groups.rows] = groups.spread(groups.starts)
    return _Blocks(places, real, heads)


def _part_table(
    parameters: Parameters, groups: Sequence[Group], parts: Sequence[Sequence[Part]], blocked: _Blocks
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the parts of all experts' densities and the arrays whose addresses stand there."""
    rows, held = [], []
    for group, own in zip(groups, parts, strict=True):
        for part in own:
            known = blocked(part.known.T)
            held.append(known)
            address = address_of(part.kernel)
            for expert in group.experts.tolist():
                first = parameters.gate_rows + part.first * parameters.experts + expert
                rows.append((address, expert, first, part.predictors, known.ctypes.data, known.shape[1]))
    return np.array(rows, dtype=np.int64).reshape(-1, 6), held
