"""The result of any engine as one tree in ArviZ's schema."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..binding.describe import user_coords, user_dims
from ..groups import Groups
from ..inference.outcome import Outcome
from .draws import Draws, Labels
from .mixtures import pointwise_log_density
from .shared_labels import log_totals

LARGEST_LOG_LIKELIHOOD = 20_000_000
"""Elements (draws x rows) up to which the pointwise log likelihood is stored with the fit."""


def make_tree(bound: Bound, outcome: Outcome, draws: Draws, labels: Labels) -> xr.DataTree:
    """Return the tree of a fit.

    Groups: ``posterior`` (relabelled, in the user's units), ``sample_stats``, ``log_likelihood``,
    ``observed_data``, ``constant_data``, ``unconstrained`` (raw draws as the engine gave them), ``labels`` (the
    permutations) and ``fit`` (history, starts and optima of the engine).
    """
    groups = {
        "posterior": posterior_group(bound, draws),
        "observed_data": _observed_group(bound),
        "constant_data": _constant_group(bound),
        "unconstrained": _unconstrained_group(bound, draws),
        "labels": _labels_group(labels, outcome.draws.shape[:2]),
        "fit": fit_group(outcome),
    }
    if outcome.sample_stats:
        groups["sample_stats"] = _with_draws(outcome.sample_stats)
    if len(draws.flat) * len(bound.data.y) <= LARGEST_LOG_LIKELIHOOD:
        groups["log_likelihood"] = log_likelihood_group(bound, draws)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update({"inference_library": "bayes_moe", "inference_library_version": version("bayes_moe")})
    return tree


def posterior_group(bound: Bound, draws: Draws) -> xr.Dataset:
    """Return relabelled parameters in the user's units."""
    dims, coords = user_dims(bound.parameters), user_coords(bound.parameters, bound.design)
    values = {name: (("chain", "draw", *dims[name]), value) for name, value in draws.user().items()}
    used = {dim for name in values for dim in dims[name]}
    chains, count = draws.q.shape[:2]
    axes = {"chain": np.arange(chains), "draw": np.arange(count)}
    return xr.Dataset(values, coords=axes | {name: coords[name] for name in coords if name in used})


def log_likelihood_group(bound: Bound, draws: Draws) -> xr.Dataset:
    """Return the weighted log density of every row that counts, or of every group that has some, under every draw.

    Rows of weight 0 are not in it: whoever takes the standard error of its sum over rows would count them.
    """
    if bound.data.groups is not None:
        return _group_log_likelihood(draws, bound.data.groups)
    data, rows = bound.data, counted_units(bound)
    mixture = draws.mixture(np.asarray(data.table.values)[rows])
    values = pointwise_log_density(mixture, data.y[rows]) * data.weights[rows]
    shaped = values.reshape(*draws.q.shape[:2], -1)
    return xr.Dataset(
        {"y": (("chain", "draw", "obs"), shaped)},
        coords={
            "chain": np.arange(shaped.shape[0]),
            "draw": np.arange(shaped.shape[1]),
            "obs": data.rows[rows],
        },
    )


def counted_units(bound: Bound) -> np.ndarray:
    """Return positions of the rows of positive weight, or of the groups that have some, in rising order.

    They are what is left out one by one.
    """
    rows = bound.counted
    return rows if bound.data.groups is None else np.unique(bound.data.groups.codes[rows])


def _group_log_likelihood(draws: Draws, groups: Groups) -> xr.Dataset:
    """Return the log density of every group that has rows that count."""
    known, joint = draws.group_joint(np.arange(len(groups.labels)))
    order = np.argsort(known)
    shaped = log_totals(joint)[:, order].reshape(*draws.q.shape[:2], -1)
    return xr.Dataset(
        {"y": (("chain", "draw", "group"), shaped)},
        coords={
            "chain": np.arange(shaped.shape[0]),
            "draw": np.arange(shaped.shape[1]),
            "group": np.array(groups.labels)[known[order]],
        },
    )


def _observed_group(bound: Bound) -> xr.Dataset:
    data = bound.data
    coords: dict[str, Any] = {"obs": data.rows} | ({"output": list(data.outputs)} if data.outputs else {})
    attrs = {"classes": [str(label) for label in data.classes]} if data.classes else {}
    return xr.Dataset({"y": (("obs", "output") if data.outputs else ("obs",), data.y, attrs)}, coords=coords)


def _constant_group(bound: Bound) -> xr.Dataset:
    data = bound.data
    values: dict[str, tuple[object, np.ndarray]] = {
        "X": (("obs", "column"), np.asarray(data.table.values)),
        "weights": ("obs", data.weights),
    }
    if data.groups is not None:
        values["group_of"] = ("obs", np.array(data.groups.labels)[data.groups.codes])
    return xr.Dataset(values, coords={"obs": data.rows, "column": list(data.table.names)})


def _unconstrained_group(bound: Bound, draws: Draws) -> xr.Dataset:
    names = [f"{name}[{i}]" for name, where in bound.parameters.slices.items() for i in range(where.stop - where.start)]
    return xr.Dataset({"q": (("chain", "draw", "value"), draws.q)}, coords={"value": names})


def _labels_group(labels: Labels, lead: tuple[int, ...]) -> xr.Dataset:
    shaped = labels.permutations.reshape(*lead[:2], -1)
    return xr.Dataset(
        {"permutation": (("chain", "draw", "expert"), shaped)},
        attrs={"agreement": labels.agreement, "ambiguity": labels.ambiguity, "ambiguous": int(labels.ambiguous)},
    )


def fit_group(outcome: Outcome) -> xr.Dataset:
    """Return the engine's record: history per iteration, table per start, optima, single facts as attributes."""
    values: dict[str, tuple[object, np.ndarray]] = {
        name: (f"{name}_iteration", np.asarray(record)) for name, record in outcome.history.items()
    }
    values |= {name: ("start", np.asarray(column)) for name, column in outcome.table.items()}
    if outcome.mode is not None:
        values["mode"] = ("value", outcome.mode)
    if outcome.features is not None:
        values["network"] = ("weight", outcome.features)
    if outcome.optima:
        values |= {
            "optimum_q": (("optimum", "value"), np.array([o.q for o in outcome.optima])),
            "optimum_log_posterior": ("optimum", np.array([o.log_posterior for o in outcome.optima])),
            "optimum_decrement": ("optimum", np.array([o.decrement for o in outcome.optima])),
            "optimum_smallest_eigenvalue": ("optimum", np.array([o.smallest_eigenvalue for o in outcome.optima])),
            "optimum_hits": ("optimum", np.array([o.hits for o in outcome.optima])),
            "optimum_collapsed": ("optimum", np.array([len(o.collapsed) for o in outcome.optima])),
            "optimum_recipe": ("optimum", np.array([o.recipe for o in outcome.optima], dtype=str)),
            "optimum_iterations": ("optimum", np.array([o.iterations for o in outcome.optima])),
        }
    return xr.Dataset(values, attrs=dict(outcome.facts))


def _with_draws(values: Mapping[str, np.ndarray]) -> xr.Dataset:
    shape = next(iter(values.values())).shape
    return xr.Dataset(
        {name: (("chain", "draw"), value) for name, value in values.items()},
        coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])},
    )
