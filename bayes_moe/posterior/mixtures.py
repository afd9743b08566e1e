"""Moments and densities of mixtures of experts averaged over posterior draws.

A fit has S draws (a point fit has one), n rows and K experts. The predictive density of row i is

    p(y | x_i) = 1/S Σ_s Σ_k g_sk(x_i) f_sk(y | x_i),

a mixture of S·K components. Nothing of size S·n·K is ever held whole: the gates and the parameters are
asked for in chunks, and the chunks are worked through in pieces that fit in a processor's cache.
Quantiles are in `bayes_moe.posterior.quantiles`, samples in `bayes_moe.posterior.sampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayes_moe.errors import InputError

Floats = NDArray[np.float64]
Components = tuple[NDArray[Any], Mapping[str, NDArray[Any]]]

PIECE_ELEMENTS = 32_768
"""Elements worked on at once, so that the temporaries of one piece stay in cache."""

ASKED_ELEMENTS, ASKED_ROWS = 100_000, 64
"""Elements s·r·K whose gates and parameters are computed at once, to stay in cache; rows at least, if there are."""


class ExpertFamily(Protocol):
    """A one-dimensional family p(y | parameters): five element-wise NumPy functions.

    Every function takes the parameters by name as arrays that broadcast together, and works element by
    element: an element never depends on where in the array it stands. ``y`` comes first where there is
    one, ``rng`` (a `numpy.random.Generator`) first in `draw`.
    """

    @property
    def mean(self) -> Callable[..., Floats]:
        """Mean, in the units of y."""

    @property
    def variance(self) -> Callable[..., Floats]:
        """Variance, in squared units of y."""

    @property
    def cdf(self) -> Callable[..., Floats]:
        """P(Y ≤ y)."""

    @property
    def log_density(self) -> Callable[..., Floats]:
        """Log p(y), −inf outside the support."""

    @property
    def draw(self) -> Callable[..., Floats]:
        """One draw for every element."""

    @property
    def discrete(self) -> bool:
        """Whether y is always a whole number."""


class Rising(Protocol):
    """A rising function of y: a number for y, and back."""

    @property
    def forward(self) -> Callable[[Floats], Floats]:
        """What y becomes."""

    @property
    def inverse(self) -> Callable[[Floats], Floats]:
        """What y was."""


class Straight(NamedTuple):
    """What a mixture is of: a rising function of y, and the family of that, with the same parameters."""

    function: Rising
    family: ExpertFamily


@dataclass(frozen=True, eq=False)
class MixtureDraws:
    """Where the gates and expert parameters of n rows under S draws come from.

    Parameters
    ----------
    rows, draws, experts
        n ≥ 0, S ≥ 1 and K ≥ 1.
    components
        ``components(rows, draws)`` returns the normalised log gates, shape (s, r, K), and the family's
        parameters by name, each of that shape (or broadcasting to it). Both arguments are slices with
        explicit bounds; the one of draws may have a step. −inf is a legal log gate: that expert then
        counts for nothing, whatever its parameters are.
    family
        The experts' family, in the units the parameters are in. Being element-wise, it may also stand
        for experts of different families, told apart by a parameter of their own.
    chunk_elements
        The most elements s·r·K held in memory, unless K alone is more; `pieces` asks for fewer at once.
    outputs
        Number of outputs where y is several numbers a row: then ``mean`` and the like have them on a last axis, and
        only what is about the whole row is asked of this mixture; `marginal` is that of one output.
    power
        Where experts are of a rising function of y: that function and their family; ``family`` is of y itself.

    Examples
    --------
    >>> import numpy as np
    >>> class Logistic:
    ...     def mean(self, mu, scale): return mu
    ...     def variance(self, mu, scale): return (np.pi * scale) ** 2 / 3 + 0 * mu
    ...     def cdf(self, y, mu, scale): return 0.5 * (1 + np.tanh((y - mu) / (2 * scale)))
    ...     def log_density(self, y, mu, scale):
    ...         return -2 * np.log(2 * np.cosh((y - mu) / (2 * scale))) - np.log(scale)
    ...     def draw(self, rng, mu, scale): return rng.logistic(mu, scale)
    >>> log_gate = np.log([[[0.25, 0.75]]])                        # one draw, one row, two experts
    >>> parameters = {"mu": np.array([[[0.0, 4.0]]]), "scale": np.ones((1, 1, 2))}
    >>> def components(rows, draws):
    ...     return log_gate[draws, rows], {name: a[draws, rows] for name, a in parameters.items()}
    >>> m = MixtureDraws(rows=1, draws=1, experts=2, components=components, family=Logistic())
    >>> predictive_mean(m), predictive_variance(m).round(3), cdf(m, [2.0]).round(3)
    (array([3.]), array([6.29]), array([0.31]))
    """

    rows: int
    draws: int
    experts: int
    components: Callable[[slice, slice], Components]
    family: ExpertFamily
    chunk_elements: int = 2_000_000
    outputs: int | None = None
    power: Straight | None = None

    def __post_init__(self) -> None:
        for name, least in (("rows", 0), ("draws", 1), ("experts", 1), ("chunk_elements", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")


def marginal(m: MixtureDraws, output: int) -> MixtureDraws:
    """Return the mixture of one output among several."""
    family: Any = m.family
    return replace(m, family=family.marginal(output), outputs=None)


class Piece(NamedTuple):
    """A small part of a mixture: which rows and draws, their log gates and parameters (s, r, K)."""

    rows: slice
    draws: slice
    log_gate: NDArray[Any]
    parameters: Mapping[str, NDArray[Any]]


def slices(length: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most ``size`` that cover ``range(length)``."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def pieces(m: MixtureDraws) -> Iterator[Piece]:
    """Yield every row under every draw once, in pieces that fit in cache; draws run fastest."""
    most = min(m.chunk_elements, ASKED_ELEMENTS)
    rows_asked = max(most // (m.draws * m.experts), min(ASKED_ROWS, m.rows, most // m.experts), 1)
    draws_asked = max(1, most // (rows_asked * m.experts))
    for rows in slices(m.rows, rows_asked):
        for draws in slices(m.draws, draws_asked):
            shape = (draws.stop - draws.start, rows.stop - rows.start, m.experts)
            log_gate, parameters = m.components(rows, draws)
            whole = {name: np.broadcast_to(array, shape) for name, array in parameters.items()}
            yield from _cut(Piece(rows, draws, np.broadcast_to(log_gate, shape), whole))


def _cut(whole: Piece) -> Iterator[Piece]:
    """Cut a chunk into pieces of about `PIECE_ELEMENTS`, long in draws rather than in rows."""
    draws, rows, experts = whole.log_gate.shape
    rows_step = min(rows, max(64, PIECE_ELEMENTS // (draws * experts)))
    draws_step = max(1, PIECE_ELEMENTS // (rows_step * experts))
    for i in slices(rows, rows_step):
        for s in slices(draws, draws_step):
            yield Piece(
                rows=slice(whole.rows.start + i.start, whole.rows.start + i.stop),
                draws=slice(whole.draws.start + s.start, whole.draws.start + s.stop),
                log_gate=whole.log_gate[s, i],
                parameters={name: array[s, i] for name, array in whole.parameters.items()},
            )


def gated(weight: Floats, value: Floats) -> Floats:
    """Return ``weight * value``, zero where the weight is zero even if the value is infinite or NaN."""
    product = weight * value
    if not np.isfinite(product).all():
        product[np.broadcast_to(weight == 0.0, product.shape)] = 0.0
    return product


def _log_joint(m: MixtureDraws, piece: Piece, y: Floats) -> Floats:
    """Return log g + log f (s, r, K) of a piece; −inf where the gate is shut."""
    joint: Floats = piece.log_gate + m.family.log_density(y[piece.rows, None], **piece.parameters)
    if np.isnan(joint).any():
        joint[np.isneginf(piece.log_gate)] = -np.inf
    return joint


def _logsumexp(values: Floats) -> Floats:
    """Return log Σ exp over the first axis; −inf and +inf are values like any other."""
    top = values.max(axis=0)
    shift = np.where(np.isfinite(top), top, 0.0)
    result: Floats = shift + np.log(np.exp(values - shift).sum(axis=0))
    return result


def _over_experts(values: Floats) -> Floats:
    """Return log Σ_k exp over the last, short axis."""
    # One array operation per expert: NumPy is slow at reducing a short last axis.
    top = reduce(np.maximum, [values[..., k] for k in range(values.shape[-1])])
    shift = np.where(np.isfinite(top), top, 0.0)
    total = sum(np.exp(values[..., k] - shift) for k in range(values.shape[-1]))
    result: Floats = shift + np.log(total)
    return result


def outcomes(m: MixtureDraws, y: ArrayLike) -> Floats:
    """Return y as a float array of shape (n,) or (n, outputs), or raise `InputError`."""
    array = np.asarray(y, dtype=np.float64)
    expected = (m.rows,) if m.outputs is None else (m.rows, m.outputs)
    if array.shape != expected:
        raise InputError(
            f"y: expected shape {expected}, one value per row of X, got {array.shape} → pass as many values as rows"
        )
    return array


@np.errstate(all="ignore")
def predictive_mean(m: MixtureDraws) -> Floats:
    """Return the predictive mean (n,), in the units of y: 1/S Σ_s Σ_k g_sk m_sk."""
    total = np.zeros(m.rows)
    for piece in pieces(m):
        mean = m.family.mean(**piece.parameters)
        total[piece.rows] += gated(np.exp(piece.log_gate), mean).sum(axis=0).sum(axis=-1)
    return total / m.draws


@np.errstate(all="ignore")
def predictive_moments(m: MixtureDraws) -> tuple[Floats, Floats]:
    """Return the predictive mean and variance, both (n,), in one pass.

    The variance is the law of total variance over draws and experts together,

        Var[y] = 1/S Σ_s Σ_k g_sk (v_sk + (m_sk − m̄)²),    m̄ = 1/S Σ_s Σ_k g_sk m_sk,

    so the spread between experts and between draws is in it. Deviations are taken from each piece's own
    mean, and pieces are joined by the update of Chan, Golub and LeVeque (1983, The American Statistician
    37, 242-247): nothing is lost where the mean is large beside the standard deviation. A component of
    infinite variance, and a mean or a square too large for a float, make it infinite.
    """
    weight, centre, spread, total = np.zeros(m.rows), np.zeros(m.rows), np.zeros(m.rows), np.zeros(m.rows)
    for piece in pieces(m):
        gate = np.exp(piece.log_gate)
        mean = m.family.mean(**piece.parameters)
        new_weight = gate.sum(axis=0).sum(axis=-1)
        new_total = gated(gate, mean).sum(axis=0).sum(axis=-1)
        new_centre = new_total / new_weight
        square = (mean - new_centre[:, None]) ** 2 + m.family.variance(**piece.parameters)
        new_spread = gated(gate, square).sum(axis=0).sum(axis=-1)

        rows = piece.rows
        both = weight[rows] + new_weight
        gap = new_centre - centre[rows]
        spread[rows] += new_spread + gated(weight[rows] * new_weight / both, gap**2)
        centre[rows] += gap * (new_weight / both)
        weight[rows], total[rows] = both, total[rows] + new_total
    beyond = np.isinf(total)
    return np.where(beyond, total, centre), np.where(beyond, np.inf, spread / weight)


def predictive_variance(m: MixtureDraws) -> Floats:
    """Return the predictive variance (n,), in squared units of y; see `predictive_moments`."""
    return predictive_moments(m)[1]


@np.errstate(all="ignore")
def _gates_and_means(m: MixtureDraws) -> tuple[Floats, Floats]:
    """Return averaged gates and averaged expert means, both (n, K), in one pass."""
    gate, mean = np.zeros((m.rows, m.experts)), np.zeros((m.rows, m.experts))
    for piece in pieces(m):
        gate[piece.rows] += np.exp(piece.log_gate).sum(axis=0)
        mean[piece.rows] += m.family.mean(**piece.parameters).sum(axis=0)
    return gate / m.draws, mean / m.draws


def expert_means(m: MixtureDraws) -> Floats:
    """Return each expert's mean averaged over draws (n, K): 1/S Σ_s m_sk, not weighted by the gate."""
    return _gates_and_means(m)[1]


