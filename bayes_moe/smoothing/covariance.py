r"""The covariance function of a kernel mean: a joint Matérn kernel, one for every input alone, and lines.

.. math:: k(x, x') = \alpha^2 m(|(x - x') / \ell|) + \sum_j \beta_j^2 m(|x_j - x'_j| / \lambda_j)
    + \gamma^2 (1 + x \cdot x'), \qquad m(r) = (1 + \sqrt 5 r + 5 r^2 / 3) \exp(-\sqrt 5 r)

All parameters are logarithms, so that every real number is one: first of the joint kernel's amplitude and length
scales, then of the amplitudes and length scales of single inputs, then of the lines', last of the noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ROOT = np.sqrt(5.0)
_BLOCK = 64


@dataclass(frozen=True)
class Covariance:
    """The covariance function over a number of standardised inputs.

    Parameters
    ----------
    inputs
        Number of inputs p.
    additive
        Whether every input has a kernel of its own beside the joint one.
    linear
        Whether there are lines.

    Examples
    --------
    >>> Covariance(2, additive=False, linear=False).size
    4
    """

    inputs: int
    additive: bool = True
    linear: bool = True

    @property
    def size(self) -> int:
        """Number of parameters, with the noise's."""
        return 2 + self.inputs + 2 * self.inputs * self.additive + self.linear

    @property
    def prior_location(self) -> Floats:
        """Means of the normal priors of the parameters, for a y of unit variance."""
        p = self.inputs
        joint = [0.0, *[np.log(2.0 * np.sqrt(max(p, 1)))] * p]  # distances grow with the root of p
        alone = [*[np.log(0.3)] * p, *[np.log(1.0)] * p] if self.additive else []
        return np.array([*joint, *alone, *[np.log(0.5)] * self.linear, np.log(0.15)], dtype=np.float64)

    @property
    def prior_scale(self) -> Floats:
        """Their standard deviations."""
        out = np.ones(self.size)
        out[-1] = 1.5
        return out

    def matrix(self, theta: Floats, x: Floats, z: Floats) -> Floats:
        """Return the covariances (n, m) of the function at standardised rows ``x`` and ``z``, without noise."""
        joint, alone, line, _ = self._parts(theta)
        out: Floats = np.exp(2.0 * joint[0]) * _matern(_distance(x / np.exp(joint[1:]), z / np.exp(joint[1:])))
        for j in range(self.inputs if self.additive else 0):
            apart = x[:, j, None] / np.exp(alone[1, j]) - z[None, :, j] / np.exp(alone[1, j])
            term = _matern(np.abs(apart, out=apart))
            term *= np.exp(2.0 * alone[0, j])
            out += term
        if self.linear:
            out += np.exp(2.0 * line[0]) * (1.0 + x @ z.T)
        return out

    def variances(self, theta: Floats, x: Floats) -> Floats:
        """Return the variances (n,) of the function at standardised rows: the diagonal of the matrix."""
        joint, alone, line, _ = self._parts(theta)
        out = np.full(len(x), np.exp(2.0 * joint[0]) + np.exp(2.0 * alone[0]).sum())
        if self.linear:
            out += np.exp(2.0 * line[0]) * (1.0 + np.sum(x * x, axis=1))
        return out

    def lower(self, theta: Floats, x: Floats) -> Floats:
        """Return the covariances (n, n) among rows; what stands above the diagonal means nothing."""
        out = np.empty((len(x), len(x)), order="F")
        for rows in _blocks(len(x)):
            out[rows, : rows.stop] = self.matrix(theta, x[rows], x[: rows.stop])
        return out

    def pulled(self, theta: Floats, x: Floats, weights: Floats) -> Floats:
        """Return ``Σ_ab W_ab ∂(K + s²I)_ab/∂θ`` for symmetric W (n, n), of which only the lower triangle is read."""
        out = np.zeros(self.size)
        for rows in _blocks(len(x)):
            both = 2.0 * np.tril(weights[rows, : rows.stop], k=rows.start)  # each pair off the diagonal twice
            both[np.arange(len(both)), np.arange(rows.start, rows.stop)] *= 0.5
            out[:-1] += self._pulled(theta, x[rows], x[: rows.stop], both)
        out[-1] = 2.0 * np.exp(2.0 * theta[-1]) * np.trace(weights)
        return out

    def _pulled(self, theta: Floats, x: Floats, z: Floats, weights: Floats) -> Floats:
        """Return the same for weights of pairs of rows (n, m), without the noise."""
        joint, alone, line, _ = self._parts(theta)
        u, v = x / np.exp(joint[1:]), z / np.exp(joint[1:])
        r = _distance(u, v)
        r *= _ROOT
        size = np.exp(2.0 * joint[0])
        pull = weights * np.exp(-r)
        found = [2.0 * size * np.sum(pull * (1.0 + r + r * r / 3.0))]
        slope = pull * (1.0 + r) * (size * 5.0 / 3.0)
        found += (slope.sum(axis=1) @ (u * u) + slope.sum(axis=0) @ (v * v) - 2.0 * np.sum(u * (slope @ v), 0)).tolist()
        sizes, scales = [], []
        for j in range(self.inputs if self.additive else 0):
            r = np.abs(x[:, j, None] - z[None, :, j]) * (_ROOT / np.exp(alone[1, j]))
            pull = weights * np.exp(-r)
            pull *= np.exp(2.0 * alone[0, j])
            total, curved = pull.sum() + np.vdot(pull, r), r * r / 3.0
            square = np.vdot(pull, curved)
            sizes.append(2.0 * (total + square))
            scales.append(square + np.vdot(pull * r, curved))
        found += [*sizes, *scales]
        if self.linear:
            found.append(2.0 * np.exp(2.0 * line[0]) * (weights.sum() + np.sum(x * (weights @ z))))
        return np.array(found)

    def _parts(self, theta: Floats) -> tuple[Floats, Floats, Floats, float]:
        p, at = self.inputs, 1 + self.inputs
        end = at + 2 * p * self.additive
        alone = theta[at:end].reshape(2, -1) if self.additive else np.zeros((2, 0))
        return theta[:at], alone, theta[end:-1], float(theta[-1])


def _blocks(count: int) -> Iterator[slice]:
    """Return slices of rows, so few that what is made of a pair of rows stays near the processor."""
    for at in range(0, count, _BLOCK):
        yield slice(at, min(at + _BLOCK, count))


def _distance(x: Floats, z: Floats) -> Floats:
    """Return Euclidean distances (n, m); columns one by one, since the short cut by squares loses small ones."""
    out = np.zeros((len(x), len(z)))
    for j in range(x.shape[1]):
        apart = x[:, j, None] - z[None, :, j]
        apart *= apart
        out += apart
    return np.sqrt(out, out=out)


def _matern(r: Floats) -> Floats:
    """Return the kernel at distances (n, m), whose memory is used."""
    r *= _ROOT
    out = r * (1.0 / 3.0)
    out += 1.0
    out *= r
    out += 1.0
    np.negative(r, out=r)
    np.exp(r, out=r)
    out *= r
    return out
