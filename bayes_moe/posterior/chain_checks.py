"""The single checks on chains that :mod:`bayes_moe.posterior.diagnose` puts together to a verdict.

Every check looks at all quantities at once and returns one coded notice, or None where there is nothing to
say. A check never passes what it cannot compute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayes_moe.errors import InputError, Notice, listed
from bayes_moe.inference.arviz import statistics

type Array = NDArray[np.float64]
type Flags = NDArray[np.bool_]

R_HAT_LIMIT = 1.01
"""Rank-normalised R-hat must be below this."""
ESS_LIMIT = 400.0
"""Bulk and tail effective sample size, over all chains, must be at least this."""
E_BFMI_LIMIT = 0.3
"""The energy's Bayesian fraction of missing information must be at least this in every chain."""
TREE_DEPTH_LIMIT = 0.01
"""The share of draws that reach the largest tree depth must be below this."""
FOREIGN_LIMIT = 1.0
"""A chain's mean log density may differ from the others' by at most this many within-chain sds."""

_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Rule:
    """A limit on a figure that every quantity must keep.

    Parameters
    ----------
    name
        What the figure is called in a sentence.
    limit
        The limit.
    ceiling
        Whether the figure must stay below the limit; otherwise it must reach it.
    advice
        What to do where it is broken.
    """

    name: str
    limit: float
    ceiling: bool
    advice: str

    def broken(self, figures: Array) -> Flags:
        """Return where the figure is finite and beyond its limit."""
        beyond: Flags = figures >= self.limit if self.ceiling else figures < self.limit
        return beyond & np.isfinite(figures)

    def worst(self, figures: Array) -> int:
        """Return the position of the worst finite figure."""
        return int(np.nanargmax(figures) if self.ceiling else np.nanargmin(figures))

    def sentence(self, quantity: str, figure: float) -> str:
        """Return "the figure of the quantity is ... and must be ...", without a full stop."""
        shown = f"{figure:.0f}" if not self.ceiling else f"{figure:.3f}" if figure < 100.0 else f"{figure:.1e}"
        bound = "below" if self.ceiling else "at least"
        return f"{self.name} of {quantity} is {shown} and must be {bound} {self.limit:g}"


_MORE_DRAWS = "Take more draws; if that does not help, the posterior is hard to move in: look at its modes."
RULES = {
    "r_hat": Rule(
        "R-hat",
        R_HAT_LIMIT,
        ceiling=True,
        advice="The chains do not agree: give them a longer warm-up and more draws, and look at the modes.",
    ),
    "ess_bulk": Rule("The bulk effective sample size", ESS_LIMIT, ceiling=False, advice=_MORE_DRAWS),
    "ess_tail": Rule("The tail effective sample size", ESS_LIMIT, ceiling=False, advice=_MORE_DRAWS),
}


@dataclass(frozen=True, eq=False)
class Stack:
    """All quantities as one array, with what is known of each.

    Parameters
    ----------
    names
        Names of the quantities, elements of a variable by their coordinates: ``slopes[0, x1]``.
    values
        (quantity, chain, draw) draws.
    chains
        Names of the chains.
    labelled
        (quantity,) whether it belongs to one expert.
    decides
        (quantity,) whether its R-hat and effective sample sizes count for the verdict.
    finite
        (quantity,) whether all draws are.
    still
        (quantity, chain) whether it is constant there.
    fixed
        (quantity,) whether it is one constant in all chains, and declared so.
    stuck
        (quantity,) whether it is constant in some chain without being declared so.
    """

    names: tuple[str, ...]
    values: Array
    chains: tuple[str, ...]
    labelled: Flags
    decides: Flags
    finite: Flags
    still: Flags
    fixed: Flags
    stuck: Flags

    def among(self, count: int) -> str:
        """Return how many of the deciding quantities share a finding, if more than one does."""
        judged = int((self.decides & ~self.fixed).sum())
        return f" (the worst of {count} such quantities among {judged})" if count > 1 else ""


