"""Mixtures of multinomial logistic experts against other classifiers, on speakers that training did not hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import bayes_moe as bm

PRIOR = bm.priors.Normal(0, 1, standardised=True)
EXPERT = bm.Expert(bm.Categorical(), logits=bm.Linear(slopes=PRIOR))
HIDDEN = 16
"""Units of a network with 363 weights; three experts and their gate have 352 free coefficients."""


def _scores(chances: np.ndarray, classes: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return mean log score and share of errors."""
    codes = np.searchsorted(classes, y)
    with np.errstate(divide="ignore"):
        score = float(np.log(chances[np.arange(len(y)), codes]).mean())
    return score, float((chances.argmax(axis=1) != codes).mean())


FEATURES = 12
"""Units under three experts and their gate: 548 weights; a network of 24 units has 539."""
ALIKE = 24


class Halves:
    """The rows that are learned from, and those of other speakers."""

    def __init__(self, data_dir: Path) -> None:
        table = pd.read_csv(data_dir / "classic" / "esl_vowel_train.csv")
        X, y = table.drop(columns="y"), table["y"].to_numpy()
        train = np.arange(len(y)) < 2 * len(y) // 3
        self.X, self.y, self.new_X, self.new_y = X[train], y[train], X[~train], y[~train]
        self.scaler = StandardScaler().fit(self.X)

    def of_others(self, classifier: LogisticRegression | MLPClassifier) -> tuple[float, float]:
        """Return the scores of a classifier on standardised columns."""
        classifier.fit(self.scaler.transform(self.X), self.y)
        return _scores(classifier.predict_proba(self.scaler.transform(self.new_X)), classifier.classes_, self.new_y)

    def networks(self, units: int, count: int) -> np.ndarray:
        """Return mean scores of networks that begin at different weights."""
        networks = [MLPClassifier((units,), max_iter=4000, random_state=seed) for seed in range(count)]
        return np.mean([self.of_others(network) for network in networks], axis=0)

    def of(self, fit: bm.Fit | bm.FitAverage) -> tuple[float, float]:
        chances = fit.predict_proba(self.new_X)
        return _scores(chances.values, chances["class"].values, self.new_y)


@pytest.fixture(scope="module")
def halves(data_dir: Path) -> Halves:
    return Halves(data_dir)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of k-hats and of networks that stop early
def test_linear_experts_are_scored_better_than_one_regression_and_one_network(halves: Halves) -> None:
    """In the share of errors they beat the regression; 176 rows cannot tell them from the network."""
    regression = halves.of_others(LogisticRegression(max_iter=5000))
    network = halves.networks(HIDDEN, 10)
    model = bm.MixtureOfExperts([EXPERT] * 3)
    fits = [bm.fit(model, halves.X, halves.y, bm.Laplace(draws=300, seed=seed), progress=False) for seed in range(3)]
    score, error = np.mean([halves.of(fit) for fit in fits], axis=0)
    assert score > max(regression[0], network[0]) + 0.5
    assert error < regression[1]
    assert error < network[1] + 2.0 * np.sqrt(0.25 / len(halves.new_y))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_experts_on_learned_features_beat_one_regression_and_one_network_of_their_size(halves: Halves) -> None:
    """In log score and in errors, averaged over five fits that begin at different weights; four such averages."""
    regression = halves.of_others(LogisticRegression(max_iter=5000))
    network = halves.networks(ALIKE, 20)
    model = bm.MixtureOfExperts([bm.Expert(bm.Categorical())] * 3, features=bm.MLP((FEATURES,)))
    fits = [bm.fit(model, halves.X, halves.y, bm.Training(seed=seed), progress=False) for seed in range(20)]
    averages = [bm.average(fits[five : five + 5]) for five in range(0, 20, 5)]
    score, error = np.mean([halves.of(average) for average in averages], axis=0)
    assert score > max(regression[0], network[0]) + 0.5
    assert error < min(regression[1], network[1])
