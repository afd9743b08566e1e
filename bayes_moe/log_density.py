"""What an engine may ask of a model: the protocols between densities and engines.

`LogDensity` is enough for Laplace, ADVI and NUTS. `Latent` adds what EM needs. The E-step returns sums over
the rows, not a rows-by-experts array: sums from several chunks or workers simply add up, and memory does not grow
with the data. Experts that can only be refitted with weights implement `Latent` alone. `Conjugate` is what variational
EM needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class LogDensity(Protocol):
    """An unnormalised log posterior over one flat, unconstrained vector."""

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    def logp(self, q: np.ndarray) -> float:
        """Return the log density at q."""
        ...

    def gradient(self, q: np.ndarray) -> np.ndarray:
        """Return the gradient at q."""
        ...

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        """Return both in one pass."""
        ...

    def hessian(self, q: np.ndarray) -> np.ndarray:
        """Return the exact Hessian at q."""
        ...

    def compiled(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Return the fastest value-and-gradient function, safe to call from several threads."""
        ...

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Return named parameters in the user's units; leading dimensions of q are draws."""
        ...


@dataclass(frozen=True, eq=False)
class Machine:
    """A log density as a C function, which samplers call without Python.

    ``int f(uint64 size, double *point, double *gradient, double *value, int64 *data)`` writes gradient and value and
    returns 0 where the value is finite.

    Parameters
    ----------
    function
        Address of the function.
    data
        Address of what it is called with.
    held
        Whatever must live as long as the two addresses are in use.
    """

    function: int
    data: int
    held: tuple[Any, ...]


@runtime_checkable
class Compiled(LogDensity, Protocol):
    """A log density that may also be a C function."""

    def machine(self) -> Machine | None:
        """Return value and gradient as a C function, or None where this one is not compiled."""
        ...


@dataclass(frozen=True)
class Funnel:
    """Values that a learned log scale multiplies.

    Parameters
    ----------
    values
        Positions of z in q.
    scale
        Position of t in q.
    rate
        r in ``b = exp(r t) z``.
    """

    values: slice
    scale: int
    rate: float


@dataclass(frozen=True, eq=False)
class Expectation:
    """What one E-step brings back.

    Parameters
    ----------
    q
        Where it was taken.
    log_posterior
        Log posterior there.
    gradient
        Its gradient there (Fisher's identity: the M-step's objective has the same).
    sizes
        Sum of responsibilities of every expert.
    statistics
        Further sums that only the density's own M-step reads.
    """

    q: np.ndarray
    log_posterior: float
    gradient: np.ndarray
    sizes: np.ndarray
    statistics: Any


@dataclass(frozen=True, eq=False)
class Scene:
    """What a search for starting values may look at.

    Parameters
    ----------
    features
        (n, p) standardised design columns, without the intercept.
    target
        (n,) standardised y.
    weights
        (n,) row weights.
    """

    features: np.ndarray
    target: np.ndarray
    weights: np.ndarray


