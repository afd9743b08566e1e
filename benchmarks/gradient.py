"""How long does one gradient take, beside ``pm.NormalMixture`` and the floor?"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from threadpoolctl import threadpool_limits

import bayes_moe as bm
from bayes_moe.binding.bind import bind
from bayes_moe.data import read_training

from .problems import SIZES, Problem, floor, moe
from .timing import in_turn, keep, show


def ours(problem: Problem):
    """Return the compiled value-and-gradient that NUTS samples with, and a point."""
    model = bm.MixtureOfExperts(problem.experts)
    data = read_training(problem.X, problem.y, experts=problem.experts, parameters=0)
    density = bind(model, data).density
    q = 0.3 * np.random.default_rng(1).standard_normal(density.size)
    return density.compiled(), q


def idiom(problem: Problem):
    """Return the gradient of the model PyMC users write: softmax weights and ``pm.NormalMixture``."""
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1.5, shape=problem.experts - 1)
        b = pm.Normal("b", 0, 1.5, shape=(problem.X.shape[1], problem.experts - 1))
        logits = pt.concatenate([a + problem.X @ b, np.zeros((len(problem.y), 1))], axis=1)
        alpha = pm.Normal("alpha", 0, 2.5, shape=problem.experts)
        beta = pm.Normal("beta", 0, 2.5, shape=(problem.X.shape[1], problem.experts))
        log_sigma = pm.Normal("log_sigma", np.log(0.5), 0.75, shape=problem.experts)
        weights = pm.math.softmax(logits, axis=1)
        pm.NormalMixture("y", w=weights, mu=alpha + problem.X @ beta, sigma=pt.exp(log_sigma), observed=problem.y)
    point = {v.name: np.zeros([int(s) for s in model.eval_rv_shapes()[v.name]]) for v in model.value_vars}
    function = model.logp_dlogp_function(initial_point=point, ravel_inputs=True)
    function.set_extra_values({})
    q = 0.3 * np.random.default_rng(1).standard_normal(sum(v.size for v in point.values()))
    return function, q


def main() -> None:
    """Print microseconds and ratios."""
    rows = []
    with threadpool_limits(1):
        for size in SIZES:
            problem = moe(*size)
            f, q = ours(problem)
            g, p = idiom(problem)
            small = len(problem.y) < 10_000
            times = in_turn(
                {
                    "bayes_moe": lambda f=f, q=q: f(q),
                    "idiom": lambda g=g, p=p: g(p),
                    "floor": lambda x=problem: floor(x),
                },
                rounds=60 if small else 25,
                inner=20 if small else 1,
            )
            us = {name: 1e6 * value for name, value in times.items()}
            rows.append(
                [
                    problem.name,
                    us["bayes_moe"],
                    us["idiom"],
                    us["floor"],
                    us["bayes_moe"] / us["floor"],
                    us["idiom"] / us["bayes_moe"],
                ]
            )
    header = ["problem", "bayes_moe us", "NormalMixture us", "floor us", "ours / floor", "idiom / ours"]
    show("One gradient, one thread", header, rows)
    keep("gradient", [dict(zip(header, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
