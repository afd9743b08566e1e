"""How many effective draws does a second of waiting buy, everything included, in a fresh process?

Every system samples the same data: two short chains, or the four of 1000 draws that are this package's default.
Effective draws are counted on the same label-free quantities (predictive means at 20 rows), by the same function.
Caches are warm: each child runs once before. The others warm up for as many draws as they keep, as is usual, this
package for its 300.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .timing import environment, keep, say, show


class Length(NamedTuple):
    """How many chains of how many draws after warm-up."""

    chains: int
    draws: int


LENGTHS = Length(2, 500), Length(4, 1000)


def effective(means) -> dict[str, float]:
    """Return the median bulk ESS and the largest R-hat of quantities (chains, draws, m)."""
    import numpy as np
    from arviz_stats.base import array_stats

    ess = [float(array_stats.ess(means[:, :, j], chain_axis=0, draw_axis=1)) for j in range(means.shape[2])]
    rhat = [float(array_stats.rhat(means[:, :, j], chain_axis=0, draw_axis=1)) for j in range(means.shape[2])]
    return {"ess": float(np.median(ess)), "r_hat": float(np.nanmax(rhat))}


def predictive_means(gate, beta, X, rows=20):
    """Return means (chains, draws, rows) from gate (c, d, p + 1, K) and expert (c, d, p + 1, K) coefficients."""
    import numpy as np

    design = np.column_stack([np.ones(rows), X[:rows]])
    logits = np.einsum("np,cdpk->cdnk", design, gate)
    weights = np.exp(logits - logits.max(axis=3, keepdims=True))
    weights /= weights.sum(axis=3, keepdims=True)
    return (weights * np.einsum("np,cdpk->cdnk", design, beta)).sum(axis=3)


def run_ours(problem, length, seed):
    """Sample with bayes_moe, including its own search for the mode and its verdict."""
    import warnings

    import numpy as np

    import bayes_moe as bm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        engine = bm.NUTS(draws=length.draws, chains=length.chains, seed=seed)
        fit = bm.fit(bm.MixtureOfExperts(problem.experts), problem.X, problem.y, engine, progress=False)
    posterior = fit.idata["posterior"]

    def stacked(name):
        intercept = posterior[f"{name}_intercept"].values[:, :, None, :]
        slopes = np.moveaxis(posterior[f"{name}_slopes"].values, 2, 3)
        return np.concatenate([intercept, slopes], axis=2)

    return predictive_means(stacked("gate"), stacked("mu"), problem.X)


def run_idiom(problem, length, seed):
    """Sample the model PyMC users write, with pm.sample and nutpie."""
    import logging

    import numpy as np
    import pymc as pm
    import pytensor.tensor as pt

    logging.getLogger("pymc").setLevel(logging.ERROR)
    K = problem.experts
    with pm.Model():
        a = pm.Normal("a", 0, 2, shape=K - 1)
        b = pm.Normal("b", 0, 2, shape=(problem.X.shape[1], K - 1))
        logits = pt.concatenate([a + problem.X @ b, np.zeros((len(problem.y), 1))], axis=1)
        alpha = pm.Normal("alpha", 0, 2.5, shape=K)
        beta = pm.Normal("beta", 0, 2.5, shape=(problem.X.shape[1], K))
        sigma = pm.LogNormal("sigma", np.log(0.5), 0.75, shape=K)
        weights = pm.math.softmax(logits, axis=1)
        pm.NormalMixture("y", w=weights, mu=alpha + problem.X @ beta, sigma=sigma, observed=problem.y)
        trace = pm.sample(
            length.draws,
            tune=length.draws,
            chains=length.chains,
            cores=2,
            random_seed=seed,
            progressbar=False,
            nuts_sampler="nutpie",
        )
    p = trace["posterior"]
    zero = np.zeros((*length, problem.X.shape[1] + 1, 1))
    gate = np.concatenate([np.concatenate([p["a"].values[:, :, None], p["b"].values], axis=2), zero], axis=3)
    return predictive_means(gate, np.concatenate([p["alpha"].values[:, :, None], p["beta"].values], axis=2), problem.X)


def run_numpyro(problem, length, seed):
    """Sample a hand-written NumPyro model, chains in parallel on as many devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    numpyro.set_host_device_count(length.chains)
    numpyro.enable_x64()
    K, D = problem.experts, problem.X.shape[1]
    X, y = jnp.asarray(problem.X), jnp.asarray(problem.y)

    def model():
        a = numpyro.sample("a", dist.Normal(0, 2).expand([K - 1]))
        b = numpyro.sample("b", dist.Normal(0, 2).expand([D, K - 1]))
        alpha = numpyro.sample("alpha", dist.Normal(0, 2.5).expand([K]))
        beta = numpyro.sample("beta", dist.Normal(0, 2.5).expand([D, K]))
        log_sigma = numpyro.sample("log_sigma", dist.Normal(np.log(0.5), 0.75).expand([K]))
        logits = jnp.concatenate([a + X @ b, jnp.zeros((len(y), 1))], axis=1)
        z = (y[:, None] - alpha - X @ beta) * jnp.exp(-log_sigma)
        joint = jax.nn.log_softmax(logits, axis=1) - log_sigma - 0.5 * z * z
        numpyro.factor("likelihood", jax.scipy.special.logsumexp(joint, axis=1).sum())

    chains, draws = length
    sampler = MCMC(NUTS(model), num_warmup=draws, num_samples=draws, num_chains=chains, progress_bar=False)
    sampler.run(jax.random.PRNGKey(seed))
    p = {name: np.asarray(value) for name, value in sampler.get_samples(group_by_chain=True).items()}
    zero = np.zeros((*length, D + 1, 1))
    gate = np.concatenate([np.concatenate([p["a"][:, :, None], p["b"]], axis=2), zero], axis=3)
    return predictive_means(gate, np.concatenate([p["alpha"][:, :, None], p["beta"]], axis=2), problem.X)


