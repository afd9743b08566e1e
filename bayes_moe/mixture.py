"""The mixture of experts: experts, a gate, and nothing about data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .errors import SpecError
from .experts import Expert
from .families import Closure, Family, Role, Support
from .gates import Gate, GaussianGate, SoftmaxGate
from .predictors import MLP
from .smoothing import KernelMean
from .transforms import Power, check_target

MOST_EXPERTS = 1000


@dataclass(frozen=True, init=False)
class MixtureOfExperts:
    r"""Specification of a mixture of experts.

    .. math:: p(y \mid x) = \sum_k g_k(x) \, f_k(y \mid x)

    Parameters
    ----------
    experts
        A count (that many linear Normal experts) or a sequence of `Expert`.
    gate
        How weights depend on x; default ``bm.SoftmaxGate()``.
    features
        A network such as ``bm.MLP((32, 32))`` whose features gate and experts see instead of the columns: a mixture
        density network. None: they see the columns themselves.
    target
        A power of y that the experts are of, such as ``bm.Power(0.5)`` for the square root or ``bm.Power()`` for one
        that is learned; for experts that are Normal, Student-t or skew-normal. None: y itself.
    mean
        A mean that all experts share, ``bm.KernelMean()``: the mixture is then one of what it leaves, and its columns
        ``mean`` and ``log_sd`` stand behind those of X. For experts on the real line.

    Raises
    ------
    SpecError
        If the count is not a whole number from 1 to 1000, or a piece is of another kind.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.MixtureOfExperts(3) == bm.MixtureOfExperts([bm.Expert()] * 3)
    True

    References
    ----------
    Jacobs, Jordan, Nowlan and Hinton (1991), Adaptive mixtures of local experts, Neural Computation 3.
    """

    experts: tuple[Expert, ...]
    gate: Gate
    features: MLP | None
    target: Power | None
    mean: KernelMean | None

    def __init__(
        self,
        experts: int | Sequence[Expert],
        gate: Gate | None = None,
        features: MLP | None = None,
        target: Power | None = None,
        mean: KernelMean | None = None,
    ) -> None:
        object.__setattr__(self, "experts", _read_experts(experts))
        chosen = SoftmaxGate() if gate is None else gate
        if not isinstance(chosen, Gate):
            raise SpecError(f"MixtureOfExperts.gate: expected a gate such as bm.SoftmaxGate(), got {gate!r} → pass one")
        chosen.check_experts(len(self.experts))
        object.__setattr__(self, "gate", chosen)
        if features is not None and not isinstance(features, MLP):
            raise SpecError(
                f"MixtureOfExperts.features: expected bm.MLP or None, got {features!r} → only a network learns "
                "features; give gate and experts predictors such as bm.Polynomial(2) instead"
            )
        _refuse_output_layer(features)
        object.__setattr__(self, "features", features)
        _refuse_mixed_supports(self.experts)
        check_target(target, "MixtureOfExperts")
        object.__setattr__(self, "target", target)
        if target is not None:
            _refuse_untransformable(self.experts, target)
        object.__setattr__(self, "mean", mean)
        _refuse_mean(self)

    def with_families(self, families: Sequence[Family]) -> MixtureOfExperts:
        """Return the same mixture with another family, of the same parameters, for every expert."""
        pairs = zip(self.experts, families, strict=True)
        experts = tuple(old if family == old.family else old.with_family(family) for old, family in pairs)
        return replace(self, experts=experts)

    @property
    def blocks(self) -> tuple[tuple[Expert, tuple[int, ...]], ...]:
        """Equal experts together, with their positions."""
        found: dict[Expert, list[int]] = {}
        for position, expert in enumerate(self.experts):
            found.setdefault(expert, []).append(position)
        return tuple((expert, tuple(positions)) for expert, positions in found.items())

    @property
    def learned(self) -> bool:
        """Whether there is a network in it: under gate and experts, or as one of their predictors."""
        predictors = [self.gate.predictor, *(p for expert in self.experts for p in expert.predictors.values())]
        return self.features is not None or any(isinstance(predictor, MLP) for predictor in predictors)

    def __repr__(self) -> str:
        one = len(self.blocks) == 1
        inside = f"[{self.experts[0]!r}] * {len(self.experts)}" if one else repr(list(self.experts))
        learned = "" if self.features is None else f", features={self.features!r}"
        power = "" if self.target is None else f", target={self.target!r}"
        mean = "" if self.mean is None else f", mean={self.mean!r}"
        return f"MixtureOfExperts({inside}, gate={self.gate!r}{learned}{power}{mean})"


def _refuse_mean(model: MixtureOfExperts) -> None:
    """Refuse a shared mean where it has no meaning."""
    if model.mean is None:
        return
    if not isinstance(model.mean, KernelMean):
        raise SpecError(f"MixtureOfExperts.mean: expected bm.KernelMean() or None, got {model.mean!r} → pass one")
    families = [expert.family for expert in model.experts]
    located = any(parameter.role is Role.LOCATION for family in families for parameter in family.parameters)
    if families[0].support is not Support.REAL or not located:
        raise SpecError(
            "MixtureOfExperts.mean: expected experts with a location on the real line, such as bm.Normal() or "
            f"bm.StudentT(), got {families[0]!r} → transform y, or leave mean= out"
        )
    if model.learned:
        raise SpecError(
            "MixtureOfExperts.mean: expected None beside networks, which learn a mean of their own, got "
            f"{model.mean!r} → leave one out"
        )
    if isinstance(model.gate, GaussianGate) and not model.gate.predictor.claimed():
        raise SpecError(
            "MixtureOfExperts.gate: expected a gate without a density of its own on the columns of a shared mean, got "
            f"{model.gate!r} → name columns of X in it, or use bm.SoftmaxGate()"
        )


def _refuse_output_layer(features: MLP | None) -> None:
    """Refuse what a network under gate and experts leaves to their predictors."""
    for name in ("intercept", "slopes", "shared", "offset"):
        value = None if features is None else getattr(features, name)
        if value:
            raise SpecError(
                f"MixtureOfExperts.features: expected a network without {name}, got {name}={value!r} → the linear "
                f"predictors of gate and experts are its output layer: bm.Linear({name}=...)"
            )


def _refuse_mixed_supports(experts: Sequence[Expert]) -> None:
    kinds = {(expert.family.support, expert.family.supports): type(expert.family).__name__ for expert in experts}
    if len(kinds) > 1:
        ((first, _), one), ((second, _), other) = list(kinds.items())[:2]
        raise SpecError(
            f"MixtureOfExperts.experts: expected experts for one kind of target, got {one} ({first.value}) and {other} "
            f"({second.value}) → a density and a probability, or densities on different ranges, cannot be weighed "
            "against each other; use families of one kind"
        )


def _refuse_untransformable(experts: Sequence[Expert], target: Power) -> None:
    for position, expert in enumerate(experts):
        family = expert.family
        roles = {parameter.name: parameter.role for parameter in family.parameters}
        whole = family.support is Support.REAL and family.closure is Closure.AFFINE
        if not whole or roles.get("mu") is not Role.LOCATION or roles.get("sigma") is not Role.LOG_SCALE:
            raise SpecError(
                f"MixtureOfExperts.experts[{position}]: expected bm.Normal(), bm.StudentT() or bm.SkewNormal() with "
                f"target={target!r}, got {type(family).__name__}() → a power is for experts of the whole line; leave "
                "target out, or change the family"
            )


def _read_experts(experts: object) -> tuple[Expert, ...]:
    if isinstance(experts, bool) or not isinstance(experts, int | Sequence) or isinstance(experts, str):
        raise SpecError(
            f"MixtureOfExperts.experts: expected a whole number of experts or a sequence of bm.Expert, got "
            f"{experts!r} → pass e.g. 3"
        )
    if isinstance(experts, int):
        if not 1 <= experts <= MOST_EXPERTS:
            raise SpecError(f"MixtureOfExperts.experts: expected 1 to {MOST_EXPERTS}, got {experts} → choose fewer")
        return (Expert(),) * experts
    for position, expert in enumerate(experts):
        if not isinstance(expert, Expert):
            raise SpecError(
                f"MixtureOfExperts.experts[{position}]: expected bm.Expert, got {expert!r} → wrap the family: "
                "bm.Expert(bm.Normal())"
            )
    if not 1 <= len(experts) <= MOST_EXPERTS:
        raise SpecError(f"MixtureOfExperts.experts: expected 1 to {MOST_EXPERTS} experts, got {len(experts)} → add one")
    return tuple(experts)
