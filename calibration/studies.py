"""The models that are calibrated. Priors are stated, and the scaling is fixed, so that nothing depends on the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import bayes_moe as bm

NORMAL = bm.priors.Normal
CONSTANT = bm.SoftmaxGate(bm.Constant())


@dataclass(frozen=True, eq=False)
class Study:
    """One model on one set of covariates.

    Parameters
    ----------
    model
        With priors that do not read the data.
    X
        (n, p), drawn once.
    lines
        Name of the experts' lines in the posterior, by whose intercepts experts are put in order; None where
        parameters are not compared: the order of leaves or sticks means something, or rows do not identify them.
    groups
        Which rows share a label.
    """

    model: bm.MixtureOfExperts
    X: np.ndarray
    lines: str | None = "mu"
    groups: np.ndarray | None = None

    @property
    def scaling(self) -> bm.Scaling:
        """No scaling at all."""
        width = self.X.shape[1]
        return bm.Scaling((0.0,) * width, (1.0,) * width, 0.0, 1.0)

    @property
    def at(self) -> np.ndarray:
        """Two rows at which predictions are compared."""
        return np.stack([np.full(self.X.shape[1], -0.5), np.full(self.X.shape[1], 1.0)])


def covariates(n: int, p: int = 1) -> np.ndarray:
    """Return standard normal columns, the same for every study of that size."""
    return np.random.default_rng(n + p).normal(size=(n, p))


def line(centre: float, intercept: float, slopes: float) -> bm.Linear:
    """Return a line whose intercept has a prior around ``centre``."""
    return bm.Linear(intercept=NORMAL(centre, intercept), slopes=NORMAL(0, slopes))


def experts(count: int, family: bm.families.Family, mu: bm.Linear, name: str = "mu") -> list[bm.Expert]:
    """Return equal experts with ``mu`` as predictor of the parameter ``name``."""
    return [bm.Expert(family, **{name: mu})] * count


STUDIES = {
    "one normal expert": Study(bm.MixtureOfExperts(1), covariates(40)),
    "two normal experts": Study(bm.MixtureOfExperts(2), covariates(60)),
    "three normal experts": Study(bm.MixtureOfExperts(3), covariates(150, 2)),
    "sigma linear in x": Study(bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear())] * 2, gate=CONSTANT), covariates(80)),
    "Student-t": Study(bm.MixtureOfExperts(experts(2, bm.StudentT(), bm.Linear())), covariates(80)),
    "Poisson": Study(bm.MixtureOfExperts(experts(2, bm.Poisson(), line(1.0, 1.0, 0.5))), covariates(80), "log_mu"),
    "negative binomial": Study(
        bm.MixtureOfExperts(experts(2, bm.NegativeBinomial(), line(2.0, 1.0, 0.5)), gate=CONSTANT),
        covariates(80),
        "log_mu",
    ),
    "gamma": Study(bm.MixtureOfExperts(experts(2, bm.Gamma(), line(0.0, 1.0, 0.5))), covariates(80), "log_mu"),
    "Bernoulli": Study(
        bm.MixtureOfExperts(experts(2, bm.Bernoulli(), line(0.0, 1.5, 1.0), "p")), covariates(150), None
    ),
    "tree of four": Study(bm.hierarchical_moe((2, 2)), covariates(120), None),
    "four sticks": Study(bm.MixtureOfExperts(4, gate=bm.StickBreakingGate()), covariates(100), None),
    "grouped Poisson": Study(
        bm.MixtureOfExperts(experts(2, bm.Poisson(), line(1.0, 1.0, 0.5)), gate=CONSTANT),
        covariates(80),
        "log_mu",
        np.repeat(np.arange(20), 4),
    ),
}
