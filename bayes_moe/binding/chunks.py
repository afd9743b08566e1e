"""Some rows under one vector: linear predictors, log densities and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..families import Family
from ..gates import BoundGate


@dataclass(frozen=True, eq=False)
class Group:
    """Experts of one family, evaluated side by side.

    Parameters
    ----------
    family
        Their family.
    experts
        (k,) their positions.
    rows
        (m, k) rows of the coefficients that hold their linear predictors.
    """

    family: Family
    experts: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows under one vector.

    Parameters
    ----------
    table, gate_table, weights
        (n, P) design, the gate's (n, W) columns of it and (n,) weights of the rows.
    eta
        (n, R) linear predictors.
    log_weights, log_density
        (n, K) of gate and experts, in the unit of standardised y; weights as the target has them.
    slopes
        (n, R) derivative of every expert's log density in each of its own linear predictors; 0 for the gate's.
    bends
        Per group (m, m, n, k) second derivatives, or None.
    """

    table: np.ndarray
    gate_table: np.ndarray
    weights: np.ndarray
    eta: np.ndarray
    log_weights: np.ndarray
    log_density: np.ndarray
    slopes: np.ndarray
    bends: tuple[np.ndarray | None, ...]

    @cached_property
    def mixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Log density (n,) and responsibilities (n, K); a row that no expert can explain has -inf and zeros."""
        joint = self.log_weights + self.log_density
        top = joint.max(axis=1, keepdims=True)
        safe = np.where(np.isfinite(top), top, 0.0)
        shares = np.exp(joint - safe)
        total = shares.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (safe + np.log(total))[:, 0]
            responsibilities = np.where(total == 0, 0.0, shares / total)
        return value, responsibilities

    def conditional(self, gate: BoundGate) -> np.ndarray:
        """Return the log density (n,) of y given x."""
        value = self.mixed[0]
        if not gate.joint:
            return value
        top = self.log_weights.max(axis=1)
        return np.asarray(value - top - np.log(np.exp(self.log_weights - top[:, None]).sum(axis=1)))


def pulled(chunk: Chunk, mass: np.ndarray, gate: BoundGate, groups: Sequence[Group]) -> np.ndarray:
    """Return the gradient (n, R) of Σ_k mass_k (log weight_k + log density_k) in the linear predictors."""
    out = np.zeros_like(chunk.eta)
    out[:, : gate.predictors] = gate.pull(chunk.eta[:, : gate.predictors], mass)
    for group in groups:
        for rows in group.rows:
            # an impossible expert has no mass, whatever its slope
            own = mass[:, group.experts]
            out[:, rows] = np.where(own > 0, own * chunk.slopes[:, rows], 0.0)
    return out


def row_curvature(chunk: Chunk, responsibilities: np.ndarray, gate: BoundGate, groups: Sequence[Group]) -> np.ndarray:
    """Return the Hessian (n, R, R) of every row's log density in its linear predictors.

    With s_k the gradient and H_k the Hessian of log weight plus log density of expert k it is
    ``Σ r_k (H_k + s_k s_k') - (Σ r_k s_k)(Σ r_k s_k)'``.
    """
    n, experts = responsibilities.shape
    size, ahead = chunk.eta.shape[1], gate.predictors
    eta = chunk.eta[:, :ahead]
    single = np.zeros((n, experts, size))
    single[:, :, :ahead] = gate.slopes(eta)
    out = np.zeros((n, size, size))
    out[:, :ahead, :ahead] = gate.bend(eta, responsibilities)
    for group, bends in zip(groups, chunk.bends, strict=True):
        for i, expert in enumerate(group.experts):
            r = responsibilities[:, expert]
            rows = group.rows[:, i]
            single[:, expert, rows] = np.where(r[:, None] > 0, chunk.slopes[:, rows], 0.0)
            if bends is not None:
                own = np.where(r > 0, r * bends[:, :, :, i], 0.0)
                out[:, rows[:, None], rows[None, :]] += own.transpose(2, 0, 1)
    mean = np.einsum("nk,nkr->nr", responsibilities, single)
    out += np.einsum("nk,nkr,nks->nrs", responsibilities, single, single, optimize=True)
    out -= mean[:, :, None] * mean[:, None, :]
    return out
