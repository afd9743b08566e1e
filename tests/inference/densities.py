"""Log densities whose posterior is known without any of the package's code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayes_moe.binding.bind import bind
from bayes_moe.binding.density import MixtureDensity
from bayes_moe.data import read_training
from bayes_moe.mixture import MixtureOfExperts

LOG_2PI = float(np.log(2.0 * np.pi))


class Known:
    """A density from one formula; what engines need besides follows from it."""

    size: int

    def logp(self, q: np.ndarray) -> float:
        return self.logp_and_gradient(q)[0]

    def gradient(self, q: np.ndarray) -> np.ndarray:
        return self.logp_and_gradient(q)[1]

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        raise NotImplementedError

    def hessian(self, q: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def compiled(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        return self.logp_and_gradient

    def expand(self, q: np.ndarray) -> dict[str, np.ndarray]:
        return {"q": q}


@dataclass(eq=False)
class Gaussian(Known):
    """``exp(log_mass) Normal(mean, covariance)``; ``told`` multiplies the Hessian that engines are told."""

    mean: np.ndarray
    covariance: np.ndarray
    log_mass: float = 0.0
    told: float = 1.0

    def __post_init__(self) -> None:
        self.size = len(self.mean)
        self.precision = np.linalg.inv(self.covariance)
        self.constant = self.log_mass - 0.5 * (self.size * LOG_2PI + np.linalg.slogdet(self.covariance)[1])

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        pull = self.precision @ (q - self.mean)
        return float(self.constant - 0.5 * (q - self.mean) @ pull), -pull

    def hessian(self, q: np.ndarray) -> np.ndarray:
        return -self.told * self.precision


@dataclass(eq=False)
class LogGamma(Known):
    """Independent logs of Gamma(shape, 1) variables: ``Π exp(a q - exp q)``, whose mass is Γ(a) each."""

    shapes: np.ndarray

    def __post_init__(self) -> None:
        self.size = len(self.shapes)

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        return float(np.sum(self.shapes * q - np.exp(q))), self.shapes - np.exp(q)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        return -np.diag(np.exp(q))


@dataclass(eq=False)
class Cauchy(Known):
    """Independent Cauchy variables: tails that no Gaussian has."""

    size: int

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        return float(-np.sum(np.log(np.pi * (1 + q**2)))), -2 * q / (1 + q**2)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        return np.diag(-2 * (1 - q**2) / (1 + q**2) ** 2)


@dataclass(eq=False)
class Hierarchy(Known):
    """``y_j ~ Normal(exp(t) z_j, noise)``, ``z_j ~ Normal(0, 1)``, ``t ~ Normal(0, 1)``; q = (z, t).

    Given t everything is Gaussian, and t's marginal is one-dimensional.
    """

    y: np.ndarray
    noise: float

    def __post_init__(self) -> None:
        self.size = len(self.y) + 1
        self.scale = self.size - 1

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        z, t = q[:-1], q[-1]
        pull = (self.y - np.exp(t) * z) / self.noise**2
        value = -0.5 * (pull @ pull * self.noise**2 + z @ z + t * t)
        value -= len(z) * (LOG_2PI + np.log(self.noise)) + 0.5 * LOG_2PI
        return float(value), np.append(np.exp(t) * pull - z, np.exp(t) * (pull @ z) - t)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        z, s, v = q[:-1], np.exp(q[-1]), self.noise**2
        out = np.diag(np.append(np.full(len(z), -(s**2) / v - 1.0), 0.0))
        out[-1, :-1] = out[:-1, -1] = s * (self.y - 2 * s * z) / v
        out[-1, -1] = s * (z @ (self.y - 2 * s * z)) / v - 1.0
        return out

    def log_marginal(self, t: np.ndarray) -> np.ndarray:
        variance = self.noise**2 + np.exp(2 * t)
        inside = np.log(variance) + self.y[:, None] ** 2 / variance
        return np.asarray(-0.5 * (np.sum(LOG_2PI + inside, axis=0) + LOG_2PI + t**2))


@dataclass(eq=False)
class Interrupting(Known):
    """Another density whose ``call``-th evaluation is met by Ctrl-C."""

    inner: Known
    call: int
    calls: int = 0

    def __post_init__(self) -> None:
        self.size = self.inner.size
        if hasattr(self.inner, "scale"):
            self.scale = self.inner.scale

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt
        return self.inner.logp_and_gradient(q)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        return self.inner.hessian(q)


def correlated(size: int, seed: int, log_mass: float = 0.0, told: float = 1.0) -> Gaussian:
    """Return a Gaussian with means of order 1 and strong correlations."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size + 2))
    return Gaussian(rng.standard_normal(size), root @ root.T / size, log_mass, told)


def mixture(model: MixtureOfExperts, X: np.ndarray, y: np.ndarray) -> MixtureDensity:
    """Return the log posterior of a model on data."""
    return bind(model, read_training(X, y, experts=len(model.experts), parameters=0)).density


def hamiltonian(density: Known | MixtureDensity, start: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return draws by plain Hamiltonian Monte Carlo in coordinates scaled by the curvature at ``start``."""
    rng, function = np.random.default_rng(seed), density.compiled()
    root = np.linalg.inv(np.linalg.cholesky(-density.hessian(start))).T
    at, (value, gradient) = start, function(start)
    out = np.empty((draws, len(start)))
    for i in range(draws):
        step, speed = rng.uniform(0.1, 0.4), rng.standard_normal(len(start))
        q, v, push, new_value = at, speed, gradient, value
        for _ in range(8):
            v = v + 0.5 * step * (push @ root)
            q = q + step * (root @ v)
            new_value, push = function(q)
            v = v + 0.5 * step * (push @ root)
        if np.log(rng.random()) < new_value - value - 0.5 * (v @ v - speed @ speed):
            at, value, gradient = q, new_value, push
        out[i] = at
    return out


class TwoModes(Known):
    """Two Gaussians in the plane that do not touch: ``exp(constant) (weight N_1 + (1 - weight) N_2)``."""

    def __init__(self, weight: float) -> None:
        self.size, self.constant = 2, 3.0
        self.centres = np.array([[-20.0, 0.0], [20.0, 5.0]])
        covariances = (np.array([[1.0, 0.5], [0.5, 2.0]]), np.array([[0.1, 0.0], [0.0, 0.3]]))
        masses = np.log([weight, 1.0 - weight]) + self.constant
        self.parts = [Gaussian(*part) for part in zip(self.centres, covariances, masses, strict=True)]

    def logp_and_gradient(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        values, gradients = zip(*(part.logp_and_gradient(q) for part in self.parts), strict=True)
        total = float(np.logaddexp(*values))
        return total, np.exp(np.array(values) - total) @ np.array(gradients)

    def hessian(self, q: np.ndarray) -> np.ndarray:
        total, gradient = self.logp_and_gradient(q)
        out = -np.outer(gradient, gradient)
        for part in self.parts:
            value, slope = part.logp_and_gradient(q)
            out = out + np.exp(value - total) * (part.hessian(q) + np.outer(slope, slope))
        return out
