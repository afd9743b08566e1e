"""The observed variable of the PyMC model: y in the user's units, its log density and its draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

from ..families import Family, Normal
from ..graph.mixing import mix_log_densities, normal_mixture


@dataclass(frozen=True, eq=False)
class Part:
    """Experts of one family.

    Parameters
    ----------
    family
        Their family, for standardised y.
    experts
        Their positions among all experts.
    predicted
        Their linear predictors, (rows, k) or (k,).
    given
        Further columns (rows,) that the family takes, in its order.
    """

    family: Family
    experts: np.ndarray
    predicted: Sequence[TensorVariable]
    given: Sequence[TensorVariable]


@dataclass(frozen=True)
class Units:
    """How the user's y becomes the standardised one, as graphs.

    Parameters
    ----------
    curved
        Whether a power of y is standardised; the inputs then have the power after centre and scale.
    vector
        Whether y is several numbers a row.
    """

    curved: bool
    vector: bool

    @property
    def count(self) -> int:
        """Number of inputs."""
        return 3 if self.curved else 2

    @property
    def signature(self) -> list[str]:
        """Core dimensions of the inputs."""
        return ["(q)"] * 2 if self.vector else ["()"] * self.count

    def standardised(
        self, value: TensorVariable, inputs: Sequence[TensorVariable]
    ) -> tuple[TensorVariable, TensorVariable]:
        """Return standardised y and the log of its unit in the user's units, which is infinite where y is below 0."""
        center, scale = inputs[:2]
        log_unit = pt.log(scale).sum() if self.vector else pt.log(scale)
        if not self.curved:
            return (value - center) / scale, log_unit
        power, inside = inputs[2], value > 0.0
        logs = pt.log(pt.switch(inside, value, 1.0))
        some = pt.switch(pt.eq(power, 0.0), 1.0, power)
        moved = pt.switch(pt.eq(power, 0.0), logs, pt.expm1(some * logs) / some)
        return (moved - center) / scale, pt.switch(inside, log_unit - (power - 1.0) * logs, np.inf)

    def user(self, standardised: TensorVariable, inputs: Sequence[TensorVariable]) -> TensorVariable:
        """Return y in the user's units."""
        center, scale = inputs[:2]
        found = center + scale * standardised
        if not self.curved:
            return found
        power = inputs[2]
        some = pt.switch(pt.eq(power, 0.0), 1.0, power)
        curved = pt.exp(pt.log1p(pt.maximum(some * found, -1.0)) / some)
        return pt.switch(pt.eq(power, 0.0), pt.exp(found), curved)


