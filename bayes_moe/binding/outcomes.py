"""What is observed, on the scale the densities work on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Target and row weights, with whatever else a row brings to its density.

    Parameters
    ----------
    y
        (n,) or (n, outputs) standardised target.
    weights
        (n,) row weights.
    given
        Columns (n,) that families take beside y, by the name of the argument.
    offsets
        (n, R) what is added to each linear predictor, or None.
    log_units
        (n,) log of what a unit of standardised y is in the user's unit, summed over outputs; the log density in the
        user's unit is that much smaller.
    """

    y: np.ndarray
    weights: np.ndarray
    given: dict[str, np.ndarray]
    offsets: np.ndarray | None
    log_units: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def at(self, rows: slice | np.ndarray) -> Outcomes:
        """Return some of the rows."""
        return replace(
            self,
            y=self.y[rows],
            weights=self.weights[rows],
            given={name: column[rows] for name, column in self.given.items()},
            offsets=None if self.offsets is None else self.offsets[rows],
            log_units=self.log_units[rows],
        )

    @property
    def column(self) -> np.ndarray:
        """Y as (n, 1) or (n, 1, outputs), to be set beside the linear predictors (n, k) of k experts."""
        return self.y[:, None]

    @property
    def line(self) -> np.ndarray:
        """One number a row (n,) that stands for y where starts are searched: the first principal component."""
        if self.y.ndim == 1:
            centred = self.y - np.average(self.y, weights=self.weights)
        else:
            around = self.y - np.average(self.y, axis=0, weights=self.weights)
            _, vectors = np.linalg.eigh((around * self.weights[:, None]).T @ around)
            centred = around @ vectors[:, -1]
        spread = np.sqrt(np.average(centred**2, weights=self.weights))
        return np.asarray(centred / spread if spread > 0 else centred)
