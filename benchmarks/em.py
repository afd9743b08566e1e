"""How long does one EM start take, beside flexmix and a plain NumPy EM, and how far is an iteration from the floor?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_limits

import bayes_moe as bm
from bayes_moe.binding.bind import bind
from bayes_moe.data import read_training
from bayes_moe.inference.climb import monotone_step

from .problems import SIZES, Problem, floor, moe
from .timing import in_turn, keep, say, show

_FLEXMIX = """
suppressMessages(library(flexmix)); args <- commandArgs(TRUE)
d <- read.csv(args[1]); z <- as.matrix(read.csv(args[2])); K <- as.integer(args[3])
f <- as.formula(paste("y ~", paste(setdiff(names(d), "y"), collapse = "+")))
g <- as.formula(paste("~", paste(setdiff(names(d), "y"), collapse = "+")))
t <- system.time(m <- flexmix(f, data = d, k = K, cluster = z, concomitant = FLXPmultinom(g),
  control = list(minprior = 0, iter.max = 1000, tolerance = 1e-8)))
cat(sprintf('{"seconds": %f, "log_likelihood": %f, "experts": %d}', t[["elapsed"]], logLik(m), m@k))
"""


def labels(problem: Problem, seed: int = 3) -> np.ndarray:
    """Return responsibilities (rows, K) that all systems start from: k-means on x and y, one Lloyd sweep."""
    rng = np.random.default_rng(seed)
    joint = np.column_stack([problem.X, 2.0 * problem.y / problem.y.std()])
    centres = joint[rng.choice(len(joint), problem.experts, replace=False)]
    for _ in range(3):
        label = ((joint[:, None, :] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([joint[label == k].mean(axis=0) for k in range(problem.experts)])
    out = np.full((len(joint), problem.experts), 0.05 / problem.experts)
    out[np.arange(len(joint)), label] += 0.95
    return out / out.sum(axis=1, keepdims=True)


def ours(problem: Problem, start: np.ndarray) -> tuple[float, float]:
    """Return seconds and plain log likelihood of one start run to its certified optimum, binding included."""
    began = time.perf_counter()
    model = bm.nearly_flat(bm.MixtureOfExperts(problem.experts))
    density = bind(model, read_training(problem.X, problem.y, experts=problem.experts, parameters=0)).density
    outcome = bm.EM(seed=1).run(density, start=density.fit_labels(start))
    return time.perf_counter() - began, density.log_likelihood(outcome.mode)


def numpy_em(problem: Problem, start: np.ndarray) -> tuple[float, float, int]:
    """Return seconds, log likelihood and iterations of a straightforward NumPy EM with a full-Newton gate."""
    began = time.perf_counter()
    X = np.column_stack([np.ones(len(problem.y)), problem.X])
    y, K, P = problem.y, problem.experts, X.shape[1]
    R, W, last = start, np.zeros((P, K)), -np.inf
    for iteration in range(1000):
        beta, sigma = np.empty((P, K)), np.empty(K)
        for k in range(K):
            XR = X * R[:, k : k + 1]
            beta[:, k] = np.linalg.solve(XR.T @ X + 1e-9 * np.eye(P), XR.T @ y)
            sigma[k] = np.sqrt(R[:, k] @ (y - X @ beta[:, k]) ** 2 / R[:, k].sum())
        for _ in range(2 if iteration else 8):
            G = _softmax(X @ W)
            gradient = X.T @ (R - G)
            hessian = np.empty((K - 1, P, K - 1, P))
            for k in range(K - 1):
                for j in range(K - 1):
                    weight = G[:, k] * ((k == j) - G[:, j])
                    hessian[k, :, j] = (X * weight[:, None]).T @ X
            flat = hessian.reshape((K - 1) * P, -1) + 1e-8 * np.eye((K - 1) * P)
            W[:, : K - 1] += np.linalg.solve(flat, gradient[:, : K - 1].T.ravel()).reshape(K - 1, P).T
        logits = X @ W
        top = logits.max(axis=1, keepdims=True)
        log_gate = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        joint = log_gate - 0.5 * np.log(2 * np.pi) - np.log(sigma) - 0.5 * ((y[:, None] - X @ beta) / sigma) ** 2
        top = joint.max(axis=1, keepdims=True)
        row = top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))
        R = np.exp(joint - row[:, None])
        value = row.sum()
        if value - last < 1e-8 * (1 + abs(value)):
            break
        last = value
    return time.perf_counter() - began, float(value), iteration + 1


def _softmax(logits: np.ndarray) -> np.ndarray:
    out = np.exp(logits - logits.max(axis=1, keepdims=True))
    return out / out.sum(axis=1, keepdims=True)


def flexmix(problem: Problem, start: np.ndarray, limit: float) -> tuple[float, float] | None:
    """Return flexmix's own elapsed seconds and log likelihood, or None when it is missing or too slow."""
    if shutil.which("Rscript") is None:
        say("flexmix: Rscript is not installed, skipped")
        return None
    with tempfile.TemporaryDirectory() as folder:
        table, cluster = Path(folder, "d.csv"), Path(folder, "z.csv")
        names = [f"x{j}" for j in range(problem.X.shape[1])]
        full = np.column_stack([problem.X, problem.y])
        np.savetxt(table, full, delimiter=",", header=",".join([*names, "y"]), comments="")
        head = ",".join(f"z{k}" for k in range(problem.experts))
        np.savetxt(cluster, start, delimiter=",", header=head, comments="")
        command = ["Rscript", "-e", _FLEXMIX, str(table), str(cluster), str(problem.experts)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            say(f"flexmix: more than {limit:.0f} s at {problem.name}, stopped")
            return None
    if done.returncode:
        say(f"flexmix: failed at {problem.name}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    found = json.loads(done.stdout[done.stdout.index("{") :])
    return found["seconds"], found["log_likelihood"]


def iteration(problem: Problem, start: np.ndarray) -> dict[str, float]:
    """Return the median seconds of one EM iteration and of the floor, one thread each."""
    data = read_training(problem.X, problem.y, experts=problem.experts, parameters=0)
    density = bind(bm.MixtureOfExperts(problem.experts), data).density
    state = density.e_step(density.fit_labels(start))

    def four() -> None:
        nonlocal state
        for _ in range(4):
            state = monotone_step(density, state)

    # ours would use all processors otherwise, as a start does
    with threadpool_limits(1), mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
        times = in_turn({"four": four, "floor": lambda: floor(problem)}, rounds=12)
    return {"iteration": times["four"] / 4, "floor": times["floor"]}


def main() -> None:
    """Print seconds of one start, log likelihoods, and the time of an iteration over the floor."""
    rows, steps = [], []
    ours(moe(300, 2, 2), labels(moe(300, 2, 2)))
    for size in SIZES:
        problem = moe(*size)
        start = labels(problem)
        runs = [(ours(problem, start), numpy_em(problem, start)) for _ in range(3)]
        seconds = float(np.median([run[0][0] for run in runs]))
        plain = float(np.median([run[1][0] for run in runs]))
        other = flexmix(problem, start, limit=1200.0)
        rows.append(
            [
                problem.name,
                seconds,
                plain,
                other[0] if other else "-",
                plain / seconds,
                other[0] / seconds if other else "-",
                f"{runs[0][0][1]:.2f}",
                f"{runs[0][1][1]:.2f}",
                f"{other[1]:.2f}" if other else "-",
            ]
        )
        step = iteration(problem, start)
        steps.append([problem.name, 1e6 * step["iteration"], 1e6 * step["floor"], step["iteration"] / step["floor"]])
    header = ["problem", "bayes_moe s", "NumPy s", "flexmix s", "NumPy / ours", "flexmix / ours"]
    header += ["log lik ours", "NumPy", "flexmix"]
    show("One EM start from the same labels to the end", header, rows)
    header_steps = ["problem", "iteration us", "floor us", "iteration / floor"]
    show("One EM iteration, one thread", header_steps, steps)
    keep(
        "em",
        {
            "starts": [dict(zip(header, row, strict=True)) for row in rows],
            "iterations": [dict(zip(header_steps, row, strict=True)) for row in steps],
        },
    )


if __name__ == "__main__":
    main()