def observe(
    logits: TensorVariable,
    parts: Sequence[Part],
    units: Sequence[TensorVariable],
    observed: TensorVariable,
    dims: tuple[str, ...],
    *,
    curved: bool = False,
) -> None:
    """Declare y.

    Parameters
    ----------
    logits
        (rows, K) unnormalised log weights.
    parts
        The experts, family by family.
    units
        Centre and scale of y, its power where it is curved and, when rows are weighted, weights.
    observed
        (rows,) or (rows, outputs) target.
    dims
        Names of its dimensions.
    curved
        Whether a power of y is standardised.
    """
    vector = len(dims) == 2
    change = Units(curved, vector)
    arguments = [logits, *(argument for part in parts for argument in (*part.predicted, *part.given)), *units]
    arity = len(arguments) - len(units)

    def logp(value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        weights = inputs[arity + change.count :]
        standardised, log_unit = change.standardised(value, inputs[arity:])
        found = _log_density(parts, inputs[:arity], standardised, vector=vector) - log_unit
        # a row of weight zero is ignored whatever its density
        return pt.switch(pt.eq(weights[0], 0.0), 0.0, weights[0] * found) if weights else found

    def dist(*inputs: TensorVariable) -> TensorVariable:
        drawn = _draw(parts, inputs[:arity], inputs[-1], inputs[arity] if vector else None)
        return change.user(drawn, inputs[arity:])

    pm.CustomDist(
        "y",
        *arguments,
        logp=logp,
        dist=dist,
        signature=_signature(parts, change, len(units) - change.count),
        observed=observed,
        dims=dims,
    )


def _signature(parts: Sequence[Part], change: Units, weights: int) -> str:
    """Return the core dimensions of the arguments: experts of every part, and outputs."""
    inputs = ["(k)"]
    letters = iter(letter for letter in ascii_lowercase if letter not in "kq")
    for part in parts:
        own = "(k)" if len(parts) == 1 else f"({next(letters)})"
        inputs += [own] * len(part.predicted) + ["()"] * len(part.given)
    return ",".join([*inputs, *change.signature, *["()"] * weights]) + ("->(q)" if change.vector else "->()")


def split_inputs[Input](
    parts: Sequence[Part], inputs: Sequence[Input]
) -> list[tuple[Part, Sequence[Input], Sequence[Input]]]:
    """Return every part with its linear predictors and given columns among the inputs."""
    out, at = [], 1
    for part in parts:
        middle = at + len(part.predicted)
        end = middle + len(part.given)
        out.append((part, inputs[at:middle], inputs[middle:end]))
        at = end
    return out


def _log_density(
    parts: Sequence[Part], inputs: Sequence[TensorVariable], y: TensorVariable, *, vector: bool
) -> TensorVariable:
    """Return the log density (rows,) of the mixture at standardised y."""
    logits = inputs[0]
    if len(parts) == 1 and isinstance(parts[0].family, Normal):
        mu, log_sigma = inputs[1:]
        return normal_mixture(logits, mu, log_sigma, y)
    return mix_log_densities(logits, expert_log_densities(parts, inputs, y, vector=vector))


def expert_log_densities(
    parts: Sequence[Part], inputs: Sequence[TensorVariable], y: TensorVariable, *, vector: bool
) -> TensorVariable:
    """Return the log densities (rows, K) of the experts at standardised y; the first input is the logits."""
    column = y[:, None, :] if vector else y[:, None]
    found = []
    for part, predicted, given in split_inputs(parts, inputs):
        value = part.family.logpdf(column, *predicted, *(values[:, None] for values in given))
        if not predicted:
            value = value + pt.zeros((1, len(part.experts)))
        found.append(value)
    if len(found) == 1:
        return found[0]
    order = pytensor.shared(np.argsort(np.concatenate([part.experts for part in parts])))
    return pt.concatenate(found, axis=1)[:, order]


def _draw(
    parts: Sequence[Part], inputs: Sequence[TensorVariable], size: Variable, outputs: TensorVariable | None
) -> TensorVariable:
    """Draw a label from the gate, then standardised y from that expert; ``outputs`` is as long as a row of y."""
    logits = inputs[0]
    label = pm.Categorical.dist(logit_p=logits, size=size)
    drawn: TensorVariable | None = None
    for part, predicted, given in split_inputs(parts, inputs):
        # the graph of a draw takes no shared variables; which experts are of which family is structure
        mine_are = pt.arange(logits.shape[-1]) if len(parts) == 1 else pt.as_tensor(part.experts)
        chosen = pt.eq(label[..., None], mine_are)
        own = [pt.switch(chosen, values, 0.0).sum(axis=-1) for values in predicted]
        if isinstance(part.family, Normal):
            mine = pm.Normal.dist(own[0], pt.exp(own[1]))
        else:
            mine = _drawn(part.family, [*own, *given] or [label * 0.0], outputs)
        here = chosen.any(axis=-1)
        drawn = mine if drawn is None else pt.switch(here if outputs is None else here[..., None], mine, drawn)
    assert drawn is not None
    return drawn


def _drawn(family: Family, arguments: Sequence[TensorVariable], outputs: TensorVariable | None) -> TensorVariable:
    """Return a random variable of one family, drawn by its own function."""
    names = [*family.predicted, *family.given] or ["label"]

    def random(*values: np.ndarray, rng: np.random.Generator, size: tuple[int, ...] | None) -> np.ndarray:  # noqa: ARG001
        return family.draw(rng, **dict(zip(names, np.broadcast_arrays(*values), strict=True)))

    def random_rows(*values: np.ndarray, rng: np.random.Generator, size: tuple[int, ...] | None) -> np.ndarray:
        return random(*values[:-1], rng=rng, size=size)  # the last only tells the number of outputs

    if outputs is not None:
        signature = ",".join(["()"] * len(arguments)) + ",(q)->(q)"
        return pm.CustomDist.dist(*arguments, outputs, random=random_rows, signature=signature)
    return pm.CustomDist.dist(*arguments, random=random)
