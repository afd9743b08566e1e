"""The verb that chooses: how many experts, or which of several models."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..binding.bind import Bound
from ..data import Missing
from ..errors import FitWarning, InterruptedFit, NotFittedError, NumericalError, SpecError
from ..fitting import bound_to, check, default_engine, fit_bound, rows_of
from ..inference.em import EM
from ..inference.outcome import Status
from ..inference.progress import Report
from ..inference.settings import settle_seed
from ..inference.training import Training
from ..inference.variational_em import VariationalEM
from ..mixture import MixtureOfExperts
from ..posterior.fit import Fit
from ..scaling import Scaling
from ..specification import Engine
from .candidates import Candidate, Key, read_candidates
from .criteria import BIC, ICL, LOO, Criterion, KFold, Score
from .selection import Selection


def select(
    model: MixtureOfExperts | Mapping[str, MixtureOfExperts],
    X: Any = None,
    y: Any = None,
    experts: Iterable[int] | None = None,
    engine: Engine | None = None,
    *,
    criterion: Criterion | None = None,
    data: Any = None,
    formula: str | None = None,
    gate_X: Any = None,
    weights: Any = None,
    groups: Any = None,
    scaling: Scaling | None = None,
    missing: Missing = Missing.REFUSE,
    progress: bool = True,
) -> Selection:
    """Fit a model with several numbers of experts, or several models, and choose.

    Parameters
    ----------
    model
        A specification whose experts are all equal, to be fitted with other numbers of them; or specifications by name,
        with other families, gates or predictors. Trees have the shape that their gate says: pass them by name.
    X, y
        As for `fit`.
    experts
        Numbers of experts to try. None: 1 to 6 for one model; models by name as they are. Models by name and numbers:
        every one with every number.
    engine
        As for `fit`, the same for all models, with the same seed.
    criterion
        ``bm.BIC()`` or ``bm.ICL()`` for point fits by EM; ``bm.LOO()`` for engines with draws; ``bm.KFold()`` for any.
        None: BIC for EM, LOO for draws, 5 folds where features are learned.
    data, formula, gate_X, weights, groups, scaling, missing
        As for `fit`, which takes a start besides: every model finds its own here.
    progress
        Whether to show progress.

    Returns
    -------
    Selection
        With ``.best``, the chosen fit, ``.table``, ``.fits`` and the reason in words. Ctrl-C returns the choice
        between those that are finished.

    Raises
    ------
    SpecError
        If a model cannot have another number of experts, or the criterion does not suit model or engine.
    InputError
        If the data cannot be used by one of the models; nothing has been fitted then.
    InterruptedFit
        If an interrupt came before the first model was finished.
    NumericalError
        If no model could be fitted.

    Warns
    -----
    FitWarning
        If the chosen fit, or the one of the best score, did not converge.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> chosen = bm.select(bm.MixtureOfExperts(1), data.X, data.y, range(1, 4), bm.EM(starts=4, seed=1), progress=False)
    >>> chosen.chosen, len(chosen.best.model.experts)
    (2, 2)
    """
    candidates = read_candidates(model, experts)
    if criterion is not None and not isinstance(criterion, Criterion):
        raise SpecError(
            f"criterion: expected bm.BIC(), bm.ICL(), bm.LOO() or bm.KFold(), got {criterion!r} → pass an instance"
        )
    engines = _engines(candidates, engine)
    rows = rows_of(candidates[0].model, X, y, gate_X, groups, data, formula, missing)
    bounds = [bound_to(candidate.model, rows, weights, missing, scaling) for candidate in candidates]
    chosen_by = _default(bounds, engines) if criterion is None else criterion
    for candidate, bound, each in zip(candidates, bounds, engines, strict=True):
        chosen_by.check(candidate.title, bound, each)
    _refuse_joint(candidates, bounds, chosen_by)
    selection = _run(candidates, bounds, engines, chosen_by, progress=progress)
    _warn(selection)
    return selection


def _run(
    candidates: tuple[Candidate, ...],
    bounds: list[Bound],
    engines: list[Engine],
    criterion: Criterion,
    *,
    progress: bool,
) -> Selection:
    """Fit and score one model after the other, until an interrupt."""
    fits: dict[Key, Fit] = {}
    scores: dict[Key, Score] = {}
    failed: dict[Key, str] = {}
    finished = 0
    try:
        for candidate, bound, engine in zip(candidates, bounds, engines, strict=True):
            report = Report(progress, f"{finished + 1} of {len(candidates)}, {candidate.title}")
            try:
                fit = fit_bound(bound, engine, None, report)
                if fit.outcome.status is Status.INTERRUPTED:
                    break
                scores[candidate.key] = criterion.score(fit, report)
                fits[candidate.key] = fit
            except (NumericalError, NotFittedError) as error:
                failed[candidate.key] = str(error)
            finished += 1
    except KeyboardInterrupt:
        pass
    unfinished = tuple(candidate.key for candidate in candidates[finished:])
    if not fits and unfinished:
        raise InterruptedFit(f"select was interrupted before {candidates[0].title} was finished → call select again")
    if not fits:
        raise NumericalError(f"select: expected one model that can be fitted, got none: {'; '.join(failed.values())}")
    return Selection(fits, scores, criterion, failed, unfinished)


def _engines(candidates: tuple[Candidate, ...], engine: Engine | None) -> list[Engine]:
    """Return an engine for every model, with the same seed for all."""
    found = [default_engine(candidate.model) if engine is None else engine for candidate in candidates]
    for candidate, each in zip(candidates, found, strict=True):
        check(candidate.model, each)
    seed = settle_seed(found[0].seed)
    return [replace(each, seed=seed) for each in found]


def _default(bounds: list[Bound], engines: list[Engine]) -> Criterion:
    if any(bound.features is not None for bound in bounds):
        return KFold(5)
    if any(isinstance(engine, VariationalEM) for engine in engines):
        return KFold(5)
    return BIC() if all(isinstance(engine, EM | Training) for engine in engines) else LOO()


def _refuse_joint(candidates: tuple[Candidate, ...], bounds: list[Bound], criterion: Criterion) -> None:
    """Refuse BIC where some gates model x too: their likelihood of y given x is not at its largest."""
    joint = {bound.parameters.gate.joint: candidate.title for candidate, bound in zip(candidates, bounds, strict=True)}
    if len(joint) > 1 and isinstance(criterion, BIC | ICL):
        raise SpecError(
            f"criterion: expected bm.KFold() for {joint[True]}, whose gate models x too, beside {joint[False]}, got "
            f"{criterion!r} → the likelihood of y given x is at its largest for one of them only"
        )


def _warn(selection: Selection) -> None:
    loose = [key for key in dict.fromkeys((selection.chosen, selection.leader)) if not _fine(selection.fits[key])]
    for key in loose:
        text = f"select: expected a fit that converged for {key!r}, got: {selection.fits[key].status.sentence}"
        warnings.warn(FitWarning(f"{text} → .fits[{key!r}].status says what to do"), stacklevel=3)


def _fine(fit: Fit) -> bool:
    return fit.status.converged or fit.outcome.status is Status.STOPPED
