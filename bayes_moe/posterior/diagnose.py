"""Turn draws into a verdict: converged or not, and in plain sentences why not.

:func:`sampling_verdict` judges chains: rank-normalised R-hat below 1.01, bulk and tail effective sample size
of at least 400, E-BFMI of at least 0.3, no divergence, under 1 % of the draws at the largest tree depth, and
no chain that stands still, repeats another or sits elsewhere. A figure that is not finite is a failure, never
skipped. Draws from an approximation are judged by `bayes_moe.inference.importance`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np
import xarray as xr

from bayes_moe.errors import Notice
from bayes_moe.posterior import chain_checks as check


class Severity(Enum):
    """What a notice means for the verdict."""

    FAILURE = "failure"
    """The draws do not represent the posterior: not converged."""
    WARNING = "warning"
    """The draws may be used, with the restriction the notice states."""


_ONE_CHAIN = (
    "Only one chain was run, so nothing shows whether another would find the same: R-hat compares its halves "
    "alone. Run at least 4 chains."
)
_WARNINGS = frozenset({"labels_ambiguous", "no_between_chain_check"})


def severity(code: str) -> Severity:
    """Return what a notice with this code means for the verdict.

    Examples
    --------
    >>> severity("labels_ambiguous").value, severity("r_hat").value
    ('warning', 'failure')
    """
    return Severity.WARNING if code in _WARNINGS else Severity.FAILURE


@dataclass(frozen=True, eq=False)
class Verdict:
    """The judgement on a set of chains; ``str()`` says it in plain sentences.

    Parameters
    ----------
    converged
        Whether no notice is a failure.
    notices
        Coded findings, failures first, at most one per code.
    table
        Per ``quantity``: ``r_hat``, ``ess_bulk`` and ``ess_tail`` (NaN where they have no meaning), with
        coordinates ``labelled`` (belongs to one expert) and ``fixed`` (constant as declared, not judged).
        Its attributes hold ``chains``, ``draws`` and, if the sampler counted them, ``divergences``.
    """

    converged: bool
    notices: tuple[Notice, ...]
    table: xr.Dataset

    @property
    def failures(self) -> tuple[Notice, ...]:
        """The notices that make it "not converged"."""
        return tuple(notice for notice in self.notices if severity(notice.code) is Severity.FAILURE)

    def __str__(self) -> str:
        messages = " ".join(notice.message for notice in self.notices)
        if not self.converged:
            return f"Not converged: {messages}"
        chains, draws = self.table.attrs["chains"], self.table.attrs["draws"]
        judged = self.table.where(~self.table["fixed"], drop=True)
        if any(notice.code == "labels_ambiguous" for notice in self.notices):
            judged = judged.where(~judged["labelled"], drop=True)
        ess = min(float(judged["ess_bulk"].min()), float(judged["ess_tail"].min()))
        sentence = (
            f"Converged: {chains} {'chains' if chains > 1 else 'chain'} of {draws} draws, largest R-hat "
            f"{float(judged['r_hat'].max()):.3f} (limit {check.R_HAT_LIMIT}), smallest effective sample size "
            f"{ess:.0f} (limit {check.ESS_LIMIT:.0f})"
        )
        sentence += ", no divergences." if "divergences" in self.table.attrs else "."
        return f"{sentence} {messages}".rstrip()


def sampling_verdict(
    quantities: xr.Dataset,
    parameters: xr.Dataset,
    sample_stats: xr.Dataset | None,
    *,
    ambiguous: bool = False,
    fixed: Collection[str] = (),
) -> Verdict:
    """Judge whether chains have converged.

    Parameters
    ----------
    quantities
        Label-free quantities with dims (chain, draw, ...). If one is called ``log_density``, the chains'
        heights are compared on it; otherwise on ``logp`` of `sample_stats`, if that is there.
    parameters
        Relabelled parameters with dims (chain, draw, ...). May be empty.
    sample_stats
        ``diverging``, ``maxdepth_reached`` and ``energy`` with dims (chain, draw), as nutpie names them; None
        for a sampler without them.
    ambiguous
        Whether the experts' labels mean little. Then R-hat and effective sample size of `parameters` are
        reported and do not decide.
    fixed
        Names of variables, or of single quantities such as ``"slopes[0, x1]"``, that may be constant. They
        are left out where they are the same in every draw of every chain, and judged where they are not.

    Raises
    ------
    InputError
        There is nothing to judge, the shapes differ, or `sample_stats` lacks one of its three variables.

    Notes
    -----
    A chain is *foreign* if its mean log density differs from the mean of the other chains' means by more than
    one pooled within-chain standard deviation. With 100 effective draws a chain the Monte Carlo error of that
    difference is about 0.12. With one chain, R-hat compares its halves.

    References
    ----------
    A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner (2021), Rank-normalization, folding, and
    localization: an improved R-hat, Bayesian Analysis 16, 667-718.

    Examples
    --------
    >>> draws = np.random.default_rng(1).standard_normal((4, 1000))
    >>> quantities = xr.Dataset({"log_density": (("chain", "draw"), draws)})
    >>> sampling_verdict(quantities, xr.Dataset(), None).converged
    True
    """
    stack = check.stacked(quantities, parameters, ambiguous=ambiguous, fixed=fixed)
    figures = check.figures_of(stack)
    attrs = {"chains": stack.values.shape[1], "draws": stack.values.shape[2]}
    found = [
        check.not_finite(stack, figures),
        check.stuck_chain(stack),
        check.identical_chains(stack),
        check.foreign_mode(stack, sample_stats),
        *(check.beyond_limit(code, stack, figures) for code in check.RULES),
    ]
    if sample_stats is not None:
        check.require_statistics(sample_stats)
        attrs["divergences"] = int(sample_stats["diverging"].sum())
        found += [check.divergences(sample_stats), check.tree_depth(sample_stats), check.e_bfmi(sample_stats)]
    failures = [notice for notice in found if notice is not None]
    warnings = [Notice("no_between_chain_check", _ONE_CHAIN)] if attrs["chains"] == 1 else []
    if ambiguous:
        warnings.append(check.labels_ambiguous(stack, figures))
    table = xr.Dataset(
        {code: ("quantity", values) for code, values in figures.items()},
        coords={
            "quantity": np.array(stack.names),
            "labelled": ("quantity", stack.labelled),
            "fixed": ("quantity", stack.fixed),
        },
        attrs=attrs,
    )
    return Verdict(converged=not failures, notices=(*failures, *warnings), table=table)
