"""How long does a user wait, in a fresh process, with empty and with full compile caches?"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .timing import environment, keep, show

_CHILD = """
import json, sys, time
begin = time.perf_counter()
import pymc
pymc_seconds = time.perf_counter() - begin
begin = time.perf_counter()
import bayes_moe as bm
import_seconds = time.perf_counter() - begin
import numpy as np
rows, features, experts, engine = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng = np.random.default_rng(rows)
X = rng.standard_normal((rows, features))
y = np.where(X[:, 0] > 0, 1 + X[:, 0], -X[:, 0]) + 0.3 * rng.standard_normal(rows)
engines = {"em": bm.EM(starts=4, seed=1), "nuts": bm.NUTS(draws=100, tune=100, chains=2, seed=1)}
import warnings
warnings.simplefilter("ignore")
begin = time.perf_counter()
bm.fit(bm.MixtureOfExperts(experts), X, y, engines[engine], progress=False)
first = time.perf_counter() - begin
begin = time.perf_counter()
bm.fit(bm.MixtureOfExperts(experts + 1), X[:-7], y[:-7], engines[engine], progress=False)
second = time.perf_counter() - begin
print(json.dumps({"pymc": pymc_seconds, "import": import_seconds, "first": first, "second": second}))
"""


def child(caches: Path, size: tuple[int, int, int], engine: str) -> dict[str, float]:
    """Return the seconds of one fresh process."""
    variables = environment(
        NUMBA_CACHE_DIR=str(caches / "numba"), PYTENSOR_FLAGS=f"base_compiledir={caches / 'pytensor'}"
    )
    command = [sys.executable, "-c", _CHILD, *map(str, size), engine]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print seconds of import, first and second fit."""
    rows = []
    for engine in ("em", "nuts"):
        empty, full = [], []
        for turn in range(3):
            with tempfile.TemporaryDirectory() as folder:
                empty.append(child(Path(folder), (150 + turn, 2, 2), engine))
                full.append(child(Path(folder), (231 + turn, 3, 4), engine))
        for name, runs in (("empty", empty), ("full, other shape and K", full)):
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            beyond = median["import"] + median["first"]
            rows.append([engine, name, median["pymc"], median["import"], median["first"], median["second"], beyond])
    header = ["engine", "caches", "import pymc s", "import bayes_moe s", "first fit s", "second fit s", "beyond pymc s"]
    show("A fresh process; the second fit has another K and another number of rows", header, rows)
    keep("startup", [dict(zip(header, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
