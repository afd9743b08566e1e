"""The observed y of a PyMC model whose rows share labels by groups.

The rows are one multivariate observation, since the density is that of groups: its log density is one number, not one
per row. A draw has one label for each group, so that predictive samples of the training rows mean what they should;
new rows need their groups, through ``pm.set_data({"group_of": ...})``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from ..families import Family
from ..groups import Groups


def observe_groups(
    family: Family,
    predictors: Sequence[TensorVariable],
    units: Sequence[TensorVariable],
    observed: TensorVariable,
    groups: Groups,
) -> None:
    """Declare y of all rows at once.

    Parameters
    ----------
    family
        The experts' family.
    predictors
        Logits (n, K) and the family's linear predictors, (n, K) or (K,).
    units
        Centre and scale of y and, when rows are weighted, weights.
    observed
        Y in the user's units.
    groups
        Which rows belong together.
    """
    codes = pm.Data("group_of", groups.codes, dims="obs")
    whole = [pt.broadcast_to(each, predictors[0].shape) for each in predictors]
    arity = len(whole)

    def logp(value: TensorVariable, *arguments: TensorVariable) -> TensorVariable:
        center, scale, group, *weights = arguments[arity:]
        logits, *predicted = arguments[:arity]
        y = (value - center) / scale
        log_density = family.logpdf(y[:, None], *predicted) - pt.log(scale)
        if weights:
            weight = weights[0][:, None]
            log_density = pt.switch(pt.eq(weight, 0.0), 0.0, weight * log_density)
        empty = pt.zeros((group.max() + 1, logits.shape[1]))
        # the gate is the same for all rows of a group: any of them gives it
        joint = empty[group].set(pt.special.log_softmax(logits, axis=1)) + empty[group].inc(log_density)
        return pt.logsumexp(joint, axis=1).sum()

    def random(*arguments: np.ndarray, rng: np.random.Generator, size: object) -> np.ndarray:  # noqa: ARG001
        center, scale, group = arguments[arity : arity + 3]
        logits, *predicted = arguments[:arity]
        noise = rng.gumbel(size=(int(group.max()) + 1, logits.shape[1]))
        label = np.argmax(logits + noise[group], axis=1)
        rows = np.arange(len(label))
        own = dict(zip(family.predicted, (values[rows, label] for values in predicted), strict=True))
        return np.asarray(center + scale * family.draw(rng, **own))

    pm.CustomDist(
        "y",
        *whole,
        units[0],
        units[1],
        codes,
        *units[2:],
        logp=logp,
        random=random,
        signature=",".join(["(n,k)"] * arity + ["()", "()", "(n)"] + ["(n)"] * (len(units) - 2)) + "->(n)",
        observed=observed,
        dims="obs",
    )
