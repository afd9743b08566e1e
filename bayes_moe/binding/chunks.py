"""Some rows under one vector: linear predictors, log densities and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..families import Family
from ..gates import BoundGate
from ..gates.normalised import softmax


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
    log_total
        (n,) log of the summed weights where the target is the joint density of x and y, else 0.
    """

    table: np.ndarray
    gate_table: np.ndarray
    weights: np.ndarray
    eta: np.ndarray
    log_weights: np.ndarray
    log_density: np.ndarray
    slopes: np.ndarray
    bends: tuple[np.ndarray | None, ...]
    log_total: np.ndarray

    @property
    def joint(self) -> np.ndarray:
        """Log gate plus log density (n, K), of rows or of whatever else has one label."""
        return np.asarray(self.log_weights + self.log_density)

    @cached_property
    def mixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Log density (n,) and responsibilities (n, K); a row that no expert can explain has -inf and zeros."""
        return softmax(self.joint)

    @property
    def value(self) -> float:
        """The log likelihood of these rows, weighted."""
        return float(self.weights @ self.mixed[0])

    @property
    def by_row(self) -> tuple[np.ndarray, np.ndarray]:
        """Log density of y given x (n,) and responsibilities (n, K) of every row."""
        value, responsibilities = self.mixed
        return value - self.log_total, responsibilities

    def mass(self, responsibilities: np.ndarray) -> Mass:
        """Return what every row's log weights and log densities count, under responsibilities (n, K) of its rows."""
        both = responsibilities * self.weights[:, None]
        return Mass(both, both)


class Mass(NamedTuple):
    """What the terms of the expected log density count.

    Parameters
    ----------
    gate, experts
        (n, K) of every row's log weights, and of its log densities.
    """

    gate: np.ndarray
    experts: np.ndarray


def pulled(chunk: Chunk, mass: Mass, gate: BoundGate, groups: Sequence[Group]) -> np.ndarray:
    """Return the gradient (n, R) of Σ_k mass_k log weight_k + mass_k log density_k in the linear predictors."""
    out = np.zeros_like(chunk.eta)
    out[:, : gate.predictors] = gate.pull(chunk.eta[:, : gate.predictors], mass.gate)
    for group in groups:
        for rows in group.rows:
            # an impossible expert has no mass, whatever its slope
            own = mass.experts[:, group.experts]
            out[:, rows] = own * np.where(own > 0, chunk.slopes[:, rows], 0.0)
    return out
