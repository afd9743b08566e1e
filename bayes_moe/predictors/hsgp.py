"""Gaussian processes, approximated on a finite basis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product
from math import gamma, log, pi, prod
from typing import Any

import numpy as np

from ..errors import SpecError
from ..priors import LearnedScale, Normal
from .base import Basis, Columns, Predictor, Weights, check_columns, check_flag, check_offset, check_prior

_MOST_COLUMNS = 3
_MOST = 1000
LENGTHSCALE = LearnedScale(median=0.7, spread=0.5)


class Kernel(Enum):
    """Covariance of a Gaussian process at distance r, in units of the lengthscale."""

    EXP_QUAD = "exp(-r²/2): smooth without end"
    MATERN52 = "(1 + √5 r + 5r²/3) exp(-√5 r): two derivatives"


@dataclass(frozen=True)
class HSGP(Predictor):
    r"""A Gaussian process over its columns jointly, by the Hilbert-space approximation.

    .. math:: \eta_k = a_k + \sum_j \sqrt{s(\omega_j; \alpha_k, \ell_k)} \, z_{kj} \, \psi_j(\tilde x),
        \qquad z_{kj} \sim N(0, 1)

    where x̃ are the standardised columns, ψ products of sines that vanish at the border of a box around the training
    rows, ω their frequencies and s the spectral density of the kernel with amplitude α and lengthscale ℓ. Every expert
    learns an amplitude and a lengthscale of its own unless they are shared:

    .. math:: \log\alpha \sim N(\log m_\alpha, t_\alpha^2), \qquad \log\ell \sim N(\log m_\ell, t_\ell^2).

    The approximation is good where lengthscales are neither short beside the spacing of the m sines (ℓ above about
    2 S c/m for rows within ±S of their middle) nor long beside the box (ℓ below about S c/3). Beyond the box f is 0:
    predictions return to the intercept. In a gate the lengthscale is fixed and the gate's learned scale is the
    amplitude. EM's mode is that of z, amplitude and lengthscale together, where the amplitude is larger and the z are
    smaller than on average; read amplitudes from a posterior.

    Parameters
    ----------
    m
        Number of sines in every column, or one number per column; their product is at most 1000.
    c
        Half-width of the box in half-ranges of the training rows, above 1.
    kernel
        Covariance function, a `Kernel`.
    columns
        As for `Linear`; 1 to 3.
    intercept
        Prior as for `Linear`, of the level around which f varies.
    amplitude
        Prior of the standard deviation of f on the standardised scale; None: median 1, or the default prior standard
        deviation of slopes where that is less, and 1 on the log scale.
    lengthscale
        Prior of the lengthscale in standard deviations of the columns; None: median 0.7 and 0.5 on the log scale. With
        a spread of 0, here and for the amplitude, it is fixed at the median.
    shared
        True when all equal experts share f and the intercept.
    offset
        As for `Linear`.

    Raises
    ------
    SpecError
        If an argument is out of range or of another kind, or there are more than 3 columns.

    References
    ----------
    Solin, A. and Särkkä, S. (2020). Hilbert space methods for reduced-rank Gaussian process regression. Statistics
    and Computing 30, 419-446.

    Riutort-Mayol, G., Bürkner, P.-C., Andersen, M. R., Solin, A. and Vehtari, A. (2023). Practical Hilbert space
    approximate Bayesian Gaussian processes for probabilistic programming. Statistics and Computing 33, 17.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.HSGP(20, kernel=bm.Kernel.MATERN52).kernel.name
    'MATERN52'
    """

    m: int | tuple[int, ...]
    c: float = 1.5
    kernel: Kernel = Kernel.EXP_QUAD
    columns: tuple[str | int, ...] | None = None
    intercept: Normal | None = None
    amplitude: LearnedScale | None = None
    lengthscale: LearnedScale | None = None
    shared: bool = False
    offset: str | None = None

    def __post_init__(self) -> None:
        counts = self.m if isinstance(self.m, tuple | list) else (self.m,)
        if not counts or any(isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MOST for n in counts):
            raise SpecError(f"HSGP.m: expected whole numbers from 1 to {_MOST}, got {self.m!r} → 20 is a beginning")
        if isinstance(self.m, list):
            object.__setattr__(self, "m", tuple(self.m))
        number = isinstance(self.c, int | float) and not isinstance(self.c, bool)
        if not (number and 1 < self.c < np.inf):
            raise SpecError(f"HSGP.c: expected a finite number above 1, got {self.c!r} → 1.5 is usual")
        if not isinstance(self.kernel, Kernel):
            raise SpecError(f"HSGP.kernel: expected a bm.Kernel, got {self.kernel!r} → e.g. bm.Kernel.EXP_QUAD")
        check_columns("HSGP", self.columns)
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))
        check_prior("HSGP", "intercept", self.intercept, Normal)
        check_prior("HSGP", "amplitude", self.amplitude, LearnedScale)
        check_prior("HSGP", "lengthscale", self.lengthscale, LearnedScale)
        check_flag("HSGP", "shared", self.shared)
        check_offset("HSGP", self.offset)

    @property
    def slopes_prior(self) -> LearnedScale | None:
        return self.amplitude

    def refuse_in_gate(self) -> None:
        super().refuse_in_gate()
        if self.lengthscale is not None and self.lengthscale.spread > 0:
            raise SpecError(
                f"gate: expected an HSGP whose lengthscale is fixed, got {self.lengthscale!r} → set its spread to 0"
            )

    def basis(self, columns: Columns, table: np.ndarray, weights: np.ndarray) -> Basis:
        chosen = columns.positions(self.columns, "HSGP")
        names = [columns.names[j] for j in chosen]
        if len(chosen) > _MOST_COLUMNS:
            raise SpecError(
                f"HSGP.columns: expected at most {_MOST_COLUMNS}, got {names} → name some with columns=; the basis "
                "grows with the power of their number"
            )
        counts = self.m if isinstance(self.m, tuple) else (self.m,) * len(chosen)
        if len(counts) != len(chosen) or prod(counts) > _MOST:
            raise SpecError(
                f"HSGP.m: expected a number for each of the columns {names} with a product of at most {_MOST}, got "
                f"{self.m!r} → change m or name the columns with columns="
            )
        rows = table[np.ix_(weights > 0, chosen)]
        low, high = rows.min(axis=0), rows.max(axis=0)
        reach = 0.5 * self.c * (high - low)
        orders = tuple(product(*(range(1, n + 1) for n in counts))) if chosen else ()
        return _HSGPBasis(
            orders=orders,
            positions=np.array(chosen, dtype=np.int64),
            middle=0.5 * (low + high),
            reach=reach,
            frequencies=pi * np.array(orders, dtype=float).reshape(len(orders), len(chosen)) / (2.0 * reach),
            kernel=self.kernel,
            amplitude=self.amplitude,
            lengthscale=LENGTHSCALE if self.lengthscale is None else self.lengthscale,
        )


@dataclass(frozen=True, eq=False)
class _HSGPBasis(Basis):
    """Products of sines of mean square 1 over the box."""

    orders: tuple[tuple[int, ...], ...]
    positions: Any
    middle: Any
    reach: Any
    frequencies: Any
    kernel: Kernel
    amplitude: LearnedScale | None
    lengthscale: LearnedScale

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"gp[{','.join(map(str, order))}]" for order in self.orders)

    def blocks(self, table: Any) -> list[Any]:
        if not self.orders:
            return []
        x = (table[:, self.positions] - self.middle)[:, None, :]
        inside = (x > -self.reach) * (x < self.reach)
        sines = 2.0**0.5 * np.sin((x + self.reach) * self.frequencies) * inside
        return [sines.prod(axis=-1)]

    def to_user(self) -> np.ndarray:
        return np.eye(1 + len(self.orders))

    def slope_units(self) -> np.ndarray:
        return np.ones(len(self.orders))

    def shares(self) -> np.ndarray:
        fixed = self._weights(LearnedScale(1.0, 0.0), LearnedScale(self.lengthscale.median, 0.0))
        return np.asarray(np.exp(fixed.logs([])))

    def weights(self, scale: float) -> Weights | None:
        if not self.orders:
            return None
        amplitude = LearnedScale(min(1.0, scale), 1.0) if self.amplitude is None else self.amplitude
        return self._weights(amplitude, self.lengthscale)

    def _weights(self, amplitude: LearnedScale, lengthscale: LearnedScale) -> SpectralWeights:
        dims = len(self.positions)
        constant = 0.5 * dims * log(2.0 * pi)
        if self.kernel is Kernel.MATERN52:
            numerator = 2.0**dims * pi ** (0.5 * dims) * gamma(0.5 * (dims + 5)) * 5.0**2.5
            constant = log(numerator / (0.75 * pi**0.5))
        return SpectralWeights(
            kernel=self.kernel,
            dims=dims,
            learned=(amplitude.spread > 0, lengthscale.spread > 0),
            constant=constant - float(np.sum(np.log(2.0 * self.reach))),
            squares=np.sum(self.frequencies**2, axis=1),
            log_amplitude=log(amplitude.median),
            amplitude_spread=amplitude.spread,
            log_lengthscale=log(lengthscale.median),
            lengthscale_spread=lengthscale.spread,
        )


@dataclass(frozen=True, eq=False)
class SpectralWeights(Weights):
    """Square roots of a kernel's spectral density at the basis's frequencies, over the volume of the box.

    With u = ℓ²|ω|² and D columns, log s is 2 log α + D log ℓ - u/2 for the squared exponential and 2 log α + D log ℓ
    - (D + 5)/2 log(5 + u) for Matérn 5/2, up to constants.
    """

    kernel: Kernel
    dims: int
    learned: tuple[bool, bool]
    constant: Any
    squares: Any
    log_amplitude: Any
    amplitude_spread: Any
    log_lengthscale: Any
    lengthscale_spread: Any

    @property
    def names(self) -> tuple[str, ...]:
        both = zip(("amplitude", "lengthscale"), self.learned, strict=True)
        return tuple(name for name, learned in both if learned)

    def logs(self, values: list[Any]) -> Any:
        log_amplitude, log_lengthscale = self._scales(values)
        u = np.exp(2.0 * log_lengthscale)[..., None] * self.squares
        bent = 0.5 * u if self.kernel is Kernel.EXP_QUAD else 0.5 * (self.dims + 5) * np.log(5.0 + u)
        log_density = self.constant + self.dims * log_lengthscale[..., None] - bent
        return log_amplitude[..., None] + 0.5 * log_density

    def derivatives(self, values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        u = np.exp(2.0 * self._scales(values)[1])[..., None] * self.squares
        if self.kernel is Kernel.EXP_QUAD:
            first, second = 0.5 * (self.dims - u), -u
        else:
            first = 0.5 * (self.dims - (self.dims + 5) * u / (5.0 + u))
            second = -5.0 * (self.dims + 5) * u / (5.0 + u) ** 2
        count = sum(self.learned)
        slopes, bends = np.zeros((*u.shape, count)), np.zeros((*u.shape, count, count))
        if self.learned[0]:
            slopes[..., 0] = self.amplitude_spread
        if self.learned[1]:
            slopes[..., -1] = self.lengthscale_spread * first
            bends[..., -1, -1] = self.lengthscale_spread**2 * second
        return slopes, bends

    def described(self, values: list[Any]) -> dict[str, Any]:
        log_amplitude, log_lengthscale = self._scales(values)
        every = {"amplitude": np.exp(log_amplitude), "lengthscale": np.exp(log_lengthscale)}
        return {name: every[name] for name in self.names}

    def _scales(self, values: list[Any]) -> tuple[Any, Any]:
        """Return log amplitude and log lengthscale, in the shape of the free values."""
        like = 0.0 * values[0] if values else np.zeros(())
        log_amplitude, log_lengthscale = self.log_amplitude + like, self.log_lengthscale + like
        if self.learned[0]:
            log_amplitude = log_amplitude + self.amplitude_spread * values[0]
        if self.learned[1]:
            log_lengthscale = log_lengthscale + self.lengthscale_spread * values[-1]
        return log_amplitude, log_lengthscale
