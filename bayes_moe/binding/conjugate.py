"""Which models have experts whose means are conjugate given labels, so that their coefficients integrate out."""

from __future__ import annotations

from ..errors import SpecError
from ..families import Normal
from ..gates import EqualGate, SoftmaxGate
from ..mixture import MixtureOfExperts
from ..predictors import HSGP


def check_conjugate(model: MixtureOfExperts) -> None:
    """Refuse models that variational EM has no closed form for.

    Raises
    ------
    SpecError
        Naming the piece.
    """
    if model.learned:
        raise SpecError(
            "engine: expected a model without networks for bm.VariationalEM(), got one → use bm.Training(), or columns "
            "such as bm.Spline(8) in place of the network"
        )
    if type(model.gate) not in (SoftmaxGate, EqualGate):
        raise SpecError(
            f"MixtureOfExperts.gate: expected bm.SoftmaxGate() or bm.EqualGate() for bm.VariationalEM(), got "
            f"{model.gate!r} → use bm.EM(), or one of these"
        )
    for place, expert in enumerate(model.experts):
        if type(expert.family) is not Normal:
            raise SpecError(
                f"MixtureOfExperts.experts[{place}]: expected bm.Normal() for bm.VariationalEM(), whose coefficients "
                f"have Normal posteriors given labels, got {expert.family!r} → use bm.EM(), or bm.Normal()"
            )
        mean = expert.predictors["mu"]
        if mean.shared:
            raise SpecError(
                f"MixtureOfExperts.experts[{place}].mu: expected coefficients of its own for bm.VariationalEM(), got "
                f"shared={mean.shared!r} → use bm.EM(), or shared=False"
            )
        for name, predictor in expert.predictors.items():
            if isinstance(predictor, HSGP):
                raise SpecError(
                    f"MixtureOfExperts.experts[{place}].{name}: expected slopes without hyperparameters of their own "
                    f"for bm.VariationalEM(), got {predictor!r} → use bm.EM(), or bm.Spline(8), whose scale it learns"
                )
