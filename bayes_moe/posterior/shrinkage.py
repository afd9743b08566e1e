"""What variational EM says of the coefficients of experts' means: their precisions, and what they leave uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..binding.bind import Bound
from ..binding.expert_terms import ExpertTerm
from ..binding.variational import learned_groups
from ..errors import NotFittedError
from ..families import Role
from ..inference.outcome import Outcome
from ..log_density import CoefficientPosterior
from .draws import Draws
from .standard_errors import slopes_of


def shrinkage_rows(bound: Bound, outcome: Outcome, engine: Any) -> list[dict[str, object]]:
    """Return what `Fit.shrinkage` shows of every expert and group of slopes.

    The group's ``columns``; how many of them the rows decide (``effective``, MacKay's gamma: 0 where all are shrunk
    away); a slope's ``prior_sd`` on the standardised scale, one over the root of the precision; and the slopes'
    ``root_mean_square`` there.

    Raises
    ------
    NotFittedError
        If the engine learns no precisions.
    """
    found = outcome.posterior
    if found is None:
        raise NotFittedError(
            f"shrinkage: expected a fit by bm.VariationalEM(), which learns prior precisions, got one by {engine!r} → "
            "fit the model by it; fit.prior_summary() tells stated priors"
        )
    return [row for expert in range(len(found.roots)) for row in _rows(bound, outcome, found, expert)]


def _rows(bound: Bound, outcome: Outcome, found: CoefficientPosterior, expert: int) -> list[dict[str, object]]:
    term = _term_of(bound, expert)
    groups, names = learned_groups(term), term.term.basis.names
    slopes = outcome.draws[0, 0, term.places[term.experts.index(expert), 1:]]
    out = []
    for group, (log_precision, effective) in enumerate(
        zip(found.log_precisions[expert], found.effective[expert], strict=True)
    ):
        own = np.flatnonzero(groups == group)
        out.append(
            {
                "expert": expert,
                "group": label([names[j] for j in own]),
                "columns": len(own),
                "effective": float(effective),
                "prior_sd": float(np.exp(-0.5 * log_precision)),
                "root_mean_square": float(np.sqrt(np.mean(slopes[own] ** 2))),
            }
        )
    return out


def label(names: Sequence[str]) -> str:
    """Return a short name of a group of columns.

    Examples
    --------
    >>> label(["age[bs1]", "age[bs2]", "age[bs3]"])
    'age[bs1], ..., age[bs3]'
    """
    return ", ".join(names) if len(names) < 3 else f"{names[0]}, ..., {names[-1]}"


def _term_of(bound: Bound, expert: int) -> ExpertTerm:
    """Return the term of an expert's mean."""
    terms = bound.parameters.terms
    return next(term for term in terms if term.parameter.role is Role.LOCATION and expert in term.experts)


def coefficient_errors(bound: Bound, draws: Draws) -> dict[str, np.ndarray]:
    """Return posterior standard deviations by the name of a parameter, in the user's units; NaN for points."""
    found, size = draws.posterior, bound.parameters.size
    assert found is not None
    root, uncertain = np.zeros((size, size)), np.zeros(size, dtype=bool)
    for expert, own in enumerate(found.roots):
        term = _term_of(bound, expert)
        places = term.places[term.experts.index(expert)]
        root[np.ix_(places, places)] = own
        uncertain[places] = True
    out = {}
    for name, slopes in slopes_of(bound, draws, np.ones(size)).items():
        flat = slopes.reshape(size, -1)
        spread = np.sqrt(np.sum((root.T @ flat) ** 2, axis=0)).reshape(slopes.shape[1:])
        known = ~np.any(flat[uncertain] != 0, axis=0).reshape(slopes.shape[1:])
        out[name] = np.where(known, np.nan, spread)
    return out
