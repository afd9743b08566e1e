"""Summaries of draws with their Monte-Carlo errors."""

from __future__ import annotations

import numpy as np
from arviz_stats.base import array_stats

PROBABILITIES = (0.05, 0.5, 0.95)


def summarised(quantities: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return, for every quantity (chains, draws): statistics, their Monte-Carlo errors, ESS and R-hat."""
    out = {}
    for name, draws in quantities.items():
        found = {
            "mean": float(draws.mean()),
            "mean_mcse": float(array_stats.mcse(draws, method="mean")),
            "sd": float(draws.std(ddof=1)),
            "sd_mcse": float(array_stats.mcse(draws, method="sd")),
            "ess": float(
                min(array_stats.ess(draws, method="bulk"), array_stats.ess(draws, method="tail", prob=(0.05, 0.95)))
            ),
            "r_hat": float(array_stats.rhat(draws)),
        }
        for p in PROBABILITIES:
            found[f"q{p:g}"] = float(np.quantile(draws, p))
            found[f"q{p:g}_mcse"] = float(array_stats.mcse(draws, method="quantile", prob=p))
        out[name] = found
    return out
