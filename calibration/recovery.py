"""Fixed truths fitted again and again: whether parameters come back, and intervals hold them as often as they say.

Bayesian intervals need not cover a fixed truth as often as they cover parameters from the prior; where data say much
more than the prior, they do. Two lines on x uniform between -2 and 2, under a gate on x:

- *separated*: experts far from each other, each with half of the rows;
- *overlapping*: lines closer than their noise, so that parameters are hard to tell and only predictions are promised;
- *unbalanced*, *rare*: as separated, with a tenth, and with three in a hundred of the rows in the second expert.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

import bayes_moe as bm
from bayes_moe.datasets.truth import NormalMixture

from .ranks import flagged_by_chains

ROWS = (100, 400, 2000)
NEW = 200
PROBS = (0.5, 0.9)
ENGINES: dict[str, Callable[[int], Any]] = {
    "nuts": lambda seed: bm.NUTS(draws=500, seed=seed),
    "laplace": lambda seed: bm.Laplace(draws=1000, seed=seed),
}


class Design(NamedTuple):
    """One truth: intercepts and slopes of the lines, their sd, the gate's slope, and the second expert's share."""

    intercept: tuple[float, float]
    slope: tuple[float, float]
    sigma: tuple[float, float]
    gate: float
    share: float

    @property
    def truth(self) -> NormalMixture:
        """The mixture, whose gate has the slope and, over x, the share."""
        x = np.linspace(-2, 2, 2001)
        level = brentq(lambda a: np.mean(1 / (1 + np.exp(-a - self.gate * x))) - self.share, -20, 20)
        return NormalMixture(
            gate_intercept=0.5 * np.array([-level, level]),
            gate_slopes=0.5 * np.array([[-self.gate], [self.gate]]),
            mu_intercept=np.array(self.intercept),
            mu_slopes=np.array(self.slope)[:, None],
            sigma_intercept=np.log(self.sigma),
            sigma_slopes=np.zeros((2, 1)),
        )


DESIGNS = {
    "separated": Design((2.0, -2.0), (1.0, -0.5), (0.5, 0.8), 1.0, 0.5),
    "overlapping": Design((0.5, -0.5), (0.5, -0.5), (0.8, 0.8), 0.5, 0.5),
    "unbalanced": Design((2.0, -2.0), (1.0, -0.5), (0.5, 0.8), 1.0, 0.1),
    "rare": Design((2.0, -2.0), (1.0, -0.5), (0.5, 0.8), 1.0, 0.03),
}


class Rows(NamedTuple):
    """Covariates (n, 1) and targets (n,)."""

    X: np.ndarray
    y: np.ndarray


def rows_of(truth: NormalMixture, count: int, rng: np.random.Generator) -> Rows:
    """Draw rows of a truth."""
    x = rng.uniform(-2, 2, (count, 1))
    labels = (rng.random(count) < truth.gate(x)[:, 1]).astype(int)
    every = np.arange(count)
    return Rows(
        x, truth.expert_means(x)[every, labels] + truth.expert_sigmas(x)[every, labels] * rng.normal(size=count)
    )


def recovered(name: str, engine: str, index: int) -> dict[str, Any]:
    """Return error, sd and quantile of every parameter, and the shares of new rows in intervals, of one data set.

    Parameters
    ----------
    name
        A design and the number of rows, as in ``separated 400``.
    """
    design, count = name.rsplit(" ", 1)
    truth = DESIGNS[design].truth
    rng = np.random.default_rng([list(DESIGNS).index(design), int(count), index])
    train, new = rows_of(truth, int(count), rng), rows_of(truth, NEW, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)
        fit = bm.fit(bm.MixtureOfExperts(2), *train, ENGINES[engine](index), progress=False)
    central = np.abs(2.0 * fit.cdf(new.X, new.y).values - 1.0)
    found: dict[str, dict[str, float]] = {"error": {}, "sd": {}, "below": {}}
    draws = parameters(fit)
    for parameter, value in true_parameters(truth).items():
        values = draws[parameter]
        found["error"][parameter] = float(values.mean() - value)
        found["sd"][parameter] = float(values.std())
        found["below"][parameter] = float(np.mean(values < value))
    flags = [notice.code for notice in fit.status.notices]
    return {"index": index, "flags": flags, "held": [float(np.mean(central <= p)) for p in PROBS]} | found


def true_parameters(truth: NormalMixture) -> dict[str, float]:
    """Return the parameters of two experts and a gate by name."""
    out = {}
    for k, who in enumerate(("first", "second")):
        out[f"intercept, {who}"] = float(truth.mu_intercept[k])
        out[f"slope, {who}"] = float(truth.mu_slopes[k, 0])
        out[f"sigma, {who}"] = float(np.exp(truth.sigma_intercept[k]))
    out["gate intercept"] = float(truth.gate_intercept[1] - truth.gate_intercept[0])
    out["gate slope"] = float(truth.gate_slopes[1, 0] - truth.gate_slopes[0, 0])
    return out


def parameters(fit: bm.Fit) -> dict[str, np.ndarray]:
    """Return the same of all draws; the first expert is the one whose line is higher at 0, in the posterior mean."""
    values = fit.idata["posterior"].to_dataset().stack(s=("chain", "draw"))
    line = values["mu_intercept"].transpose("expert", "s").values
    order = np.argsort(-line.mean(axis=1))
    out = {}
    for who, k in zip(("first", "second"), order, strict=True):
        out[f"intercept, {who}"] = line[k]
        out[f"slope, {who}"] = values["mu_slopes"].transpose("expert", "mu_feature", "s").values[k, 0]
        out[f"sigma, {who}"] = values["sigma"].transpose("expert", "s").values[k]
    level = values["gate_intercept"].transpose("expert", "s").values[order]
    slope = values["gate_slopes"].transpose("expert", "gate_feature", "s").values[order, 0]
    return out | {"gate intercept": level[1] - level[0], "gate slope": slope[1] - slope[0]}


class Recovery(NamedTuple):
    """What the fits of one design come to, by parameter.

    Parameters
    ----------
    fits
        Their number.
    flagged
        Share whose chains have not done their work.
    bias
        Mean error of the posterior mean, in its own standard deviations over data sets.
    rmse
        Root mean square error of the posterior mean, in units of y or of logits.
    held
        Shares of intervals of 50 and 90 % that hold the truth.
    predicted
        Shares of new rows in predictive intervals of 50 and 90 %, and the standard errors of these shares.
    """

    fits: int
    flagged: float
    bias: dict[str, float]
    rmse: dict[str, float]
    held: dict[str, tuple[float, float]]
    predicted: tuple[tuple[float, float], tuple[float, float]]


def judge(found: Sequence[Mapping[str, Any]]) -> Recovery:
    """Return what the fits of one design come to."""
    names = list(found[0]["error"])
    error = {name: np.array([one["error"][name] for one in found]) for name in names}
    below = {name: np.array([one["below"][name] for one in found]) for name in names}
    shares = np.array([one["held"] for one in found])
    spread = shares.std(axis=0, ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else np.full(2, np.nan)
    return Recovery(
        fits=len(found),
        flagged=float(np.mean([flagged_by_chains(one["flags"]) for one in found])),
        bias={name: float(values.mean() / max(values.std(), 1e-300)) for name, values in error.items()},
        rmse={name: float(np.sqrt(np.mean(values**2))) for name, values in error.items()},
        held={name: _held(values) for name, values in below.items()},
        predicted=((shares[:, 0].mean(), shares[:, 1].mean()), (spread[0], spread[1])),
    )


def _held(below: np.ndarray) -> tuple[float, float]:
    half, nine = (float(np.mean(np.abs(2 * below - 1) <= prob)) for prob in PROBS)
    return half, nine


COLUMNS = (
    "engine",
    "truth",
    "rows",
    "fits",
    "flagged",
    "largest bias, in sd",
    "50 % intervals of parameters hold",
    "90 %",
    "the worst",
    "50 % predictive intervals hold",
    "90 %",
)


def line(engine: str, name: str, found: Recovery) -> str:
    """Return a line of the table."""
    design, count = name.rsplit(" ", 1)
    bias = max(found.bias, key=lambda name: abs(found.bias[name]))
    worst = min(found.held, key=lambda name: found.held[name][1])
    half, nine = np.mean(list(found.held.values()), axis=0)
    predicted, error = found.predicted
    cells = (
        engine,
        design,
        count,
        f"{found.fits}",
        f"{found.flagged:.1%}",
        f"{found.bias[bias]:+.2f} ({bias})",
        f"{half:.0%}",
        f"{nine:.0%}",
        f"{found.held[worst][1]:.0%} ({worst})",
        f"{predicted[0]:.1%} ± {error[0]:.1%}",
        f"{predicted[1]:.1%} ± {error[1]:.1%}",
    )
    return f"| {' | '.join(cells)} |"
