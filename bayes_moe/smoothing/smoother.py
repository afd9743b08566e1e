r"""A smoother that is linear in y: its evidence, its predictions, and its leave-one-out moments in closed form.

With :math:`C = K + s^2 I` over the training rows, :math:`\alpha = C^{-1} y` and k(x) the covariances of a new row,

.. math:: m(x) = k(x)'\alpha, \qquad v(x) = k(x, x) + s^2 - k(x)' C^{-1} k(x),

.. math:: m_{-i} = y_i - \alpha_i / (C^{-1})_{ii}, \qquad v_{-i} = 1 / (C^{-1})_{ii},

where m₋ᵢ and v₋ᵢ are what the other rows say about row i, exactly, at the same hyper-parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .covariance import Covariance, Floats

SUBSET_ABOVE, SUBSET = 2000, 1000
"""Above so many rows hyper-parameters are those of so many at most: see `few`."""
_TOGETHER = 4
MOST_ROWS = 20_000
"""The covariance of all rows is one matrix: 3.2 GB at this number."""
_CHUNK = 1024


class Moments(NamedTuple):
    """Means and variances of y, (n,) each; the variances have the noise in them."""

    mean: Floats
    variance: Floats


@dataclass(frozen=True, eq=False)
class Smoother:
    """A kernel smoother on standardised rows.

    Parameters
    ----------
    centres
        (n, p) standardised training rows.
    weights
        (n,) coefficients α of the kernels at the centres.
    log_parameters
        Hyper-parameters as `Covariance` orders them.
    additive, linear
        Terms of the covariance beside the joint Matérn kernel.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> smoother = fit_smoother(x, np.sin(3 * x[:, 0]))
    >>> bool(abs(smoother.moments(np.array([[0.5]])).mean[0] - np.sin(1.5)) < 0.02)
    True
    """

    centres: Floats
    weights: Floats
    log_parameters: Floats
    additive: bool = True
    linear: bool = True

    @property
    def covariance(self) -> Covariance:
        """Its covariance function."""
        return Covariance(self.centres.shape[1], self.additive, self.linear)

    @cached_property
    def _factor(self) -> Floats:
        return _cholesky(_noisy(self.covariance, self.log_parameters, self.centres))

    def moments(self, x: Floats) -> Moments:
        """Return mean and variance of y at standardised rows (m, p)."""
        from scipy.linalg import solve_triangular

        noise = np.exp(2.0 * self.log_parameters[-1])
        mean, variance = np.empty(len(x)), self.covariance.variances(self.log_parameters, x) + noise
        for at in range(0, len(x), _CHUNK):
            rows = slice(at, at + _CHUNK)
            cross = self.covariance.matrix(self.log_parameters, self.centres, x[rows])
            mean[rows] = self.weights @ cross
            explained = solve_triangular(self._factor, cross, lower=True, check_finite=False, overwrite_b=True)
            variance[rows] -= np.einsum("ij,ij->j", explained, explained)
        return Moments(mean, np.maximum(variance, noise))

    def leave_one_out(self, y: Floats) -> Moments:
        """Return what the other rows say about every training row, whose standardised target is ``y`` (n,)."""
        precision = _inverse_diagonal(self._factor)
        return Moments(y - self.weights / precision, 1.0 / precision)


def fit_smoother(
    x: Floats,
    y: Floats,
    *,
    additive: bool = True,
    linear: bool = True,
    iterations: int = 200,
    least_noise: float = 0.0,
) -> Smoother:
    """Return the smoother of standardised rows (n, p) and a standardised target (n,).

    Hyper-parameters maximise the marginal likelihood times normal priors on their logarithms, by L-BFGS; above 2000
    rows, those of `few` of them. All rows are centres. The noise s is at least ``least_noise``.

    Raises
    ------
    InputError
        If there are more than 20 000 rows.
    """
    if len(y) > MOST_ROWS:
        raise InputError(
            f"X: expected at most {MOST_ROWS} rows for a mean with a kernel at every row, got {len(y)} → pass fewer "
            "rows, or leave mean= out and use bm.Spline or bm.HSGP in the experts"
        )
    covariance = Covariance(x.shape[1], additive, linear)
    some = np.arange(len(y)) if len(y) <= SUBSET_ABOVE else few(x)
    # not from the optimum of fewer rows, which costs less: it has led to lower optima of all
    theta = _maximise(covariance, x[some], y[some], covariance.prior_location, iterations, least_noise)
    blank = Smoother(x, np.zeros(len(y)), theta, additive, linear)
    return weighted(blank, y)


def few(x: Floats) -> npt.NDArray[np.intp]:
    """Return positions of rows to learn hyper-parameters from: 250 by a fixed seed, and the three nearest to each.

    Rows drawn one by one lie far apart where there are many, and say nothing of what varies between neighbours.
    """
    from scipy.spatial import KDTree

    anchors = np.random.default_rng(0).choice(len(x), SUBSET // _TOGETHER, replace=False)
    return np.unique(KDTree(x).query(x[anchors], _TOGETHER)[1])


def weighted(smoother: Smoother, y: Floats) -> Smoother:
    """Return the smoother with the weights of another target at the same centres."""
    from scipy.linalg import cho_solve

    weights = cho_solve((smoother._factor, True), y, check_finite=False)
    out = Smoother(smoother.centres, weights, smoother.log_parameters, smoother.additive, smoother.linear)
    out.__dict__["_factor"] = smoother._factor  # the same: a cached property, not to be computed twice
    return out


def log_evidence(covariance: Covariance, theta: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
    """Return the log marginal likelihood of ``y`` plus the log prior density of ``theta``, and its gradient."""
    from scipy.linalg import cho_solve
    from scipy.linalg.lapack import dpotri

    factor = _cholesky(_noisy(covariance, theta, x))
    weights = cho_solve((factor, True), y, check_finite=False)
    value = -0.5 * y @ weights - np.log(np.diag(factor)).sum() - 0.5 * len(y) * np.log(2.0 * np.pi)
    pull = dpotri(factor, lower=1)[0]
    np.subtract(np.outer(weights, weights), pull, out=pull)
    gradient = 0.5 * covariance.pulled(theta, x, pull)
    z = (theta - covariance.prior_location) / covariance.prior_scale
    prior = -0.5 * z @ z - np.log(covariance.prior_scale).sum() - 0.5 * len(z) * np.log(2.0 * np.pi)
    return float(value + prior), gradient - z / covariance.prior_scale


def _maximise(
    covariance: Covariance, x: Floats, y: Floats, start: Floats, iterations: int, least_noise: float
) -> Floats:
    from scipy.optimize import minimize

    def negative(theta: Floats) -> tuple[float, Floats]:
        value, gradient = log_evidence(covariance, theta, x, y)
        return -value, -gradient

    location = covariance.prior_location
    # six deviations; a noise of 4e-4, the least so allowed, keeps the Cholesky factor of equal rows above rounding
    bounds = [(one - 6.0, one + 6.0) for one in location]
    low, high = bounds[-1]
    floor = np.log(max(least_noise, np.finfo(float).tiny))
    bounds[-1] = (min(max(low, floor), high), high)
    start = np.clip(start, *np.array(bounds).T)
    found = minimize(
        negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations, "ftol": 1e-7}
    )
    return np.asarray(found.x, dtype=np.float64)


def _noisy(covariance: Covariance, theta: Floats, x: Floats) -> Floats:
    out = covariance.lower(theta, x)
    diagonal = np.einsum("ii->i", out)
    diagonal += np.exp(2.0 * theta[-1])
    return out


def _cholesky(matrix: Floats) -> Floats:
    from scipy.linalg import cholesky

    out: Floats = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    return out


def _inverse_diagonal(factor: Floats) -> Floats:
    """Return the diagonal of ``(LL')⁻¹``: the squared lengths of the columns of L⁻¹."""
    from scipy.linalg.lapack import dtrtri

    inverse = dtrtri(factor, lower=1)[0]
    out: Floats = np.einsum("ij,ij->j", inverse, inverse)
    return out
