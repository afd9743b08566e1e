"""The same posteriors written by hand in NumPyro, and their reference summaries.

Nothing here knows the package: densities and priors are those of docs/model.md and docs/families.md, written out.
With NumPyro and ArviZ installed, ``python -m tests.agreement.in_numpyro [name ...]`` samples and writes
``numpyro.json``: mean, standard deviation and three quantiles of every quantity with their Monte-Carlo errors, and
the diagnostics of the run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln, logsumexp
from numpyro.infer import MCMC, NUTS

from .problems import PROBLEMS, ROWS, Problem
from .summaries import summarised

STORED = Path(__file__).parent / "numpyro.json"
CHAINS, WARMUP, DRAWS = 4, 1500, 4000


def standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def zero_sum(name: str, shape: tuple[int, ...]) -> jnp.ndarray:
    """Return standard normals that sum to zero over the last axis."""
    return numpyro.sample(name, dist.ZeroSumNormal(1.0, event_shape=shape[-1:]).expand(shape[:-1]))


def scale() -> jnp.ndarray:
    """Return the learned scale of a gate's slopes."""
    return 1.5 * jnp.exp(numpyro.sample("gate_scale_z", dist.Normal(0, 1)))


def softmax_gate(x: np.ndarray, experts: int, name: str = "gate", s: jnp.ndarray | None = None) -> jnp.ndarray:
    s = scale() if s is None else s
    intercept = zero_sum(f"{name}_intercept", (experts,)) * jnp.sqrt(1 + s**2) / 1.8
    slopes = zero_sum(f"{name}_slopes", (x.shape[1], experts)) * s / np.sqrt(x.shape[1])
    return jax.nn.log_softmax(intercept + x @ slopes, axis=1)


def constant_gate(x: np.ndarray, experts: int) -> jnp.ndarray:
    intercept = zero_sum("gate_intercept", (experts,)) * np.sqrt(1 + 1.5**2) / 1.8
    return jax.nn.log_softmax(intercept)[None, :] * np.ones((len(x), 1))


def tree_gate(x: np.ndarray) -> jnp.ndarray:
    """A root with a node of two leaves on the left and one leaf on the right."""
    s = scale()
    root = softmax_gate(x, 2, "root", s)
    left = softmax_gate(x, 2, "left", s)
    return jnp.concatenate([root[:, :1] + left, root[:, 1:]], axis=1)


def sticks_gate(x: np.ndarray, experts: int) -> jnp.ndarray:
    s = scale()
    z = numpyro.sample("gate_intercept", dist.Normal(0, 1).expand([experts - 1]))
    centre = -np.log(np.arange(experts - 1, 0, -1.0))
    slopes = (
        numpyro.sample("gate_slopes", dist.Normal(0, 1).expand([x.shape[1], experts - 1])) * s / np.sqrt(x.shape[1])
    )
    eta = centre + z * jnp.sqrt(1 + s**2) / 1.8 + x @ slopes
    took, left = -jax.nn.softplus(-eta), jnp.cumsum(-jax.nn.softplus(eta), axis=1)
    nothing = np.zeros((len(x), 1))
    return jnp.concatenate([took, nothing], axis=1) + jnp.concatenate([nothing, left], axis=1)


def lines(x: np.ndarray, experts: int, centre: float = 0.0, name: str = "mu") -> jnp.ndarray:
    """Return the experts' linear predictors (n, K); their intercepts and slopes are recorded."""
    a = numpyro.sample(f"{name}_a", dist.Normal(centre, 2.5).expand([experts]))
    b = numpyro.sample(f"{name}_b", dist.Normal(0, 2.5).expand([x.shape[1], experts]))
    return a + x @ b


def log_sigma(experts: int) -> jnp.ndarray:
    return numpyro.sample("log_sigma", dist.Normal(np.log(0.5), 0.75).expand([experts]))


def normal(y: jnp.ndarray, mu: jnp.ndarray, u: jnp.ndarray) -> jnp.ndarray:
    return -0.5 * jnp.log(2 * jnp.pi) - u - 0.5 * ((y - mu) * jnp.exp(-u)) ** 2


def mixed(log_gate: jnp.ndarray, log_density: jnp.ndarray, log_unit: float = 0.0) -> None:
    """Add the log likelihood and record it row by row, in the user's units."""
    rows = logsumexp(log_gate + log_density, axis=1)
    numpyro.factor("likelihood", rows.sum())
    numpyro.deterministic("rows", rows - log_unit)


def normal_lines(problem: Problem, log_gate: jnp.ndarray, experts: int, *, varying: bool = False) -> None:
    x, y = standardised(problem.X), standardised(problem.y)[:, None]
    mu, u = lines(x, experts), log_sigma(experts)
    if varying:
        u = u + x @ numpyro.sample("log_sigma_b", dist.Normal(0, 0.5).expand([x.shape[1], experts]))
    mixed(log_gate, normal(y, mu, u), float(np.log(problem.y.std())))


