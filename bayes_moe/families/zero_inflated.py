"""Zero-inflated experts: counts with more zeros than their distribution has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SpecError
from ..predictors import Constant
from .base import Closure, Family, Known, Parameter, Role, Support, default_priors
from .closed import ClosedTerms
from .draws import common_shape
from .elementary import exp, expit, logaddexp, softplus, where
from .formulas import Functions, arrays, graphs, is_count
from .negative_binomial import NegativeBinomial
from .poisson import Poisson


@dataclass(frozen=True)
class ZeroInflated(Family):
    r"""Counts that are 0 with probability pi for a reason of their own, and follow a base distribution otherwise.

    .. math:: f(0) = \pi + (1 - \pi) f_0(0), \qquad f(y) = (1 - \pi) f_0(y), \quad y = 1, 2, \dots

    Parameters of the distribution: those of the base and ``zero`` (default ``bm.Constant()``; its predictor is that of
    the logit of pi).

    Parameters
    ----------
    base
        ``bm.Poisson()`` (default) or ``bm.NegativeBinomial()``, with their exposure.

    Raises
    ------
    SpecError
        If the base is another family.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.ZeroInflated(bm.NegativeBinomial()).predicted
    ('log_mu', 'log_dispersion', 'logit_zero')

    References
    ----------
    Lambert (1992), Zero-inflated Poisson regression, Technometrics 34.
    """

    base: Poisson | NegativeBinomial = Poisson()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if not isinstance(self.base, Poisson | NegativeBinomial):
            raise SpecError(
                f"ZeroInflated.base: expected bm.Poisson() or bm.NegativeBinomial(), got {self.base!r} → pass one"
            )

    @property
    def exposure(self) -> str | None:
        """Name of the column of exposures, or None."""
        return self.base.exposure

    @property
    def support(self) -> Support:
        return Support.COUNT

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (*self.base.parameters, _ZERO)

    @property
    def exposures(self) -> Mapping[str, str]:
        return {} if self.exposure is None else {"log_mu": self.exposure}

    def meet(self, y: np.ndarray, weights: np.ndarray) -> ZeroInflated:
        self.base.meet(y, weights)
        return self

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        """Return the base's centre: of all counts, zeros included."""
        return self.base.centre(y, weights)

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        f = graphs()
        inside = is_count(f, y)
        base = self.base.logpdf(f.where(inside, y, 0.0), *predicted[:-1])
        return _inflate(f, y, inside, base, predicted[-1])

    def known(self, y: np.ndarray, given: Sequence[np.ndarray]) -> Known:
        return self.base.known(y, given)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        *inner, logit = etas
        base = self.base.closed_form(y, inner, given, bends=bends)
        assert base is not None  # both bases have one
        count = len(inner)
        value, share, slope, chance = inflated(y, base.value, logit)
        both = share * (1.0 - share)
        seconds, at = [], iter(base.bends)
        for i in range(count):
            seconds += [share * next(at) + both * base.slopes[i] * base.slopes[j] for j in range(i, count)]
            seconds.append(-both * base.slopes[i])
        slopes = [*(share * one for one in base.slopes), slope]
        return ClosedTerms(value, slopes, [*seconds, both - chance * (1.0 - chance)])

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        f = arrays()
        count, logit = np.asarray(y, dtype=float), np.asarray(predicted["logit_zero"], dtype=float)
        inside = is_count(f, count)
        base = self.base.log_density(np.where(inside, count, 0.0), **_without_zero(predicted))
        return np.asarray(_inflate(f, count, inside, base, logit))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return np.asarray(expit(-predicted["logit_zero"]) * self.base.mean(**_without_zero(predicted)))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        inner, logit = _without_zero(predicted), predicted["logit_zero"]
        mean, variance = self.base.mean(**inner), self.base.variance(**inner)
        return np.asarray(expit(-logit) * (variance + expit(logit) * mean**2))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        logit = predicted["logit_zero"]
        inner = self.base.cdf(y, **_without_zero(predicted))
        return np.where(np.asarray(y) >= 0, inner + expit(logit) * (1.0 - inner), 0.0)

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        size = common_shape(*predicted.values())
        inner = {name: np.broadcast_to(value, size) for name, value in _without_zero(predicted).items()}
        counts = self.base.draw(rng, **inner)
        return np.where(rng.random(size) < expit(predicted["logit_zero"]), 0.0, counts)


def inflated(y: Any, base: Any, logit: Any) -> Any:
    """Return the log density from that of the base, the base's share in it, the slope in the logit and the chance."""
    none, some = -softplus(-logit), -softplus(logit) + base
    zero = y == 0.0
    value = where(zero, logaddexp(none, some), some)
    share = where(zero, exp(some - value), 1.0)
    chance = expit(logit)
    return value, share, 1.0 - share - chance, chance


def _without_zero(predicted: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in predicted.items() if name != "logit_zero"}


def _inflate(f: Functions, y: Any, inside: Any, base: Any, logit_zero: Any) -> Any:
    zero = logit_zero + f.softplus(base - logit_zero)  # log(exp(logit) + exp(base))
    return f.where(inside, f.where(f.equal(y, 0.0), zero, base) - f.softplus(logit_zero), -np.inf)


_ZERO = Parameter("zero", "logit_zero", Role.FREE, Constant(), default_priors(-1.0, 1.5, 1.0))
