"""Predictive densities on the standard regression splits: log score, RMSE, CRPS, coverage and time of a recipe.

``BAYES_MOE_DATA=/path python -m benchmarks.uci auto yacht energy --splits 0 1 2`` prints a row per data set: means over
splits with standard errors, beside published numbers. Every split is written down as it ends, a line of JSON in
``out/benchmarks/uci.jsonl``, and a split that stands there under the same recipe, protocol and source is not run again.

Protocols: ``splits`` are the standard ones. ``levels`` holds out whole levels of the column whose values repeat most, a
tenth of them, and ``outer`` the outer sixths of the column that is most correlated with y by ranks: there no row is
like those of training, and intervals that hold what they should matter more than the score. The data are not part of
the package; their folder has ``uci/<name>/data.txt`` and the indices of columns, training and test rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import bayes_moe as bm

_MANY = 3000  # rows from which recipes by evidence have 16 experts and a curved gate

Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
SETS = ("yacht", "energy", "concrete", "power-plant")
PUBLISHED = pd.DataFrame(
    {
        "OLS": [-3.63, -2.54, -3.76, -2.95],
        "MC dropout": [-1.25, -1.21, -2.94, -2.81],
        "deep ensembles": [-1.18, -1.38, -3.06, -2.79],
        "NGBoost": [-0.20, -0.60, -3.04, -2.79],
        "best": [-0.16, -0.53, -2.83, -2.60],
    },
    index=list(SETS),
)
"""Mean test log densities that others have published for these splits."""


def read(name: str, split: int) -> Table:
    """Return X and y of training and test rows of one split."""
    folder = Path(os.environ["BAYES_MOE_DATA"]) / "uci" / name
    table = np.loadtxt(folder / "data.txt")
    columns = np.loadtxt(folder / "index_features.txt").astype(int)
    target = int(np.loadtxt(folder / "index_target.txt"))
    train, test = (np.loadtxt(folder / f"index_{part}_{split}.txt").astype(int) for part in ("train", "test"))
    return table[train][:, columns], table[train, target], table[test][:, columns], table[test, target]


def whole(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return X and y of all rows."""
    folder = Path(os.environ["BAYES_MOE_DATA"]) / "uci" / name
    table = np.loadtxt(folder / "data.txt")
    columns = np.loadtxt(folder / "index_features.txt").astype(int)
    return table[:, columns], table[:, int(np.loadtxt(folder / "index_target.txt"))]


