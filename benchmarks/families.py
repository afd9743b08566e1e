"""What does compiled code save on families and gates beside Normal experts under softmax?

The same density twice: as the C function that samplers call, and through NumPy and the graphs of the families, as
EM uses it; that is also what a family without compiled code has. Draws are the same.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import fields

import numpy as np

import bayes_moe as bm
from bayes_moe.binding.bind import bind, target_of
from bayes_moe.binding.general import GeneralDensity
from bayes_moe.data import read_training

from .timing import in_turn, keep, say, show

ROWS, DRAWS, TUNE, CHAINS = 500, 100, 100, 2


class Plain(GeneralDensity):
    """The same density without compiled code of its own."""

    def machine(self) -> None:
        """Return nothing."""


def problems() -> dict[str, tuple[bm.MixtureOfExperts, np.ndarray, np.ndarray]]:
    """Return models with data: two lines, or curves, that cross, on the family's scale."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, 1))
    line = np.where(rng.random(ROWS) < 0.5, 1.0 + 0.8 * x[:, 0], 2.0 - 0.5 * x[:, 0])
    noise = rng.standard_normal(ROWS)
    share = 1.0 / (1.0 + np.exp(1.0 - line))
    targets = {
        bm.Poisson(): rng.poisson(np.exp(line)),
        bm.NegativeBinomial(): rng.negative_binomial(4.0, 4.0 / (4.0 + np.exp(line))),
        bm.Gamma(): np.exp(line) * rng.standard_gamma(8.0, ROWS) / 8.0,
        bm.Beta(): np.clip(rng.beta(20.0 * share, 20.0 * (1.0 - share)), 1e-6, 1.0 - 1e-6),
        bm.StudentT(): line + 0.3 * rng.standard_t(5.0, ROWS),
        bm.SkewNormal(): line + 0.3 * np.abs(noise) + 0.1 * rng.standard_normal(ROWS),
        bm.Categorical(): np.digitize(line + noise, [1.0, 2.0]),
        bm.Ordinal(): np.digitize(line + noise, [0.5, 1.0, 2.0]),
        bm.MvNormal(): np.column_stack([line + 0.3 * noise, x[:, 0] - line + 0.3 * rng.standard_normal(ROWS)]),
    }
    out = {type(f).__name__: (bm.MixtureOfExperts([bm.Expert(f)] * 2), x, y) for f, y in targets.items()}
    y = line + 0.3 * noise
    out["tree of 2 x 2"] = (bm.MixtureOfExperts(4, bm.TreeGate((2, 2))), x, y)
    out["Gaussian gate"] = (bm.MixtureOfExperts(2, bm.GaussianGate()), x, y)
    out["HSGP of 10"] = (bm.MixtureOfExperts([bm.Expert(mu=bm.HSGP(10))] * 2), x, np.sin(3.0 * line) + 0.2 * noise)
    return out


def measured(model: bm.MixtureOfExperts, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return microseconds of a gradient and seconds of sampling, compiled and through NumPy, with their ratios."""
    data = read_training(x, y, experts=len(model.experts), parameters=0, target=target_of(model))
    fast = bind(model, data).density
    slow = Plain(**{each.name: getattr(fast, each.name) for each in fields(fast)})
    mode = bm.EM(seed=1).run(fast).mode

    def sample(density: GeneralDensity, draws: int, tune: int) -> float:
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bm.FitWarning)
            bm.NUTS(draws=draws, tune=tune, chains=CHAINS, seed=1).run(density, start=mode)
        return time.perf_counter() - begin

    sample(fast, 10, 10)  # what is compiled first is not counted
    functions = {"compiled": fast.compiled(), "NumPy": slow.compiled()}
    gradient = in_turn({key: lambda f=f: f(mode) for key, f in functions.items()}, rounds=25, inner=20)
    seconds = [sample(density, DRAWS, TUNE) for density in (fast, slow, fast)]
    quick = 0.5 * (seconds[0] + seconds[2])
    micro = [1e6 * gradient["compiled"], 1e6 * gradient["NumPy"]]
    return [*micro, micro[1] / micro[0], quick, seconds[1], seconds[1] / quick]


def main() -> None:
    """Print what compiled code saves, model by model."""
    rows: list[list[object]] = []
    for name, problem in problems().items():
        rows.append([name, *measured(*problem)])
        say(f"{name}: {rows[-1][-1]:.1f}")
    header = ["experts", "gradient us", "NumPy us", "ratio", "NUTS s", "NumPy s", "ratio of NUTS"]
    show(f"{ROWS} rows, one covariate; NUTS: {CHAINS} chains of {TUNE} + {DRAWS} from the mode", header, rows)
    keep("families", [dict(zip(header, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
