"""The Gaussian gate: every expert has a normal density of the covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log, pi
from typing import Any

import numpy as np

from ..errors import SpecError
from ..predictors import Linear
from ..predictors.base import Basis, Predictor
from .base import Block, BoundGate, Free, Gate, zero_sum_basis

_MEAN_ROWS = 0.01
"""κ: how many rows the prior of a mean counts as."""
_NEWTON = 50


@dataclass(frozen=True)
class GaussianGate(Gate):
    r"""Experts that each have a region of x: the gate is Bayes' rule for normal densities of the covariates.

    .. math:: g_k(x) = \frac{\pi_k N(x \mid m_k, S_k)}{\sum_j \pi_j N(x \mid m_j, S_j)}

    What is fitted is the joint density of x and y, :math:`\sum_i w_i \log \sum_k \pi_k N(x_i \mid m_k, S_k)
    f_k(y_i \mid x_i)`: rows that lie where no expert has its region count against it, and the M-step of the gate is a
    closed form. Whatever is said of y (``log_likelihood``, LOO, ``predict``, ``log_density``) is about the conditional
    density :math:`\sum_k g_k(x) f_k(y \mid x)`; ``log_posterior`` is that of the joint density. BIC counts the
    gate's parameters although they do not maximise the conditional likelihood: it is pessimistic. In the model of
    ``bm.build`` y is observed given x, and the density of x is a ``pm.Potential``, as which PyMC warns when it
    predicts from that model.

    On the standardised scale :math:`S_k` is inverse-Wishart with d + 2 degrees of freedom and scale
    :math:`K^{-2/d} I` (K regions together have the volume of the data), :math:`m_k \mid S_k` normal with mean 0 and
    covariance :math:`100\,S_k` and :math:`\log\pi` zero-sum standard normal. This prior has density 0 at singular
    :math:`S_k`, so that there is a mode even where columns repeat one another. The free variables are those of
    Bartlett's decomposition: the variance of each column given the columns before it, and standard normals.

    Parameters
    ----------
    predictor
        ``bm.Linear()`` with the columns whose joint density is modelled; it takes no priors.

    Raises
    ------
    SpecError
        If the predictor is not linear, is shared, or has priors.

    References
    ----------
    Xu, Jordan and Hinton (1995), An alternative model for mixtures of experts, NIPS 7. Fraley and Raftery (2007),
    Bayesian regularization for normal mixture estimation, Journal of Classification 24 (the prior).

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MixtureOfExperts(3, gate=bm.GaussianGate(bm.Linear(columns=("z",)))).gate.predictor.columns
    ('z',)
    """

    predictor: Predictor = field(default_factory=Linear)

    def __post_init__(self) -> None:
        if not isinstance(self.predictor, Linear) or self.predictor.shared:
            raise SpecError(
                f"GaussianGate.predictor: expected bm.Linear() with columns that are not shared, got "
                f"{self.predictor!r} → it names the columns whose density is normal"
            )
        if self.predictor.intercept is not None or self.predictor.slopes is not None:
            raise SpecError(
                f"GaussianGate.predictor: expected no priors of coefficients, got {self.predictor!r} → the prior is "
                "about means and covariances of the columns, and is fixed"
            )

    def bind(self, experts: int, basis: Basis) -> BoundGate:
        columns = basis.names
        return BoundGaussian(experts, columns, float(experts) ** (-2.0 / max(len(columns), 1)), _MEAN_ROWS)


@dataclass(frozen=True, eq=False)
class BoundGaussian(BoundGate):
    r"""Linear predictors whose squares are the distances from the regions.

    With the precision :math:`S_k^{-1} = T'T`, T lower triangular, :math:`e_k = T (x - m_k)` is linear in x and
    :math:`\log N(x \mid m_k, S_k) = \log|T| - |e_k|^2/2 - d \log(2\pi)/2`. The linear predictors are K logits of
    :math:`\pi`, K times log |T|, and d residuals of every expert. Under the inverse-Wishart prior the rows of T hold
    :math:`1/\sqrt{v_j}`, where :math:`v_j` is the variance of column j given the columns before it, inverse-gamma, and
    left of it :math:`-c/\sqrt\psi` with standard normal c; the intercept of :math:`e_j` is :math:`-z/\sqrt\kappa`.

    Parameters
    ----------
    columns
        Names of the d columns.
    psi
        Scale of the inverse-Wishart prior.
    kappa
        How many rows the prior of the means counts as.
    """

    experts: int
    columns: tuple[str, ...]
    psi: float
    kappa: float

    joint = True

    @property
    def width(self) -> int:
        """Number of columns d."""
        return len(self.columns)

    @property
    def predictors(self) -> int:
        return self.experts * (2 + self.width)

    @property
    def dim(self) -> str:
        return "gate_row"

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the elements of T left of the diagonal: rows and columns, row by row."""
        return np.tril_indices(self.width, -1)

    @property
    def coords(self) -> Mapping[str, Sequence[Any]]:
        if self.width < 2:
            return {}
        return {"gate_pair": [f"{self.columns[i]}~{self.columns[j]}" for i, j in zip(*self.pairs, strict=True)]}

    # -- free variables ----------------------------------------------------------------------------------------

    @cached_property
    def alpha(self) -> np.ndarray:
        """Shapes (d,) of the inverse-gamma priors of the conditional variances."""
        return 1.0 + 0.5 * np.arange(1.0, self.width + 1.0)

    @cached_property
    def free(self) -> tuple[Free, ...]:
        zero, one = np.zeros(()), np.ones(())
        experts, width = self.experts, self.width
        out = [Free("gate_weight_z", ("expert",), (experts,), zero, one, zero_sum=True)]
        if width:
            out.append(Free("gate_mean_z", ("expert", "gate_feature"), (experts, width), zero, one))
        if width > 1:
            out.append(Free("gate_pair_z", ("expert", "gate_pair"), (experts, len(self.pairs[0])), zero, one))
        if width:
            beta = np.full(width, 0.5 * self.psi)
            # mode and curvature of the logarithm's prior, for those who want it normal
            loc, scale = np.log(beta / self.alpha), self.alpha**-0.5
            name, dims = "gate_variance", ("expert", "gate_feature")
            out.append(Free(name, dims, (experts, width), loc, scale, inverse_gamma=(self.alpha, beta)))
        return tuple(out)

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions in q of z (K, d), c (K, d(d - 1)/2) and the log variances (K, d)."""
        at, out = self.experts - 1, []
        for width in (self.width, len(self.pairs[0]), self.width):
            out.append(at + np.arange(self.experts * width).reshape(self.experts, width))
            at += self.experts * width
        return out[0], out[1], out[2]

    def coefficients(self, values: Sequence[Any], functions: Any) -> Any:
        logits, d = values[0][..., None], self.width
        if d == 0:
            return functions.concatenate([logits, functions.zeros_like(logits)], axis=-2)
        means, variances = values[1], values[-1]
        level = -0.5 * functions.sum(functions.log(variances), axis=-1)[..., None]
        triangle = variances**-0.5 @ np.eye(d * d)[:: d + 1]
        if d > 1:
            lower, left = self.pairs
            triangle = triangle - (values[2] / self.psi**0.5) @ np.eye(d * d)[lower * d + left]
        rows = functions.reshape(triangle, (*tuple(triangle.shape)[:-2], -1, d))
        starts = functions.reshape(-means / self.kappa**0.5, (*tuple(means.shape)[:-2], -1, 1))
        flat = functions.concatenate([logits, level], axis=-2)
        top = functions.concatenate([flat] + [functions.zeros_like(flat)] * d, axis=-1)
        return functions.concatenate([top, functions.concatenate([starts, rows], axis=-1)], axis=-2)

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        k, d = self.experts, self.width
        means, pairs, logs = self.places
        out = np.zeros((self.predictors, 1 + d, len(q)))
        out[:k, 0, : k - 1] = zero_sum_basis(k)
        out[np.arange(k, 2 * k)[:, None], 0, logs] = -0.5
        rows = self._residual_rows
        out[rows, 0, means] = -(self.kappa**-0.5)
        lower, left = self.pairs
        out[rows[:, lower], 1 + left, pairs] = -(self.psi**-0.5)
        out[rows, 1 + np.arange(d), logs] = -0.5 * np.exp(-0.5 * q[logs])
        return out

    def curvature(self, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        out = np.zeros((len(q), len(q)))
        logs = self.places[2]
        out[logs, logs] = 0.25 * np.exp(-0.5 * q[logs]) * gradient[self._residual_rows, 1 + np.arange(self.width)]
        return out

    @cached_property
    def _residual_rows(self) -> np.ndarray:
        """Linear predictors (K, d) that are residuals."""
        return 2 * self.experts + np.arange(self.experts * self.width).reshape(self.experts, self.width)

    # -- log weights -------------------------------------------------------------------------------------------

    def _log_joint(self, eta: Any, functions: Any) -> Any:
        k = self.experts
        logits = eta[:, :k] - functions.max(eta[:, :k], axis=1, keepdims=True)
        weights = logits - functions.log(functions.sum(functions.exp(logits), axis=1, keepdims=True))
        out = weights + eta[:, k : 2 * k] - 0.5 * self.width * log(2.0 * pi)
        if self.width == 0:
            return out
        squares = functions.reshape(eta[:, 2 * k :] ** 2, (eta.shape[0], k, self.width))
        return out - 0.5 * functions.sum(squares, axis=2)

    def log_joint(self, eta: np.ndarray) -> np.ndarray:
        return np.asarray(self._log_joint(eta, np))

    def log_weights(self, eta: np.ndarray) -> np.ndarray:
        return super().log_weights(self.log_joint(eta))

    def log_weights_graph(self, eta: Any) -> Any:
        from pytensor import tensor as pt  # what `import bayes_moe` does not pay

        return self._log_joint(eta, pt)

    def slopes(self, eta: np.ndarray) -> np.ndarray:
        k = self.experts
        out = np.zeros((len(eta), k, self.predictors))
        out[:, :, :k] = np.eye(k) - _softmax(eta[:, :k])[:, None, :]
        every = np.arange(k)
        out[:, every, k + every] = 1.0
        out[:, every[:, None], self._residual_rows] = -eta[:, self._residual_rows]
        return out

    def pull(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        k = self.experts
        residuals = -np.repeat(mass, self.width, axis=1) * eta[:, 2 * k :]
        return np.concatenate([mass - mass.sum(axis=1, keepdims=True) * _softmax(eta[:, :k]), mass, residuals], axis=1)

    def bend(self, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
        k = self.experts
        out = np.zeros((len(eta), self.predictors, self.predictors))
        shares = _softmax(eta[:, :k])
        square = shares[:, :, None] * shares[:, None, :] - shares[:, :, None] * np.eye(k)
        out[:, :k, :k] = mass.sum(axis=1)[:, None, None] * square
        rows = self._residual_rows.ravel()
        out[:, rows, rows] = -np.repeat(mass, self.width, axis=1)
        return out

    # -- M-step ------------------------------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        # all residuals of an expert bend alike: one of them tells the cross-products of its rows
        return tuple(Block(rows[:1], np.zeros(0, dtype=np.int64)) for rows in self._residual_rows if len(rows))

    def bends(self, eta: np.ndarray, mass: np.ndarray) -> list[np.ndarray]:
        return list(-mass.T[:, :, None, None]) if self.width else []

    def closed_form(self, sizes: np.ndarray, squares: Sequence[np.ndarray]) -> np.ndarray:
        """Return the maximum of the expected log joint density plus log prior.

        Column after column it is a ridge regression on the columns before it: what Cholesky's decomposition of the
        cross-products, with the prior's rows added, has done when it ends.
        """
        out = np.zeros(sum(free.size for free in self.free))
        out[: self.experts - 1] = _weights(sizes)
        if not self.width:
            return out
        means, pairs, logs = self.places
        added = np.diag([self.kappa, *[self.psi] * self.width])
        root = np.linalg.cholesky(added - np.array(squares))
        pivots = np.diagonal(root, axis1=1, axis2=2)
        inverse = np.linalg.inv(root / pivots[:, None, :])[:, 1:]
        variance = pivots[:, 1:] ** 2 / (sizes[:, None] + 2.0 * self.alpha)
        inverse = inverse / np.sqrt(variance)[:, :, None]
        lower, left = self.pairs
        out[means] = -(self.kappa**0.5) * inverse[:, :, 0]
        out[pairs] = -(self.psi**0.5) * inverse[:, lower, 1 + left]
        out[logs] = np.log(variance)
        return out

    # -- reports and labels ------------------------------------------------------------------------------------

    def reported(self, raw: Any, functions: Any, *, sloped: bool) -> dict[str, Any]:
        k, d = self.experts, self.width
        shifted = raw[..., :k, 0] - functions.max(raw[..., :k, 0], axis=-1, keepdims=True)
        shares = functions.exp(shifted)
        out = {"gate_weight": shares / functions.sum(shares, axis=-1, keepdims=True)}
        if not sloped:
            return out
        own = raw[..., 2 * k :, :]
        rows = functions.reshape(own, (*tuple(own.shape)[:-2], k, d, 1 + d))
        spread = functions.linalg.inv(rows[..., 1:])
        out["gate_mean"] = -functions.sum(spread * rows[..., None, :, 0], axis=-1)
        out["gate_sd"] = functions.sqrt(functions.sum(spread**2, axis=-1))
        if d > 1:
            lower, left = self.pairs
            unit = spread / out["gate_sd"][..., None]
            out["gate_correlation"] = functions.sum(unit[..., lower, :] * unit[..., left, :], axis=-1)
        return out

    @property
    def reported_dims(self) -> Mapping[str, tuple[str, ...]]:
        by_column = ("expert", "gate_feature")
        pairs = ("expert", "gate_pair")
        return {"gate_weight": ("expert",), "gate_mean": by_column, "gate_sd": by_column, "gate_correlation": pairs}

    @property
    def count(self) -> int:
        return self.experts * (1 + self.width + self.width * (self.width + 1) // 2) - 1

    def row_order(self, permutations: np.ndarray) -> np.ndarray:
        k, d = self.experts, self.width
        residuals = 2 * k + permutations[:, :, None] * d + np.arange(d)
        return np.concatenate([permutations, k + permutations, residuals.reshape(len(permutations), -1)], axis=1)

    def steepest(self, slopes: np.ndarray) -> float:
        return 0.0  # its log odds are curved, and held by the data: a border may be sharp where regions lie apart

    def described(self, values: Mapping[str, Any], functions: Any = np) -> dict[str, Any]:
        return {}


def _softmax(eta: np.ndarray) -> np.ndarray:
    shares = np.exp(eta - eta.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _weights(sizes: np.ndarray) -> np.ndarray:
    """Return zero-sum logits, as free values, that maximise Σ n_k log softmax_k - |values|²/2: by Newton's method."""
    basis, total = zero_sum_basis(len(sizes)), sizes.sum()
    values = np.zeros(len(sizes) - 1)

    def objective(at: np.ndarray) -> float:
        logits = basis @ at
        top = logits.max()
        return float(sizes @ (logits - top) - total * np.log(np.exp(logits - top).sum()) - 0.5 * at @ at)

    for _ in range(_NEWTON):
        shares = np.exp(basis @ values - (basis @ values).max())
        shares /= shares.sum()
        slope = basis.T @ (sizes - total * shares) - values
        bend = total * basis.T @ (np.diag(shares) - np.outer(shares, shares)) @ basis + np.eye(len(values))
        step, before = np.linalg.solve(bend, slope), objective(values)
        while objective(values + step) < before and np.abs(step).max(initial=0.0) > 1e-14:
            step *= 0.5
        values = values + step
        if np.abs(step).max(initial=0.0) < 1e-13:
            break
    return values
