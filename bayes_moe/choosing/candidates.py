"""The models that a choice is between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import SpecError
from ..gates import TreeGate
from ..mixture import MixtureOfExperts
from ..posterior.average import kind_of

Key = int | str
DEFAULT = range(1, 7)


@dataclass(frozen=True)
class Candidate:
    """One model of a choice.

    Parameters
    ----------
    key
        The number of experts, or a name.
    model
        The specification.
    """

    key: Key
    model: MixtureOfExperts

    @property
    def title(self) -> str:
        """What it is called in sentences."""
        return experts_text(self.key) if isinstance(self.key, int) else self.key


def experts_text(count: int) -> str:
    """Return ``1 expert``, ``2 experts``, ..."""
    return f"{count} expert{'' if count == 1 else 's'}"


def read_candidates(models: object, experts: Iterable[int] | None) -> tuple[Candidate, ...]:
    """Return the models that `select` is asked to choose from.

    Raises
    ------
    SpecError
        If there is nothing to choose from, or a model cannot have another number of experts.
    """
    if isinstance(models, MixtureOfExperts):
        counts = _counts(DEFAULT if experts is None else experts)
        return tuple(Candidate(count, with_experts(models, count, "model")) for count in counts)
    if not isinstance(models, Mapping) or not models:
        raise SpecError(
            f"model: expected a bm.MixtureOfExperts, or several by name, got {models!r} → e.g. bm.MixtureOfExperts(1)"
        )
    for name, model in models.items():
        if not isinstance(model, MixtureOfExperts):
            raise SpecError(f"model[{name!r}]: expected a bm.MixtureOfExperts, got {type(model).__name__} → pass one")
    if experts is None:
        found = tuple(Candidate(str(name), model) for name, model in models.items())
    else:
        counts = _counts(experts)
        found = tuple(
            Candidate(f"{name}, {experts_text(count)}", with_experts(model, count, f"model[{name!r}]"))
            for name, model in models.items()
            for count in counts
        )
    _refuse_kinds(found)
    return found


def with_experts(model: MixtureOfExperts, count: int, argument: str) -> MixtureOfExperts:
    """Return the model with another number of its experts, which must all be equal."""
    if isinstance(model.gate, TreeGate):
        raise SpecError(
            f"experts: expected None for {argument} with a bm.TreeGate, whose branches say how many experts there are, "
            'got counts → pass models by name: bm.select({"2 x 2": bm.hierarchical_moe((2, 2)), "3 x 2": '
            "bm.hierarchical_moe((3, 2))}, X, y)"
        )
    if len(model.blocks) > 1:
        raise SpecError(
            f"experts: expected None for {argument}, whose experts differ, got counts → pass models by name: "
            'bm.select({"two": ..., "three": ...}, X, y)'
        )
    return replace(model, experts=(model.experts[0],) * count)


def _counts(experts: object) -> tuple[int, ...]:
    if isinstance(experts, str) or not isinstance(experts, Iterable):
        raise SpecError(f"experts: expected numbers of experts, got {experts!r} → pass e.g. range(1, 7)")
    counts = tuple(experts)
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SpecError(f"experts: expected whole numbers from 1, got {count!r} → pass e.g. range(1, 7)")
    if not counts or len(set(counts)) < len(counts):
        raise SpecError(f"experts: expected numbers that differ, got {list(counts)} → pass e.g. range(1, 7)")
    return counts


def _refuse_kinds(found: tuple[Candidate, ...]) -> None:
    first, *others = found
    for other in others:
        kinds = [kind_of(candidate.model.experts[0].family) for candidate in (first, other)]
        if kinds[0] != kinds[1]:
            raise SpecError(
                f"model[{other.key!r}]: expected {kinds[0]} as {first.key!r} has, got {kinds[1]} → a density and a "
                "probability cannot be weighed against each other; use families of one kind"
            )
