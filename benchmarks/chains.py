"""What do two chains on two cores cost, beside one?"""

from __future__ import annotations

import os
import time
import warnings

import bayes_moe as bm
from bayes_moe.binding.bind import bind
from bayes_moe.data import read_training

from .problems import moe
from .timing import in_turn, keep, say, show


def main() -> None:
    """Print seconds of one and two chains, and their ratio."""
    if (os.process_cpu_count() or 1) < 2:
        say("chains: one core only, nothing to compare")
        return
    rows = []
    for size in ((500, 2, 3), (2000, 5, 4)):
        problem = moe(*size)
        data = read_training(problem.X, problem.y, experts=problem.experts, parameters=0)
        density = bind(bm.MixtureOfExperts(problem.experts), data).density
        mode = bm.EM(seed=1).run(density).mode

        def run(chains: int, density=density, mode=mode) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", bm.FitWarning)
                bm.NUTS(draws=1000, chains=chains, seed=1).run(density, start=mode)

        begin = time.perf_counter()
        run(2)
        say(f"{problem.name}: first run {time.perf_counter() - begin:.1f} s")
        times = in_turn({"one": lambda run=run: run(1), "two": lambda run=run: run(2)}, rounds=5)
        rows.append([problem.name, times["one"], times["two"], times["two"] / times["one"]])
    header = ["problem", "one chain s", "two chains s", "two / one"]
    show("NUTS, 1000 draws a chain, two cores", header, rows)
    keep("chains", [dict(zip(header, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
