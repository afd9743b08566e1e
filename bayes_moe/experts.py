"""An expert: a family and one predictor per parameter of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .errors import SpecError, nearest
from .families import Family, Normal
from .predictors import Predictor
from .priors import LearnedScale


class Expert:
    """The specification of one expert: how y is distributed and what each parameter depends on.

    Parameters
    ----------
    family
        The density of y, e.g. ``bm.Normal()``.
    **predictors
        One predictor per parameter of the family; those left out take the family's default.

    Raises
    ------
    SpecError
        If the family is not one, or a predictor is named that the family does not have.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Expert(bm.Normal(), sigma=bm.Linear()) == bm.Expert(mu=bm.Linear(), sigma=bm.Linear())
    True
    """

    __slots__ = ("_family", "_predictors")
    _family: Family
    _predictors: Mapping[str, Predictor]

    def __init__(self, family: Family | None = None, **predictors: Predictor) -> None:
        chosen = Normal() if family is None else family
        if not isinstance(chosen, Family):
            raise SpecError(f"Expert.family: expected a family such as bm.Normal(), got {family!r} → pass an instance")
        known = {parameter.name: parameter for parameter in chosen.parameters}
        for name, predictor in predictors.items():
            if name not in known:
                raise SpecError(
                    f"Expert: expected predictors for {list(known)}, got one for {name!r}{nearest(name, known)} "
                    "→ correct the name"
                )
            if not isinstance(predictor, Predictor):
                raise SpecError(
                    f"Expert.{name}: expected a predictor such as bm.Linear(), got {predictor!r} → pass an instance"
                )
            if isinstance(getattr(predictor, "slopes", None), LearnedScale):
                raise SpecError(
                    f"Expert.{name}: expected priors.Normal for slopes, got {predictor.slopes_prior!r} → only a gate's "
                    "slopes have a learned scale"
                )
        filled = {name: predictors.get(name, parameter.default) for name, parameter in known.items()}
        object.__setattr__(self, "_family", chosen)
        object.__setattr__(self, "_predictors", MappingProxyType(filled))

    @property
    def family(self) -> Family:
        """The density of y."""
        return self._family

    @property
    def predictors(self) -> Mapping[str, Predictor]:
        """Predictor of every parameter, by name."""
        return self._predictors

    def with_family(self, family: Family) -> Expert:
        """Return the same predictors for another family, without those for parameters that it does not have."""
        known = {parameter.name for parameter in family.parameters}
        return Expert(family, **{name: found for name, found in self.predictors.items() if name in known})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Expert is frozen: cannot set {name!r} → make a new Expert")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expert):
            return NotImplemented
        return self.family == other.family and dict(self.predictors) == dict(other.predictors)

    def __hash__(self) -> int:
        return hash((self.family, tuple(self.predictors.items())))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={predictor!r}" for name, predictor in self.predictors.items())
        return f"Expert({self.family!r}, {inside})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.family, dict(self.predictors)))


def _rebuild(family: Family, predictors: dict[str, Predictor]) -> Expert:
    return Expert(family, **predictors)