@np.errstate(all="ignore")
def gate_probabilities(m: MixtureDraws) -> Floats:
    """Return the gate averaged over draws (n, K): 1/S Σ_s g_sk. Rows sum to one."""
    gate = np.zeros((m.rows, m.experts))
    for piece in pieces(m):
        gate[piece.rows] += np.exp(piece.log_gate).sum(axis=0)
    return gate / m.draws


def hard_mean(m: MixtureDraws) -> Floats:
    """Return the averaged mean of the expert whose averaged gate is largest (n,); the first of equals."""
    gate, mean = _gates_and_means(m)
    result: Floats = mean[np.arange(m.rows), gate.argmax(axis=1)]
    return result


@np.errstate(all="ignore")
def pointwise_log_density(m: MixtureDraws, y: ArrayLike) -> Floats:
    """Return log p(y_i | x_i, θ_s) = log Σ_k g_sk f_sk(y_i), shape (S, n): what LOO needs.

    The result itself has S·n elements; nothing larger is held.
    """
    values, result = outcomes(m, y), np.empty((m.draws, m.rows))
    for piece in pieces(m):
        result[piece.draws, piece.rows] = _over_experts(_log_joint(m, piece, values))
    return result


@np.errstate(all="ignore")
def log_density(m: MixtureDraws, y: ArrayLike) -> Floats:
    """Return the log of the averaged density, log(1/S Σ_s Σ_k g_sk f_sk(y_i)), shape (n,).

    It is computed in log space, so it stays finite as far out as the family's own log density does; it
    is −inf only where every component says so.
    """
    values, result = outcomes(m, y), np.full(m.rows, -np.inf)
    for piece in pieces(m):
        joint = _logsumexp(_log_joint(m, piece, values))
        result[piece.rows] = np.logaddexp(result[piece.rows], _over_experts(joint))
    result -= np.log(m.draws)
    return result


