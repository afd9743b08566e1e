"""The table of models, continued: networks, and rows that share a label by groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import bayes_moe as bm
from tests.cases import Case
from tests.family_cases import N, covariates, of, target

_TANH, _RELU = bm.Activation.TANH, bm.Activation.RELU


def _frame(experts: list[bm.Expert], family: Any, seed: int, gate: Any = None, **parts: Any) -> Case:
    """Return a case on two columns called x and z, and more with ``columns=``."""
    names = parts.pop("columns", ["x", "z"])
    x = covariates(seed, len(names))
    model = bm.MixtureOfExperts(experts, gate, parts.pop("features", None))
    return Case(model, pd.DataFrame(x, columns=names), target(family, seed, x), **parts)


_WEIGHTS = np.random.default_rng(7).choice([0.0, 0.3, 1.0, 1.0, 2.0, 3.7], size=N)
_OWN = bm.Expert(mu=bm.MLP((3,)), sigma=bm.Constant(shared=True))
_UNLIKE = [
    bm.Expert(mu=bm.MLP((2, 3), _TANH, columns=("x",))),
    bm.Expert(),
    bm.Expert(mu=bm.MLP((2, 3), _TANH, columns=("x",))),
    bm.Expert(mu=bm.MLP((4,), _RELU, offset="w", intercept=bm.priors.Normal(9.0, 4.0)), sigma=bm.MLP((2,))),
]
_EVERYWHERE = {
    "mu": bm.MLP((3,), slopes=bm.priors.Normal(0.0, 2.0)),
    "sigma": bm.MLP((2,), _TANH, columns=("x",), scale=1.0, shared=True),
}

NETWORKS: dict[str, Case] = {
    "network": of(bm.Normal(), 141, weighted=True, features=bm.MLP((3, 2)), mu=bm.Linear()),
    "network of counts, gate on a column": _frame(
        [bm.Expert(bm.Poisson())] * 2,
        bm.Poisson(),
        142,
        bm.SoftmaxGate(bm.Polynomial(2, columns=("z",))),
        features=bm.MLP((3,), _RELU),
    ),
    "network in the gate": _frame([bm.Expert()] * 3, bm.Normal(), 143, bm.SoftmaxGate(bm.MLP((3,)))),
    "network in a tree, weighted": _frame(
        [bm.Expert()] * 4, bm.Normal(), 144, bm.TreeGate((2, 2), bm.MLP((2,), _TANH, columns=("z",))), weights=_WEIGHTS
    ),
    "network in sticks, on columns of the gate": _frame(
        [bm.Expert(bm.StudentT())] * 2,
        bm.StudentT(),
        145,
        bm.StickBreakingGate(bm.MLP((3,), intercept=bm.priors.Normal(0.0, 1.0))),
        gate_X=covariates(146, 2),
    ),
    "a network for every expert": _frame([_OWN] * 2, bm.Normal(), 147, weights=_WEIGHTS),
    "unlike experts, some of networks": _frame(_UNLIKE, bm.Normal(), 148, columns=["x", "z", "w"]),
    "networks everywhere": _frame(
        [bm.Expert(bm.StudentT(), **_EVERYWHERE)] * 2, bm.StudentT(), 149, bm.SoftmaxGate(bm.MLP((2,), _RELU))
    ),
    "a network for every class and expert": of(bm.Categorical(), 150, weighted=True, logits=bm.MLP((2,))),
    "networks of two outputs": of(bm.MvNormal(), 151, mu=bm.MLP((3,)), scale=bm.Linear()),
    "networks in regions": _frame([_OWN] * 2, bm.Normal(), 152, bm.GaussianGate(bm.Linear(columns=("z",)))),
    "networks beside a network": _frame(
        [bm.Expert(), bm.Expert(sigma=bm.MLP((2,), columns=("z",)))], bm.Normal(), 153, features=bm.MLP((3,))
    ),
}

_WHO = np.array([f"p{i:02d}" for i in np.random.default_rng(8).permutation(np.repeat(np.arange(12), 3))])
_PLACE = np.array([[float(hash_ % 5), (7 * hash_) % 3 - 1.0] for hash_ in (int(who[1:]) for who in _WHO)])
_PLAIN = bm.SoftmaxGate(bm.Constant())

GROUPED: dict[str, Case] = {
    "groups": _frame([bm.Expert()] * 2, bm.Normal(), 161, _PLAIN, groups=_WHO),
    "groups, columns of the gate, weighted": _frame(
        [bm.Expert(sigma=bm.Linear())] * 3, bm.Normal(), 162, gate_X=_PLACE, groups=_WHO, weights=_WEIGHTS
    ),
    "groups of counts, one slope": _frame(
        [bm.Expert(bm.Poisson(), mu=bm.Linear(shared=("z",)))] * 2, bm.Poisson(), 163, _PLAIN, groups=_WHO
    ),
    "groups of two outputs": _frame([bm.Expert(bm.MvNormal())] * 2, bm.MvNormal(), 164, _PLAIN, groups=_WHO),
    "groups of classes, equal weights": _frame(
        [bm.Expert(bm.Categorical())] * 2, bm.Categorical(), 165, bm.EqualGate(), groups=_WHO, weights=_WEIGHTS
    ),
    "groups in regions, weighted": _frame(
        [bm.Expert()] * 2, bm.Normal(), 166, bm.GaussianGate(), gate_X=_PLACE, groups=_WHO, weights=_WEIGHTS
    ),
    "groups in regions of networks": _frame(
        [_OWN] * 2, bm.Normal(), 168, bm.GaussianGate(), gate_X=_PLACE, groups=_WHO, weights=_WEIGHTS
    ),
    "groups of networks, weighted": _frame(
        [bm.Expert(bm.StudentT(), mu=bm.MLP((3,)))] * 2,
        bm.StudentT(),
        169,
        bm.SoftmaxGate(bm.MLP((2,))),
        gate_X=_PLACE,
        groups=_WHO,
        weights=_WEIGHTS,
    ),
    "groups in a tree": _frame([bm.Expert()] * 4, bm.Normal(), 167, bm.TreeGate((2, 2)), gate_X=_PLACE, groups=_WHO),
}
