"""Functions that assemble or vary a specification."""

from __future__ import annotations

from dataclasses import replace
from math import log

from .errors import SpecError
from .experts import Expert
from .families import Family, Parameter, Role
from .families import Normal as NormalFamily
from .gates import SoftmaxGate, StickBreakingGate, TreeGate
from .gates.branching import Branch
from .mixture import MOST_EXPERTS, MixtureOfExperts
from .predictors import HSGP, MLP, Constant, Linear, Predictor, Sum
from .priors import LearnedScale, Normal

_COEFFICIENT_SD = 100.0
_LOG_SIGMA_SD = 2.0


def hierarchical_moe(branches: tuple[Branch, ...] = (2, 2), expert: Expert | None = None) -> MixtureOfExperts:
    """Return a hierarchical mixture of experts: equal experts at the leaves of a tree of softmax gates.

    Parameters
    ----------
    branches
        Shape of the tree, as for `TreeGate`.
    expert
        What stands at every leaf; None: a linear Normal expert.

    Raises
    ------
    SpecError
        If the tree or the expert is not one.

    References
    ----------
    Jordan and Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural Computation 6.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> len(bm.hierarchical_moe((2, 3)).experts)
    6
    """
    gate = TreeGate(branches)
    return MixtureOfExperts([Expert() if expert is None else expert] * gate.leaves, gate)


def mixture_density_network(
    components: int = 5, hidden: tuple[int, ...] = (32, 32), family: Family | None = None
) -> MixtureOfExperts:
    """Return a mixture whose weights and every parameter of whose components are outputs of one network.

    Parameters
    ----------
    components
        Number of components.
    hidden
        Units of the hidden layers.
    family
        Density of every component; default ``bm.Normal()``.

    Raises
    ------
    SpecError
        If an argument is out of range or of another kind.

    References
    ----------
    Bishop (1994), Mixture density networks, Aston University NCRG/94/004.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.mixture_density_network(3, hidden=(16,)).features.hidden
    (16,)
    """
    if isinstance(components, bool) or not isinstance(components, int):
        raise SpecError(f"mixture_density_network.components: expected a whole number, got {components!r} → e.g. 5")
    chosen = NormalFamily() if family is None else family
    if not isinstance(chosen, Family):
        raise SpecError(f"mixture_density_network.family: expected a family, got {family!r} → e.g. bm.Normal()")
    if not 1 <= components <= MOST_EXPERTS:
        raise SpecError(
            f"mixture_density_network.components: expected 1 to {MOST_EXPERTS}, got {components} → choose fewer"
        )
    expert = Expert(chosen, **{parameter.name: Linear() for parameter in chosen.parameters})
    return MixtureOfExperts([expert] * components, features=MLP(hidden))


def nearly_flat(model: MixtureOfExperts) -> MixtureOfExperts:
    """Return the same model under almost flat priors, to compare with maximum likelihood.

    Coefficients and gate get standard deviation 100 and log sigma 2, on the standardised scale. Gaussian processes keep
    the priors of amplitude and lengthscale; `GaussianGate` keeps its prior: without one its covariances have no mode.

    Parameters
    ----------
    model
        Any mixture of experts.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.nearly_flat(bm.MixtureOfExperts(2)).experts[0].predictors["sigma"].intercept.scale
    2.0
    """
    experts = [
        Expert(
            expert.family,
            **{p.name: _flat_predictor(expert.predictors[p.name], p) for p in expert.family.parameters},
        )
        for expert in model.experts
    ]
    gate = model.gate
    if isinstance(gate, SoftmaxGate | StickBreakingGate | TreeGate):
        gate = replace(gate, predictor=_with_priors(gate.predictor, _gate_intercept(gate.predictor), _FLAT_GATE))
    return replace(model, experts=tuple(experts), gate=gate)


_FLAT_GATE = LearnedScale(median=_COEFFICIENT_SD, spread=10.0)


def _gate_intercept(predictor: Predictor) -> Normal | None:
    # beside slopes the intercept follows their scale: a step far from the centre needs both large
    if isinstance(predictor, Constant):
        return Normal(0.0, _COEFFICIENT_SD, standardised=True)
    return None


def _flat_predictor(predictor: Predictor, parameter: Parameter) -> Predictor:
    if parameter.role is Role.LOG_SCALE:
        flat = Normal(log(0.5), _LOG_SIGMA_SD, standardised=True)
        return _with_priors(predictor, flat, Normal(0.0, _LOG_SIGMA_SD, standardised=True))
    flat = Normal(0.0, _COEFFICIENT_SD, standardised=True)
    return _with_priors(predictor, flat, flat)


def _with_priors(predictor: Predictor, intercept: Normal | None, slopes: Normal | LearnedScale) -> Predictor:
    if isinstance(predictor, Constant | HSGP):  # a Gaussian process is its prior
        return replace(predictor, intercept=intercept)
    if isinstance(predictor, Sum):
        if isinstance(slopes, LearnedScale):
            return replace(predictor, intercept=intercept, slopes=slopes)
        parts = tuple(_with_priors(part, None, slopes) for part in predictor.parts)
        return replace(predictor, intercept=intercept, parts=parts)
    return replace(predictor, intercept=intercept, slopes=slopes)  # type: ignore[type-var]