@np.errstate(all="ignore")
def cdf(m: MixtureDraws, y: ArrayLike) -> Floats:
    """Return the averaged distribution function, P(Y ≤ y_i) = 1/S Σ_s Σ_k g_sk F_sk(y_i), shape (n,)."""
    values, total = outcomes(m, y), np.zeros(m.rows)
    for piece in pieces(m):
        below = m.family.cdf(values[piece.rows, None], **piece.parameters)
        total[piece.rows] += gated(np.exp(piece.log_gate), below).sum(axis=0).sum(axis=-1)
    return np.minimum(total / m.draws, 1.0)


@np.errstate(all="ignore")
def weighted_cdf(m: MixtureDraws, y: ArrayLike, weights: Floats) -> Floats:
    """Return Σ_s w_si Σ_k g_sk F_sk(y_i), shape (n,), for weights (S, n) of the draws that sum to 1 in every row."""
    values, total = outcomes(m, y), np.zeros(m.rows)
    for piece in pieces(m):
        below = m.family.cdf(values[piece.rows, None], **piece.parameters)
        by_draw = gated(np.exp(piece.log_gate), below).sum(axis=-1)
        total[piece.rows] += (weights[piece.draws, piece.rows] * by_draw).sum(axis=0)
    return np.minimum(total, 1.0)


