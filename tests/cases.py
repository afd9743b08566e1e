"""The table of models: every property that holds for any model is tested on every row of it.

A row is a name, a specification and a small seeded data set. A new predictor, gate or family becomes one row more
and thereby gets all the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
import pandas as pd

from bayes_moe import (
    HSGP,
    RBF,
    Constant,
    EqualGate,
    Expert,
    GaussianGate,
    Kernel,
    KernelMean,
    Linear,
    MixtureOfExperts,
    Normal,
    Polynomial,
    Products,
    SoftmaxGate,
    Spline,
    StickBreakingGate,
    Sum,
    TreeGate,
    nearly_flat,
    priors,
)
from bayes_moe.binding.bind import Bound, bind, target_of
from bayes_moe.data import read_training


@dataclass(frozen=True, eq=False)
class Case:
    """A specification and the data it meets; data are as a user would pass them."""

    model: MixtureOfExperts
    X: Any
    y: np.ndarray
    weights: np.ndarray | None = None
    gate_X: Any = None  # noqa: N815 - the name users write
    groups: Any = None

    @property
    def options(self) -> dict[str, Any]:
        """The data beside X and y, as `bm.fit` takes them."""
        return {"weights": self.weights, "gate_X": self.gate_X, "groups": self.groups}


def bound(case: Case) -> Bound:
    """Return the model on its data."""
    target = target_of(case.model)
    data = read_training(case.X, case.y, experts=len(case.model.experts), parameters=0, target=target, **case.options)
    return bind(case.model, data)


def some_points(case: Case, count: int, seed: int = 0) -> np.ndarray:
    """Return unconstrained vectors (count, size), a unit or so around zero; a gate's log scale moves by a unit."""
    parameters = bound(case).parameters
    out = np.random.default_rng(seed).normal(size=(count, parameters.size))
    if "gate_scale_z" in parameters.slices:
        out[:, -1] /= max(1.0, parameters.gate.spread)
    return out


