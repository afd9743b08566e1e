"""Categorical experts: one of several labels without an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ..errors import SpecError
from ..predictors import Linear
from .base import Closure, Family, Parameter, Role, Support, default_priors
from .checks import check_labels, codes
from .closed import ClosedTerms
from .draws import common_shape
from .formulas import Functions, graphs, on_arrays


@dataclass(frozen=True)
class Categorical(Family):
    r"""Probabilities of labels without an order, with a logit predicted for each.

    .. math:: \log f(j) = \eta_j - \log \sum_l e^{\eta_l}, \qquad \sum_l \eta_l = 0

    y holds codes 0, 1, ... of the labels. Parameters of the distribution: ``logits`` (default ``bm.Linear()``; a
    predictor for every label, whose coefficients sum to zero over the labels).

    Parameters
    ----------
    classes
        The labels, in the order of their codes; None: those in the data.

    Raises
    ------
    SpecError
        If there are fewer than two labels, or two are alike.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Categorical(("bus", "car", "train")).predicted
    ('logit_bus', 'logit_car', 'logit_train')
    """

    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", check_labels("Categorical", "classes", self.classes))

    @property
    def support(self) -> Support:
        return Support.CLASSES

    @property
    def closure(self) -> Closure:
        return Closure.NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The logits; before the classes are known, without labels."""
        return (Parameter("logits", "logit", Role.FREE, Linear(), _PRIORS, self.classes or (), zero_sum=True),)

    @property
    def named(self) -> tuple[str, ...] | None:
        return self.classes

    def labelled(self, labels: tuple[str, ...]) -> Categorical:
        return self if self.classes else Categorical(labels)

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Categorical:
        way_out = "name all classes: bm.Categorical(classes=...)"
        count = codes(y, "Categorical()", None if self.classes is None else len(self.classes), way_out)
        return self if self.classes else Categorical(tuple(str(code) for code in range(count)))

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        self._known()
        return _log_density(graphs(), y, *predicted)

    def closed_form(
        self, y: np.ndarray, etas: Sequence[np.ndarray], given: Sequence[np.ndarray], *, bends: bool
    ) -> ClosedTerms:
        logits = np.stack(etas)
        top = logits.max(axis=0)
        shares = np.exp(logits - top)
        total = shares.sum(axis=0)
        shares /= total
        chosen = y[None] == np.arange(float(len(logits)))[:, None, None]
        value = np.where(chosen, logits, 0.0).sum(axis=0) - top - np.log(total)
        pairs = ((i, j) for i in range(len(etas)) for j in range(i, len(etas))) if bends else ()
        seconds = [shares[i] * (shares[j] - (1.0 if i == j else 0.0)) for i, j in pairs]
        return ClosedTerms(value, list(chosen - shares), seconds)

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        self._known()
        return on_arrays(_log_density, y, *(predicted[name] for name in self.predicted))

    def probabilities(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the probability of every label, (..., classes)."""
        self._known()
        logits = np.stack(np.broadcast_arrays(*(predicted[name] for name in self.predicted)), axis=-1)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=-1, keepdims=True))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        self._refuse("mean")

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        self._refuse("variance")

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        self._refuse("distribution function")

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        below = self.probabilities(**predicted).cumsum(axis=-1)[..., :-1]
        uniform = rng.random(common_shape(*predicted.values()))
        return np.asarray((uniform[..., None] >= below).sum(axis=-1), dtype=float)

    def _known(self) -> None:
        if self.classes is None:
            raise SpecError("Categorical: expected known classes, got None → call meet(y, weights), or name them")

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise SpecError(f"Categorical: expected an order of y for its {what}, got labels → use probabilities()")


def _log_density(f: Functions, y: Any, *logits: Any) -> Any:
    total, chosen = logits[0], logits[0]
    for code, logit in enumerate(logits[1:], start=1):
        total = total + f.softplus(logit - total)  # log(exp(total) + exp(logit))
        chosen = f.where(f.equal(y, float(code)), logit, chosen)
    inside = (y >= 0) & (y <= len(logits) - 1.0) & f.equal(y, f.floor(y))
    return f.where(inside, chosen - total, -np.inf)


_PRIORS = default_priors(0.0, 2.5, 2.5)
