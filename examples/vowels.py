"""Do speakers fall into kinds whose vowels are told apart by different rules?

Eleven vowels of British English, ten numbers about the sound of each, spoken by eight people (Deterding 1989). A tree
of gates splits the sounds, and at each of its four leaves stands a multinomial logistic expert: a hierarchical mixture.
It learns from the first two thirds of the rows, which are other speakers than the last third, on which it is scored
beside one multinomial logistic regression.

    python examples/vowels.py path/to/esl_vowel_train.csv
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bayes_moe as bm

PRIOR = bm.priors.Normal(0, 1, standardised=True)
EXPERT = bm.Expert(bm.Categorical(), logits=bm.Linear(slopes=PRIOR))
VOWELS = ["heed", "hid", "head", "had", "hard", "hud", "hod", "hoard", "hood", "who'd", "heard"]


def main(path: str, out: str = "out") -> None:
    """Fit, score on speakers not heard, and draw the tree."""
    table = pd.read_csv(path)
    X, y = table.drop(columns="y"), np.array(VOWELS)[table["y"] - 1]
    heard = np.arange(len(y)) < 2 * len(y) // 3
    models = {"one expert": bm.MixtureOfExperts([EXPERT]), "tree of four": bm.hierarchical_moe((2, 2), EXPERT)}
    engines = {"EM": bm.EM(seed=0, starts=24), "Laplace": bm.Laplace(draws=200, seed=0)}
    for name, model in models.items():
        fit = None
        for engine, how in engines.items():
            fit = bm.fit(model, X[heard], y[heard], how, start=fit, progress=False)
            for pooling, hard in {"all experts": False, "the most probable": True}.items():
                chance = fit.predict_proba(X[~heard], hard=hard)
                code = chance.indexes["class"].get_indexer(y[~heard])
                score = np.log(chance.values[np.arange(len(code)), code]).mean()
                wrong = (chance.values.argmax(axis=1) != code).mean()
                print(f"{name:13} {engine:8} {pooling:18} log score {score:6.3f}, wrong {wrong:.0%}")
    Path(out).mkdir(exist_ok=True)
    bm.plots.tree(fit).figure.savefig(Path(out) / "vowels.png", dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