@np.errstate(all="ignore")
def allocation(m: MixtureDraws, y: ArrayLike) -> Floats:
    """Return the probability that expert k made y_i of the training rows (n, K): E[g_k f_k / Σ_j g_j f_j] over draws.

    The draws have seen these y already, so that responsibilities are averaged as they are; `responsibilities` is for
    rows they have not seen. Where y_i has no density under any expert, gates stand in.
    """
    values, total = outcomes(m, y), np.zeros((m.rows, m.experts))
    for piece in pieces(m):
        joint = _log_joint(m, piece, values)
        shares = np.exp(joint - _over_experts(joint)[..., None])
        total[piece.rows] += np.where(np.isnan(shares), np.exp(piece.log_gate), shares).sum(axis=0)
    return total / m.draws


@np.errstate(all="ignore")
def responsibilities(m: MixtureDraws, y: ArrayLike) -> Floats:
    """Return the probability that expert k made y_i (n, K): E[g_k f_k] / Σ_j E[g_j f_j], E over draws.

    Rows sum to one. Where y_i has no density under any expert (a log density of −inf) the formula is
    0/0; y_i then says nothing about the experts and the averaged gate is returned.
    """
    values, joint = outcomes(m, y), np.full((m.rows, m.experts), -np.inf)
    for piece in pieces(m):
        new = _logsumexp(_log_joint(m, piece, values))
        joint[piece.rows] = np.logaddexp(joint[piece.rows], new)
    infinite = np.isposinf(joint).any(axis=1)
    joint[infinite] = np.where(np.isposinf(joint[infinite]), 0.0, -np.inf)
    result: Floats = np.exp(joint - _over_experts(joint)[:, None])
    nowhere = np.isneginf(joint).all(axis=1)
    if nowhere.any():
        result[nowhere] = gate_probabilities(m)[nowhere]
    return result
