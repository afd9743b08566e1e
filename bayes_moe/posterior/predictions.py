"""What a fit predicts, as labelled arrays: for one number, several outputs, or labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..data import Data
from ..errors import SpecError
from ..families import Support
from ..inference.settings import Seed, generator, settle_seed
from ..newdata import read_rows
from . import blend, mixtures, quantiles
from .blend import Blend
from .draws import Draws
from .labelled import class_probabilities
from .mixtures import MixtureDraws

_ORDERLESS = {Support.CLASSES: "labels without an order"}
_LABELS = {Support.CLASSES: "labels without an order", Support.LEVELS: "labels, whose distances mean nothing"}


def mixture_at(draws: Draws, X: Any, gate_X: Any, groups: Any) -> MixtureDraws:
    """Return the mixture of every draw at rows as the user has them."""
    data = draws.bound.data
    table, codes = read_rows(
        X,
        data.own,
        gate_X=gate_X,
        gate_columns=data.gate_columns,
        groups=groups,
        known=data.groups,
        formula=data.formula,
        mean=data.mean,
    )
    return draws.mixture(table, codes)


def mean(m: MixtureDraws | Blend, data: Data) -> xr.DataArray:
    """Return the predictive mean, or the most probable label."""
    if data.classes:
        return _most_probable(blend.class_probabilities(m, len(data.classes)), data)
    return _each_output(m, data, blend.predictive_mean, "mean")


def hard_mean(m: MixtureDraws, data: Data) -> xr.DataArray:
    """Return the mean of the most probable expert, or its most probable label."""
    if data.classes:
        return _most_probable(class_probabilities(m, len(data.classes), hard=True), data)
    return _each_output(m, data, mixtures.hard_mean, "mean")


def _most_probable(chances: np.ndarray, data: Data) -> xr.DataArray:
    return _rows(_labels(data)[chances.argmax(axis=1)], "label")


def probabilities(m: MixtureDraws | Blend, data: Data) -> xr.DataArray:
    """Return the probability of every label (obs, class)."""
    refuse_numbers(data)
    return _by_class(blend.class_probabilities(m, len(data.classes)), data)


def hard_probabilities(m: MixtureDraws, data: Data) -> xr.DataArray:
    """Return the probability of every label (obs, class) by the most probable expert."""
    refuse_numbers(data)
    return _by_class(class_probabilities(m, len(data.classes), hard=True), data)


def refuse_numbers(data: Data) -> None:
    """Refuse probabilities of labels where y is no label."""
    if not data.classes:
        raise SpecError(
            "predict_proba: expected a model of labels (bm.Bernoulli, bm.Categorical, bm.Ordinal), got one of numbers "
            "→ use cdf or log_density"
        )


def _by_class(values: np.ndarray, data: Data) -> xr.DataArray:
    return xr.DataArray(values, dims=("obs", "class"), coords={"class": _labels(data)}, name="probability")


def variance(m: MixtureDraws | Blend, data: Data, support: Support) -> xr.DataArray:
    """Return the predictive variance."""
    _refuse("variance", support, _LABELS)
    return _each_output(m, data, lambda one: blend.predictive_moments(one)[1], "variance")


def quantile(m: MixtureDraws | Blend, data: Data, support: Support, q: float | Sequence[float]) -> xr.DataArray:
    """Return quantiles of the averaged distribution, output by output."""
    _refuse("quantile", support, _ORDERLESS)
    levels = quantiles.read_levels(q)
    found = _each_output(m, data, lambda one: quantiles.quantile(one, levels), "quantile", {"quantile": levels})
    found = _as_labels(found, data, support)
    return found.isel(quantile=0, drop=True) if np.ndim(q) == 0 else found


def interval(m: MixtureDraws | Blend, data: Data, support: Support, prob: float) -> xr.DataArray:
    """Return equal-tailed predictive intervals, output by output."""
    _refuse("interval", support, _ORDERLESS)
    bounds = {"bound": ["lower", "upper"]}
    found = _each_output(m, data, lambda one: quantiles.interval(one, prob), "interval", bounds)
    return _as_labels(found, data, support).assign_attrs(prob=prob)


def cdf(m: MixtureDraws | Blend, data: Data, support: Support, y: np.ndarray) -> xr.DataArray:
    """Return the averaged P(Y <= y), output by output."""
    _refuse("cdf", support, _ORDERLESS)
    columns = iter(y.T) if data.outputs else iter([y])
    return _each_output(m, data, lambda one: blend.cdf(one, next(columns)), "cdf")


def sample(m: MixtureDraws | Blend, data: Data, draws: int | None, seed: Seed) -> xr.DataArray:
    """Return posterior predictive draws."""
    many = max(part.draws for _, part in blend.parts_of(m))
    size = draws if draws is not None else (1000 if many == 1 else many)
    values: Any = blend.sample(m, size, generator(settle_seed(seed), 9))
    if data.classes:
        values = _labels(data)[values.astype(np.intp)]
    dims = ("sample", "obs", "output") if data.outputs else ("sample", "obs")
    return xr.DataArray(values, dims=dims, coords={"output": list(data.outputs)} if data.outputs else {}, name="y")


def expert_means(m: MixtureDraws, data: Data, support: Support) -> xr.DataArray:
    """Return the experts' means (obs, expert)."""
    _refuse("expert_means", support, _LABELS)
    return _each_output(m, data, mixtures.expert_means, "expert_mean", {"expert": np.arange(m.experts)})


def _each_output(
    m: MixtureDraws | Blend,
    data: Data,
    function: Callable[[Any], Any],
    name: str,
    coords: dict[str, Any] | None = None,
) -> xr.DataArray:
    """Return what ``function`` says of the one output (obs, ...), or of each by itself (obs, output, ...)."""
    inner = tuple(coords or {})
    if not data.outputs:
        return xr.DataArray(function(m), dims=("obs", *inner), coords=coords or {}, name=name)
    values = np.stack([function(blend.marginal(m, output)) for output in range(len(data.outputs))], axis=1)
    coords = {"output": list(data.outputs)} | (coords or {})
    return xr.DataArray(values, dims=("obs", "output", *inner), coords=coords, name=name)


def _as_labels(found: xr.DataArray, data: Data, support: Support) -> xr.DataArray:
    if support is not Support.LEVELS:
        return found
    return found.copy(data=_labels(data)[np.rint(found.values).astype(np.intp)])


def _labels(data: Data) -> np.ndarray:
    return np.array(data.classes, dtype=None if len({type(label) for label in data.classes}) == 1 else object)


def _refuse(verb: str, support: Support, reasons: dict[Support, str]) -> None:
    if support in reasons:
        raise SpecError(f"{verb}: expected a target that is a number, got {reasons[support]} → use predict_proba")


def _rows(values: np.ndarray, name: str) -> xr.DataArray:
    return xr.DataArray(values, dims=("obs",), name=name)