@runtime_checkable
class Latent(LogDensity, Protocol):
    """A density with latent labels, for EM."""

    @property
    def experts(self) -> int:
        """Number of experts."""
        ...

    @property
    def phases(self) -> int:
        """How many M-steps it takes until every parameter had its turn."""
        ...

    def e_step(self, q: np.ndarray, previous: Expectation | None = None) -> Expectation:
        """Return the log posterior and the sums the M-step needs; ``previous`` is the step before, if any."""
        ...

    def m_step(self, expectation: Expectation, *, damping: float = 1.0) -> np.ndarray:
        """Return a q that raises the expected complete-data log posterior.

        ``damping`` shortens the Newton steps among its parts; with 0 only closed forms move.
        """
        ...

    def settle(self, q: np.ndarray) -> np.ndarray:
        """Return the point of highest prior among those with the same likelihood that a closed form reaches."""
        ...

    def scene(self) -> Scene:
        """Return what starts are made from."""
        ...

    def collapsed(self, expectation: Expectation) -> tuple[int, ...]:
        """Return experts with no more rows than coefficients or a vanishing sigma."""
        ...

    def thinned(self, rows: np.ndarray) -> Latent:
        """Return the density of a few rows that stand for all."""
        ...

    def responsibilities(self, q: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Return responsibilities (rows, K), made softer by a temperature above 1: ``(g_k f_k)^(1/T)``."""
        ...

    def row_log_density(self, q: np.ndarray) -> np.ndarray:
        """Return the log density of every row (rows,)."""
        ...

    def fit_labels(self, responsibilities: np.ndarray) -> np.ndarray:
        """Return q fitted to given responsibilities (rows, K)."""
        ...

    def expected(self, q: np.ndarray, responsibilities: np.ndarray) -> float:
        """Return the expected complete-data log posterior."""
        ...


@dataclass(frozen=True, eq=False)
class CoefficientPosterior:
    """Normal posteriors of the coefficients of the experts' means, on the standardised scale, an expert each.

    Parameters
    ----------
    positions
        Columns of the design that the coefficients (1 + p,) multiply.
    roots
        Matrices R (1 + p, 1 + p) with covariance R R'.
    log_precisions
        Log prior precisions (G,) that were learned for groups of slopes.
    effective
        Effective number of slopes of every group (G,) that the rows decide.
    """

    positions: tuple[np.ndarray, ...]
    roots: tuple[np.ndarray, ...]
    log_precisions: tuple[np.ndarray, ...]
    effective: tuple[np.ndarray, ...]

    def variances(self, design: np.ndarray) -> np.ndarray:
        """Return φ'Sφ (n, K), the variance of the experts' means at rows of the design."""
        pairs = zip(self.positions, self.roots, strict=True)
        found = [design[:, some] @ root for some, root in pairs]
        return np.stack([np.einsum("np,np->n", each, each) for each in found], axis=1)


@dataclass(frozen=True, eq=False)
class Approximation:
    """A variational approximation: what is known of labels and coefficients, and points for the rest.

    Parameters
    ----------
    q
        Posterior means of the coefficients of the experts' means, and points for all other values.
    elbo
        The evidence lower bound, in the user's units of y.
    responsibilities
        (n, K) probabilities of the labels that belong to q.
    inner
        What only the density reads.
    """

    q: np.ndarray
    elbo: float
    responsibilities: np.ndarray
    inner: Any


@runtime_checkable
class Conjugate(Protocol):
    """A mixture whose experts' means are conjugate given labels, for variational EM."""

    @property
    def experts(self) -> int:
        """Number of experts."""
        ...

    def scene(self) -> Scene:
        """Return what starts are made from."""
        ...

    def begin(self, responsibilities: np.ndarray) -> Approximation:
        """Return an approximation fitted to given responsibilities (n, K)."""
        ...

    def begin_at(self, q: np.ndarray) -> Approximation:
        """Return an approximation whose labels are those of a point."""
        ...

    def ascend(self, before: Approximation) -> Approximation:
        """Return the approximation after one round of coordinate ascent, which does not lower the bound."""
        ...

    def at_rounding(self, found: Approximation) -> bool:
        """Return whether a sigma is so small that the last digits of y decide about the bound."""
        ...

    def posterior(self, found: Approximation) -> CoefficientPosterior:
        """Return what an approximation says of the coefficients."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """A log posterior that can be taken a few rows at a time: networks and their output layers over one vector.

    Where rows share labels by groups, groups stand for rows.
    """

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    @property
    def weights(self) -> np.ndarray:
        """Row weights (n,)."""
        ...

    @property
    def prior_loc(self) -> np.ndarray:
        """Prior mean of every entry."""
        ...

    @property
    def prior_scale(self) -> np.ndarray:
        """Prior standard deviation of every entry."""
        ...

    def prior_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the gradient of the log prior in z, at ``prior_loc + prior_scale z``: -z where it is normal."""
        ...

    def parts(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the networks' weights and the values of the output layers."""
        ...

    def beginning(self, rng: np.random.Generator) -> np.ndarray:
        """Return where training begins."""
        ...

    def joined(self, network: np.ndarray, output: np.ndarray) -> np.ndarray:
        """Return the vector of both."""
        ...

    def rows_gradient(self, vector: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted log density of some rows, without the prior, and its gradient."""
        ...

    def rows_log_density(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the log density of some rows, in the user's units of y; of groups, divided by their weight."""
        ...

    def logp_and_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log posterior with all rows, and its gradient."""
        ...
