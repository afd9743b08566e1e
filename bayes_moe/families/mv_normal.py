"""Multivariate normal experts: several outputs a row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

import numpy as np

from ..errors import InputError, SpecError
from ..predictors import Constant
from .base import Closure, Family, Parameter, Role, Support, default_priors
from .checks import refuse
from .draws import common_shape
from .formulas import HALF_LOG_2PI, Functions, graphs, on_arrays
from .normal import MU, SIGMA


class Covariance(Enum):
    """How the outputs of an expert vary together."""

    DIAGONAL = "independently, given x"
    FULL = "with correlations"


@dataclass(frozen=True)
class MvNormal(Family):
    r"""Normal density of several outputs with their means and the Cholesky factor of their covariance predicted.

    .. math:: \log f(y) = -\tfrac q2 \log 2\pi - \sum_i \log d_i - \tfrac12 \sum_i z_i^2, \qquad
              z_i = \frac{y_i - \mu_i}{d_i} - \sum_{j<i} l_{ij} z_j

    The covariance is :math:`LL^\top` with :math:`L_{ii} = d_i` and :math:`L_{ij} = d_i l_{ij}` below the diagonal, so
    that l does not depend on the units of y. y has the outputs on its last axis. Parameters of the distribution:
    ``mu`` (default ``bm.Linear()``; one predictor per output, in units of y), ``scale`` (default ``bm.Constant()``; its
    predictors are those of log d) and, with a full covariance, ``lower`` (default ``bm.Constant()``; l, one predictor
    ``lower_i_j`` per pair i > j). Outputs are counted from 0.

    Parameters
    ----------
    outputs
        Number q of outputs, or their names in the order of the columns of y; None: those of the data.
    covariance
        ``bm.Covariance.FULL`` (default) or ``bm.Covariance.DIAGONAL``.

    Raises
    ------
    SpecError
        If ``outputs`` is neither a whole number from 1 nor distinct names, or ``covariance`` no member of
        ``bm.Covariance``.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MvNormal(2).predicted
    ('mu_0', 'mu_1', 'log_diag_0', 'log_diag_1', 'lower_1_0')

    References
    ----------
    Pourahmadi (1999), Joint mean-covariance models with applications to longitudinal data, Biometrika 86.
    """

    outputs: int | tuple[str, ...] | None = None
    covariance: Covariance = Covariance.FULL

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", _read_outputs(self.outputs))
        if not isinstance(self.covariance, Covariance):
            raise SpecError(
                f"MvNormal.covariance: expected a member of bm.Covariance, got {self.covariance!r} → pass "
                "bm.Covariance.FULL or bm.Covariance.DIAGONAL"
            )

    @property
    def support(self) -> Support:
        return Support.VECTOR

    @property
    def closure(self) -> Closure:
        return Closure.AFFINE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters; one output has no ``lower``, and before their number is known none has labels."""
        outputs = self.outputs
        names = outputs if isinstance(outputs, tuple) else tuple(str(i) for i in range(outputs or 0))
        pairs = tuple(f"{names[i]}_{names[j]}" for i in range(len(names)) for j in range(i))
        every = tuple(range(len(names)))
        found = (
            Parameter("mu", "mu", Role.LOCATION, MU.default, MU.prior, names, outputs=every),
            Parameter("scale", "log_diag", Role.LOG_SCALE, Constant(), SIGMA.prior, names, outputs=every),
        )
        if self.covariance is Covariance.DIAGONAL or len(names) == 1:
            return found
        return (*found, Parameter("lower", "lower", Role.FREE, Constant(), default_priors(0.0, 1.0, 0.5), pairs))

    @property
    def named(self) -> tuple[str, ...] | None:
        return self.outputs if isinstance(self.outputs, tuple) else None

    def labelled(self, labels: tuple[str, ...]) -> MvNormal:
        known = self.outputs is None or self.outputs == len(labels)
        return MvNormal(labels, self.covariance) if known else self

    def marginal(self, output: int) -> Any:
        return _Marginal(self, output)

    def meet(self, y: np.ndarray, weights: np.ndarray) -> MvNormal:
        y = np.asarray(y, dtype=float)
        count = None if self.outputs is None else self._known()
        if y.ndim != 2 or y.shape[1] != (count or y.shape[1]):
            wanted = "a column per output" if count is None else f"{count} columns"
            raise InputError(
                f"y: expected a table of {wanted} for bm.MvNormal(), got shape {y.shape} → pass (rows, outputs)"
            )
        bad = ~np.isfinite(y).all(axis=1)
        refuse(
            bad, np.where(np.isfinite(y), 0.0, y).sum(axis=1), "MvNormal()", "finite numbers", "leave these rows out"
        )
        return self if self.outputs is not None else MvNormal(y.shape[1], self.covariance)

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        return _log_density(graphs(), y, self._known(), *predicted)

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        count = self._known()
        ordered = (predicted[name] for name in self.predicted)
        return on_arrays(lambda f, y, *inner: _log_density(f, y, count, *inner), y, *ordered)

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the means, (..., outputs)."""
        shape = common_shape(*predicted.values())
        names = self.predicted[: self._known()]
        return np.stack([np.broadcast_to(predicted[name], shape) for name in names], axis=-1)

    def covariance_matrix(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the covariances, (..., outputs, outputs)."""
        factor = self._factor(**predicted)
        return np.asarray(factor @ np.swapaxes(factor, -1, -2))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the variances, (..., outputs)."""
        return np.asarray((self._factor(**predicted) ** 2).sum(axis=-1))

    def marginal_cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        """Return P(Y_i <= y_i) of every output by itself, (..., outputs)."""
        from scipy.special import ndtr  # a third of a second that `import bayes_moe` does not pay

        return np.asarray(ndtr((y - self.mean(**predicted)) / np.sqrt(self.variance(**predicted))))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> NoReturn:
        raise SpecError("MvNormal: expected one output for its distribution function, got several → use marginal_cdf()")

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        """Return draws, (..., outputs)."""
        mean = self.mean(**predicted)
        return np.asarray(mean + (self._factor(**predicted) @ rng.standard_normal(mean.shape)[..., None])[..., 0])

    def _factor(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the Cholesky factors, (..., outputs, outputs)."""
        count = self._known()
        out = np.zeros((*common_shape(*predicted.values()), count, count))
        log_diag, lower = self.predicted[count : 2 * count], iter(self.predicted[2 * count :])
        for i, name in enumerate(log_diag):
            diagonal = np.exp(predicted[name])
            out[..., i, i] = diagonal
            for j in range(i if self.covariance is Covariance.FULL else 0):
                out[..., i, j] = diagonal * predicted[next(lower)]
        return out

    def _known(self) -> int:
        if self.outputs is None:
            raise SpecError(
                "MvNormal: expected a known number of outputs, got None → call meet(y, weights), or name it"
            )
        return len(self.outputs) if isinstance(self.outputs, tuple) else self.outputs


