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

from ..groups import Groups
from ..transforms import Power
from .observed import Part, Units, expert_log_densities, split_inputs


def observe_groups(
    logits: TensorVariable,
    parts: Sequence[Part],
    units: Sequence[TensorVariable],
    observed: TensorVariable,
    dims: tuple[str, ...],
    groups: Groups,
    *,
    curved: bool = False,
) -> None:
    """Declare y of all rows at once; the arguments are those of `observe`, and which rows belong together."""
    vector = len(dims) == 2
    change = Units(curved, vector)
    codes = pm.Data("group_of", groups.codes, dims="obs")
    arguments, letters = [logits], ["(n,k)"]
    for position, part in enumerate(parts):
        # one linear predictor for all rows is a row of its own here: a draw needs whole rows
        whole = [pt.zeros((logits.shape[0], 1)) + values for values in part.predicted]
        arguments += [*whole, *part.given]
        letters += [f"(n,k{position})"] * len(whole) + ["(n)"] * len(part.given)
    arity = len(arguments)

    def logp(value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        group, *weights = inputs[arity + change.count :]
        standardised, log_unit = change.standardised(value, inputs[arity:])
        found = expert_log_densities(parts, inputs[:arity], standardised, vector=vector)
        found = found - (log_unit[:, None] if curved else log_unit)
        if weights:
            weight = weights[0][:, None]
            found = pt.switch(pt.eq(weight, 0.0), 0.0, weight * found)
        empty = pt.zeros((group.max() + 1, inputs[0].shape[1]))
        # the gate is the same for all rows of a group: any of them gives it
        joint = empty[group].set(pt.special.log_softmax(inputs[0], axis=1)) + empty[group].inc(found)
        return pt.logsumexp(joint, axis=1).sum()

    def random(*inputs: np.ndarray, rng: np.random.Generator, size: object) -> np.ndarray:  # noqa: ARG001
        center, scale, *power = inputs[arity : arity + change.count]
        group = inputs[arity + change.count]
        noise = rng.gumbel(size=(int(group.max()) + 1, inputs[0].shape[1]))
        label = np.argmax(inputs[0] + noise[group], axis=1)
        out = np.empty((len(label), *np.shape(center)))
        for part, predicted, given in split_inputs(parts, inputs[:arity]):
            mine = np.isin(label, part.experts)
            place = np.searchsorted(np.sort(part.experts), label[mine])
            own = [values[mine, np.argsort(part.experts)[place]] for values in predicted]
            named = dict(zip(part.family.predicted, own, strict=True))
            named |= dict(zip(part.family.given, (values[mine] for values in given), strict=True))
            out[mine] = part.family.draw(rng, **(named or {"label": label[mine] * 0.0}))
        out = center + scale * out
        return Power(float(power[0])).inverse(out) if power else np.asarray(out)

    pm.CustomDist(
        "y",
        *arguments,
        *units[: change.count],
        codes,
        *units[change.count :],
        logp=logp,
        random=random,
        signature=",".join([*letters, *change.signature, "(n)", *["(n)"] * (len(units) - change.count)])
        + ("->(n,q)" if vector else "->(n)"),
        observed=observed,
        dims=dims,
    )
