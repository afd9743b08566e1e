"""How long does training a network take, beside the same network trained by a PyTorch loop?

10 000 rows x 10 columns, two hidden layers of 64, 5 components, minibatches of 128: a few epochs of each in turn. Name
the interpreter that has PyTorch in ``BAYES_MOE_TORCH``; without one that of the benchmarks is tried.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

import bayes_moe as bm
from bayes_moe.binding.bind import bind
from bayes_moe.data import read_training
from bayes_moe.inference.training import Training

from .timing import keep, say, show

ROWS, COLUMNS, HIDDEN, COMPONENTS, BATCH = 10_000, 10, 64, 5, 128
EPOCHS, ROUNDS = 5, 5
THREADS = (1, 2)
_LOOP = Path(__file__).parent / "mdn_torch.py"


def ours() -> float:
    """Return the seconds of one epoch of ours, of some without held-out rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS))
    y = np.sin(X[:, 0]) * X[:, 1] + 0.3 * rng.standard_normal(ROWS)
    model = bm.mixture_density_network(COMPONENTS, hidden=(HIDDEN, HIDDEN))
    density = bind(model, read_training(X, y, experts=COMPONENTS, parameters=0)).network_density
    engine = Training(epochs=EPOCHS, batch=BATCH, held_out=0, seed=1)
    return float(engine.run(density).facts["seconds"]) / EPOCHS


def theirs(interpreter: str, threads: int, bits: int) -> float | None:
    """Return the seconds of one epoch of the loop, or None where there is no PyTorch."""
    sizes = map(str, (ROWS, COLUMNS, HIDDEN, COMPONENTS, BATCH, EPOCHS, threads, bits))
    done = subprocess.run([interpreter, str(_LOOP), *sizes], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def main() -> None:
    """Print seconds an epoch and ratios."""
    interpreter = os.environ.get("BAYES_MOE_TORCH", sys.executable)
    ours()  # compiled once
    rows = []
    for threads in THREADS:
        times: dict[str, list[float]] = {"ours": [], "float32": [], "float64": []}
        for _ in range(ROUNDS):
            times["ours"].append(ours())
            for bits in (32, 64):
                found = theirs(interpreter, threads, bits)
                if found is not None:
                    times[f"float{bits}"].append(found)
        if not times["float32"]:
            say(f"mdn: no PyTorch in {interpreter}, ours alone")
        medians = [statistics.median(values) if values else float("nan") for values in times.values()]
        rows.append([threads, *medians, medians[1] / medians[0], medians[2] / medians[0]])
    header = [
        "PyTorch threads",
        "bayes_moe s",
        "PyTorch float32 s",
        "PyTorch float64 s",
        "float32 / ours",
        "float64 / ours",
    ]
    show(f"One epoch of an MDN, {ROWS} x {COLUMNS}, two layers of {HIDDEN}, {COMPONENTS} components", header, rows)
    keep("mdn", [dict(zip(header, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