def two_lines(problem: Problem) -> None:
    normal_lines(problem, softmax_gate(standardised(problem.X), 2), 2)


def widening(problem: Problem) -> None:
    normal_lines(problem, constant_gate(problem.X, 2), 2, varying=True)


def outliers(problem: Problem) -> None:
    x, y = standardised(problem.X), standardised(problem.y)[:, None]
    log_gate = softmax_gate(x, 2)
    mu, u = lines(x, 2), log_sigma(2)
    nu = 2.0 + jnp.exp(numpyro.sample("log_nu", dist.Normal(np.log(10.0), 1.0).expand([2])))
    z = (y - mu) * jnp.exp(-u)
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * jnp.log(nu * jnp.pi) - u
    mixed(log_gate, constant - (nu + 1) / 2 * jnp.log1p(z**2 / nu), float(np.log(problem.y.std())))


def visits(problem: Problem) -> None:
    x, y = standardised(problem.X), problem.y[:, None]
    log_gate = softmax_gate(x, 2)
    log_rate = lines(x, 2, float(np.log(problem.y.sum() / problem.exposure.sum())))
    log_mean = log_rate + np.log(problem.exposure)[:, None]
    mixed(log_gate, y * log_mean - jnp.exp(log_mean) - gammaln(y + 1))


def durations(problem: Problem) -> None:
    unit = np.exp(np.log(problem.y).mean())
    x, y = standardised(problem.X), (problem.y / unit)[:, None]
    log_mean = lines(x, 2, float(np.log(y.mean())))
    shape = jnp.exp(numpyro.sample("log_shape", dist.Normal(np.log(4.0), 1.0).expand([2])))
    rate = shape * jnp.exp(-log_mean)
    density = shape * jnp.log(rate) - gammaln(shape) + (shape - 1) * jnp.log(y) - rate * y
    mixed(constant_gate(x, 2), density, float(np.log(unit)))


def tree(problem: Problem) -> None:
    normal_lines(problem, tree_gate(standardised(problem.X)), 3)


def sticks(problem: Problem) -> None:
    normal_lines(problem, sticks_gate(standardised(problem.X), 2), 2)


def centres(problem: Problem) -> None:
    x, y, n = standardised(problem.X), problem.y[:, None], problem.exposure[:, None]
    share = problem.y.sum() / problem.exposure.sum()
    logit = lines(x, 2, float(np.log(share / (1 - share))))
    choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    density = choose + y * jax.nn.log_sigmoid(logit) + (n - y) * jax.nn.log_sigmoid(-logit)
    groups = int(problem.codes.max()) + 1
    together = jax.ops.segment_sum(density, problem.codes, groups)
    mixed(constant_gate(np.zeros((groups, 1)), 2), together)


MODELS = dict(zip(PROBLEMS, (two_lines, widening, outliers, visits, durations, tree, sticks, centres), strict=True))


def quantities(draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is compared, (chains, draws) each: log densities, and experts' lines in order of their intercepts."""
    found = {f"log density of row {i}": draws["rows"][..., i] for i in range(ROWS)}
    found["log likelihood"] = draws["rows"].sum(axis=-1)
    order = np.argsort(draws["mu_a"], axis=-1)
    found |= {f"intercept {k}": v for k, v in enumerate(np.moveaxis(ordered(draws["mu_a"], order), -1, 0))}
    slopes = ordered(draws["mu_b"][:, :, 0, :], order)
    return found | {f"slope {k}": v for k, v in enumerate(np.moveaxis(slopes, -1, 0))}


def ordered(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, order, axis=-1)


def sampled(name: str, problem: Problem) -> dict[str, object]:
    """Sample one posterior, and return its summaries and diagnostics."""
    model = MODELS[name]
    kernel = NUTS(lambda: model(problem), target_accept_prob=0.998)
    run = MCMC(
        kernel,
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    run.run(jax.random.PRNGKey(20 + list(PROBLEMS).index(name)), extra_fields=("diverging",))
    draws = {key: np.asarray(value) for key, value in run.get_samples(group_by_chain=True).items()}
    divergences = int(np.sum(run.get_extra_fields()["diverging"]))
    return {"divergences": divergences, "quantities": summarised(quantities(draws))}


def main(names: list[str]) -> None:
    numpyro.enable_x64()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name in names or list(PROBLEMS):
        stored[name] = sampled(name, PROBLEMS[name])
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
        worst = max(each["r_hat"] for each in stored[name]["quantities"].values())
        least = min(each["ess"] for each in stored[name]["quantities"].values())
        line = f"{name}: {stored[name]['divergences']} divergences, R-hat {worst:.4f}, ESS {least:.0f}"
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
