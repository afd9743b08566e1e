"""Whether ranks are uniform: a test for every quantity, and what a study comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from arviz_stats.base import array_stats

from .ranks import CHAINS, DRAWS, flagged_by_chains

FALSE_ALARM = 0.01
FAR = 5.0
"""Up to where a z-score counts: an sd of almost nothing would make one replication the mean of all."""


class Verdict(NamedTuple):
    """What the replications of one study say.

    Parameters
    ----------
    replications
        That were judged.
    left_out
        Data sets that the package refused.
    flagged
        Share of fits whose chains diverge, disagree or have too few effective draws. They are judged with the others.
    noticed
        Share of fits with any other notice.
    p_values
        Of uniformity, by quantity.
    z
        Mean z-score of the truth, by quantity, each between -`FAR` and `FAR`.
    """

    replications: int
    left_out: int
    flagged: float
    noticed: float
    p_values: dict[str, float]
    z: dict[str, float]

    @property
    def suspicious(self) -> list[str]:
        """Quantities whose ranks are not uniform, by Holm's method at `FALSE_ALARM`."""
        out = []
        for i, (name, p) in enumerate(sorted(self.p_values.items(), key=lambda item: item[1])):
            if p > FALSE_ALARM / (len(self.p_values) - i):
                break
            out.append(name)
        return out


def judge(replications: Sequence[dict[str, Any]]) -> Verdict:
    """Return the verdict on replications of one study by one engine."""
    judged = [one for one in replications if "rank" in one]
    names = list(judged[0]["rank"]) if judged else []
    p_values = {name: uniformity(np.array([one["rank"][name] for one in judged])) for name in names}
    z = {name: float(np.mean(np.clip([one["z"][name] for one in judged], -FAR, FAR))) for name in names}
    flagged = _share([flagged_by_chains(one["flags"]) for one in judged])
    noticed = _share([bool(set(one["flags"]) - CHAINS) for one in judged])
    return Verdict(len(judged), sum("refused" in one for one in replications), flagged, noticed, p_values, z)


def _share(found: Sequence[bool]) -> float:
    return float(np.mean(found)) if found else 0.0


def uniformity(ranks: np.ndarray) -> float:
    """Return the p-value of uniform ranks among `DRAWS` draws, by dependent tests of the points of the ECDF."""
    rng = np.random.default_rng(0)
    values = (ranks + rng.random(len(ranks))) / (DRAWS + 1)
    return float(array_stats.uniformity_test(values)[0])
