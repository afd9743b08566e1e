"""The verdict on a fit: what the data, the engine and the draws say together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..binding.redundancy import dependent_names
from ..errors import Notice
from ..inference.outcome import Outcome, Status
from ..screening import dependent, weak_data
from .diagnose import Severity, sampling_verdict, severity
from .draws import Draws, Labels
from .expert_notices import about_experts_used, ambiguous, expert_notices
from .labelled import probabilities_by_draw
from .mixtures import MixtureDraws, marginal, pieces
from .modes import about_modes, modes_notices
from .optima import duplicate_notices
from .status import FitStatus

_GRID = 10
_SIZE_ROWS = 300


def judge(bound: Bound, outcome: Outcome, draws: Draws, labels: Labels, tree: xr.DataTree) -> FitStatus:
    """Return the status of a fit, from the groups ``posterior`` and, if it is there, ``modes`` of its tree."""
    rows = int(np.count_nonzero(bound.data.weights > 0))
    # coefficients that are integrated out need no rows of their own
    weak = None if outcome.posterior is not None else weak_data(rows, bound.parameters.size)
    notices = [*bound.data.notices, *([weak] if weak else []), *outcome.notices]
    # coefficients with posteriors of their own come with priors that choose among columns
    notices += () if outcome.posterior is not None else _dependent_notices(bound)
    notices += expert_notices(bound, draws, point=outcome.point)
    notices += duplicate_notices(bound, outcome) if outcome.point else ()
    notices += _feature_notices(bound, outcome)
    modes = tree["modes"].to_dataset() if "modes" in tree.children else None
    notices += modes_notices(modes)
    sampled = not outcome.point and "diverging" in outcome.sample_stats
    if not sampled:
        if labels.ambiguous and not outcome.point:
            notices.append(ambiguous(labels))
        sentence = outcome.status.value
        if outcome.posterior is not None:
            sentence = f"{sentence} {_about_bound(outcome)}"
        elif outcome.point and not outcome.optima:
            sentence = f"{sentence} {_about_training(outcome)}"
        elif outcome.point:
            sentence = f"{sentence} {_about_optimum(outcome)}"
        return FitStatus(outcome.status.converged, sentence, tuple(notices))
    posterior = tree["posterior"].to_dataset()
    stats = xr.Dataset({name: (("chain", "draw"), value) for name, value in outcome.sample_stats.items()})
    verdict = sampling_verdict(
        label_free(bound, draws, outcome),
        posterior.drop_vars([name for name in posterior.coords if name not in posterior.dims]),
        stats,
        ambiguous=labels.ambiguous,
        fixed=tuple(_fixed(posterior)),
    )
    notices += verdict.notices
    if outcome.status is Status.INTERRUPTED:
        return FitStatus(converged=False, sentence=f"{outcome.status.value} {verdict}", notices=tuple(notices))
    failures = " ".join(n.message for n in verdict.notices if severity(n.code) is Severity.FAILURE)
    sentence = f"Not converged: {failures}" if not verdict.converged else str(verdict)
    used = about_experts_used(draws) if labels.ambiguous else ""
    named = about_modes(modes, one_too=not verdict.converged)
    sentence = " ".join(part for part in (sentence, _about_second_run(outcome), named, used) if part)
    return FitStatus(verdict.converged, sentence, tuple(notices))


def _about_second_run(outcome: Outcome) -> str:
    """Say that the chains were run twice."""
    before = outcome.facts.get("divergences_before")
    if before is None:
        return ""
    return (
        f"A first run had {before} divergences; this is a second one, with a target_accept of "
        f"{outcome.facts['target_accept']}."
    )


@np.errstate(all="ignore")  # what is not finite is named by the verdict
def label_free(bound: Bound, draws: Draws, outcome: Outcome) -> xr.Dataset:
    """Return quantities that no renaming of experts changes, with dims (chain, draw, ...).

    Log posterior, predictive mean and sd at ten spread-out rows of positive weight, and the experts' sizes in order,
    where the gate has parameters.
    """
    chains, count = draws.q.shape[:2]
    table, y = np.asarray(bound.data.table.values)[bound.counted], bound.data.y[bound.counted]
    first = y if y.ndim == 1 else y[:, 0]
    grid = np.unique(np.argsort(first, kind="stable")[np.linspace(0, len(y) - 1, _GRID).astype(int)])
    values: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: (("chain", "draw", "row"), found.reshape(chains, count, -1))
        for name, found in _predictive(draws, table[grid]).items()
    }
    if draws.permutations.shape[1] > 1 and bound.parameters.gate.count:
        sizes = _sizes(draws, table[:: max(1, len(table) // _SIZE_ROWS)])
        values["sorted_size"] = (("chain", "draw", "rank"), sizes.reshape(chains, count, -1))
    if "logp" in outcome.sample_stats:
        values["log_density"] = (("chain", "draw"), np.asarray(outcome.sample_stats["logp"]))
    return xr.Dataset(values)


def _predictive(draws: Draws, table: np.ndarray) -> dict[str, np.ndarray]:
    """Return, by draw, means and standard deviations at some rows, or the probabilities of the labels there."""
    mixture, data = draws.mixture(table), draws.bound.data
    if data.classes:
        return {"predictive_probability": probabilities_by_draw(mixture, len(data.classes))}
    each = [marginal(mixture, output) for output in range(len(data.outputs))] or [mixture]
    moments = [_moments(one) for one in each]
    mean, spread = (np.concatenate(parts, axis=1) for parts in zip(*moments, strict=True))
    certain = (spread == 0).all(axis=0)  # whatever the parameters: rows without trials, which say nothing of chains
    told = ~certain if not certain.all() else np.ones_like(certain)
    return {"predictive_mean": mean[:, told], "predictive_sd": spread[:, told]}


def _moments(mixture: MixtureDraws) -> tuple[np.ndarray, np.ndarray]:
    mean, square = (np.empty((mixture.draws, mixture.rows)) for _ in range(2))
    for piece in pieces(mixture):
        gate = np.exp(piece.log_gate)
        centre = mixture.family.mean(**piece.parameters)
        spread = mixture.family.variance(**piece.parameters)
        m = (gate * centre).sum(axis=2)
        mean[piece.draws, piece.rows] = m
        square[piece.draws, piece.rows] = (gate * (spread + (centre - m[:, :, None]) ** 2)).sum(axis=2)
    return mean, np.sqrt(square)


def _sizes(draws: Draws, table: np.ndarray) -> np.ndarray:
    mixture = draws.mixture(table)
    out = np.zeros((mixture.draws, mixture.experts))
    for piece in pieces(mixture):
        out[piece.draws] += np.exp(piece.log_gate).sum(axis=1)
    return np.sort(out / mixture.rows, axis=1)


def _fixed(posterior: xr.Dataset) -> Iterator[str]:
    """Yield variables that hold structural zeros or nothing: of columns and parameters that an expert does not use.

    So does the gate of one expert.
    """
    for name, values in posterior.items():
        if bool((((values == 0) | values.isnull()).all(("chain", "draw"))).any()):
            yield str(name)


def _dependent_notices(bound: Bound) -> Iterator[Notice]:
    """Name columns that depend on each other only once predictors have computed them."""
    if bound.redundant and not any(notice.code == "collinear" for notice in bound.data.notices):
        groups = list(dependent_names(bound.parameters, bound.general_density.table))
        if groups:
            yield dependent("Columns that a predictor computes", groups)


def _feature_notices(bound: Bound, outcome: Outcome) -> Iterator[Notice]:
    if bound.features is not None and (outcome.optima or not outcome.point):
        yield Notice(
            "features_frozen",
            "Features frozen after training: the network was trained first and then held fixed, and everything here is "
            "about its output layer given the features, whose own uncertainty is left out.",
        )


def _about_bound(outcome: Outcome) -> str:
    facts = outcome.facts
    rounds = len(outcome.history["elbo"]) - 1
    text = f"Evidence lower bound {facts['elbo']:.4f} after {_counted(rounds, 'round')}"
    return f"{text}, the best of {_counted(facts['starts'], 'start')}." if facts["starts"] else f"{text}."


def _about_training(outcome: Outcome) -> str:
    facts = outcome.facts
    if not facts["held_out_rows"]:
        return f"All rows trained for {facts['epochs']} epochs; gradient norm {facts['gradient_norm']:.2g}."
    return (
        f"The log density of {facts['held_out_rows']} held-out rows was highest, "
        f"{facts['held_out_log_density']:.4f} each, after epoch {facts['best_epoch']}; gradient "
        f"norm {facts['gradient_norm']:.2g}."
    )


def _about_optimum(outcome: Outcome) -> str:
    best, runs = outcome.optima[0], outcome.facts.get("long_runs", 1)
    text = f"Log posterior {best.log_posterior:.4f}, reached by {best.hits} of {runs} runs brought to the end"
    if outcome.facts.get("starts"):
        text += f" ({_counted(outcome.facts['starts'], 'start')}, {_counted(outcome.facts['moves'], 'move')})"
    others = [o for o in outcome.optima[1:] if not o.collapsed]
    if others:
        text += f"; {_counted(len(others), 'other optimum', 'other optima')}"
        text += f", the next {best.log_posterior - others[0].log_posterior:.3g} below"
    return f"{text}; Newton decrement {best.decrement:.1g}, smallest eigenvalue {best.smallest_eigenvalue:.2g}."


def _counted(number: object, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