def stacked(quantities: xr.Dataset, parameters: xr.Dataset, *, ambiguous: bool, fixed: Collection[str]) -> Stack:
    """Put label-free quantities and labelled parameters into one stack."""
    names, arrays, labelled, may_be = list[str](), list[Array](), list[bool](), list[bool]()
    for dataset, by_expert in ((quantities, False), (parameters, True)):
        for variable in map(str, dataset.data_vars):
            array = dataset[variable].transpose("chain", "draw", ...)
            flat = array.values.reshape(*array.shape[:2], -1).astype(np.float64)
            elements = list(_element_names(variable, array))
            names += elements
            arrays.append(np.moveaxis(flat, 2, 0))
            labelled += [by_expert] * len(elements)
            may_be += [variable in fixed or element in fixed for element in elements]
    _require_usable(names, arrays, labelled)
    values = np.concatenate(arrays)
    with np.errstate(invalid="ignore"):
        size = np.abs(values).max(axis=2)
        still = np.ptp(values, axis=2) <= _ROUNDING * size
        same = np.ptp(values, axis=(1, 2)) <= _ROUNDING * size.max(axis=1)
    finite, may = np.isfinite(values).all(axis=(1, 2)), np.array(may_be)
    by_label = np.array(labelled)
    fixed_here = finite & may & same
    decides = ~by_label if ambiguous else np.ones_like(by_label)
    if not np.any(decides & ~fixed_here):
        raise InputError("fixed: expected not to name all that is judged → leave out the log density at least")
    return Stack(
        names=tuple(names),
        values=values,
        chains=tuple(str(chain) for chain in quantities["chain"].values),
        labelled=by_label,
        decides=decides,
        finite=finite,
        still=still,
        fixed=fixed_here,
        stuck=finite & ~may & still.any(axis=1),
    )


def _element_names(variable: str, array: xr.DataArray) -> Iterator[str]:
    axes = [[str(value) for value in array[dim].values] for dim in array.dims[2:]]
    for element in product(*axes):
        yield f"{variable}[{', '.join(element)}]" if element else variable


def _require_usable(names: list[str], arrays: list[Array], labelled: list[bool]) -> None:
    if all(labelled):
        raise InputError("quantities: expected some, got none → pass the log density at least")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"parameters: expected names not among quantities, got {listed(twice)} → rename them")
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or 0 in next(iter(shapes)):
        raise InputError(
            f"parameters: expected draws of the same chains, at least one, got (chain, draw) of "
            f"{listed(sorted(shapes))} → pass draws of one run"
        )


def figures_of(stack: Stack) -> dict[str, Array]:
    """Return R-hat and effective sample sizes, NaN where draws are not finite or constant in every chain.

    With one chain, R-hat compares its halves.
    """
    figures = {code: np.full(len(stack.names), np.nan) for code in RULES}
    sound = stack.finite & ~stack.fixed & ~stack.still.all(axis=1)
    if not sound.any():
        return figures
    draws = stack.values[sound]
    _, chains, length = draws.shape
    half = length // 2
    apart = draws if chains > 1 else draws[:, :, : 2 * half].reshape(-1, 2, half)
    array_stats = statistics().base.array_stats
    with np.errstate(all="ignore"):
        figures["r_hat"][sound] = array_stats.rhat(apart, method="rank")
        figures["ess_bulk"][sound] = array_stats.ess(draws, method="bulk")
        figures["ess_tail"][sound] = array_stats.ess(draws, method="tail", prob=0.05)
    return figures


def beyond_limit(code: str, stack: Stack, figures: dict[str, Array]) -> Notice | None:
    """Report the quantity that breaks the rule of this code most."""
    rule = RULES[code]
    broken = rule.broken(figures[code]) & stack.decides & ~stack.stuck
    if not broken.any():
        return None
    worst = rule.worst(np.where(broken, figures[code], np.nan))
    sentence = rule.sentence(stack.names[worst], figures[code][worst])
    return Notice(code, f"{sentence}{stack.among(int(broken.sum()))}. {rule.advice}")


