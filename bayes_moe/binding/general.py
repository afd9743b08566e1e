"""The log posterior of a mixture of any families over one flat vector, through the derivatives of their graphs.

Rows are worked through in chunks; what stays of a chunk are sums. An expert enters through its log density and the
first two derivatives of it in its own linear predictors, a gate through those of its log weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..families import Role
from ..gates.normalised import softmax
from ..log_density import Expectation, Funnel, Machine, Scene
from .arranging import arranged
from .chunks import Chunk, Group, pulled
from .closed_terms import TermsOf, terms_of
from .curvature import curvature
from .describe import user_coefficients
from .design import Design
from .general_steps import Sums, maximise, settle
from .members import GroupedChunk, Members
from .outcomes import Outcomes
from .parameters import Parameters

_CHUNK = 4096
_LABEL_ROUNDS = 12
_HALVINGS = 6
_NARROW = 0.01  # share of the largest sigma below which an expert counts as collapsed


@dataclass(frozen=True, eq=False)
class GeneralDensity:
    """Log posterior of a model on data; implements `LogDensity` and `Latent`.

    Parameters
    ----------
    design, parameters
        The design columns and the layout of q.
    groups
        The experts by family.
    table
        Design matrix (n, P) of the training rows.
    outcomes
        Target, weights and further columns of the same rows.
    members
        Which rows share one label, where not every row has its own; rows stand in order of their group then.
    alike
        Whether all experts are equal as specifications, so that labels to start from may be put into any order.
    """

    design: Design
    parameters: Parameters
    groups: tuple[Group, ...]
    table: np.ndarray
    outcomes: Outcomes
    members: Members | None = None
    alike: bool = False
    functions: tuple[TermsOf, ...] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        return self.parameters.size

    @property
    def experts(self) -> int:
        return self.parameters.experts

    @property
    def weights(self) -> np.ndarray:
        """Row weights (n,)."""
        return self.outcomes.weights

    @property
    def phases(self) -> int:
        return 1

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
        """The log posterior's part that depends on no parameter: the unit of y."""
        weights = self.weights if self.members is None else self.members.spread(self.members.counts) * self.weights
        return float(-weights @ self.outcomes.log_units)

    # -- rows --------------------------------------------------------------------------------------------------

    def chunks(self, q: np.ndarray, *, bends: bool = False) -> Iterator[Chunk]:
        """Yield all rows at q, some thousands at a time."""
        coefficients = self.parameters.coefficients(q)
        functions = self.functions or self._terms
        if self.members is not None:
            for rows, members in self.members.parts(_CHUNK):
                yield self._chunk(coefficients, functions, rows, members, bends=bends)
            return
        for start in range(0, len(self.table), _CHUNK):
            rows = slice(start, start + _CHUNK)
            yield self._chunk(coefficients, functions, rows, bends=bends)

    def _chunk(
        self,
        coefficients: np.ndarray,
        functions: Sequence[TermsOf],
        rows: slice,
        members: Members | None = None,
        *,
        bends: bool,
    ) -> Chunk:
        table, seen = self.table[rows], self.outcomes.at(rows)
        eta = table @ coefficients.T
        if seen.offsets is not None:
            eta += seen.offsets
        log_density, slopes = np.empty((len(table), self.experts)), np.zeros_like(eta)
        bent: list[np.ndarray | None] = []
        for group, function in zip(self.groups, functions, strict=True):
            given = [seen.given[name][:, None] for name in group.family.given]
            terms = function(seen.column, [eta[:, row] for row in group.rows], given, bends=bends)
            log_density[:, group.experts] = terms.value
            for row, slope in zip(group.rows, terms.slopes, strict=True):
                slopes[:, row] = slope
            bent.append(terms.bends)
        gate = self.parameters.gate
        log_weights = gate.log_joint(eta[:, : gate.predictors])
        columns, total = table[:, self.parameters.gate_positions], gate.log_total(log_weights)
        found = (table, columns, seen.weights, eta, log_weights, log_density, slopes, tuple(bent), total)
        return Chunk(*found) if members is None else GroupedChunk(*found, members)

    @cached_property
    def _terms(self) -> tuple[TermsOf, ...]:
        return tuple(terms_of(group.family, vector=self.outcomes.y.ndim == 2) for group in self.groups)

    # -- log density -------------------------------------------------------------------------------------------

    def log_prior(self, q: np.ndarray) -> float:
        """Return the log prior density of the free variables."""
        return self.parameters.log_prior(q)[0]

    def log_likelihood(self, q: np.ndarray) -> float:
        """Return the weighted log likelihood of y given x, in the user's units of y."""
        return float(self.weights @ self.row_log_density(q))

    def logp(self, q: np.ndarray) -> float:
        return self.logp_and_gradient(q)[0]

    def gradient(self, q: np.ndarray) -> np.ndarray:
        return self.logp_and_gradient(q)[1]

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        value, scores = 0.0, np.zeros((self.parameters.rows, self.design.width))
        for chunk in self.chunks(q):
            value += chunk.value
            mass = chunk.mass(chunk.by_row[1])
            scores += pulled(chunk, mass, self.parameters.gate, self.groups).T @ chunk.table
        return self._with_prior(q, value, scores)

    def _with_prior(self, q: np.ndarray, value: float, scores: np.ndarray) -> tuple[float, np.ndarray]:
        prior, slope, _ = self.parameters.log_prior(q)
        return float(value + prior + self.offset), self.parameters.pull_back(q, scores) + slope

    def compiled(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        machine = self.machine()
        if machine is None:  # PyTensor's functions keep their arguments in one place: every thread needs its own
            return replace(self, functions=tuple(one.hurried() for one in self._terms)).logp_and_gradient
        from .general_machine import quick_function  # numba: what `import bayes_moe` does not pay

        return quick_function(machine, replace(self, functions=()).logp_and_gradient)

    def machine(self) -> Machine | None:
        from .general_machine import make_machine  # numba, as above

        return make_machine(self.parameters, self.groups, self.table, self.outcomes, self.members, self.offset)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        inner, scores = curvature(self.chunks(q, bends=True), self.parameters, self.groups)
        rows, columns = self.parameters.active
        jacobian = self.parameters.jacobian(q)[rows * self.design.width + columns]
        out = jacobian.T @ inner @ jacobian + self.parameters.curvature(q, scores)
        out += np.diag(self.parameters.log_prior(q)[2])
        return np.asarray(0.5 * (out + out.T))

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        return user_coefficients(self.parameters, self.design, q)

    # -- latent labels -----------------------------------------------------------------------------------------

    def e_step(self, q: np.ndarray, previous: Expectation | None = None) -> Expectation:
        del previous
        return self._sums(q)

    def _sums(self, q: np.ndarray, given: np.ndarray | None = None) -> Expectation:
        """Return the log posterior at q and the sums of the M-step.

        With ``given`` responsibilities (n, K) the value is the expected complete-data log posterior.
        """
        sums = Sums.empty(self.parameters, self.groups)
        value, start = 0.0, 0
        for chunk in self.chunks(q, bends=True):
            if given is None:
                value += chunk.value
                mass = chunk.mass(chunk.by_row[1])
            else:
                mass = chunk.mass(given[start : start + len(chunk.table)])
                start += len(chunk.table)
                value += float(np.sum(np.where(mass.gate > 0, mass.gate * chunk.log_weights, 0.0)))
                value += float(np.sum(np.where(mass.experts > 0, mass.experts * chunk.log_density, 0.0)))
            gate = self.parameters.gate
            sums.add(chunk, mass, pulled(chunk, mass, gate, self.groups), gate, self.groups)
        log_posterior, gradient = self._with_prior(q, value, sums.scores)
        return Expectation(q, log_posterior, gradient, sums.sizes, sums)

    def m_step(self, expectation: Expectation, *, damping: float = 1.0) -> np.ndarray:
        return maximise(self.parameters, expectation.q, expectation.statistics, damping=damping)

    def settle(self, q: np.ndarray) -> np.ndarray:
        return settle(self.parameters, q)

    def scene(self) -> Scene:
        return Scene(self.table[:, 1:], self.outcomes.line, self.weights)

    def collapsed(self, expectation: Expectation) -> tuple[int, ...]:
        needed = np.array([self.parameters.mean_width(expert) for expert in range(self.experts)])
        middle = np.average(self.table, axis=0, weights=self.weights)  # 0 but for learned features
        narrow = _narrow(self.parameters.coefficients(expectation.q) @ middle, self.groups, self.experts)
        return tuple(int(expert) for expert in np.flatnonzero((expectation.sizes <= needed) | narrow))

    def thinned(self, rows: np.ndarray) -> GeneralDensity:
        if self.members is not None:
            rows, members = self.members.thinned(rows)
            return replace(self, table=self.table[rows], outcomes=self.outcomes.at(rows), members=members)
        seen = self.outcomes.at(rows)
        factor = self.weights.sum() / max(seen.weights.sum(), 1e-300)
        return replace(self, table=self.table[rows], outcomes=replace(seen, weights=seen.weights * factor))

    def responsibilities(self, q: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        if temperature == 1.0:
            return self.by_row(q)[1]
        shares = softmax(np.concatenate([chunk.joint for chunk in self.chunks(q)]) / temperature)[1]
        return shares if self.members is None else self.members.spread(shares)

    def row_log_density(self, q: np.ndarray) -> np.ndarray:
        return self.by_row(q)[0]

    def by_row(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log density of y in the user's units (n,) and responsibilities (n, K) of every row.

        Rows of a group have an equal share of its log density.
        """
        rows = [chunk.by_row for chunk in self.chunks(q)]
        value = np.concatenate([value for value, _ in rows])
        return value - self.outcomes.log_units, np.concatenate([r for _, r in rows])

    def fit_labels(self, responsibilities: np.ndarray) -> np.ndarray:
        responsibilities = self._common(responsibilities)
        if self.alike:
            responsibilities = arranged(self.parameters, self.table, self.weights, self.members, responsibilities)
        now = self._sums(self.parameters.prior_loc.copy(), responsibilities)
        for _ in range(_LABEL_ROUNDS):
            gain, now = _raised(self, now, lambda q: self._sums(q, responsibilities))
            if gain < 1e-3 * (1.0 + abs(now.log_posterior) * 1e-3):
                break
        return now.q

    def expected(self, q: np.ndarray, responsibilities: np.ndarray) -> float:
        return self._sums(q, self._common(responsibilities)).log_posterior

    def _common(self, responsibilities: np.ndarray) -> np.ndarray:
        """Return responsibilities that rows of a group share."""
        return responsibilities if self.members is None else self.members.common(responsibilities)


def _raised(
    density: GeneralDensity, now: Expectation, sums: Callable[[np.ndarray], Expectation]
) -> tuple[float, Expectation]:
    """Return what an M-step that is short enough gains, and what it comes to."""
    damping = 1.0
    for _ in range(_HALVINGS):
        following = sums(density.m_step(now, damping=damping))
        if following.log_posterior >= now.log_posterior:
            return following.log_posterior - now.log_posterior, following
        damping *= 0.25
    return 0.0, now


def _narrow(levels: np.ndarray, groups: Sequence[Group], experts: int) -> np.ndarray:
    """Return which experts (K,) have a scale far below the largest of their kind, from linear predictors (R,)."""
    out = np.zeros(experts, dtype=bool)
    for group in groups:
        for row in _scales(group):
            out[group.experts] |= levels[row] < levels[row].max() + np.log(_NARROW)
    return out


def _scales(group: Group) -> Iterator[np.ndarray]:
    """Yield rows of the coefficients that hold log standard deviations of a group, not log means."""
    location = any(parameter.role is Role.LOCATION for parameter in group.family.parameters)
    slot = 0
    for parameter in group.family.parameters:
        for _ in parameter.columns:
            if location and parameter.role is Role.LOG_SCALE:
                yield group.rows[slot]
            slot += 1
