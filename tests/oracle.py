"""The log posterior once more, written from the design alone: slow, plain, and sharing nothing with the package.

It reads a specification, the data as the user has them and unconstrained values by name, as ``fit.point`` gives
them. Densities of y are computed in the user's units and priors where the user states them, with the Jacobian of
the change of units; sums go through `math.fsum`. Only the specification's own classes are read, nothing that computes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.special import gammaln, log_softmax, logsumexp, softmax
from scipy.stats import invwishart, multivariate_normal, norm, uniform

from bayes_moe import (
    HSGP,
    MLP,
    RBF,
    Constant,
    EqualGate,
    GaussianGate,
    Kernel,
    Linear,
    MixtureOfExperts,
    Polynomial,
    Products,
    SoftmaxGate,
    Spline,
    StickBreakingGate,
    Sum,
    TreeGate,
    priors,
)
from tests.cases import Case
from tests.oracle_families import Anatomy, Follows, anatomy, centre, log_density, prefixed
from tests.oracle_means import left_out, spelled_out
from tests.oracle_networks import hidden
from tests.oracle_powers import transformed


@dataclass(frozen=True, eq=False)
class Terms:
    """The log posterior in pieces.

    Parameters
    ----------
    prior
        Log prior density of the unconstrained values.
    gate, experts
        (n, K): log gate probabilities and log densities of y in the user's units.
    weights
        (n,).
    covariates
        (n,) log density of x, where the gate has one; else zeros.
    groups
        (n,) labels of groups whose rows have one latent label, or None.
    """

    prior: float
    gate: np.ndarray
    experts: np.ndarray
    weights: np.ndarray
    covariates: np.ndarray
    groups: np.ndarray | None = None

    @property
    def counted(self) -> Terms:
        """The terms of the rows of positive weight."""
        rows = self.weights > 0
        groups = None if self.groups is None else self.groups[rows]
        return Terms(self.prior, self.gate[rows], self.experts[rows], self.weights[rows], self.covariates[rows], groups)

    def joint(self, row: int) -> np.ndarray:
        """Return the log gate plus the weighted log densities (K,) of a row's group."""
        assert self.groups is not None
        members = np.flatnonzero(self.groups == self.groups[row])
        sums = [math.fsum(self.weights[i] * self.experts[i, k] for i in members) for k in range(self.gate.shape[1])]
        return np.asarray(self.gate[members[0]] + sums)

    @cached_property
    def rows(self) -> np.ndarray:
        """Log density of every row (n,); rows of a group share its log density by their weights."""
        if self.groups is None:
            return np.asarray(logsumexp(self.gate + self.experts, axis=1))
        totals = [math.fsum(self.weights[self.groups == group]) for group in self.groups]
        return np.array([logsumexp(self.joint(i)) / total for i, total in enumerate(totals)])

    @property
    def log_likelihood(self) -> float:
        """Weighted log likelihood."""
        return math.fsum(w * value for w, value in zip(self.weights, self.rows, strict=True))

    @property
    def log_posterior(self) -> float:
        """Log likelihood, of x too where the gate models it, plus log prior."""
        once = self.weights  # a group has one label, and one density of x
        if self.groups is not None:
            once = np.isin(np.arange(len(self.groups)), np.unique(self.groups, return_index=True)[1]).astype(float)
        return self.log_likelihood + math.fsum(once * self.covariates) + self.prior

    def responsibilities(self, temperature: float = 1.0) -> np.ndarray:
        """Softmax over experts of log gate + log density, divided by a temperature."""
        if self.groups is not None:
            return np.array([softmax(self.joint(i) / temperature) for i in range(len(self.groups))])
        return np.asarray(softmax((self.gate + self.experts) / temperature, axis=1))

    def expected(self, responsibilities: np.ndarray) -> float:
        """Expected complete-data log posterior under given responsibilities."""
        joint = self.gate + self.experts + self.covariates[:, None]
        cells = np.ndindex(*joint.shape)
        return math.fsum(self.weights[i] * responsibilities[i, k] * joint[i, k] for i, k in cells) + self.prior


def over_labels(terms: Terms, groups: Sequence[Any]) -> float:
    """Return the log posterior where rows of a group share a label: the sum over every label of every group.

    All K^G ways to label the groups are gone through, and nothing is taken to factor.
    """
    rows = {group: [i for i, other in enumerate(groups) if other == group] for group in groups}
    totals = []
    for labels in itertools.product(range(terms.gate.shape[1]), repeat=len(rows)):
        parts = [terms.gate[members[0], k] for k, members in zip(labels, rows.values(), strict=True)]
        for k, members in zip(labels, rows.values(), strict=True):
            parts += [terms.weights[i] * terms.experts[i, k] for i in members]
        totals.append(math.fsum(parts))
    return float(logsumexp(totals)) + terms.prior


class Prior(NamedTuple):
    """One factor of the prior: a Normal density at ``value``, and the log Jacobian of the change of units."""

    value: float
    loc: float
    scale: float
    log_jacobian: float = 0.0


