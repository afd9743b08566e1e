"""From how many seeds does EM's default search reach the best known optimum, and how long does it take?"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

import bayes_moe as bm
from tests.reference import ROWS, SLACK, sound

from .timing import keep, say, show

SEEDS = 5


def searched(name: str, seed: int, folder: Path) -> tuple[float, bm.Fit]:
    """Return seconds of processor time and the fit of one search."""
    row = ROWS[name]
    x, y = row.read(folder)
    began = time.process_time()
    fit = bm.fit(bm.nearly_flat(row.model), x, y, bm.EM(seed=seed), progress=False)
    return time.process_time() - began, fit


def main() -> None:
    """Print, for every published result, seeds that reached it and median seconds of processor time."""
    place = os.environ.get("BAYES_MOE_DATA")
    if place is None:
        say("optimum: BAYES_MOE_DATA is unset, so that there is no published data; skipped")
        return
    table = []
    for name, row in ROWS.items():
        searched(name, 0, Path(place))  # whatever is compiled, is compiled here
        runs = [searched(name, seed, Path(place)) for seed in range(SEEDS)]
        reached = sum(fit.log_likelihood >= row.best - SLACK and sound(fit) for _, fit in runs)
        found = [fit.log_likelihood for _, fit in runs]
        optima = float(np.median([len(fit.outcome.optima) for _, fit in runs]))
        seconds = float(np.median([seconds for seconds, _ in runs]))
        table.append([name, f"{row.best:.4f}", f"{np.median(found):.4f}", f"{reached} of {SEEDS}", optima, seconds])
    header = ["data, model", "best known", "median found", "reached", "optima", "median CPU s"]
    show("EM's default search on published data: plain log likelihood", header, table)
    keep("optimum", [dict(zip(header, row, strict=True)) for row in table])


if __name__ == "__main__":
    main()
