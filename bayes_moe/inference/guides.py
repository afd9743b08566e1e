"""Gaussian guides of variational inference: which Gaussians may stand for the posterior.

A guide turns standard normal base draws ε into draws ``q = θ̂ + C m + A ε``. Mean and scale start at the mode
and its curvature, ``C Cᵀ = H⁻¹``, and are measured in units of it: there the problem is nearly round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import NumericalError, SpecError

_ENTROPY_OF_ONE = 0.5 * (1.0 + float(np.log(2.0 * np.pi)))
_MOST_FULL_RANK = 2000


@dataclass(frozen=True, eq=False)
class Anchor:
    """Where a guide starts.

    Parameters
    ----------
    mode
        (d,) the mode θ̂.
    precision
        (d, d) curvature there, positive definite.
    root
        (d, d) C with ``C Cᵀ = precision⁻¹``.
    log_spread
        log |C|.
    """

    mode: np.ndarray
    precision: np.ndarray
    root: np.ndarray
    log_spread: float


def anchor_at(mode: np.ndarray, hessian: np.ndarray) -> Anchor:
    """Return the anchor at a mode; where the density is not concave, curvatures count by their size.

    Raises
    ------
    NumericalError
        If the Hessian is not finite.
    """
    if not np.all(np.isfinite(hessian)):
        raise NumericalError(
            "ADVI: expected a finite Hessian at the mode, got NaN or infinity → use bm.NUTS(), or look at the data"
        )
    values, vectors = np.linalg.eigh(-hessian)
    values = np.maximum(np.abs(values), 1e-8 * max(1.0, float(np.abs(values).max(initial=0.0))))
    precision = (vectors * values) @ vectors.T
    # symmetric square root: no coordinate is special
    root = (vectors / np.sqrt(values)) @ vectors.T
    return Anchor(mode, precision, root, float(-0.5 * np.sum(np.log(values))))


class BoundGuide(ABC):
    """A guide at its anchor, as a function of one flat vector φ."""

    anchor: Anchor

    @property
    @abstractmethod
    def start(self) -> np.ndarray:
        """φ at the anchor."""

    @property
    @abstractmethod
    def curvature(self) -> np.ndarray:
        """Curvature of the negative ELBO in each element of φ when the posterior is the anchor's Gaussian."""

    @abstractmethod
    def narrowed(self, phi: np.ndarray, factor: float) -> np.ndarray:
        """Return φ of the same guide with its scale multiplied by ``factor``."""

    @abstractmethod
    def draws(self, phi: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Return draws (n, d) from base draws (n, d)."""

    @abstractmethod
    def pull_back(self, phi: np.ndarray, base: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Return the gradient in φ of the ELBO, from gradients of the log density at the draws (n, d)."""

    @abstractmethod
    def entropy(self, phi: np.ndarray) -> float:
        """Return the entropy of the guide."""

    def log_density(self, phi: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Return the log density (n,) of the guide at the draws made from ``base``."""
        return np.asarray(0.5 * base.shape[1] - 0.5 * np.sum(base**2, axis=1) - self.entropy(phi))


class Guide(ABC):
    """Which Gaussians may stand for the posterior."""

    @abstractmethod
    def bind(self, anchor: Anchor) -> BoundGuide:
        """Return the guide at its anchor."""

    @abstractmethod
    def batch(self, size: int) -> int:
        """Return how many base draws it takes by default for ``size`` values."""

    @abstractmethod
    def check(self, size: int, batch: int | None) -> None:
        """Refuse sizes and batches that determine no guide."""


@dataclass(frozen=True)
class MeanField(Guide):
    """Independent Gaussians, one per value: cheap for many values, and too narrow where they are correlated.

    For a Gaussian posterior with precision Λ its variances are 1/Λ_ii, at most the true ones.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> from bayes_moe.inference.guides import MeanField
    >>> bm.ADVI(guide=MeanField()).guide
    MeanField()
    """

    def bind(self, anchor: Anchor) -> BoundGuide:
        return _BoundMeanField(anchor)

    def batch(self, size: int) -> int:
        return int(np.clip(4 * size, 64, 1024))

    def check(self, size: int, batch: int | None) -> None:
        """Accept all: a scale needs no more than one pair of draws."""


@dataclass(frozen=True)
class FullRank(Guide):
    """One Gaussian with any covariance: exact for a Gaussian posterior.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.ADVI().guide
    FullRank()
    """

    def bind(self, anchor: Anchor) -> BoundGuide:
        return _BoundFullRank(anchor)

    def batch(self, size: int) -> int:
        # some 48 per value leave the bound within 0.1 to 0.5 nat of its best; larger problems need fewer per value
        return max(min(48 * size, 640), 8 * size, 64)

    def check(self, size: int, batch: int | None) -> None:
        if size > _MOST_FULL_RANK:
            raise SpecError(
                f"ADVI.guide: expected at most {_MOST_FULL_RANK} values for FullRank(), got {size} → use MeanField()"
            )
        if batch is not None and batch < 2 * size:
            raise SpecError(
                f"ADVI.batch: expected at least {2 * size} draws for FullRank() over {size} values, got {batch} "
                "→ raise it, leave it out, or use MeanField()"
            )


@dataclass(frozen=True, eq=False)
class _BoundMeanField(BoundGuide):
    """φ = (m, log scale relative to the anchor's conditional sd)."""

    anchor: Anchor

    @cached_property
    def scale(self) -> np.ndarray:
        return np.asarray(1.0 / np.sqrt(np.diag(self.anchor.precision)))

    @property
    def start(self) -> np.ndarray:
        return np.zeros(2 * len(self.anchor.mode))

    @property
    def curvature(self) -> np.ndarray:
        return np.repeat([1.0, 2.0], len(self.anchor.mode))

    def narrowed(self, phi: np.ndarray, factor: float) -> np.ndarray:
        mean, log_scale = np.split(phi, 2)
        return np.concatenate([mean, log_scale + np.log(factor)])

    def draws(self, phi: np.ndarray, base: np.ndarray) -> np.ndarray:
        mean, log_scale = np.split(phi, 2)
        return np.asarray(self.anchor.mode + self.anchor.root @ mean + base * (self.scale * np.exp(log_scale)))

    def pull_back(self, phi: np.ndarray, base: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        _, log_scale = np.split(phi, 2)
        along_scale = np.mean(gradients * base, axis=0) * self.scale * np.exp(log_scale) + 1.0
        return np.concatenate([gradients.mean(axis=0) @ self.anchor.root, along_scale])

    def entropy(self, phi: np.ndarray) -> float:
        _, log_scale = np.split(phi, 2)
        return float(np.sum(np.log(self.scale) + log_scale) + len(log_scale) * _ENTROPY_OF_ONE)


@dataclass(frozen=True, eq=False)
class _BoundFullRank(BoundGuide):
    """φ = (m, log diagonal of T, T below the diagonal): the scale is ``A = C T`` with a triangular T."""

    anchor: Anchor

    @cached_property
    def below(self) -> tuple[np.ndarray, np.ndarray]:
        return np.tril_indices(len(self.anchor.mode), -1)

    @property
    def start(self) -> np.ndarray:
        return np.zeros(2 * len(self.anchor.mode) + len(self.below[0]))

    @property
    def curvature(self) -> np.ndarray:
        d = len(self.anchor.mode)
        return np.repeat([1.0, 2.0, 1.0], [d, d, len(self.below[0])])

    def triangle(self, phi: np.ndarray) -> np.ndarray:
        """Return T."""
        d = len(self.anchor.mode)
        out = np.diag(np.exp(phi[d : 2 * d]))
        out[self.below] = phi[2 * d :]
        return out

    def narrowed(self, phi: np.ndarray, factor: float) -> np.ndarray:
        d = len(self.anchor.mode)
        return np.concatenate([phi[:d], phi[d : 2 * d] + np.log(factor), phi[2 * d :] * factor])

    def draws(self, phi: np.ndarray, base: np.ndarray) -> np.ndarray:
        d = len(self.anchor.mode)
        return np.asarray(self.anchor.mode + (phi[:d] + base @ self.triangle(phi).T) @ self.anchor.root.T)

    def pull_back(self, phi: np.ndarray, base: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        d = len(self.anchor.mode)
        along = gradients @ self.anchor.root / len(gradients)
        scale = along.T @ base
        diagonal = np.diag(scale) * np.exp(phi[d : 2 * d]) + 1.0
        return np.concatenate([along.sum(axis=0), diagonal, scale[self.below]])

    def entropy(self, phi: np.ndarray) -> float:
        d = len(self.anchor.mode)
        return float(self.anchor.log_spread + phi[d : 2 * d].sum() + d * _ENTROPY_OF_ONE)