def not_finite(stack: Stack, figures: dict[str, Array]) -> Notice | None:
    """Report draws that are not finite, and diagnostics that are not although their draws are."""
    bad = np.flatnonzero(~stack.finite)
    if bad.size:
        per_chain = (~np.isfinite(stack.values[bad[0]])).sum(axis=1)
        chain = int(per_chain.argmax())
        message = (
            f"{stack.names[bad[0]]} is not finite in {per_chain[chain]} draws of chain {stack.chains[chain]} "
            f"({bad.size} of {len(stack.names)} quantities are affected), and every draw must be. Do not use "
            "these draws: look at the data and the priors behind this quantity."
        )
        return Notice("not_finite", message)
    undefined = np.any([~np.isfinite(values) for values in figures.values()], axis=0)
    bad = np.flatnonzero(undefined & stack.decides & ~stack.fixed & ~stack.stuck)
    if not bad.size:
        return None
    got = ", ".join(f"{code} {values[bad[0]]:.3g}" for code, values in figures.items())
    message = (
        f"The diagnostics of {stack.names[bad[0]]} are not finite: {got} ({bad.size} of {len(stack.names)} "
        "quantities are affected). Such draws prove nothing: take more, at least 8 a chain, and look at them."
    )
    return Notice("not_finite", message)


def stuck_chain(stack: Stack) -> Notice | None:
    """Report chains in which a quantity never moves."""
    if not stack.stuck.any():
        return None
    still = stack.still & stack.stuck[:, None]
    chains = np.flatnonzero(still.any(axis=0))
    names = listed((stack.names[i] for i in np.flatnonzero(stack.stuck)), limit=3)
    who = listed(stack.chains[c] for c in chains)
    message = (
        f"{'Chains' if chains.size > 1 else 'Chain'} {who} stood still: no draw differs from the first in "
        f"{names}. Start again from other points, and look at the log density where it got stuck."
    )
    return Notice("stuck_chain", message)


def identical_chains(stack: Stack) -> Notice | None:
    """Report two chains with the same draws."""
    moving = stack.values[stack.finite & ~stack.still.any(axis=1)]
    if not len(moving):
        return None
    for one, other in combinations(range(len(stack.chains)), 2):
        if np.array_equal(moving[:, one], moving[:, other]):
            message = (
                f"Chains {stack.chains[one]} and {stack.chains[other]} hold the same draws, so they count as "
                "one. Give every chain its own seed."
            )
            return Notice("identical_chains", message)
    return None


def foreign_mode(stack: Stack, sample_stats: xr.Dataset | None) -> Notice | None:
    """Report the chain whose mean log density lies furthest from the others', in pooled within-chain sds."""
    if "log_density" in stack.names:
        heights = stack.values[stack.names.index("log_density")]
    elif sample_stats is not None and "logp" in sample_stats:
        heights = np.asarray(sample_stats["logp"].transpose("chain", "draw").values, dtype=np.float64)
    else:
        return None
    moving = np.flatnonzero(np.isfinite(heights).all(axis=1) & (np.ptp(heights, axis=1) > 0.0))
    if moving.size < 2:
        return None
    means = heights[moving].mean(axis=1)
    sd = float(np.sqrt(heights[moving].var(axis=1, ddof=1).mean()))
    distance = np.abs(means - means.mean()) * moving.size / (moving.size - 1)  # from the mean of the others
    far = int(distance.argmax())
    if not distance[far] > FOREIGN_LIMIT * sd:
        return None
    shown = ", ".join(f"{mean:.2f}" for mean in means)
    message = (
        f"Chain {stack.chains[moving[far]]} sits elsewhere: its mean log density is {distance[far] / sd:.1f} "
        f"standard deviations from the other chains' and may be {FOREIGN_LIMIT:g} at most (chain by chain: "
        f"{shown}). It found another mode, or has not arrived yet: compare the modes, or warm up longer."
    )
    return Notice("foreign_mode", message)


