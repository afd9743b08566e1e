"""The verb."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..binding.bind import bind
from ..errors import InterruptedFit, SpecError
from ..fitting import fit_bound
from ..inference.advi import ADVI
from ..inference.em import EM
from ..inference.laplace import Laplace
from ..inference.nuts import NUTS
from ..inference.outcome import Status
from ..inference.progress import Report
from ..inference.settings import Seed, check_seed, settle_seed
from ..mixture import MixtureOfExperts
from ..posterior.average import FitAverage
from ..posterior.fit import Fit
from ..specification import Engine
from .search import Family, Member, Search

_ENGINES = (EM, Laplace, ADVI, NUTS)
_FEW_ROWS = 2000


def auto_fit(
    X: Any, y: Any, engine: Engine | None = None, seed: Seed = None, *, progress: bool = True
) -> Fit | FitAverage:
    r"""Fit a mixture of experts to a table and a number, without choosing anything.

    Tried are y alone; up to 2000 rows, linear experts; a kernel mean that all experts share (`KernelMean`) and
    small mixtures of what it leaves; and, up to 2000 rows, experts with lines, curves and products
    (`VariationalEM`). Above 20 000 rows, where a kernel at every row is too much, linear experts stand in its
    place. y above 0 is taken to a power where rows left out are the more probable for it. Every model is judged by
    the log density of training rows that it has not seen; models of one kind are averaged with the weights that
    make these rows most probable (Yao et al. 2018), and a richer kind is taken only where it leads the simpler one
    by more than a standard error. ``fit.report`` says what was chosen and why.

    Parameters
    ----------
    X
        Covariates (n, p), as for `fit`.
    y
        Target (n,): numbers that vary.
    engine
        Of the last stage, for the models that were chosen: ``bm.EM()``, ``bm.Laplace()``, ``bm.ADVI()`` or
        ``bm.NUTS()``. None: the fits by EM that they were chosen by.
    seed
        Of everything random: integer, SeedSequence, Generator or None.
    progress
        Whether to show progress, with the time left, and print the report.

    Returns
    -------
    Fit or FitAverage
        With every prediction method; ``report`` is kept by ``save``. Ctrl-C returns the best so far.

    Raises
    ------
    SpecError
        If the engine is not one of these, or the seed is not one.
    InputError
        If the data cannot be used; nothing has been fitted then.
    InterruptedFit
        If an interrupt came before the first model was finished.

    See Also
    --------
    fit : one model of your own. select : several models of your own.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(60, seed=1)
    >>> fit = bm.auto_fit(data.X, data.y, seed=1, progress=False)
    >>> fit.report.splitlines()[1][:16]
    'Target: y itself'
    >>> fit.interval([[0.5]], prob=0.95).shape
    (1, 2)
    """
    check_seed("auto_fit", seed)
    if engine is not None and not isinstance(engine, _ENGINES):
        raise SpecError(
            f"engine: expected bm.EM(), bm.Laplace(), bm.ADVI(), bm.NUTS() or None, got {engine!r} → pass an instance"
        )
    number = settle_seed(seed)
    report = Report(visible=progress)
    search = Search(X, y, number)
    final: list[tuple[str, Fit, float]] = []
    try:
        # at these sizes BLAS's own threads wait longer for one another than they work
        with threadpool_limits(1 if search.rows <= _FEW_ROWS else None, user_api="blas"):
            _choose(search, report)
        best = search.best()
        assert best is not None  # y alone can always be fitted
        if engine is not None:
            final = _sampled(best, engine, number, report, final)
    except KeyboardInterrupt:
        search.story.unfinished = True
        best = search.best()
        if best is None:
            raise InterruptedFit("auto_fit was interrupted before its first fit was finished → call it again") from None
    found = _assembled(search, best, final)
    report.say(found.report)
    return found


def _choose(search: Search, report: Report) -> None:
    """Fit and score one model after the other, with seconds as the measure of progress."""
    plan = search.plan
    total = sum(seconds for _, seconds in plan)
    with report.task("auto_fit", max(1, round(10 * total))) as advance:
        begun = past = 0.0

        def tick(words: str, seconds: float) -> None:
            nonlocal past
            past += seconds
            advance(round(10 * past), words)

        search.tick = tick
        for step, seconds in plan:
            step()
            begun += seconds
            past = begun
            advance(round(10 * past), "")


def _sampled(
    best: Family, engine: Engine, seed: int, report: Report, final: list[tuple[str, Fit, float]]
) -> list[tuple[str, Fit, float]]:
    """Add fits of the chosen models by another engine, each from its optimum, with their weights to ``final``."""
    settled = engine if engine.seed is not None else replace(engine, seed=seed)
    models: dict[MixtureOfExperts, list[tuple[Member, float]]] = {}
    for member, weight in best.weights():
        models.setdefault(member.recipe.sampled or member.recipe.model, []).append((member, weight))
    for model, members in models.items():
        (member, _), bound = members[0], members[0][0].fit.bound
        same = member.recipe.sampled is None
        start = member.fit.outcome.mode if same and not isinstance(settled, EM) else None
        fit = fit_bound(bound if same else bind(model, bound.data), settled, start, report)
        if fit.outcome.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        final.append((member.recipe.name.partition(",")[0], fit, sum(weight for _, weight in members)))
    return final


def _assembled(search: Search, best: Family, final: list[tuple[str, Fit, float]]) -> Fit | FitAverage:
    found = final or [(member.recipe.name, member.fit, weight) for member, weight in best.weights()]
    names, fits = [name for name, _, _ in found], [fit for _, fit, _ in found]
    each = np.array([weight for _, _, weight in found])
    weights = dict(zip(names, (each / each.sum()).tolist(), strict=True))
    sentences = search.story.sentences(best.name, weights, search.rows, type(fits[0].engine).__name__)
    pairs_of_fits = zip(names, fits, strict=True)
    sentences += [
        f"Not converged: {name}: {fit.status.sentence}" for name, fit in pairs_of_fits if not fit.status.converged
    ]
    text = "\n".join(sentences)
    if len(fits) == 1:
        return replace(fits[0], status=replace(fits[0].status, report=text))
    origin = "chosen by auto_fit, weighted by what they predict of rows left out"
    return FitAverage(dict(zip(names, fits, strict=True)), weights, origin, report=text)
