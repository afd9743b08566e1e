"""Plots of labels and of several outputs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm

N = 80
X = np.linspace(-2.0, 2.0, N)[:, None]
NOISE = np.random.default_rng(1).normal(size=(N, 2))


@cache
def labels() -> bm.Fit:
    y = np.where(X[:, 0] + 0.5 * NOISE[:, 0] > 0.5, "car", np.where(NOISE[:, 1] > 0, "bus", "walk"))
    model = bm.MixtureOfExperts([bm.Expert(bm.Categorical())] * 2)
    return bm.fit(model, X, y, bm.EM(seed=1, starts=4), progress=False)


@cache
def outputs() -> bm.Fit:
    y = pd.DataFrame({"height": 3.0 * np.abs(X[:, 0]) + NOISE[:, 0], "weight": 40.0 - 9.0 * X[:, 0] + NOISE[:, 1]})
    model = bm.MixtureOfExperts([bm.Expert(bm.MvNormal())] * 2)
    return bm.fit(model, X, y, bm.EM(seed=1, starts=4), progress=False)


def test_bands_of_labels_are_their_probabilities() -> None:
    ax = bm.plots.predictive(labels())
    assert ax.get_ylabel() == "probability of y"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["bus", "car", "walk"]  # type: ignore[union-attr]
    top = ax.collections[0].get_paths()[0].vertices[1 : len(X)]  # type: ignore[index]
    assert 0.0 <= top[:, 1].min() <= top[:, 1].max() <= 1.0
    assert [t.get_text() for t in bm.plots.responsibilities(labels()).get_yticklabels()] == ["bus", "car", "walk"]
    assert bm.plots.gate(labels()).get_ylabel() == "gate probability"


def test_one_output_is_drawn_and_named() -> None:
    for plot in (bm.plots.predictive, bm.plots.experts, bm.plots.density, bm.plots.responsibilities):
        assert plot(outputs()).get_ylabel() == "height"
        assert plot(outputs(), output="weight").get_ylabel() == "weight"
    low, high = bm.plots.experts(outputs(), output=1).get_ylim()
    weights = outputs().data.y[:, 1]
    assert low < weights.min()
    assert weights.max() < high


def test_what_has_no_meaning_is_refused() -> None:
    for plot in (bm.plots.density, bm.plots.experts):
        with pytest.raises(bm.SpecError, match="expected a target that is a number, got labels"):
            plot(labels())
    with pytest.raises(bm.InputError, match=r"output: expected one of \['height', 'weight'\], got 'size'"):
        bm.plots.predictive(outputs(), output="size")
    with pytest.raises(bm.InputError, match="output: expected None, since y has one output"):
        bm.plots.predictive(labels(), output=0)
