"""What every predictive distribution can do, be it of one fit or of several averaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..data import Data
from ..families import Support
from ..inference.settings import Seed
from ..newdata import read_target
from ..tables import row_index
from . import blend, predictions, tables
from .blend import Blend
from .effects import effects_of
from .mixtures import MixtureDraws


class Predictive(ABC):
    """A predictive distribution of y given x, with everything that does not depend on the experts' labels.

    Predictions average densities, distribution functions and first two moments over draws, and over fits where
    there are several. ``X`` is what training took: frames are matched by column name, and y of other row labels than
    those of X is refused, as it is in training. Results are ``xarray.DataArray``.
    """

    @property
    @abstractmethod
    def data(self) -> Data:
        """The checked training data; of several fits, that of the first."""

    @property
    @abstractmethod
    def support(self) -> Support:
        """Where y lives."""

    @abstractmethod
    def mixture(self, X: Any, gate_X: Any = None, groups: Any = None) -> MixtureDraws | Blend:
        """Return the distribution at rows as densities to be averaged; what the other methods are made of."""

    @abstractmethod
    def loo(self) -> Any:
        """Return leave-one-out cross-validation (ArviZ's ELPDData)."""

    def target(self, y: Any, X: Any, rows: int) -> np.ndarray:
        """Return y of the rows of X as numbers: as it is, or the codes of labels."""
        return read_target(y, rows, self.data.classes, self.data.outputs, row_index(X))

    @property
    def weighed(self) -> tuple[tuple[Any, float], ...]:
        """The fits that it is made of, with their weights."""
        return ((self, 1.0),)

    def effects(self, prob: float = 0.8) -> Any:
        """Return what every column of X does to predictions, a row each, strongest first (pandas frame).

        A column is put at the lower and at the upper quantile that hold ``prob`` of its training rows between them, or
        at the first level and at another, in up to 200 training rows that keep their other columns. ``mean_at_low``,
        ``mean_at_high`` and their difference ``change`` are predictive means averaged over these rows, ``sd_at_low``
        and ``sd_at_high`` predictive standard deviations: partial dependence (Friedman 2001, Annals of Statistics 29),
        whatever the labels of experts. A row counts as often as its weight says, in the quantiles and in the averages.
        Where columns go together, rows are made that nature does not make.

        Raises
        ------
        InputError
            If ``prob`` is none, y is not one number, or the fit has groups or a formula.
        """
        return tables.effects(effects_of(self.weighed, prob))

    def predict(self, X: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the predictive mean (obs,) or (obs, output); of labels, the most probable one."""
        return predictions.mean(self.mixture(X, gate_X, groups), self.data)

    def predict_proba(self, X: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the probability of every label (obs, class)."""
        return predictions.probabilities(self.mixture(X, gate_X, groups), self.data)

    def variance(self, X: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the predictive variance (obs,) or (obs, output): within and between experts, draws and fits."""
        return predictions.variance(self.mixture(X, gate_X, groups), self.data, self.support)

    def quantile(self, X: Any, q: float | Sequence[float], *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return quantiles (obs, quantile) of the averaged distribution; (obs,) for a single level.

        Of several outputs, each by itself: (obs, output, quantile).
        """
        return predictions.quantile(self.mixture(X, gate_X, groups), self.data, self.support, q)

    def interval(self, X: Any, prob: float = 0.9, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the equal-tailed predictive interval (obs, bound) that holds ``prob``, of each output by itself."""
        return predictions.interval(self.mixture(X, gate_X, groups), self.data, self.support, prob)

    def log_density(self, X: Any, y: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the log of the averaged density at y (obs,), in nats per unit of y."""
        mixture = self.mixture(X, gate_X, groups)
        values = blend.log_density(mixture, self.target(y, X, mixture.rows))
        return xr.DataArray(values, dims=("obs",), name="log_density")

    def cdf(self, X: Any, y: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the averaged P(Y <= y) (obs,), of each output by itself (obs, output)."""
        mixture = self.mixture(X, gate_X, groups)
        return predictions.cdf(mixture, self.data, self.support, self.target(y, X, mixture.rows))

    def sample(
        self, X: Any, draws: int | None = None, seed: Seed = None, *, gate_X: Any = None, groups: Any = None
    ) -> xr.DataArray:
        """Return predictive draws (sample, obs); by default one per posterior draw, 1000 for point fits."""
        tables.check_sample(draws, seed)
        return predictions.sample(self.mixture(X, gate_X, groups), self.data, draws, seed)