@dataclass(frozen=True)
class _Marginal:
    """One output of a multivariate normal: a normal density."""

    whole: MvNormal
    output: int

    @property
    def discrete(self) -> bool:
        return False

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return self.whole.mean(**predicted)[..., self.output]

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return self.whole.variance(**predicted)[..., self.output]

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        variance = self.variance(**predicted)
        return np.asarray(-HALF_LOG_2PI - 0.5 * (np.log(variance) + (y - self.mean(**predicted)) ** 2 / variance))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr  # a third of a second that `import bayes_moe` does not pay

        return np.asarray(ndtr((y - self.mean(**predicted)) / np.sqrt(self.variance(**predicted))))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        mean = self.mean(**predicted)
        return np.asarray(mean + np.sqrt(self.variance(**predicted)) * rng.standard_normal(mean.shape))


def _read_outputs(outputs: object) -> int | tuple[str, ...] | None:
    if isinstance(outputs, tuple | list) and outputs:
        if all(isinstance(name, str) for name in outputs) and len(set(outputs)) == len(outputs):
            return tuple(outputs)
    elif outputs is None or (isinstance(outputs, int) and not isinstance(outputs, bool) and outputs >= 1):
        return outputs
    raise SpecError(
        f"MvNormal.outputs: expected a whole number from 1, distinct names or None, got {outputs!r} → pass e.g. 2"
    )


def _log_density(f: Functions, y: Any, count: int, *predicted: Any) -> Any:
    mu, log_diag, lower = predicted[:count], predicted[count : 2 * count], predicted[2 * count :]
    solved: list[Any] = []
    value: Any = -count * HALF_LOG_2PI
    for i in range(count):
        z = (y[..., i] - mu[i]) * f.exp(-log_diag[i])
        if lower:
            for j, known in enumerate(solved):
                z = z - lower[i * (i - 1) // 2 + j] * known
        solved.append(z)
        value = value - log_diag[i] - 0.5 * z * z
    return value
