"""Parameters from the prior and data from the parameters, by PyMC."""

from __future__ import annotations

import logging
from functools import cache
from typing import NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt

import bayes_moe as bm
from bayes_moe.graph.graded import PLAIN

from .studies import STUDIES, Study

BLOCK = 50
"""Replications that are simulated together."""


class Simulated(NamedTuple):
    """A block of replications: unconstrained vectors (BLOCK, size) and targets (BLOCK, n)."""

    q: np.ndarray
    y: np.ndarray


@cache
def simulated(name: str, block: int) -> Simulated:
    """Return one block of a study's replications, always the same."""
    study = STUDIES[name]
    logging.getLogger("pymc").setLevel(logging.ERROR)
    model = bm.build(study.model, study.X, placeholder(study), groups=study.groups, scaling=study.scaling)
    seed = int(np.random.SeedSequence([list(STUDIES).index(name), block]).generate_state(1)[0])
    with model:
        drawn = pm.sample_prior_predictive(BLOCK, random_seed=seed, compile_kwargs={"mode": PLAIN})
    values = []
    for variable in model.free_RVs:
        value, transform = drawn["prior"][variable.name].values[0], model.rvs_to_transforms[variable]
        if transform is not None:
            given = pt.tensor("given", dtype="float64", shape=(None,) * value.ndim)
            value = transform.forward(given, *variable.owner.inputs).eval({given: value}, mode=PLAIN)
        values.append(value.reshape(BLOCK, -1))
    return Simulated(np.concatenate(values, axis=1), drawn["prior_predictive"]["y"].values[0])


def placeholder(study: Study) -> np.ndarray:
    """Return a target that every family accepts and nothing reads."""
    return 1.0 * (np.arange(len(study.X)) % 2) if study.lines is None else 1.0 + np.arange(len(study.X)) % 2