SYSTEMS = {"bayes_moe": run_ours, "PyMC idiom": run_idiom, "NumPyro": run_numpyro}

_CHILD = """
import json, sys, time
begin = time.perf_counter()
from benchmarks.problems import moe
from benchmarks.nuts import SYSTEMS, Length, effective
size, length, system, seed = json.loads(sys.argv[1]), Length(*json.loads(sys.argv[2])), sys.argv[3], int(sys.argv[4])
means = SYSTEMS[system](moe(*size), length, seed)
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, **effective(means)}))
"""


def child(
    size: tuple[int, int, int], length: Length, system: str, seed: int, limit: float = 900.0
) -> dict[str, float] | None:
    """Run one system in a fresh process; None when it is missing or too slow."""
    variables = environment(OMP_NUM_THREADS="1", JAX_PLATFORMS="cpu", PYTHONPATH=str(Path.cwd()))
    command = [sys.executable, "-c", _CHILD, json.dumps(size), json.dumps(length), system, str(seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        say(f"{system}: more than {limit:.0f} s at {size}, stopped")
        return None
    if done.returncode:
        say(f"{system}: skipped at {size}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compared(size: tuple[int, int, int], length: Length, seeds: tuple[int, ...]) -> list[list[object]]:
    """Return a row for every system, of medians over seeds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for name in SYSTEMS:
        child(size, length, name, 0)
    for seed in seeds:
        for name in SYSTEMS:
            result = child(size, length, name, seed)
            if result is not None:
                found[name].append(result)
    rates = {
        name: statistics.median(run["ess"] / run["seconds"] for run in runs) for name, runs in found.items() if runs
    }
    rows: list[list[object]] = []
    for name, rate in rates.items():
        median = {key: statistics.median(run[key] for run in found[name]) for key in found[name][0]}
        label = " x ".join(map(str, size))
        ratio = rates["bayes_moe"] / rate
        rows.append([label, name, median["seconds"], median["ess"], median["r_hat"], rate, ratio])
    return rows


def main(seeds: tuple[int, ...] = (1, 2, 3)) -> None:
    """Print effective draws per second of wall time."""
    header = ["problem", "system", "wall s", "median ESS", "largest R-hat", "ESS per s", "ours / this"]
    kept = []
    for length in LENGTHS:
        rows = [row for size in ((500, 2, 3), (2000, 5, 4)) for row in compared(size, length, seeds)]
        show(f"NUTS, {length.chains} chains of {length.draws} draws, fresh process, warm caches", header, rows)
        kept += [dict(zip(header, row, strict=True)) | length._asdict() for row in rows]
    keep("nuts", kept)


if __name__ == "__main__":
    main()
