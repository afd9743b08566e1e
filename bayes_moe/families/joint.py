"""Joint experts: several targets of different kinds a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from ..errors import InputError, SpecError
from .base import Closure, Family, Parameter, Support

_SEVERAL = (Support.CLASSES, Support.LEVELS, Support.VECTOR)


@dataclass(frozen=True)
class Joint(Family):
    r"""Product of families: one density for several columns of y, independent given the expert and x.

    .. math:: \log f(y) = \sum_i \log f_i(y_i)

    What two targets have in common is the label: rows that one expert explains in one of them it explains in all.
    Parameters carry the name of their output: ``yn_mu``, ``yn_sigma``, ``yp_mu`` below; their defaults are those of
    the parts.

    Parameters
    ----------
    parts
        A family for every column of y, by the column's name; families of one number a row. For arrays, the order is
        that of the columns.

    Raises
    ------
    SpecError
        If a part is no family of one number a row.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Joint({"yn": bm.Normal(), "yp": bm.Poisson()}).predicted
    ('yn_mu', 'log_yn_sigma', 'log_yp_mu')

    References
    ----------
    Grün and Leisch (2008), FlexMix version 2, Journal of Statistical Software 28(4).
    """

    parts: tuple[tuple[str, Family], ...]

    def __init__(self, parts: Mapping[str, Family] | tuple[tuple[str, Family], ...]) -> None:
        pairs = tuple(parts.items()) if isinstance(parts, Mapping) else parts
        if not isinstance(pairs, tuple) or not pairs:
            raise SpecError(f"Joint.parts: expected {{name: family}}, got {parts!r} → pass e.g. {{'a': bm.Normal()}}")
        for name, family in pairs:
            if not isinstance(name, str) or not isinstance(family, Family) or family.support in _SEVERAL:
                raise SpecError(
                    f"Joint.parts[{name!r}]: expected a family of one number a row, got {family!r} → several normal "
                    "outputs are bm.MvNormal()"
                )
        if len({name for name, _ in pairs}) < len(pairs):
            raise SpecError(f"Joint.parts: expected every name once, got {[n for n, _ in pairs]} → rename one")
        object.__setattr__(self, "parts", pairs)

    @property
    def families(self) -> tuple[Family, ...]:
        """The parts, without their names."""
        return tuple(family for _, family in self.parts)

    @property
    def support(self) -> Support:
        return Support.VECTOR

    @property
    def supports(self) -> tuple[Support, ...]:
        return tuple(family.support for family in self.families)

    @property
    def closure(self) -> Closure:
        return min(self.closures, key=list(Closure)[::-1].index)

    @property
    def closures(self) -> tuple[Closure, ...]:
        return tuple(family.closure for family in self.families)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            replace(
                parameter,
                name=f"{name}_{parameter.name}",
                predicted=_prefixed(name, parameter.predicted),
                outputs=(position,),
            )
            for position, (name, family) in enumerate(self.parts)
            for parameter in family.parameters
        )

    @property
    def given(self) -> Mapping[str, str]:
        return {f"{name}_{argument}": column for name, f in self.parts for argument, column in f.given.items()}

    @property
    def exposures(self) -> Mapping[str, str]:
        return {_prefixed(name, predicted): c for name, f in self.parts for predicted, c in f.exposures.items()}

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    def meet(self, y: np.ndarray, weights: np.ndarray) -> Joint:
        y = np.asarray(y, dtype=float)
        if y.ndim != 2 or y.shape[1] != len(self.parts):
            raise InputError(
                f"y: expected {len(self.parts)} columns {list(self.named)} for bm.Joint, got shape {y.shape} → pass "
                "(rows, outputs)"
            )
        return self._each(lambda family, i: family.meet(y[:, i], weights))

    def standardised(self, center: Any, scale: Any) -> Joint:
        centers, scales = (np.broadcast_to(values, (len(self.parts),)).tolist() for values in (center, scale))
        return self._each(lambda family, i: family.standardised(centers[i], scales[i]))

    def _each(self, change: Callable[[Family, int], Family]) -> Joint:
        return Joint(tuple((name, change(family, i)) for i, (name, family) in enumerate(self.parts)))

    def centre(self, y: np.ndarray, weights: np.ndarray) -> Mapping[str, float]:
        return self.prefixed([family.centre(y[:, i], weights) for i, family in enumerate(self.families)])

    def prefixed(self, found: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        """Return what was found for the linear predictors of every part under their names in the whole."""
        pairs = zip(self.parts, found, strict=True)
        return {_prefixed(name, key): at for (name, _), inner in pairs for key, at in inner.items()}

    def logpdf(self, y: Any, *predicted: Any) -> Any:
        total: Any = 0.0
        at, extra = 0, len(self.predicted)
        for i, family in enumerate(self.families):
            inner, given = len(family.predicted), len(family.given)
            total = total + family.logpdf(y[..., i], *predicted[at : at + inner], *predicted[extra : extra + given])
            at, extra = at + inner, extra + given
        return total

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        parts = [self.marginal(i).log_density(np.asarray(y)[..., i], **predicted) for i in range(len(self.parts))]
        return np.asarray(sum(parts))

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the means, (..., outputs)."""
        return self._stacked("mean", predicted)

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        """Return the variances, (..., outputs)."""
        return self._stacked("variance", predicted)

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> NoReturn:
        raise SpecError("Joint: expected one output for its distribution function, got several → use marginal(i).cdf")

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        """Return draws, (..., outputs)."""
        shape = np.broadcast_shapes(*(np.shape(value) for value in predicted.values()))
        drawn = [self.marginal(i).draw(rng, **predicted) for i in range(len(self.parts))]
        return np.stack([np.broadcast_to(one, shape) for one in drawn], axis=-1)

    def marginal(self, output: int) -> Any:
        return _Part(self, output)

    def _stacked(self, what: str, predicted: Mapping[str, np.ndarray]) -> np.ndarray:
        shape = np.broadcast_shapes(*(np.shape(value) for value in predicted.values()))
        values = [getattr(self.marginal(i), what)(**predicted) for i in range(len(self.parts))]
        return np.stack([np.broadcast_to(value, shape) for value in values], axis=-1)


@dataclass(frozen=True)
class _Part:
    """One output of a joint family, under the names of the whole."""

    whole: Joint
    output: int

    @property
    def discrete(self) -> bool:
        return self._family.discrete

    def mean(self, **predicted: np.ndarray) -> np.ndarray:
        return self._family.mean(**self._own(predicted))

    def variance(self, **predicted: np.ndarray) -> np.ndarray:
        return self._family.variance(**self._own(predicted))

    def cdf(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return self._family.cdf(y, **self._own(predicted))

    def log_density(self, y: np.ndarray, **predicted: np.ndarray) -> np.ndarray:
        return self._family.log_density(y, **self._own(predicted))

    def draw(self, rng: np.random.Generator, **predicted: np.ndarray) -> np.ndarray:
        return self._family.draw(rng, **self._own(predicted))

    @property
    def _family(self) -> Family:
        return self.whole.families[self.output]

    def _own(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        name, family = self.whole.parts[self.output]
        own = {key: values[_prefixed(name, key)] for key in family.predicted}
        return own | {argument: values[f"{name}_{argument}"] for argument in family.given}


def _prefixed(output: str, predicted: str) -> str:
    """Return the name of a linear predictor of one output; a logarithm stays one by its name."""
    return f"log_{output}_{predicted[4:]}" if predicted.startswith("log_") else f"{output}_{predicted}"
