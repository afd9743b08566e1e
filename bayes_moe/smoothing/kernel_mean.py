"""A mean that all experts share, by kernels at every training row."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from ..errors import SpecError
from .covariance import Floats
from .smoother import Moments, Smoother, fit_smoother

MEAN, LOG_SD = "mean", "log_sd"
"""Names of the columns that a shared mean appends to the table."""


@dataclass(frozen=True)
class KernelMean:
    r"""A smooth mean that all experts share: a Gaussian process with a kernel at every training row.

    .. math:: y = m(x) + \text{residual}, \qquad
        k(x, x') = \alpha^2 k_{5/2}(|(x - x') / \ell|) + \sum_j \beta_j^2 k_{5/2}(|x_j - x'_j| / \lambda_j)
        + \gamma^2 (1 + x \cdot x') + s^2 \, 1[\text{same row}]

    on standardised columns: a Matérn kernel with a length scale for every input, one more for every input alone, and
    lines. Hyper-parameters maximise the marginal likelihood of y times normal priors on their logarithms (above 2000
    rows, of 1000 at most: 250 drawn by a fixed seed, and the three nearest to each). Then they are fixed, and no
    posterior draw moves them.

    The mixture of experts is one of what is left: m is added to the location of every expert and log √v to its log
    scale, where it has them, so that one Normal expert without slopes is the Gaussian process itself, and predictions
    widen where rows are far from those of training. At training rows the mixture is fitted to the leave-one-out moments
    m₋ᵢ, v₋ᵢ, in closed form, which is what the mean is worth at rows it has not seen; predictions, also those asked for
    at training rows, use m(x) and v(x) of all rows. ``fit.loo`` scores the leave-one-out moments: their
    hyper-parameters have seen all rows, and so, for ``bm.KFold``, have the moments of a fold seen the rest of it.

    Two columns stand behind those of X, for every predictor that names no columns and for those that name them:
    ``mean``, m(x) in the units of y, and ``log_sd``, log √v(x). With ``target=`` both are of the power of y.

    Parameters
    ----------
    additive
        Whether every input has a kernel of its own beside the joint one.
    linear
        Whether there are lines.
    rounding
        Step to which y was rounded, in the units of y, or of its power with ``target=``: the noise s is held at no less
        than the standard deviation of the rounding, step/√12, so that no density stands in spikes on a grid. 0: none.

    Raises
    ------
    SpecError
        If an argument is of another kind or out of range.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(60, seed=1)
    >>> model = bm.MixtureOfExperts(2, mean=bm.KernelMean())
    >>> bm.fit(model, data.X, data.y, bm.EM(starts=2, seed=1), progress=False).data.table.names
    ('x0', 'mean', 'log_sd')

    References
    ----------
    Rasmussen, C. E. and Williams, C. K. I. (2006). Gaussian Processes for Machine Learning, sections 2.2 and 5.4. MIT
    Press.
    """

    additive: bool = True
    linear: bool = True
    rounding: float = 0.0

    def __post_init__(self) -> None:
        step = self.rounding
        if isinstance(step, bool) or not isinstance(step, int | float) or not (isfinite(step) and step >= 0):
            raise SpecError(f"KernelMean.rounding: expected a finite number of at least 0, got {step!r} → e.g. 0.1")
        for name in ("additive", "linear"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(
                    f"KernelMean.{name}: expected True or False, got {getattr(self, name)!r} → pass a boolean"
                )


@dataclass(frozen=True, eq=False)
class SharedMean:
    """A shared mean that has met its data: its columns at any rows.

    Parameters
    ----------
    smoother
        The smoother on standardised rows.
    inputs
        Positions of the columns it reads.
    center, scale
        (p,) their standardisation.
    y_center, y_scale
        That of y.
    """

    smoother: Smoother
    inputs: tuple[int, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    y_center: float
    y_scale: float

    def extended(self, table: Floats) -> Floats:
        """Return rows to predict at, (n, columns of X), with the columns ``mean`` and ``log_sd``.

        Those of the rows asked for last are kept: several fits of one average, and several scores, ask for the same.
        """
        known, columns = self.__dict__.get("_latest", (None, None))
        if known is None or not np.array_equal(known, table):
            columns = self._columns(self.smoother.moments(self._standardised(table)))
            self.__dict__["_latest"] = (table.copy(), columns)
        return np.hstack([table, columns])

    def extended_training(self, table: Floats, y: Floats) -> Floats:
        """Return the training rows with the columns of leave-one-out moments."""
        return np.hstack([table, self._columns(self.smoother.leave_one_out((y - self.y_center) / self.y_scale))])

    def same(self, other: SharedMean) -> bool:
        """Return whether another one is of the same rows, target and hyper-parameters."""
        mine, theirs = self.smoother, other.smoother
        arrays = ("centres", "weights", "log_parameters")
        return all(np.array_equal(getattr(mine, name), getattr(theirs, name)) for name in arrays)

    def _standardised(self, table: Floats) -> Floats:
        return np.asarray((table[:, list(self.inputs)] - np.array(self.center)) / np.array(self.scale))

    def _columns(self, moments: Moments) -> Floats:
        mean = self.y_center + self.y_scale * moments.mean
        return np.column_stack([mean, np.log(self.y_scale) + 0.5 * np.log(moments.variance)])


def fit_mean(
    mean: KernelMean,
    table: Floats,
    y: Floats,
    inputs: tuple[int, ...],
    scaling: tuple[tuple[float, ...], tuple[float, ...], float, float],
) -> SharedMean:
    """Return the mean of ``y`` (n,) on columns ``inputs`` of ``table``; ``scaling`` is that of these columns and of y.

    Raises
    ------
    InputError
        As `fit_smoother`.
    """
    blank = SharedMean(Smoother(table[:0], y[:0], y[:0]), inputs, *scaling)
    x, z = blank._standardised(table), (y - blank.y_center) / blank.y_scale
    least = mean.rounding / np.sqrt(12.0) / blank.y_scale
    smoother = fit_smoother(x, z, additive=mean.additive, linear=mean.linear, least_noise=least)
    return SharedMean(smoother, inputs, *scaling)