def require_statistics(sample_stats: xr.Dataset) -> None:
    """Raise where a statistic that the verdict needs is missing."""
    missing = [name for name in ("diverging", "maxdepth_reached", "energy") if name not in sample_stats]
    if missing:
        raise InputError(
            f"sample_stats: expected diverging, maxdepth_reached and energy, got no {listed(missing)} → let "
            "the sampler keep them, or pass None if it has none"
        )


def _shares(flags: Any) -> tuple[int, float]:
    values = np.asarray(flags, dtype=bool)
    return int(values.sum()), float(values.mean())


def divergences(sample_stats: xr.Dataset) -> Notice | None:
    """Report divergent draws."""
    count, share = _shares(sample_stats["diverging"].values)
    if not count:
        return None
    message = (
        f"{count} of {sample_stats['diverging'].size} draws ({share:.1%}) diverged and none may: the sampler "
        "cannot follow the posterior there, so draws are missing. Raise target_accept (up to 0.99) or use "
        "tighter priors."
    )
    return Notice("divergences", message)


def tree_depth(sample_stats: xr.Dataset) -> Notice | None:
    """Report too many draws that ended at the largest tree depth."""
    count, share = _shares(sample_stats["maxdepth_reached"].values)
    if share < TREE_DEPTH_LIMIT:
        return None
    message = (
        f"{count} draws ({share:.1%}) reached the largest tree depth and fewer than {TREE_DEPTH_LIMIT:.0%} "
        "should: the steps are small for this posterior. Warm up longer, or raise the largest depth."
    )
    return Notice("tree_depth", message)


def e_bfmi(sample_stats: xr.Dataset) -> Notice | None:
    """Report chains whose energy mixes badly."""
    energy = np.asarray(sample_stats["energy"].transpose("chain", "draw").values, dtype=np.float64)
    array_stats = statistics().base.array_stats
    with np.errstate(all="ignore"):
        figures = np.asarray(array_stats.bfmi(energy), dtype=np.float64)
    figures = np.where(np.isfinite(figures), figures, 0.0)
    worst = int(figures.argmin())
    if figures[worst] >= E_BFMI_LIMIT:
        return None
    chain = sample_stats["chain"].values[worst]
    message = (
        f"E-BFMI of chain {chain} is {figures[worst]:.2f} and must be at least {E_BFMI_LIMIT:g}: the chain "
        "changes energy too slowly to reach the tails. Warm up longer; a tighter prior on scales often helps."
    )
    return Notice("e_bfmi", message)


def labels_ambiguous(stack: Stack, figures: dict[str, Array]) -> Notice:
    """Say that the labels mean little, and which labelled parameters would have failed."""
    by_rule = {code: rule.broken(figures[code]) & stack.labelled for code, rule in RULES.items()}
    undefined = stack.finite & ~stack.fixed & ~stack.stuck & stack.labelled
    undefined &= np.any([~np.isfinite(values) for values in figures.values()], axis=0)
    failing = np.any([*by_rule.values(), undefined], axis=0)
    message = "Some experts cannot be told apart in every draw, so tables by expert mean little."
    if failing.any():
        count, total = int(failing.sum()), int((stack.labelled & ~stack.fixed).sum())
        message += f" {count} of {total} parameters by expert miss the limits, which does not count"
        first = next((code for code, broken in by_rule.items() if broken.any()), None)
        if first is not None:
            worst = RULES[first].worst(np.where(by_rule[first], figures[first], np.nan))
            message += f": {RULES[first].sentence(stack.names[worst], figures[first][worst])}"
        message += "."
    message += (
        " Use what needs no labels: predictions, fit.partition(X) (how the gate divides x), fit.co_assignment() (which "
        "rows go together), fit.experts_used() and fit.loo()."
    )
    return Notice("labels_ambiguous", message)
