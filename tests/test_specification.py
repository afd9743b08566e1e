"""Specifications as JSON: every class, every field, and nothing else."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import Enum
from typing import Any, get_args

import numpy as np
import pytest

import bayes_moe as bm
from bayes_moe.families import Family
from bayes_moe.fitting import Engine
from bayes_moe.gates import Gate
from bayes_moe.inference.guides import FullRank, Guide, MeanField
from bayes_moe.predictors import Predictor
from bayes_moe.specification import SPECIFICATIONS, from_json, to_json

NARROW = bm.priors.Normal(0.1, 0.3, standardised=True)
WIDE = bm.priors.Normal(-1, 25.5)
LEARNED = bm.priors.LearnedScale(2.0, 0.0)
MODELS = {
    "a count": bm.MixtureOfExperts(3),
    "one": bm.MixtureOfExperts(1, bm.EqualGate()),
    "plain mixture": bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Constant())),
    "shared sigma": bm.MixtureOfExperts([bm.Expert(sigma=bm.Constant(shared=True, intercept=WIDE))] * 2),
    "shared slopes": bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(shared=("a", 2)))] * 2),
    "different experts": bm.MixtureOfExperts(
        [
            bm.Expert(bm.Normal(), mu=bm.Polynomial(3, ("a", 2), WIDE, NARROW, True), sigma=bm.Linear()),
            bm.Expert(mu=bm.Linear(columns=("é/\n\"'\\", "")), sigma=bm.Constant()),
        ],
        bm.SoftmaxGate(bm.Linear(("z",), None, LEARNED)),
    ),
    "curves": bm.MixtureOfExperts(
        [bm.Expert(mu=bm.Spline(6, 2), sigma=bm.RBF([[0.1, 2], [-3e-5, 4]], 0.5))] * 2, bm.SoftmaxGate(bm.RBF(4))
    ),
    "processes": bm.MixtureOfExperts([bm.Expert(mu=bm.HSGP((3, 2), kernel=bm.Kernel.MATERN52))] * 2),
    "nearly flat": bm.nearly_flat(bm.MixtureOfExperts(4, bm.SoftmaxGate(bm.Polynomial(2)))),
    "a flat tree": bm.nearly_flat(bm.hierarchical_moe(((1, 1), 3))),
    "flat sticks": bm.nearly_flat(bm.MixtureOfExperts(3, bm.StickBreakingGate())),
    "many": bm.MixtureOfExperts(1000),
}
ENGINES = {
    "EM": bm.EM(starts=3, max_iter=17, tol=1e-5, seed=2**63 - 1),
    "EM as it is": bm.EM(),
    "Laplace": bm.Laplace(draws=7, seed=0, starts=2),
    "ADVI": bm.ADVI(draws=9, guide=MeanField(), steps=3, batch=20, tol=0.1, seed=5, starts=6),
    "ADVI of full rank": bm.ADVI(guide=FullRank()),
    "NUTS": bm.NUTS(draws=11, tune=12, chains=3, seed=8, target_accept=0.75, max_treedepth=4, cores=1),
}


@pytest.mark.parametrize("case", MODELS | ENGINES)
def test_there_and_back(case: str) -> None:
    value: Any = (MODELS | ENGINES)[case]
    text = to_json(value)
    assert text.isascii()
    assert from_json(text) == from_json(text.encode()) == value
    assert repr(from_json(text)) == repr(value)


def ours(contract: type) -> set[type]:
    """Every class of the package that fulfils a contract and is not private."""
    found = {c for c in contract.__subclasses__() if c.__module__.startswith("bayes_moe.")}
    return {c for c in found if not c.__name__.startswith("_")}


@pytest.mark.parametrize("contract", [Predictor, Gate, Family, Guide])
def test_every_class_of_a_contract_is_listed(contract: type) -> None:
    assert ours(contract)
    assert ours(contract) <= {entry.kind for entry in SPECIFICATIONS.values()}


def test_every_engine_and_every_prior_is_listed() -> None:
    listed = {entry.kind for entry in SPECIFICATIONS.values()}
    assert set(get_args(Engine)) <= listed
    assert {bm.priors.Normal, bm.priors.LearnedScale} <= listed


@pytest.mark.parametrize("tag", SPECIFICATIONS)
def test_every_field_is_written(tag: str) -> None:
    entry = SPECIFICATIONS[tag]
    expected = {f.name for f in fields(entry.kind) if f.init} if is_dataclass(entry.kind) else {"family", "predictors"}
    expected = {"name"} if issubclass(entry.kind, Enum) else expected
    assert set(entry.hints) == expected


# For every field of a predictor, prior or engine, a value other than its default.
CHANGED: dict[type, dict[str, Any]] = {
    bm.Constant: {"shared": True, "intercept": NARROW, "offset": "o"},
    bm.Linear: {
        "columns": ("a",),
        "intercept": NARROW,
        "slopes": LEARNED,
        "shared": True,
        "offset": "o",
        "bounded": True,
    },
    bm.Polynomial: {"degree": 5, "columns": (0,), "intercept": NARROW, "slopes": WIDE, "shared": True, "offset": "o"},
    bm.Spline: {
        "df": 6,
        "degree": 1,
        "columns": (0, "b"),
        "intercept": NARROW,
        "slopes": WIDE,
        "shared": True,
        "offset": "o",
    },
    bm.HSGP: {
        "m": (3, 4),
        "c": 2.0,
        "kernel": bm.Kernel.MATERN52,
        "columns": (0, 1),
        "intercept": NARROW,
        "amplitude": LEARNED,
        "lengthscale": LEARNED,
        "shared": True,
        "offset": "o",
    },
    bm.RBF: {
        "centres": ((0.5, 1.0),),
        "width": 0.7,
        "columns": (0, 1),
        "intercept": NARROW,
        "slopes": WIDE,
        "shared": True,
        "offset": "o",
    },
    bm.MLP: {
        "hidden": (3, 4),
        "activation": bm.Activation.RELU,
        "columns": (0, "b"),
        "scale": 0.5,
        "intercept": NARROW,
        "slopes": WIDE,
        "shared": True,
        "offset": "o",
    },
    bm.priors.Normal: {"loc": 2.0, "scale": 3.0, "standardised": True},
    bm.priors.LearnedScale: {"median": 2.0, "spread": 0.5},
    bm.SoftmaxGate: {"predictor": bm.Constant()},
    bm.GaussianGate: {"predictor": bm.Linear(("a", 1))},
    bm.StickBreakingGate: {"predictor": bm.Polynomial(3)},
    bm.TreeGate: {"branches": ((2, (1, 1)), 3), "predictor": bm.Constant()},
    bm.Poisson: {"exposure": "years"},
    bm.NegativeBinomial: {"exposure": "years"},
    bm.ZeroInflated: {"base": bm.NegativeBinomial("years")},
    bm.Binomial: {"trials": "n"},
    bm.Categorical: {"classes": ("é", "b", "")},
    bm.Ordinal: {"levels": ("low", "high")},
    bm.MvNormal: {"outputs": 3, "covariance": bm.Covariance.DIAGONAL},
    bm.Uniform: {"low": -1.5, "high": 2},
    bm.EM: {"starts": 3, "max_iter": 5, "tol": 0.5, "seed": 3},
    bm.Laplace: {"draws": 3, "seed": 3, "starts": 3},
    bm.ADVI: {"draws": 3, "guide": MeanField(), "steps": 3, "batch": 4, "tol": 0.5, "seed": 3, "starts": 3},
}
CHANGED[bm.NUTS] = {"draws": 3, "tune": 3, "chains": 3, "seed": 3, "target_accept": 0.5}
CHANGED[bm.NUTS] |= {"max_treedepth": 3, "cores": 3}
FIELDS = [(kind, name) for kind, values in CHANGED.items() for name in values]


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_a_change_of_any_field_survives(kind: type, name: str) -> None:
    assert {f.name for f in fields(kind) if f.init} == set(CHANGED[kind])
    required = {
        f.name: "m" if f.type == "str" else 3
        for f in fields(kind)
        if f.default is MISSING and f.default_factory is MISSING
    }
    plain = kind(**required)
    changed = replace(plain, **{name: CHANGED[kind][name]})
    assert changed != plain
    wrapped, back = _wrapped(changed), from_json(to_json(_wrapped(changed)))
    assert back == wrapped
    assert back != _wrapped(plain)


def _wrapped(value: Any) -> Any:
    """Put a piece where a model or engine holds it."""
    if isinstance(value, bm.priors.Normal):
        return _wrapped(bm.Linear(slopes=value))
    if isinstance(value, bm.priors.LearnedScale):
        return bm.MixtureOfExperts(1, bm.SoftmaxGate(bm.Linear(slopes=value)))
    if isinstance(value, Predictor) and isinstance(getattr(value, "slopes", None), bm.priors.LearnedScale):
        return bm.MixtureOfExperts(1, bm.SoftmaxGate(value))
    if isinstance(value, Predictor):
        return bm.MixtureOfExperts([bm.Expert(mu=value)])
    if isinstance(value, Family):
        return bm.MixtureOfExperts([bm.Expert(value)])
    return bm.MixtureOfExperts(getattr(value, "leaves", 2), value) if isinstance(value, Gate) else value


def test_numpy_integers_come_back_as_integers() -> None:
    back = from_json(to_json(bm.EM(starts=np.int64(5), seed=np.uint8(3))))  # type: ignore[arg-type]
    assert back == bm.EM(starts=5, seed=3)
    assert type(back.starts) is int  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", [np.random.default_rng(1), np.random.SeedSequence(1)], ids=["generator", "sequence"])
def test_a_seed_that_moves_on_is_not_written(seed: Any) -> None:
    with pytest.raises(bm.SaveFileError, match=r"seed: expected a value that can be saved, got (Generator|SeedSeq)"):
        to_json(bm.EM(seed=seed))


def changed(path: str, value: Any) -> str:
    """A model of two experts as JSON, with the entry at a path replaced; ``...`` takes it out."""
    text = json.loads(to_json(bm.MixtureOfExperts([bm.Expert(mu=bm.Linear(intercept=NARROW))] * 2)))
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inside = text
    for step in way:
        inside = inside[step]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return json.dumps(text)


REFUSED = {
    "a class of Python": ("class", "os.system", "expected MixtureOfExperts or EM .*, got an unknown class 'os.system'"),
    "a class of Python inside": ("experts.0.family.class", "builtins.eval", "experts.0.family: expected Family, got"),
    "a class of ours that is none of these": ("class", "Linear", "unknown class 'Linear'"),
    "a gate for a family": ("experts.1.family", {"class": "EqualGate"}, "experts.1.family: expected Family"),
    "code for a predictor": ("experts.0.predictors.mu", "__import__('os').system('true')", "expected Predictor, got"),
    "a predictor without a parameter": ("experts.0.predictors.nu", {"class": "Linear"}, "expected a field 'columns'"),
    "a parameter called family": (
        "experts.0.predictors.family",
        {"class": "Constant", "shared": False, "intercept": None, "offset": None},
        "experts.0: .*multiple values",
    ),
    "an unknown field": ("gat", 3, "got 'gat'; did you mean 'gate'"),
    "a dunder": ("__class__", "os.system", "got '__class__'"),
    "a missing field": ("features", ..., "expected a field 'features', got none"),
    "a prior of scale 0": ("experts.0.predictors.mu.intercept.scale", 0, "scale: expected a finite number above 0"),
    "a scale that is no number": (
        "experts.0.predictors.mu.intercept.scale",
        {"float": "nan"},
        "expected a finite number above 0",
    ),
    "text for a number": ("experts.0.predictors.mu.intercept.loc", "0", "intercept.loc: expected float, got '0'"),
    "no experts": ("experts", [], "expected 1 to 1000 experts, got 0"),
    "a count of experts": ("experts", 3, "experts: expected tuple"),
    "an array": ("experts", {"array": "x", "writeable": True}, "experts: expected tuple"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused(case: str) -> None:
    path, value, message = REFUSED[case]
    with pytest.raises(bm.SaveFileError, match=message) as caught:
        from_json(changed(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", '"EM"', "{}", '{"class": null}', '{"class": "EM", "starts": NaN}']
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(bm.SaveFileError):
        from_json(text)
