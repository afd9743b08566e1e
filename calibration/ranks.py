"""One replication: fit the data, and rank what is true among the draws."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from arviz_stats.base import array_stats

import bayes_moe as bm
from bayes_moe.binding.bind import Bound
from bayes_moe.posterior.draws import Draws

from .simulate import BLOCK, simulated
from .studies import STUDIES, Study

DRAWS = 255
CHAINS = frozenset({"divergences", "r_hat", "ess_bulk", "ess_tail", "few_effective_draws"})
"""Codes that say that chains have not done their work; all others are about data, model or approximation."""
LONGER = bm.NUTS(draws=4000, chains=4)
ENGINES = {
    "nuts": lambda seed: bm.NUTS(draws=1000, chains=2, seed=seed),
    "laplace": lambda seed: bm.Laplace(draws=DRAWS, seed=seed),
    "advi": lambda seed: bm.ADVI(draws=DRAWS, seed=seed),
}


def replicate(name: str, engine: str, index: int) -> dict[str, Any]:
    """Return ranks among `DRAWS` draws and z-scores of all quantities; or why there are none.

    A data set that the package refuses is left out, which depends on the data alone. Where two chains have not done
    their work, four longer ones are run, as the status of a fit asks for: that, too, depends on the data alone.
    """
    found = fitted(name, engine, index, ENGINES[engine](index))
    if flagged_by_chains(found.get("flags", ())):
        found = fitted(name, engine, index, replace(LONGER, seed=index)) | {"longer": True}
    return found


def unfinished(one: dict[str, Any]) -> bool:
    """Return whether a replication was stored when flagged ones were not yet fitted again by longer chains."""
    return flagged_by_chains(one.get("flags", ())) and not one.get("longer")


def fitted(name: str, engine: str, index: int, chosen: Any) -> dict[str, Any]:
    """Return what `replicate` does, from one fit by the engine that was chosen."""
    study, block = STUDIES[name], simulated(name, index // BLOCK)
    true, y = block.q[index % BLOCK], block.y[index % BLOCK]
    rng = np.random.default_rng([index, 7])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bm.FitWarning)
            fit = bm.fit(
                study.model,
                study.X,
                y,
                chosen,
                groups=study.groups,
                scaling=study.scaling,
                progress=False,
            )
    except bm.InputError as refused:
        return {"index": index, "refused": str(refused)}
    except bm.NumericalError as failed:
        return {"index": index, "failed": str(failed)}
    levels = np.unique(np.quantile(simulated(name, 0).y, [0.25, 0.5, 0.75]))
    levels = levels[levels < simulated(name, 0).y.max()]
    q = fit.outcome.draws
    flat = q.reshape(-1, q.shape[-1])
    found = quantities(study, fit.bound, np.concatenate([true[None], flat]), levels)
    kept = np.linspace(0, len(flat) - 1, DRAWS).round().astype(int)
    ranks, scores, effective = {}, {}, []
    for quantity, values in found.items():
        truth, draws = values[0], values[1:]
        picked = draws[kept]
        ranks[quantity] = int(np.sum(picked < truth) + rng.integers(np.sum(picked == truth) + 1))
        scores[quantity] = float((draws.mean() - truth) / max(draws.std(), 1e-300))
        if engine == "nuts":
            effective.append(float(array_stats.ess(draws.reshape(q.shape[:2]))))
    flags = [notice.code for notice in fit.status.notices]
    if effective and not min(effective) >= DRAWS:
        flags.append("few_effective_draws")
    return {"index": index, "flags": flags, "converged": bool(fit.status.converged), "rank": ranks, "z": scores}


def flagged_by_chains(flags: Collection[str]) -> bool:
    """Return whether codes say that chains have not done their work."""
    return bool(CHAINS & set(flags))


def quantities(study: Study, bound: Bound, q: np.ndarray, levels: np.ndarray) -> dict[str, np.ndarray]:
    """Return test quantities (S,) at vectors q (S, size); none depends on how experts are labelled."""
    density = bound.density
    experts = bound.parameters.experts
    draws = Draws(bound, q[None], np.tile(np.arange(experts), (len(q), 1)))
    value_and_gradient = density.compiled()
    joint = np.array([value_and_gradient(each)[0] for each in q])
    out = {
        "log posterior": joint,
        "log likelihood": joint - np.array([density.log_prior(each) for each in q]),
    }
    mixture = draws.mixture(study.at)
    log_gate, values = mixture.components(slice(0, mixture.rows), slice(0, mixture.draws))
    gate, family = np.exp(log_gate), mixture.family
    means = np.broadcast_to(family.mean(**values), gate.shape)
    mean = (gate * means).sum(axis=2)
    variance = (gate * (family.variance(**values) + means**2)).sum(axis=2) - mean**2
    for row in range(mixture.rows):
        out[f"mean at {row}"] = mean[:, row]
        out[f"sd at {row}"] = np.sqrt(np.maximum(variance[:, row], 0.0))
        for level in levels:
            below = family.cdf(np.float64(level), **values)
            out[f"P(y > {level:.3g}) at {row}"] = 1.0 - (gate * below).sum(axis=2)[:, row]
    if experts > 1:
        weights, sizes = (
            np.sort(gate[:, 0], axis=1),
            np.array([density.responsibilities(each).sum(axis=0) for each in q]),
        )
        sizes.sort(axis=1)
        for k in range(1, experts):
            out[f"gate weight {k} of {experts}"] = weights[:, k]
            out[f"size {k} of {experts}"] = sizes[:, k]
    return out | (parameters(study, draws) if study.lines else {})


def parameters(study: Study, draws: Draws) -> dict[str, np.ndarray]:
    """Return the experts' parameters in order of their intercepts."""
    user = draws.user()
    intercept = user[f"{study.lines}_intercept"][0]
    order = np.argsort(intercept, axis=1)
    out = {}
    for name, values in user.items():
        if values.ndim < 3 or values.shape[2] != order.shape[1] or name.startswith("gate"):
            continue
        flat = values[0].reshape(*order.shape, -1)
        placed = np.take_along_axis(flat, order[:, :, None], axis=1)
        for k in range(order.shape[1]):
            for j in range(flat.shape[2]):
                out[f"{name}[{k}, {j}]"] = placed[:, k, j]
    return out