def table(seed: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return covariates in odd units and a target with kinks, gaps and unequal spread."""
    rng = np.random.default_rng([seed, rows, columns])
    x = rng.normal(size=(rows, columns)) * np.array([3.0, 0.02, 40.0, 1.0])[:columns]
    x += np.array([7.0, -1.0, 100.0, 0.0])[:columns]
    score = (x - x.mean(axis=0)) / x.std(axis=0) if columns else np.zeros((rows, 1))
    regime = rng.integers(3, size=rows)
    y = np.array([-2.0, 1.0, 4.0])[regime] + np.array([1.5, -2.0, 0.3])[regime] * score[:, 0]
    if columns > 1:
        y = y + np.array([0.5, 1.0, -1.0])[regime] * score[:, 1]
    return x, 20.0 + 5.0 * (y + np.array([0.1, 0.4, 0.8])[regime] * rng.normal(size=rows))


def simulated(
    model: MixtureOfExperts,
    seed: int,
    *,
    rows: int = 30,
    columns: int = 1,
    weighted: bool = False,
    gate_columns: int = 0,
) -> Case:
    """Return ``model`` on a seeded data set; weights are fractions, whole numbers and zeros."""
    x, y = table(seed, rows, columns)
    rng = np.random.default_rng([seed, 1])
    weights = rng.choice([0.0, 0.3, 1.0, 1.0, 2.0, 3.7], size=rows) if weighted else None
    gate_x = table(seed + 1, rows, gate_columns)[0] if gate_columns else None
    return Case(model, x, y, weights, gate_x)


def _frame_case(model: MixtureOfExperts, seed: int) -> Case:
    x, y = table(seed, 32, 3)
    return Case(model, pd.DataFrame(x, columns=["dose", "age", "place"]), y)


def _odd_columns() -> Case:
    x, y = table(31, 30, 2)
    binary = np.where(np.arange(30) % 3 == 0, 5.0, 2.0)
    return Case(MixtureOfExperts(2), np.column_stack([x, binary, np.full(30, 4.0), x[:, 0]]), y)


def _experts(count: int, **predictors: Any) -> list[Expert]:
    return [Expert(Normal(), **predictors)] * count


def _mixture(count: int, gate: Any = None, **predictors: Any) -> MixtureOfExperts:
    return MixtureOfExperts(_experts(count, **predictors), gate)


def _unlike() -> Sequence[Expert]:
    line, curve = Expert(), Expert(mu=Polynomial(2), sigma=Linear())
    return [line, curve, line, Expert(mu=Constant(), sigma=Constant(intercept=priors.Normal(0.5, 0.5)))]


def _unlike_shared() -> Sequence[Expert]:
    tied = Expert(mu=Linear(), sigma=Constant(shared=True))
    return [tied, Expert(mu=Constant(shared=True), sigma=Linear(slopes=priors.Normal(0, 0.1))), tied]


_UNITS = {
    "mu": Linear(intercept=priors.Normal(25.0, 4.0), slopes=priors.Normal(0.5, 2.0)),
    "sigma": Linear(intercept=priors.Normal(log(2.0), 0.4), slopes=priors.Normal(0.01, 0.05)),
}
_MIXED_UNITS = {
    "mu": Polynomial(2, intercept=priors.Normal(0.3, 1.5, standardised=True), slopes=priors.Normal(1.0, 8.0)),
    "sigma": Constant(intercept=priors.Normal(-0.2, 0.6, standardised=True)),
}
_BY_NAME = _mixture(
    2,
    SoftmaxGate(Linear(columns=("place",))),
    mu=Linear(columns=("dose", "age")),
    sigma=Linear(columns=("age",)),
)
_BY_POSITION = _mixture(2, SoftmaxGate(Polynomial(2, columns=(2,))), sigma=Linear(columns=(1,)))
_FIXED_GATE = SoftmaxGate(Linear(slopes=priors.Normal(0, 0.7)))
_FIXED_GATE_STANDARD = SoftmaxGate(
    Linear(slopes=priors.Normal(0, 1.3, standardised=True), intercept=priors.Normal(0, 0.8))
)

GATES: dict[str, Case] = {
    "linear gate, 2": simulated(_mixture(2), 1),
    "linear gate, 3": simulated(_mixture(3), 2, rows=40),
    "linear gate, 5, two columns": simulated(_mixture(5), 3, rows=50, columns=2),
    "polynomial gate": simulated(_mixture(3, SoftmaxGate(Polynomial(2))), 4),
    "cubic gate, two columns": simulated(_mixture(2, SoftmaxGate(Polynomial(3))), 5, columns=2),
    "constant gate": simulated(_mixture(3, SoftmaxGate(Constant())), 6),
    "constant gate with prior": simulated(_mixture(2, SoftmaxGate(Constant(intercept=priors.Normal(0, 0.5)))), 7),
    "equal gate": simulated(_mixture(3, EqualGate()), 8),
    "fixed gate prior": simulated(_mixture(3, _FIXED_GATE), 9, columns=2),
    "fixed gate prior, standardised": simulated(_mixture(3, _FIXED_GATE_STANDARD), 10, columns=2),
    "learned gate scale": simulated(_mixture(2, SoftmaxGate(Linear(slopes=priors.LearnedScale(0.5, 2.0)))), 11),
    "known gate scale": simulated(_mixture(2, SoftmaxGate(Linear(slopes=priors.LearnedScale(2.0, 0.0)))), 12),
    "gate_X": simulated(_mixture(2), 13, gate_columns=2),
    "weighted, gate_X": simulated(_mixture(3), 14, rows=40, columns=2, weighted=True, gate_columns=1),
}
EXPERTS: dict[str, Case] = {
    "one expert": simulated(_mixture(1), 15),
    "one expert, weighted": simulated(_mixture(1, sigma=Linear()), 16, columns=2, weighted=True),
    "constant means": simulated(_mixture(3, mu=Constant()), 17),
    "quadratic means": simulated(_mixture(2, mu=Polynomial(2)), 18),
    "cubic means, two columns, weighted": simulated(_mixture(2, mu=Polynomial(3)), 19, columns=2, weighted=True),
    "one sigma": simulated(_mixture(3, sigma=Constant(shared=True)), 20),
    "sigma of x": simulated(_mixture(3, sigma=Linear()), 21, rows=40),
    "sigma of x, weighted": simulated(_mixture(2, sigma=Polynomial(2)), 22, weighted=True),
    "one sigma of x": simulated(_mixture(2, sigma=Linear(shared=True)), 23),
    "one line": simulated(_mixture(2, mu=Linear(shared=True)), 24),
    "unlike experts": simulated(MixtureOfExperts(_unlike()), 25, rows=40),
    "unlike experts, shared, weighted": simulated(MixtureOfExperts(_unlike_shared()), 26, columns=2, weighted=True),
    "priors in user units": simulated(_mixture(2, **_UNITS), 27, columns=2),
    "priors on both scales, weighted": simulated(_mixture(2, **_MIXED_UNITS), 28, weighted=True),
}
_OFFSET_UNITS = {
    "mu": Linear(intercept=priors.Normal(25.0, 4.0), slopes=priors.Normal(0.5, 2.0), offset="dose"),
    "sigma": Linear(offset="age"),
}


def _offsets_apart() -> Sequence[Expert]:
    one = Expert(mu=Polynomial(2, columns=("place",), offset="dose"), sigma=Constant(offset="age"))
    return [one, Expert(mu=RBF(2, columns=("place",), offset="age")), one, Expert(mu=Constant())]


_CALM = HSGP(2, amplitude=priors.LearnedScale(0.3, 0.3), shared=True)
_PROCESS_GATE = SoftmaxGate(HSGP(3, kernel=Kernel.MATERN52, amplitude=priors.LearnedScale(2.0, 0.5)))


def _processes() -> Sequence[Expert]:
    smooth = HSGP(
        4, columns=("dose",), amplitude=priors.LearnedScale(0.5, 0.3), lengthscale=priors.LearnedScale(1.0, 0)
    )
    fixed = priors.LearnedScale(0.8, 0.0)
    known = HSGP(3, columns=("age",), amplitude=fixed, lengthscale=fixed, offset="place")
    return [Expert(mu=smooth), Expert(mu=known), Expert(mu=smooth), Expert(mu=Constant())]


OFFSETS: dict[str, Case] = {
    "offset of all means": simulated(_mixture(2, mu=Linear(offset="x1")), 48, columns=2),
    "offset of all means, weighted": simulated(
        _mixture(3, mu=Polynomial(2, offset="x1", shared=(0,)), sigma=Linear()), 49, columns=2, weighted=True
    ),
}
GENERAL: dict[str, Case] = {
    "offsets of means and sigmas": _frame_case(_mixture(2, **_OFFSET_UNITS), 50),
    "Gaussian processes": simulated(_mixture(2, mu=HSGP(5)), 52),
    "Gaussian processes over two columns, weighted": simulated(
        _mixture(2, _PROCESS_GATE, mu=HSGP((3, 2), 1.3, Kernel.MATERN52), sigma=_CALM),
        53,
        rows=60,
        columns=2,
        weighted=True,
    ),
    "a Gaussian process and lines": _frame_case(MixtureOfExperts(_processes()), 54),
    "a shared mean": simulated(MixtureOfExperts(_experts(2, sigma=Linear()), mean=KernelMean()), 57, columns=2),
    "offsets of some experts": _frame_case(MixtureOfExperts(_offsets_apart()), 51),
}
_PARTLY = {
    "mu": Polynomial(2, columns=("dose", "age", "place"), shared=("dose", 2)),
    "sigma": Linear(columns=("dose", "age", "place"), shared=["place"], slopes=priors.Normal(0.0, 0.05)),
}


def _partly_unlike() -> Sequence[Expert]:
    tied = Expert(mu=Linear(shared=("x1",), intercept=priors.Normal(20.0, 9.0), slopes=priors.Normal(1.0, 6.0)))
    return [tied, Expert(mu=Spline(3, shared=(0,))), tied]


SHARED: dict[str, Case] = {
    "one slope for all": simulated(_mixture(3, mu=Linear(shared=(1,))), 44, rows=40, columns=2),
    "all slopes for all, weighted": simulated(_mixture(2, mu=Linear(shared=(0, 1))), 45, columns=2, weighted=True),
    "some powers and some slopes of sigma for all": _frame_case(_mixture(2, **_PARTLY), 46),
    "some slopes for some experts": simulated(MixtureOfExperts(_partly_unlike()), 47, rows=40, columns=2),
}
_SPLINE_UNITS = {
    "mu": Spline(4, 2, intercept=priors.Normal(22.0, 6.0), slopes=priors.Normal(3.0, 8.0)),
    "sigma": RBF(1, 1.5, slopes=priors.Normal(0.1, 0.4)),
}
_PLACES = [[4.0, -1.0], [9.0, -1.01], [12.0, -0.97]]
_BOTH = (0, 1)
_SUM = Sum(
    (
        Linear(_BOTH, slopes=priors.Normal(0.5, 3.0)),
        Spline(4, columns=(1,)),
        Products(_BOTH, slopes=priors.Normal(0.0, 0.7)),
    ),
    intercept=priors.Normal(20.0, 9.0),
)
_STILL = priors.Normal(0.0, 0.05, standardised=True)
_NARROW = Sum((Linear(_BOTH, slopes=_STILL), RBF(2, columns=(1,), slopes=_STILL)))
_SUM_OF_TWO = Sum((Linear(), Products()))
BASES: dict[str, Case] = {
    "spline means": simulated(_mixture(2, mu=Spline(4)), 37),
    "splines everywhere, two columns, weighted": simulated(
        _mixture(2, SoftmaxGate(Spline(3, 1)), mu=Spline(5)), 38, rows=45, columns=2, weighted=True
    ),
    "sigma of a spline": simulated(_mixture(2, EqualGate(), sigma=Spline(2, 2)), 43),
    "bumps, weighted": simulated(_mixture(3, SoftmaxGate(RBF(3)), mu=RBF(4)), 39, rows=40, columns=2, weighted=True),
    "one set of bumps at given places": simulated(
        _mixture(2, mu=RBF(_PLACES, 0.8, shared=True), sigma=RBF(1)), 40, columns=2
    ),
    "spline, priors in user units": simulated(
        _mixture(2, SoftmaxGate(Spline(3, slopes=priors.Normal(0, 2.0))), **_SPLINE_UNITS), 41
    ),
    "products": simulated(_mixture(2, mu=Products()), 48, rows=40, columns=3),
    "lines, splines and products, weighted": simulated(
        _mixture(
            2,
            SoftmaxGate(Sum((Linear(_BOTH), Products(_BOTH)))),
            mu=_SUM,
            sigma=_NARROW,
        ),
        49,
        rows=45,
        columns=2,
        weighted=True,
    ),
    "flat sum": simulated(nearly_flat(_mixture(2, SoftmaxGate(_SUM_OF_TWO), mu=_SUM_OF_TWO)), 50, columns=2),
    "flat spline": simulated(nearly_flat(_mixture(2, SoftmaxGate(RBF(2)), mu=Spline(3))), 42),
}
TABLES: dict[str, Case] = {
    "columns by name": _frame_case(_BY_NAME, 29),
    "columns by position": _frame_case(_BY_POSITION, 30),
    "odd columns": _odd_columns(),
    "no columns": simulated(_mixture(3), 32, columns=0),
    "several blocks of rows": simulated(_mixture(2), 33, rows=300, weighted=True),
    "flat": simulated(nearly_flat(_mixture(2)), 34),
    "flat, plain mixture, one sigma": simulated(
        nearly_flat(_mixture(2, SoftmaxGate(Constant()), sigma=Constant(shared=True))), 35
    ),
    "flat, sigma of x, polynomial": simulated(nearly_flat(_mixture(2, mu=Polynomial(2), sigma=Linear())), 36),
}
_UNLIKE_TREE = MixtureOfExperts([Expert(), Expert(), Expert(sigma=Linear()), Expert(mu=Constant())], TreeGate((2, 2)))
_DEEP = TreeGate((((1, 1), 1), 2), Polynomial(2, slopes=priors.Normal(0, 0.9, standardised=True)))
TREES: dict[str, Case] = {
    "tree": simulated(_mixture(4, TreeGate()), 41, rows=40),
    "tree, two columns, weighted": simulated(_mixture(4, TreeGate()), 42, rows=40, columns=2, weighted=True),
    "unbalanced tree, gate_X": simulated(_mixture(5, TreeGate(((1, 1), 3))), 44, rows=40, gate_columns=2),
    "deep tree, fixed prior": simulated(_mixture(5, _DEEP), 45, rows=40),
    "constant tree": simulated(_mixture(4, TreeGate((2, 2), Constant())), 46),
    "tree of unlike experts": simulated(_UNLIKE_TREE, 47, rows=40),
    "flat tree": simulated(nearly_flat(_mixture(4, TreeGate())), 48, rows=40),
}
_FIXED_STICKS = StickBreakingGate(Linear(slopes=priors.Normal(0, 0.7), intercept=priors.Normal(0, 2.0)))
STICKS: dict[str, Case] = {
    "sticks": simulated(_mixture(3, StickBreakingGate()), 51, rows=40),
    "sticks, gate_X, weighted": simulated(_mixture(3, StickBreakingGate()), 52, weighted=True, gate_columns=2),
    "sticks, fixed priors": simulated(_mixture(4, _FIXED_STICKS), 53, rows=40, columns=2),
    "one stick": simulated(_mixture(1, StickBreakingGate()), 55),
    "flat sticks": simulated(nearly_flat(_mixture(2, StickBreakingGate())), 56),
}
GAUSSIANS: dict[str, Case] = {
    "regions": simulated(_mixture(2, GaussianGate()), 61),
    "regions, two columns, weighted": simulated(_mixture(3, GaussianGate()), 62, rows=40, columns=2, weighted=True),
    "regions, gate_X": simulated(_mixture(2, GaussianGate()), 63, columns=2, gate_columns=3),
    "regions of odd columns": replace(_odd_columns(), model=_mixture(2, GaussianGate())),
    "regions of no columns": simulated(_mixture(3, GaussianGate()), 65, columns=0),
    "one region": simulated(_mixture(1, GaussianGate()), 66, columns=2),
}
KERNELS: dict[str, Case] = GATES | EXPERTS | SHARED | BASES | OFFSETS | TABLES
"""Normal experts under a softmax or equal gate, which have compiled kernels of their own."""
CASES: dict[str, Case] = KERNELS | GENERAL | TREES | STICKS | GAUSSIANS
