"""A small data set, two experts, and a quick fit of them to change one thing at a time."""

from __future__ import annotations

from typing import Any

import bayes_moe as bm

N = 60
DATA = bm.datasets.two_lines(N, seed=3)
X, Y = DATA.X, DATA.y
TWO = bm.MixtureOfExperts(2)
QUICK = bm.EM(starts=2, seed=0)


def fit(model: Any = TWO, x: Any = X, y: Any = Y, engine: Any = QUICK, **options: Any) -> bm.Fit:
    """Return a fit, quick unless told otherwise."""
    return bm.fit(model, x, y, engine, **({"progress": False} | options))