def by_levels(name: str, split: int) -> Table:
    """Return training and test rows where a tenth of the levels of a column, at random, are held out whole."""
    x, y = whole(name)
    counts = [len(np.unique(column)) for column in x.T]
    repeated = min((j for j in range(x.shape[1]) if counts[j] > 20), key=counts.__getitem__, default=0)
    levels = np.unique(x[:, repeated])
    held = np.random.default_rng([7, split]).permutation(levels)[: max(1, len(levels) // 10)]
    out = np.isin(x[:, repeated], held)
    return x[~out], y[~out], x[out], y[out]


def by_ends(name: str, split: int) -> Table:
    """Return training and test rows where the outer sixths of a column are held out: of the ``split``-th in order."""
    x, y = whole(name)
    order = np.argsort([-abs(spearmanr(column, y).statistic) if np.ptp(column) else 0.0 for column in x.T])
    column = x[:, order[split % x.shape[1]]]
    low, high = np.quantile(column, [1 / 6, 5 / 6])
    out = (column < low) | (column > high)
    if not out.any():  # few levels: the outermost
        out = (column == column.min()) | (column == column.max())
    return x[~out], y[~out], x[out], y[out]


PROTOCOLS: dict[str, Callable[[str, int], Table]] = {"splits": read, "levels": by_levels, "outer": by_ends}


def curved(x: np.ndarray, df: int = 5) -> bm.Sum:
    """Return lines, curves and products of all columns, with fixed priors that keep most of them small."""
    every = tuple(range(x.shape[1]))
    levels = [len(np.unique(column)) for column in x.T]
    sizes: dict[int, list[int]] = {}
    for j, count in enumerate(levels):
        if count > 3:
            sizes.setdefault(min(df, count - 1), []).append(j)
    small = bm.priors.Normal(0.0, 0.15, standardised=True)
    splines = [bm.Spline(size, columns=tuple(some), slopes=small) for size, some in sizes.items()]
    line = bm.priors.Normal(0.0, 0.5, standardised=True)
    return bm.Sum((bm.Linear(every, slopes=line), *splines, bm.Products(every, slopes=small)))


def rich(x: np.ndarray, y: np.ndarray, seed: int, power: bm.Power | None = None, experts: int = 3) -> bm.Fit:
    """Return a mixture of curved experts of the square root of y, fitted by EM."""
    every = tuple(range(x.shape[1]))
    expert = bm.Expert(mu=curved(x), sigma=bm.Constant())
    target = bm.Power(0.5) if power is None else power
    model = bm.MixtureOfExperts([expert] * experts, bm.SoftmaxGate(bm.Linear(every)), target=target)
    return bm.fit(model, x, y, bm.EM(starts=6, seed=seed), progress=False)


def every_group(x: np.ndarray, df: int = 8) -> bm.Sum:
    """Return lines, curves and products of all columns, a learned precision for each."""
    every = tuple(range(x.shape[1]))
    sizes: dict[int, list[int]] = {}
    for j, column in enumerate(x.T):
        count = len(np.unique(column))
        if count > 4:
            sizes.setdefault(min(df, count - 1), []).append(j)
    splines = [bm.Spline(size, columns=tuple(some)) for size, some in sizes.items()]
    return bm.Sum((bm.Linear(every), *splines, bm.Products(every)))


def rich_by_evidence(x: np.ndarray, y: np.ndarray, seed: int, starts: int | None = None) -> bm.Fit:
    """Return a mixture of curved experts of the square root of y, precisions by evidence, log sigma linear."""
    every, many = tuple(range(x.shape[1])), len(y) > _MANY
    expert = bm.Expert(mu=every_group(x), sigma=bm.Linear(every))
    gate = bm.SoftmaxGate(every_group(x) if many else bm.Linear(every))
    model = bm.MixtureOfExperts([expert] * (16 if many else 4), gate, target=bm.Power(0.5))
    return bm.fit(model, x, y, bm.VariationalEM(starts=starts, seed=seed), progress=False)


def average_by_evidence(x: np.ndarray, y: np.ndarray) -> bm.FitAverage:
    """Return the average of ten of them from one start each; of three for many rows."""
    seeds = range(3 if len(y) > _MANY else 10)
    return bm.average({f"seed {seed}": rich_by_evidence(x, y, seed, starts=1) for seed in seeds})


def linear(x: np.ndarray, y: np.ndarray, seed: int, power: bm.Power | None = None) -> bm.Fit:
    """Return the default mixture of four linear experts, perhaps of a power of y."""
    return bm.fit(bm.MixtureOfExperts(4, target=power), x, y, bm.EM(starts=6, seed=seed), progress=False)


Recipe = Callable[[np.ndarray, np.ndarray], "bm.Fit | bm.FitAverage"]
RECIPES: dict[str, Recipe] = {
    "auto": lambda x, y: bm.auto_fit(x, y, seed=0, progress=False),
    "auto, NUTS": lambda x, y: bm.auto_fit(x, y, bm.NUTS(), seed=0, progress=False),
    "linear": lambda x, y: linear(x, y, 0),
    "linear, square root": lambda x, y: linear(x, y, 0, bm.Power(0.5)),
    "linear, learned power": lambda x, y: linear(x, y, 0, bm.Power()),
    "rich": lambda x, y: rich(x, y, 0),
    "rich, learned power": lambda x, y: rich(x, y, 0, bm.Power()),
    "three rich": lambda x, y: bm.average({f"seed {seed}": rich(x, y, seed) for seed in range(3)}),
    "rich by evidence": lambda x, y: rich_by_evidence(x, y, 0),
    "three rich by evidence": lambda x, y: bm.average({f"seed {s}": rich_by_evidence(x, y, s) for s in range(3)}),
    "average by evidence": average_by_evidence,
}


def run(recipe: Recipe, table: Table) -> dict[str, float]:
    """Return the scores of one recipe on one split."""
    x, y, new, seen = table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        start = time.perf_counter()
        fit = recipe(x, y)
        seconds = time.perf_counter() - start
    return {
        "log score": float(bm.scores.log_score(fit, new, seen).mean()),
        "RMSE": float(np.sqrt(np.mean((fit.predict(new).values - seen) ** 2))),
        "CRPS": float(bm.scores.crps(fit, new, seen).mean()),
        "in 50 %": float(bm.scores.coverage(fit, new, seen, 0.5).mean()),
        "in 95 %": float(bm.scores.coverage(fit, new, seen, 0.95).mean()),
        "seconds": seconds,
    }


def source() -> str:
    """Return a digest of the package's source, without comments on how it was made."""
    found = hashlib.sha256()
    for path in sorted(Path(bm.__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def resumed(path: Path, key: dict[str, object]) -> dict[str, float] | None:
    """Return the scores that a file has under a key."""
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line["scores"] for line in map(json.loads, lines) if line["key"] == key), None)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Return means over splits with their standard errors, as text."""
    mean, error = found.mean(), found.std(ddof=1) / np.sqrt(len(found))
    shown = {name: f"{mean[name]:.3f} ± {error[name]:.3f}" if len(found) > 1 else f"{mean[name]:.3f}" for name in found}
    return pd.DataFrame(shown, index=[0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--splits", nargs="*", type=int, default=list(range(10)))
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="splits")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/uci.jsonl"))
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    state = source()
    for name in given.sets:
        rows = []
        for split in given.splits:
            key = {"recipe": given.recipe, "protocol": given.protocol, "set": name, "split": split, "source": state}
            scores = resumed(given.out, key)
            if scores is None:
                scores = run(RECIPES[given.recipe], PROTOCOLS[given.protocol](name, split))
                with given.out.open("a") as file:
                    file.write(json.dumps({"key": key, "scores": scores}) + "\n")
            rows.append(scores)
        row = summary(pd.DataFrame(rows)).assign(set=name, splits=len(rows)).set_index("set")
        print((row.join(PUBLISHED) if given.protocol == "splits" else row).to_string(), flush=True)


if __name__ == "__main__":
    main()
