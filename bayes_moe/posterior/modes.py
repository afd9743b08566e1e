"""The modes of a posterior: how much each of them holds, and which of them the draws have seen.

EM lists the distinct optima that its starts reached, each in one labelling of the experts. The mass around one is
Laplace's integral; its copies under other names of the experts hold as much, and cancel in the shares. Draws belong to
the mode that Newton's method climbs to from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..binding.describe import all_coefficients
from ..errors import InputError, NotFittedError, Notice, listed
from ..inference.masses import LARGEST_SIZE, has_collapsed, log_mass, same_height, top_above
from ..inference.outcome import Outcome
from ..log_density import LogDensity
from .draws import permute_rows

OTHERS_LIMIT = 0.05
"""Share of the posterior that modes without draws may hold before it is said."""
BETTER_LIMIT = 1e-3
"""By how much a draw may climb above the best optimum of EM, in nats."""

_HIGHEST = 5
_MATTERS = 0.02
_PER_CHAIN = 5


@dataclass(frozen=True, eq=False)
class Mode:
    """One mode.

    Parameters
    ----------
    q
        Where it is.
    log_posterior
        Log posterior there.
    hits
        How many runs of EM ended there; 0 for one that only draws have found.
    collapsed
        Whether an expert of it is collapsed.
    draws
        How many of the draws that were climbed from ended there.
    """

    q: np.ndarray
    log_posterior: float
    hits: int
    collapsed: bool
    draws: int = 0


def table_of_modes(modes: Sequence[Mode], density: LogDensity, orders: Sequence[int] | None = None) -> xr.Dataset:
    """Return the table of modes, the largest share first.

    Parameters
    ----------
    modes
        The modes.
    density
        Their log posterior.
    orders
        For every mode, how many of the renamings of its experts leave it where it is. It has so many times fewer
        copies than others; None: 1 each.

    Returns
    -------
    xarray.Dataset
        By ``mode``: ``log_posterior``, ``log_mass`` (Laplace's log integral around it), ``share`` of all masses,
        ``hits`` of EM, ``draws`` (share of the draws looked at that belong to it, NaN where there are none), ``status``
        and ``q``. A point that is no maximum has no mass.
    """
    order = orders or [1] * len(modes)
    masses = np.array([log_mass(density, m.q) - np.log(copies) for m, copies in zip(modes, order, strict=True)])
    known = np.isfinite(masses)
    shares = np.full(len(modes), np.nan)
    if known.any():
        shares[known] = np.exp(masses[known] - np.logaddexp.reduce(masses[known]))
    looked = sum(m.draws for m in modes)
    rank = sorted(range(len(modes)), key=lambda i: (-np.nan_to_num(shares[i], nan=-1.0), -modes[i].log_posterior))
    picked = [modes[i] for i in rank]
    status = [_status(mode, mass) for mode, mass in zip(picked, masses[rank], strict=True)]
    return xr.Dataset(
        {
            "log_posterior": ("mode", np.array([m.log_posterior for m in picked])),
            "log_mass": ("mode", masses[rank]),
            "share": ("mode", shares[rank]),
            "hits": ("mode", np.array([m.hits for m in picked])),
            "draws": ("mode", np.array([m.draws / looked if looked else np.nan for m in picked])),
            "status": ("mode", np.array(status, dtype=str)),
            "q": (("mode", "value"), np.array([m.q for m in picked])),
        },
        coords={"mode": np.arange(len(picked))},
        attrs={"draws_looked_at": looked},
    )


_COLLAPSED = "maximum with a collapsed expert"


def _status(mode: Mode, mass: float) -> str:
    if not np.isfinite(mass):
        return "no maximum"
    return _COLLAPSED if mode.collapsed else "maximum"


def modes_of(bound: Bound, outcome: Outcome) -> xr.Dataset | None:
    """Return the table of modes of a fit; None for one without optima."""
    if not outcome.optima:
        return None
    with np.errstate(all="ignore"):
        modes = [Mode(o.q, o.log_posterior, o.hits, bool(o.collapsed)) for o in outcome.optima]
        if not outcome.point:
            modes = _with_draws(bound.density, modes, outcome)
        return table_of_modes(modes, bound.density, [symmetry(bound, mode.q) for mode in modes])


def modes_in(idata: xr.DataTree, bound: Bound, outcome: Outcome) -> xr.Dataset:
    """Return the table of modes that is stored with a fit, or of one that stores none.

    Raises
    ------
    NotFittedError
        If there are no modes.
    """
    found = idata["modes"].to_dataset() if "modes" in idata.children else modes_of(bound, outcome)
    if found is None and outcome.posterior is not None:
        raise NotFittedError(
            "modes: expected a fit that climbed to modes, got coefficients with posteriors from bm.VariationalEM() → "
            "fit with bm.EM() or an engine for posteriors"
        )
    if found is None:
        raise NotFittedError(
            "modes: expected a fit that climbed to modes, got a network whose training was stopped early → fit with "
            "bm.EM() or an engine for posteriors"
        )
    return found


def point_at(bound: Bound, table: xr.Dataset, mode: int) -> dict[str, np.ndarray]:
    """Return one mode as {value variable name: unconstrained value}.

    Raises
    ------
    InputError
        If there is no such mode.
    """
    count = table.sizes["mode"]
    if isinstance(mode, bool) or not isinstance(mode, int | np.integer) or not 0 <= mode < count:
        raise InputError(f"mode: expected a whole number from 0 to {count - 1}, got {mode!r} → see fit.modes()")
    network = {} if bound.features is None else bound.features.named()
    return network | bound.parameters.named(table["q"].values[mode])


def modes_notices(table: xr.Dataset | None) -> Iterator[Notice]:
    """Say that draws climbed higher than EM, and that modes without draws hold much."""
    if table is None or not table.attrs["draws_looked_at"]:
        return
    heights, hits, seen = table["log_posterior"].values, table["hits"].values, table["draws"].values > 0
    sound = table["status"].values == "maximum"
    own, new = heights[sound & (hits > 0)], heights[sound & (hits == 0)]
    gain = float(new.max() - own.max()) if len(new) and len(own) else 0.0
    if gain > BETTER_LIMIT:
        yield Notice(
            "better_mode",
            f"EM missed the best mode: Newton's method climbs from draws to a log posterior {gain:.3g} above the "
            "highest of EM. The chains have found it, but perhaps too late to be there as long as they should: search "
            "with more starts, bm.EM(starts=...), and pass that fit as start=.",
        )
    share = np.nan_to_num(table["share"].values)
    others = np.flatnonzero(~seen & (share > 0))
    if share[others].sum() > OTHERS_LIMIT:
        named = listed((f"mode {i} ({share[i]:.0%})" for i in others[np.argsort(-share[others])]), limit=3)
        yield Notice(
            "other_modes",
            f"Modes in which no draw was found hold about {share[others].sum():.0%} of the posterior by Laplace's "
            f"approximation: {named}. The draws describe the rest alone: see fit.modes(), and start other fits "
            "from these with start=fit.point_at(i).",
        )


def about_modes(table: xr.Dataset | None, *, one_too: bool = False) -> str:
    """Return a sentence that names the modes that matter; nothing where only one does, unless asked for.

    Of chains that have not converged it is worth knowing that they are all in the mode that holds the mass.
    """
    if table is None or table.sizes["mode"] < 2:
        return ""
    share, seen = np.nan_to_num(table["share"].values), np.nan_to_num(table["draws"].values)
    told = np.flatnonzero((share >= _MATTERS) | (seen > 0))
    if len(told) < (1 if one_too else 2):
        return ""
    each = [f"mode {i} holds {share[i]:.0%} and has {seen[i]:.0%} of the draws looked at" for i in told]
    return f"Of {table.sizes['mode']} modes by Laplace's approximation (fit.modes()), {listed(each, limit=4)}."


def _with_draws(density: LogDensity, modes: list[Mode], outcome: Outcome) -> list[Mode]:
    """Return the modes with the number of draws that belong to each, and those that only draws have found."""
    if density.size > LARGEST_SIZE:
        return modes
    points, counts = list(modes), [0] * len(modes)
    try:
        for q, counted in _looked_at(outcome):
            place = _place(density, q, points)
            if place is None:
                continue
            if place == len(counts):
                counts.append(0)
            counts[place] += counted
    except KeyboardInterrupt:
        # what was found so far stands; the draws themselves are complete
        counts += [0] * (len(points) - len(counts))
    return [Mode(m.q, m.log_posterior, m.hits, m.collapsed, c) for m, c in zip(points, counts, strict=True)]


def _looked_at(outcome: Outcome) -> Iterator[tuple[np.ndarray, int]]:
    """Yield draws of every chain at equal steps, which are counted, and the highest ones, which are not."""
    _, count, size = outcome.draws.shape
    for chain in outcome.draws:
        for i in np.linspace(0, count - 1, min(_PER_CHAIN, count)).astype(int)[::-1]:
            yield chain[i], 1
    stats = outcome.sample_stats
    heights = next((stats[name] for name in ("logp", "log_p") if name in stats), None)
    if heights is not None:
        for i in np.argsort(-np.nan_to_num(np.ravel(heights), nan=-np.inf))[:_HIGHEST]:
            yield outcome.draws.reshape(-1, size)[i], 0


def _place(density: LogDensity, q: np.ndarray, points: list[Mode]) -> int | None:
    """Return which mode a draw climbs to, after adding it where it is new."""
    found = top_above(density, q)
    if found is None:
        return None
    for place, mode in enumerate(points):
        if same_height(mode.log_posterior, found.log_density):
            return place
    points.append(Mode(found.q, found.log_density, 0, has_collapsed(density, found.q)))
    return len(points) - 1


def symmetry(bound: Bound, q: np.ndarray) -> int:
    """Return how many renamings of equal experts leave the point where it is, under a gate that is no tree."""
    parameters = bound.parameters
    if parameters.experts == 1 or parameters.gate.tree is not None:
        return 1
    coefficients = all_coefficients(parameters, q[None])
    order, every = 1, np.arange(parameters.experts)
    for _, positions in bound.model.blocks:
        left = list(positions)
        while left:
            twins = [left.pop(0)]
            for other in list(left):
                swap = every.copy()
                swap[[twins[0], other]] = swap[[other, twins[0]]]
                swapped = permute_rows(coefficients, swap[None], parameters.gate)
                if np.allclose(swapped, coefficients, rtol=1e-4, atol=1e-4):
                    twins.append(other)
                    left.remove(other)
            order *= factorial(len(twins))
    return order