def zero_sum(values: Sequence[float]) -> list[float]:
    """Return K values that sum to zero from K - 1: the reflection that takes the last axis to the diagonal."""
    count = len(values) + 1
    mirror = [1.0 / math.sqrt(count)] * count
    mirror[-1] += 1.0
    padded = [*values, 0.0]
    factor = 2.0 * math.fsum(m * v for m, v in zip(mirror, padded, strict=True)) / math.fsum(m * m for m in mirror)
    return [v - factor * m for m, v in zip(mirror, padded, strict=True)]


class Oracle:
    """The log posterior of one case.

    Parameters
    ----------
    case
        Specification and data.
    """

    def __init__(self, case: Case) -> None:
        self.model: MixtureOfExperts = case.model
        own = np.asarray(case.X, dtype=float)
        own = own[:, None] if own.ndim == 1 else own
        appended = np.zeros((len(own), 0)) if case.gate_X is None else np.asarray(case.gate_X, dtype=float)
        self.raw = np.column_stack([own, appended])
        names = getattr(case.X, "columns", [f"x{j}" for j in range(own.shape[1])])
        self.names = [str(name) for name in names] + [f"z{j}" for j in range(appended.shape[1])]
        self.y, self.classes = self._target(case.y)
        self.weights = np.ones(len(self.y)) if case.weights is None else np.asarray(case.weights, dtype=float)
        self.groups = None if case.groups is None else np.asarray(case.groups)
        self.features: list[tuple[np.ndarray, float]] = []
        self.columns = [self._standardised(self.raw[:, j]) for j in range(self.raw.shape[1])]
        used = [column[0] for column in self.columns if column is not None]
        self.y, self.log_slopes = transformed(self.model.target, self.y, used, self.weights)  # y is T(y) from here
        self.units = self._units()
        self.derived: dict[str, float] = {}
        if self.model.mean is not None:
            self._add_mean(case)
        self._share_out(own.shape[1] + len(self.derived))
        self._bases: dict[Any, list[tuple[np.ndarray, float]]] = {}
        self.blocks = self.model.blocks

    # -- data --------------------------------------------------------------------------------------------------

    def _add_mean(self, case: Case) -> None:
        """Add the columns of a shared mean: in units of y, and of log sd; y itself in units of what is left."""
        means, spreads = left_out(case, self.raw, self.y)
        self.raw = np.column_stack([self.raw, means, spreads])
        self.names += ["mean", "log_sd"]
        ((center, unit),) = self.units
        level, spread = float(spreads.mean()), max(float(spreads.std()), 0.1)
        self.columns += [((means - center) / unit, unit), ((spreads - level) / spread, spread)]
        self.derived = {"mean": center, "log_sd": level}
        left = self.y - means
        self.units = [
            (center + float(left.mean()), math.exp(level) * math.sqrt(float(np.mean((left / np.exp(spreads)) ** 2))))
        ]
        self.model = spelled_out(self.model)

    def _target(self, y: Any) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return y as numbers, and its classes in the order of their codes."""
        kind = type(self.model.experts[0].family).__name__
        if kind not in ("Categorical", "Ordinal"):
            if kind == "Joint" and hasattr(y, "columns"):
                y = y[[name for name, _ in self.model.experts[0].family.parts]]
            return np.asarray(y, dtype=float), ()
        family = self.model.experts[0].family
        named = family.classes if kind == "Categorical" else family.levels
        order = named or tuple(str(label) for label in sorted(set(np.asarray(y).tolist())))
        return np.array([float(order.index(str(label))) for label in np.asarray(y).tolist()]), order

    def _units(self) -> list[tuple[float, float]]:
        """Return centre and scale of every output: the narrowest of what the experts' families allow."""
        columns = self.y.T if self.y.ndim == 2 else [self.y]
        return [self._unit(column, i) for i, column in enumerate(columns)]

    def _unit(self, column: np.ndarray, output: int) -> tuple[float, float]:
        families = [expert.family for expert in self.model.experts]
        kinds = {type(f.parts[output][1] if hasattr(f, "parts") else f).__name__ for f in families}
        if kinds <= {"Normal", "StudentT", "SkewNormal", "MvNormal", "Uniform"}:
            return self._moments(column)
        if kinds <= {"LogNormal", "Gamma", "Weibull"}:
            return 0.0, math.exp(math.fsum(self.weights * np.log(column)) / math.fsum(self.weights))
        return 0.0, 1.0

    def _moments(self, values: np.ndarray) -> tuple[float, float]:
        total = math.fsum(self.weights)
        mean = math.fsum(self.weights * values) / total
        return mean, math.sqrt(math.fsum(self.weights * (values - mean) ** 2) / total)

    def _standardised(self, column: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Return the standardised column and its unit; None for a constant one."""
        counted = sorted(set(column[self.weights > 0].tolist()))
        mean, spread = self._moments(column)
        if len(counted) == 1:
            return None
        unit = counted[1] - counted[0] if len(counted) == 2 else spread
        return (column - mean) / unit, unit

    def _share_out(self, own: int) -> None:
        """Decide which columns predictors without ``columns=`` use."""
        predictors = [self.model.gate.predictor, *(p for e in self.model.experts for p in e.predictors.values())]
        parts = [part for p in predictors for part in (p.parts if isinstance(p, Sum) else (p,))]
        claimed = {self._position(c) for p in parts for c in (getattr(p, "columns", None) or ())}
        for expert in self.model.experts:
            taken = (getattr(expert.family, "exposure", None), getattr(expert.family, "trials", None))
            claimed |= {self._position(column) for column in taken if column is not None}
        claimed |= {self._position(p.offset) for p in predictors if p.offset not in (None, *self.derived)}
        self.free = [j for j in range(own) if j not in claimed]
        appended = [j for j in range(own, len(self.names)) if j not in claimed]
        self.gate_free = list(range(own, len(self.names))) if len(self.names) > own else self.free
        assert self.gate_free == self.free or self.gate_free == appended

    def _position(self, column: str | int) -> int:
        return self.names.index(column) if isinstance(column, str) else column

    def _network(
        self, name: str, network: MLP, default: list[int], left: dict[str, np.ndarray], log_priors: list[Prior]
    ) -> list[tuple[np.ndarray, float]]:
        """Return the last layer of a network and collect the priors of its weights."""
        columns, layers = self._chosen(network, default), []
        into = len(columns)
        for layer, units in enumerate(network.hidden):
            weights, biases = (left.pop(f"{name}_{word}_{layer}_z") for word in ("weights", "biases"))
            assert weights.shape == (into, units)
            assert biases.shape == (units,)
            log_priors += [Prior(value, 0.0, network.scale / math.sqrt(into)) for value in weights.ravel()]
            log_priors += [Prior(value, 0.0, network.scale) for value in biases]
            layers.append((weights, biases))
            into = units
        return [(unit, 1.0) for unit in hidden(columns, layers, network.activation)]

    def _sees_features(self, predictor: Any, default: list[int]) -> bool:
        everything = default == self.free and isinstance(predictor, Linear) and predictor.columns is None
        return self.model.features is not None and everything

    def _slopes(self, part: Anatomy, predictor: Any, default: list[int]) -> Any:
        """Return the prior of slopes; those on the features of a network without one have that of its weights.

        It is narrower by the fourth root of what the parameter's default is narrower than a mean's.
        """
        network = predictor if isinstance(predictor, MLP) else self.model.features
        if predictor.slopes is None and (isinstance(predictor, MLP) or self._sees_features(predictor, default)):
            narrower = (part.slopes[1] / 2.5) ** 0.25
            return priors.Normal(0.0, narrower * network.scale / math.sqrt(network.hidden[-1]), standardised=True)
        return predictor.slopes

    def basis(self, predictor: Any, default: list[int]) -> list[tuple[np.ndarray, float]]:
        """Return the columns of a predictor, each with the user's unit that one step of it stands for."""
        if self._sees_features(predictor, default):
            return self.features
        key = (predictor, tuple(default))
        if key not in self._bases:
            self._bases[key] = self._basis(predictor, default)
        return self._bases[key]

    def _basis(self, predictor: Any, default: list[int]) -> list[tuple[np.ndarray, float]]:
        if isinstance(predictor, Constant):
            return []
        if isinstance(predictor, Sum):
            return [column for part in predictor.parts for column in self.basis(part, default)]
        asked = default if predictor.columns is None else [self._position(c) for c in predictor.columns]
        chosen = [self.columns[j] for j in asked if self.columns[j] is not None]
        if isinstance(predictor, Linear):
            return chosen
        if isinstance(predictor, Products):
            pairs = [a * b for (a, _), (b, _) in itertools.combinations(chosen, 2)]
            return [((values - m) / s, 1.0) for values, (m, s) in ((v, self._moments(v)) for v in pairs)]
        if isinstance(predictor, HSGP):
            return [(sines, 1.0) for sines, _, _ in self._sines(predictor, [column for column, _ in chosen])]
        if isinstance(predictor, Spline | RBF):
            if isinstance(predictor, Spline):
                return [(spline, 1.0) for column, _ in chosen for spline in self._splines(predictor, column)]
            bumps = self._bumps(predictor, [j for j in asked if self.columns[j] is not None])
            return [((b - m) / s, s) for b, (m, s) in ((b, self._moments(b)) for b in bumps)]
        assert isinstance(predictor, Polynomial)
        out = []
        for power in range(1, predictor.degree + 1):
            for column, _ in chosen:
                values = column**power
                mean, spread = (0.0, 1.0) if power == 1 else self._moments(values)
                out.append(((values - mean) / spread, 1.0))
        return out

    def _splines(self, predictor: Spline, column: np.ndarray) -> list[np.ndarray]:
        """Return SciPy's B-splines, as straight lines beyond the knots, times an isometry onto zero-sum values."""
        counted = self.weights > 0
        mass: dict[float, float] = {}
        for value, weight in zip(column[counted], self.weights[counted], strict=True):
            mass[float(value)] = mass.get(float(value), 0.0) + float(weight)
        values, total = sorted(mass), math.fsum(mass.values())
        middle = [
            (math.fsum(mass[v] for v in values[:i]) + 0.5 * mass[value]) / total for i, value in enumerate(values)
        ]
        inner = predictor.df - predictor.degree
        knots = [float(np.interp((i + 1) / (inner + 1), middle, values)) for i in range(inner)]
        edge = predictor.degree + 1
        full = np.array([values[0]] * edge + knots + [values[-1]] * edge)
        inside = np.clip(column, values[0], values[-1])
        out = []
        for unit in np.eye(predictor.df):
            spline = BSpline(full, np.array(zero_sum(unit)), predictor.degree)
            values = spline(inside) + spline.derivative()(inside) * (column - inside)
            out.append((values, *self._moments(values)))
        spread = math.sqrt(math.fsum(s * s for _, _, s in out) / len(out))
        return [(values - mean) / spread for values, mean, _ in out]

    def _bumps(self, predictor: RBF, chosen: list[int]) -> list[np.ndarray]:
        """Return Gaussian bumps at given places, or at those of k-means from the greedy start."""
        used = [self.columns[j] for j in chosen]
        points = np.column_stack([column for column, _ in used])  # type: ignore[misc]
        if isinstance(predictor.centres, int):
            rows = [i for i, weight in enumerate(self.weights) if weight > 0]
            share = {i: float(self.weights[i]) / math.fsum(self.weights) for i in rows}
            first: list[int] = []
            for _ in range(predictor.centres):
                first.append(min(rows, key=lambda row: self._inertia(points, share, [*first, row])))
            centres = [points[i] for i in first]
            for _ in range(100):
                near = {i: int(np.argmin([np.sum((points[i] - c) ** 2) for c in centres])) for i in rows}
                centres = [
                    np.average(
                        [points[i] for i in rows if near[i] == m],
                        axis=0,
                        weights=[share[i] for i in rows if near[i] == m],
                    )
                    for m in range(len(centres))
                ]
            centres.sort(key=tuple)
        else:
            means = [self._moments(self.raw[:, j])[0] for j in chosen]
            units = [unit for _, unit in used]  # type: ignore[misc]
            centres = [(np.array(c) - means) / units for c in predictor.centres]
        apart = [min([math.dist(a, b) for b in centres if b is not a], default=1.0) for a in centres]
        width = predictor.width or math.sqrt(math.fsum(d * d for d in apart) / len(apart))
        return [np.exp(-0.5 * np.sum(((points - c) / width) ** 2, axis=1)) for c in centres]

    @staticmethod
    def _inertia(points: np.ndarray, share: Mapping[int, float], chosen: list[int]) -> float:
        return math.fsum(
            weight * min(float(np.sum((points[i] - points[c]) ** 2)) for c in chosen) for i, weight in share.items()
        )

    # -- log posterior -----------------------------------------------------------------------------------------

    def terms(self, point: Mapping[str, Any]) -> Terms:
        """Return the log posterior at unconstrained values by name."""
        left = {name: np.asarray(values, dtype=float) for name, values in point.items()}
        log_priors: list[Prior] = []
        if self.model.features is not None:
            self.features = self._network("network", self.model.features, self.free, left, log_priors)
        density = np.empty((len(self.y), len(self.model.experts)))
        for index, (expert, positions) in enumerate(self.blocks):
            suffix = "" if len(self.blocks) == 1 else f"_{index}"
            found = self._predicted(expert, list(positions), suffix, left, log_priors)
            for order, position in enumerate(positions):
                own = {name: values[:, order] for name, values in found.items()}
                density[:, position] = self._log_density(expert.family, own)
                if self.model.target is not None:
                    density[:, position] += self.log_slopes
        gate, covariates = self._gate(left, log_priors), np.zeros(len(self.y))
        if isinstance(self.model.gate, GaussianGate):
            gate, covariates = gate - logsumexp(gate, axis=1, keepdims=True), logsumexp(gate, axis=1)
        assert not left, f"values that nothing reads: {list(left)}"
        value, loc, scale, log_jacobian = np.array(log_priors).T
        prior = math.fsum([*norm.logpdf(value, loc, scale), *log_jacobian])
        return Terms(prior, gate, density, self.weights, covariates, self.groups)

    def log_posterior(self, point: Mapping[str, Any]) -> float:
        """Return the log posterior at unconstrained values by name."""
        return self.terms(point).counted.log_posterior

    def _log_density(self, family: Any, own: dict[str, np.ndarray]) -> np.ndarray:
        if type(family).__name__ == "Uniform":
            return self._uniform(family)
        return log_density(family, self.y, own, self._size(family))

    def _size(self, family: Any) -> np.ndarray | None:
        """Return the column of exposures or trials of a family, or None."""
        column = getattr(family, "exposure", None) or getattr(family, "trials", None)
        return None if column is None else self.raw[:, self.names.index(column)]

    def _uniform(self, family: Any) -> np.ndarray:
        counted = self.y[self.weights > 0]
        margin = 0.05 * (counted.max() - counted.min())
        low = counted.min() - margin if family.low is None else family.low
        high = counted.max() + margin if family.high is None else family.high
        return np.asarray(uniform.logpdf(self.y, low, high - low))

    def _predicted(
        self,
        expert: Any,
        positions: list[int],
        suffix: str,
        left: dict[str, np.ndarray],
        log_priors: list[Prior],
    ) -> dict[str, np.ndarray]:
        """Return every linear predictor of one block (n, experts) in the user's units and collect its priors."""
        out = {}
        for part in anatomy(expert.family, self.classes, len(self.units)):
            predictor = expert.predictors[part.parameter]
            pieces = [(positions, suffix)]
            if isinstance(predictor, MLP) and not predictor.shared and len(positions) > 1:  # networks of their own
                pieces = [([position], f"{suffix}_{position}") for position in positions]
            found = []
            for some, end in pieces:
                if isinstance(predictor, MLP):
                    basis = self._network(f"{part.word}_network{end}", predictor, self.free, left, log_priors)
                else:
                    basis = self.basis(predictor, self.free)
                found.append(self._part(expert.family, part, predictor, basis, len(some), end, left, log_priors))
            out |= {column: np.column_stack([piece[column] for piece in found]) for column in part.columns}
        return out

    def _part(
        self,
        family: Any,
        part: Anatomy,
        predictor: Any,
        basis: list[tuple[np.ndarray, float]],
        experts: int,
        suffix: str,
        left: dict[str, np.ndarray],
        log_priors: list[Prior],
    ) -> dict[str, np.ndarray]:
        """Return the linear predictors of one parameter of some experts (n, experts) and collect their priors."""
        shown = "_zerosum__" if part.zero_sum else ""
        alone = part.logarithm and not basis
        name = f"{part.word}{suffix}_z" if alone else f"{part.word}_intercept{suffix}_z"
        labels = len(part.columns)
        inner = labels - 1 if part.zero_sum else labels
        whole = predictor.shared is True
        count = 1 if whole else experts
        tied = self._tied(predictor, basis)
        own = [j for j in range(len(basis)) if not tied[j]]
        intercepts = left.pop(name + shown)
        own_slopes = left.pop(f"{part.word}_slopes{suffix}_z{shown}") if own else np.zeros(0)
        pooled = left.pop(f"{part.word}_slopes_shared{suffix}_z{shown}") if any(tied) else np.zeros(0)
        lead, tail = () if whole else (count,), (inner,) if part.labels else ()
        assert intercepts.shape == (*lead, *tail)
        assert not own or own_slopes.shape == (*lead, len(own), *tail)
        intercepts, slopes = intercepts.reshape(count, inner), np.empty((count, len(basis), inner))
        slopes[:, own] = own_slopes.reshape(count, len(own), inner)
        slopes[:, np.flatnonzero(tied)] = pooled.reshape(-1, inner)
        self._collect(family, part, predictor, basis, intercepts, slopes, log_priors)
        if part.zero_sum:
            intercepts = np.array([zero_sum(row) for row in intercepts])
            slopes = np.array([[zero_sum(row) for row in rows] for rows in slopes]).reshape(count, -1, labels)
        if isinstance(predictor, HSGP):
            name = f"{part.word}_log_%s{suffix}_z"
            weights = [self._process(part, predictor, name, order, left, log_priors) for order in range(count)]
            slopes = slopes * np.array(weights)[:, :, None]
            for quantity in ("amplitude", "lengthscale"):
                left.pop(name % quantity, None)
        out = {}
        for label, column in enumerate(part.columns):
            eta = np.empty((len(self.y), experts))
            for order in range(experts):
                a, b = (values[0 if whole else order] for values in (intercepts, slopes))
                for i in range(len(self.y)):
                    eta[i, order] = math.fsum(
                        [a[label], *(b[j][label] * values[i] for j, (values, _) in enumerate(basis))]
                    )
            out[column] = self._in_units(part, label, eta)
            if predictor.offset is not None:
                added = self.raw[:, self._position(predictor.offset)]
                center = self.derived.get(predictor.offset, self._moments(added)[0])
                out[column] += (added - center)[:, None]
        return out

    def _unit_of(self, part: Anatomy, label: int) -> tuple[float, float]:
        return self.units[label if part.output is None else part.output]

    def _in_units(self, part: Anatomy, label: int, eta: np.ndarray) -> np.ndarray:
        center, scale = self._unit_of(part, label)
        if part.follows is Follows.MEAN:
            return center + scale * eta
        return eta + math.log(scale) if part.follows is Follows.LOG else eta

    def _collect(
        self,
        family: Any,
        part: Anatomy,
        predictor: Any,
        basis: list[tuple[np.ndarray, float]],
        intercepts: np.ndarray,
        slopes: np.ndarray,
        log_priors: list[Prior],
    ) -> None:
        slope_prior = None if isinstance(predictor, Constant | HSGP) else self._slopes(part, predictor, self.free)
        if isinstance(predictor, HSGP):
            slope_prior = priors.Normal(0.0, 1.0, standardised=True)
        tied, slope_priors = self._tied(predictor, basis), [slope_prior] * len(basis)
        if isinstance(predictor, Sum):
            slope_priors = [part.slopes for part in predictor.parts for _ in self.basis(part, self.free)]
        for order, (a, b) in enumerate(zip(intercepts, slopes, strict=True)):
            for label in range(len(a)):
                log_priors.append(self._intercept_prior(family, part, label, predictor.intercept, a[label]))
                for j, (values, (_, unit)) in enumerate(zip(b, basis, strict=True)):
                    if order == 0 or not tied[j]:
                        log_priors.append(self._slope_prior(part, label, slope_priors[j], values[label], unit))

    def _process(
        self,
        part: Anatomy,
        predictor: HSGP,
        name: str,
        order: int,
        left: dict[str, np.ndarray],
        log_priors: list[Prior],
    ) -> list[float]:
        """Return the weights of one expert's slopes and collect the priors of amplitude and lengthscale."""
        default = priors.LearnedScale(min(1.0, part.slopes[1]), 1.0)
        found = []
        for quantity, prior in (
            ("amplitude", predictor.amplitude or default),
            ("lengthscale", predictor.lengthscale or priors.LearnedScale(0.7, 0.5)),
        ):
            value = prior.median
            if prior.spread > 0:
                t = float(left[name % quantity].ravel()[order])
                log_priors.append(
                    Prior(math.log(prior.median) + prior.spread * t, math.log(prior.median), prior.spread)
                )
                log_priors[-1] = log_priors[-1]._replace(log_jacobian=math.log(prior.spread))
                value = prior.median * math.exp(prior.spread * t)
            found.append(value)
        chosen = self._chosen(predictor, self.free)
        return [
            found[0] * math.sqrt(self._density(predictor, found[1], frequency) / volume)
            for _, frequency, volume in self._sines(predictor, chosen)
        ]

    def _chosen(self, predictor: Any, default: list[int]) -> list[np.ndarray]:
        asked = default if predictor.columns is None else [self._position(c) for c in predictor.columns]
        return [column[0] for column in (self.columns[j] for j in asked) if column is not None]

    def _sines(self, predictor: HSGP, columns: list[np.ndarray]) -> list[tuple[np.ndarray, list[float], float]]:
        """Return products of sines of mean square 1, their frequencies and the volume of the box."""
        counts = predictor.m if isinstance(predictor.m, tuple) else (predictor.m,) * len(columns)
        out = []
        for numbers in itertools.product(*(range(1, count + 1) for count in counts)):
            product, frequency, volume = np.ones(len(self.y)), [], 1.0
            for number, column in zip(numbers, columns, strict=True):
                inside = column[self.weights > 0]
                middle, reach = (max(inside) + min(inside)) / 2, predictor.c * (max(inside) - min(inside)) / 2
                angle = math.pi * number * (column - middle + reach) / (2 * reach)
                product = product * np.where(abs(column - middle) < reach, math.sqrt(2) * np.sin(angle), 0.0)
                frequency.append(math.pi * number / (2 * reach))
                volume *= 2 * reach
            out.append((product, frequency, volume))
        return out

    @staticmethod
    def _density(predictor: HSGP, lengthscale: float, frequency: list[float]) -> float:
        """Return the spectral density of a kernel of variance 1 (Rasmussen and Williams 2006, section 4.2)."""
        dims, square = len(frequency), math.fsum(w * w for w in frequency)
        if predictor.kernel is Kernel.EXP_QUAD:
            return (2 * math.pi * lengthscale**2) ** (dims / 2) * math.exp(-0.5 * lengthscale**2 * square)
        nu = 2.5
        constant = 2**dims * math.pi ** (dims / 2) * math.exp(gammaln(nu + dims / 2) - gammaln(nu)) * (2 * nu) ** nu
        return float(constant / lengthscale ** (2 * nu) * (2 * nu / lengthscale**2 + square) ** -(nu + dims / 2))

    def _tied(self, predictor: Any, basis: list[tuple[np.ndarray, float]]) -> list[bool]:
        """Return for every column of a predictor of experts whether its slope is one for all of them."""
        if isinstance(predictor.shared, bool):
            return [False] * len(basis)
        asked = self.free if predictor.columns is None else [self._position(c) for c in predictor.columns]
        shared = {self._position(c) for c in predictor.shared}
        used = [j in shared for j in asked if self.columns[j] is not None]
        if isinstance(predictor, Spline):
            return [tied for tied in used for _ in range(predictor.df)]
        return used * (predictor.degree if isinstance(predictor, Polynomial) else 1)

    def _intercept_prior(self, family: Any, part: Anatomy, label: int, prior: Any, value: float) -> Prior:
        center, scale = self._unit_of(part, label)
        if prior is None:
            loc, spread = part.intercept
            return Prior(value, self._centres(family).get(part.columns[label], loc), spread)
        if prior.standardised:
            return Prior(value, prior.loc, prior.scale)
        if part.follows is Follows.MEAN:
            return Prior(center + scale * value, prior.loc, prior.scale, math.log(scale))
        if part.follows is Follows.LOG:
            return Prior(value + math.log(scale), prior.loc, prior.scale)
        return Prior(value, prior.loc, prior.scale)

    def _centres(self, family: Any) -> dict[str, float]:
        rows = self.weights > 0
        if type(family).__name__ == "Joint":
            found: dict[str, float] = {}
            for i, (name, part) in enumerate(family.parts):
                column = (self.y[rows, i] - self.units[i][0]) / self.units[i][1]
                found |= {
                    prefixed(name, word): at for word, at in centre(part, column, self.weights[rows], None).items()
                }
            return found
        if self.y.ndim == 2:
            return {}
        size = self._size(family)
        own = (self.y[rows] - self.units[0][0]) / self.units[0][1]
        return centre(family, own, self.weights[rows], None if size is None else size[rows])

    def _slope_prior(self, part: Anatomy, label: int, prior: Any, value: float, unit: float) -> Prior:
        if prior is None:
            return Prior(value, *part.slopes)
        if prior.standardised:
            return Prior(value, prior.loc, prior.scale)
        per_unit = (self._unit_of(part, label)[1] if part.follows is Follows.MEAN else 1.0) / unit
        return Prior(per_unit * value, prior.loc, prior.scale, math.log(per_unit))

    def _gate(self, left: dict[str, np.ndarray], log_priors: list[Prior]) -> np.ndarray:
        """Return log gate probabilities (n, K) and collect their priors."""
        count, rows = len(self.model.experts), len(self.y)
        if isinstance(self.model.gate, EqualGate):
            return np.full((rows, count), -math.log(count))
        predictor = self.model.gate.predictor
        if isinstance(predictor, MLP):
            basis = self._network("gate_network", predictor, self.gate_free, left, log_priors)
        else:
            basis = self.basis(predictor, self.gate_free)
        width = len(basis)
        if isinstance(self.model.gate, GaussianGate):
            return self._regions(left, basis, log_priors)
        prior = None if isinstance(predictor, Constant) else predictor.slopes_prior
        if isinstance(predictor, MLP) or self._sees_features(predictor, self.gate_free):
            prior = prior or priors.LearnedScale(4.0 if isinstance(self.model.gate, SoftmaxGate) else 1.5, 1.0)
        if isinstance(prior, priors.Normal):
            spreads = [prior.scale * (1.0 if prior.standardised else unit) for _, unit in basis]
        else:
            prior = prior or priors.LearnedScale(1.5, 1.0)
            total = prior.median
            if width:
                t = float(left.pop("gate_scale_z"))
                log_priors.append(Prior(t, 0.0, 1.0))
                total = prior.median * math.exp(prior.spread * t)
            spreads = [total / math.sqrt(width) for _ in basis]
            if isinstance(predictor, HSGP):
                length = (predictor.lengthscale or priors.LearnedScale(0.7, 0.5)).median
                sines = self._sines(predictor, self._chosen(predictor, self.gate_free))
                spreads = [total * math.sqrt(self._density(predictor, length, w) / volume) for _, w, volume in sines]
        if width:
            total = math.sqrt(math.fsum(s * s for s in spreads))
        elif isinstance(prior, priors.Normal) or prior is None:
            total = 1.5
        amplitude = predictor.intercept.scale if predictor.intercept else math.sqrt(1.0 + total**2) / 1.8
        if isinstance(self.model.gate, SoftmaxGate):
            intercepts = left.pop("gate_intercept_z_zerosum__")
            slopes = left.pop("gate_slopes_z_zerosum__") if width else np.zeros((0, count - 1))
            assert intercepts.shape == (count - 1,)
            assert slopes.shape == (width, count - 1)
            return self._softmax(intercepts, slopes, amplitude, spreads, basis, log_priors)
        reading = {StickBreakingGate: self._sticks, TreeGate: self._tree}[type(self.model.gate)]
        return reading(left, amplitude, spreads, basis, log_priors)

    def _regions(
        self, left: dict[str, np.ndarray], basis: Sequence[tuple[np.ndarray, float]], log_priors: list[Prior]
    ) -> np.ndarray:
        """Return the log of weight times normal density of x (n, K), and collect the normal-inverse-Wishart prior.

        The prior is that of means and covariances, times the Jacobian of these in the unconstrained values.
        """
        count, d = len(self.model.experts), len(basis)
        logits = left.pop("gate_weight_z_zerosum__")
        log_priors += [Prior(value, 0.0, 1.0) for value in logits]
        out = np.tile(log_softmax(np.array(zero_sum(logits))), (len(self.y), 1))
        if d == 0:
            return out
        z, logs = left.pop("gate_mean_z"), left.pop("gate_variance_log__")
        c = left.pop("gate_pair_z") if d > 1 else np.zeros((count, 0))
        x, psi, kappa = np.column_stack([column for column, _ in basis]), count ** (-2.0 / d), 0.01
        for k in range(count):
            variance = np.exp(logs[k])
            unit, at = np.eye(d), 0
            for j in range(d):  # column j is a_j + Σ b_i x_i plus noise
                for i in range(j):
                    unit[j, i] = -c[k, at] * math.sqrt(variance[j] / psi)
                    at += 1
            lower = np.linalg.inv(unit)
            covariance = lower @ np.diag(variance) @ lower.T
            mean = lower @ (z[k] * np.sqrt(variance / kappa))
            log_jacobian = sum(
                (d - 1 - j) * logs[k, j]  # from L, D to S = L D L'
                + 0.5 * j * (logs[k, j] - math.log(psi))  # from c to b
                + logs[k, j]  # from the log to the variance
                + 0.5 * (logs[k, j] - math.log(kappa))  # from z to a
                for j in range(d)
            )
            density = invwishart.logpdf(covariance, d + 2, psi * np.eye(d))
            density += multivariate_normal.logpdf(mean, np.zeros(d), covariance / kappa, allow_singular=True)
            log_priors.append(Prior(0.0, 0.0, 1.0, density + log_jacobian + 0.5 * math.log(2.0 * math.pi)))
            out[:, k] += multivariate_normal.logpdf(x, mean, covariance, allow_singular=True)
        return out

    def _sticks(
        self,
        left: dict[str, np.ndarray],
        amplitude: float,
        spreads: Sequence[float],
        basis: Sequence[tuple[np.ndarray, float]],
        log_priors: list[Prior],
    ) -> np.ndarray:
        """Return log probabilities (n, K) of one choice after the other and collect their priors."""
        count, rows = len(self.model.experts), len(self.y)
        intercepts = left.pop("gate_intercept_z")
        slopes = left.pop("gate_slopes_z") if basis else np.zeros((0, count - 1))
        log_priors += [Prior(value, 0.0, 1.0) for value in (*intercepts, *np.ravel(slopes))]
        rest, logs = np.zeros(rows), []
        for j in range(count - 1):
            eta = amplitude * intercepts[j] - math.log(count - 1 - j)
            for spread, row, (column, _) in zip(spreads, slopes, basis, strict=True):
                eta = eta + spread * row[j] * column
            two = log_softmax(np.column_stack([np.broadcast_to(eta, rows), np.zeros(rows)]), axis=1)
            logs.append(rest + two[:, 0])
            rest = rest + two[:, 1]
        return np.column_stack([*logs, rest])

    def _tree(
        self,
        left: dict[str, np.ndarray],
        amplitude: float,
        spreads: Sequence[float],
        basis: Sequence[tuple[np.ndarray, float]],
        log_priors: list[Prior],
    ) -> np.ndarray:
        """Return log probabilities (n, K) of the leaves of a tree of softmax gates and collect their priors."""
        rows, width = len(self.y), len(basis)
        root = grown(self.model.gate.branches)
        arities = sorted({len(node) for node in nodes_of(root)})
        words = {m: "" if len(arities) == 1 else f"_{m}" for m in arities}
        intercepts = {m: list(left.pop(f"gate_intercept{words[m]}_z_zerosum__")) for m in arities}
        slopes = {m: left.pop(f"gate_slopes{words[m]}_z_zerosum__") if width else None for m in arities}
        seen = dict.fromkeys(arities, 0)
        leaves: list[np.ndarray] = []

        def walk(node: list[Any], above: np.ndarray) -> None:
            m = len(node)
            place, seen[m] = seen[m], seen[m] + 1
            sides = np.zeros((0, m - 1)) if slopes[m] is None else slopes[m][:, place]
            own = self._softmax(intercepts[m][place], sides, amplitude, spreads, basis, log_priors)
            for child, piece in zip(node, own.T, strict=True):
                if child:
                    walk(child, above + piece)
                else:
                    leaves.append(above + piece)

        walk(root, np.zeros(rows))
        assert [seen[m] for m in arities] == [len(intercepts[m]) for m in arities]
        return np.column_stack(leaves)

    def _softmax(
        self,
        intercepts: np.ndarray,
        slopes: np.ndarray,
        amplitude: float,
        spreads: Sequence[float],
        basis: Sequence[tuple[np.ndarray, float]],
        log_priors: list[Prior],
    ) -> np.ndarray:
        """Return log probabilities (n, m) of one softmax gate over m choices and collect its priors."""
        log_priors += [Prior(value, 0.0, 1.0) for value in (*intercepts, *np.ravel(slopes))]
        a = [amplitude * v for v in zero_sum(intercepts)]
        b = [[spread * v for v in zero_sum(row)] for spread, row in zip(spreads, slopes, strict=True)]
        out = np.empty((len(self.y), len(a)))
        for i in range(len(self.y)):
            for k in range(len(a)):
                out[i, k] = math.fsum([a[k], *(b[j][k] * column[i] for j, (column, _) in enumerate(basis))])
        return np.asarray(log_softmax(out, axis=1))


def grown(branches: Any) -> list[Any]:
    """Return the tree as lists: a node is the list of its children, a leaf the empty list."""
    if any(isinstance(entry, tuple) for entry in branches):

        def child(entry: Any) -> list[Any]:
            if isinstance(entry, tuple):
                return [child(below) for below in entry]
            return [] if entry == 1 else [[] for _ in range(entry)]

        return [child(entry) for entry in branches]
    tree: list[Any] = []
    for count in reversed(branches):
        tree = [tree] * count
    return tree


def nodes_of(tree: list[Any]) -> list[list[Any]]:
    """Return all inner nodes."""
    return [tree, *(node for child in tree if child for node in nodes_of(child))]
