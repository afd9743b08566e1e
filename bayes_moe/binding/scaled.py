"""Slopes that learned weights multiply: what this adds to the map from q to coefficients and its derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..predictors.base import Weights


@dataclass(frozen=True, eq=False)
class Scaled:
    """The links of one term whose slopes have weights.

    A link adds ``factor weight(t) q[source]`` to its target, where t are hyperparameters of the link's expert.

    Parameters
    ----------
    weights
        The weights as a function of t.
    hyper
        (experts, H) positions of every expert's t in q.
    first, shape
        Where the term's links begin among all, and how they are laid out: (experts, 1 + slopes, links of each).
    """

    weights: Weights
    hyper: np.ndarray
    first: int
    shape: tuple[int, int, int]

    @property
    def where(self) -> slice:
        """Where the term's links stand among all."""
        return slice(self.first, self.first + self.shape[0] * self.shape[1] * self.shape[2])

    def values(self, q: np.ndarray) -> np.ndarray:
        """Return weights (..., links) at vectors (..., size); 1 for intercepts."""
        logs = self.weights.logs(self._at(q))
        found = np.exp(np.broadcast_to(logs, (*q.shape[:-1], self.shape[0], self.shape[1] - 1)))
        whole = np.concatenate([np.ones((*found.shape[:-1], 1)), found], axis=-1)
        return np.repeat(whole, self.shape[2], axis=-1).reshape(*q.shape[:-1], -1)

    def derivatives(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the links' hyperparameters (links, H) and log weights' slopes (links, H) and bends (links, H, H)."""
        slopes, bends = self.weights.derivatives(self._at(q))
        experts, width, each = self.shape
        count = self.hyper.shape[1]
        first, second = np.zeros((experts, width, each, count)), np.zeros((experts, width, each, count, count))
        first[:, 1:], second[:, 1:] = slopes[..., None, :], bends[..., None, :, :]
        hyper = np.broadcast_to(self.hyper[:, None, None, :], first.shape)
        links = experts * width * each
        return hyper.reshape(links, count), first.reshape(links, count), second.reshape(links, count, count)

    def _at(self, q: np.ndarray) -> list[np.ndarray]:
        return [q[..., places] for places in self.hyper.T]

    def add_pull(self, q: np.ndarray, terms: np.ndarray, out: np.ndarray) -> None:
        """Add to a gradient in q what ``terms`` (links), coefficient times gradient in it, pull on hyperparameters."""
        hyper, slopes, _ = self.derivatives(q)
        np.add.at(out, hyper, terms[:, None] * slopes)

    def add_jacobian(self, q: np.ndarray, targets: np.ndarray, terms: np.ndarray, out: np.ndarray) -> None:
        """Add the derivatives in the hyperparameters to d coefficients / d q; ``terms`` (links) add to ``targets``."""
        hyper, slopes, _ = self.derivatives(q)
        np.add.at(out, (targets[:, None], hyper), terms[:, None] * slopes)

    def add_curvature(self, q: np.ndarray, sources: np.ndarray, pulls: np.ndarray, out: np.ndarray) -> None:
        """Add the Hessian of Σ pulls q[source], where ``pulls`` (links) are gradients times factors and weights."""
        hyper, slopes, bends = self.derivatives(q)
        cross = pulls[:, None] * slopes
        np.add.at(out, (sources[:, None], hyper), cross)
        np.add.at(out, (hyper, sources[:, None]), cross)
        inner = (pulls * q[sources])[:, None, None] * (slopes[:, :, None] * slopes[:, None, :] + bends)
        np.add.at(out, (hyper[:, :, None], hyper[:, None, :]), inner)
