"""The verbs: fit a model, or build it for PyMC."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from .binding.bind import Bound, bind, target_of
from .binding.conjugate import check_conjugate
from .binding.extras import named_columns
from .data import Missing, read_training
from .errors import FitWarning, InputError, InterruptedFit, SpecError, nearest
from .experts import Expert
from .formula import FormulaData, read_formula
from .groups import named_column
from .inference.advi import ADVI
from .inference.em import EM
from .inference.laplace import Laplace
from .inference.nuts import NUTS
from .inference.outcome import Outcome, Status
from .inference.progress import Report
from .inference.settings import settle_seed
from .inference.training import Training
from .inference.variational_em import VariationalEM
from .mixture import MixtureOfExperts
from .posterior.draws import Draws, label_draws
from .posterior.fit import Fit
from .posterior.judge import judge
from .posterior.modes import modes_of
from .posterior.tree import make_tree
from .scaling import Scaling
from .specification import Engine

if TYPE_CHECKING:
    import pymc as pm

_ENGINES = (EM, Laplace, ADVI, NUTS, Training, VariationalEM)


def fit(
    model: MixtureOfExperts,
    X: Any = None,
    y: Any = None,
    engine: Engine | None = None,
    *,
    data: Any = None,
    formula: str | None = None,
    gate_X: Any = None,
    weights: Any = None,
    groups: Any = None,
    start: Fit | Mapping[str, Any] | None = None,
    scaling: Scaling | None = None,
    missing: Missing = Missing.REFUSE,
    progress: bool = True,
) -> Fit:
    """Fit a mixture of experts.

    Parameters
    ----------
    model
        The specification.
    X
        Covariates (n, p): array, list of rows, pandas, polars or arrow frame.
    y
        Target (n,).
    engine
        ``bm.EM()``, ``bm.Laplace()``, ``bm.ADVI()`` or ``bm.NUTS()``; for a model with networks also ``bm.Training()``,
        for many columns in Normal experts ``bm.VariationalEM()``.
        None: ``bm.Training()`` for a model with networks, else ``bm.EM()``.
    data, formula
        In place of X and y: a frame, and what to compute from it, as in ``"y ~ x1 + bs(x2, df=5) + C(site) | z"``.
        Terms after the bar are the gate's own; without a bar, gate and experts have the same. The intercept is every
        predictor's own and cannot be left out. A response such as ``np.log(y)`` is the target then: predictions and
        densities are those of log y. Predictions take raw frames, and compute their columns with the knots, means and
        levels of training, which all rows without missing values have decided. ``offset(x)`` adds a column as it is
        to the first linear predictor of every expert: ``fit.model`` says so. ``a + b ~ x`` has two outputs.
    gate_X
        Further columns that only the gate sees.
    weights
        Row weights (n,); 2 counts a row twice.
    groups
        Labels (n,) of groups whose rows all come from one expert, or the name of a column of X that holds them and is
        no covariate then. The label of a group is drawn from the gate, which must be the same for all its rows, and
        ``log p(y_g) = log Σ_k g_k(x_g) Π_i f_k(y_i | x_i)^w_i``: weights count rows within their group, and the gate
        counts once. Scores such as ``fit.loo`` leave out whole groups.
    start
        A fit of the same model, or ``{value variable: unconstrained value}`` as ``fit.point`` gives it. Posterior
        engines without one run EM first. Features are taken from it as they are, but by ``bm.Training()``, which goes
        on from there.
    scaling
        Standardisation to use instead of the data's own.
    missing
        What to do with rows that have missing values.
    progress
        Whether to show progress.

    Raises
    ------
    SpecError
        If the model or engine is not one, or names columns that X lacks.
    InputError
        If the data cannot be used; nothing has been compiled then.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(seed=1), progress=False)
    >>> fit.status.converged
    True
    """
    chosen = default_engine(model) if engine is None else engine
    check(model, chosen)
    rows = rows_of(model, X, y, gate_X, groups, data, formula, missing)
    bound = bound_to(model, rows, weights, missing, scaling)
    report = Report(visible=progress)
    result = fit_bound(bound, chosen, _start(start, bound), report)
    if not result.status.converged and result.outcome.status is not Status.STOPPED:
        warnings.warn(FitWarning(str(result.status)), stacklevel=2)
    elif result.status.notices:
        report.say(str(result.status))
    return result


def fit_bound(bound: Bound, engine: Engine, start: np.ndarray | None, report: Report) -> Fit:
    """Return the fit of a model that has met its data."""
    if bound.features is not None or isinstance(engine, Training):
        bound, engine, outcome = _fit_network(bound, engine, start, report)
    else:
        outcome = outcome_of(bound, engine, start, report)
    return assemble(bound, engine, outcome)


def outcome_of(bound: Bound, engine: Engine, start: np.ndarray | None, report: Report) -> Outcome:
    """Return what an engine makes of a model without networks, on the density that it climbs."""
    assert not isinstance(engine, Training)
    if isinstance(engine, VariationalEM):
        return engine.run(bound.variational_density, start=start, report=report)
    return engine.run(bound.density, start=start, report=report)


def _fit_network(
    bound: Bound, engine: Engine, start: np.ndarray | None, report: Report
) -> tuple[Bound, Engine, Outcome]:
    """Train the features, or take them from a start; unless training was all, fit the output layer on them."""
    density = bound.network_density
    if isinstance(engine, Training):
        outcome = engine.run(density, start=start, report=report)
        return bound.learned(_weights(outcome)), engine, outcome
    # a generator would give another seed when it is asked again
    settled = replace(engine, seed=settle_seed(engine.seed))
    history: Mapping[str, np.ndarray] = {}
    if start is None:
        trained = Training(seed=settled.seed).run(density, report=report)
        if trained.status is Status.INTERRUPTED:
            raise InterruptedFit("fit: interrupted while features were trained → call fit again")
        network, output, history = _weights(trained), trained.draws[0, 0], trained.history
    else:
        network, output = density.parts(start)
    bound = bound.learned(network)
    outcome = outcome_of(bound, settled, output, report)
    facts = {**outcome.facts, "features": "frozen after training" if start is None else "taken from the start"}
    return bound, settled, replace(outcome, features=network, history={**history, **outcome.history}, facts=facts)


def _weights(outcome: Outcome) -> np.ndarray:
    assert outcome.features is not None
    return outcome.features


def assemble(bound: Bound, engine: Engine, outcome: Outcome) -> Fit:
    """Return the fit of an outcome: relabelled, judged, in ArviZ's schema."""
    flat = outcome.draws.reshape(-1, outcome.draws.shape[-1])
    labels = label_draws(bound, flat, outcome.mode)
    draws = Draws(bound, outcome.draws, labels.permutations, outcome.posterior)
    tree = make_tree(bound, outcome, draws, labels)
    modes = None if outcome.point or outcome.status is Status.INTERRUPTED else modes_of(bound, outcome)
    if modes is not None:
        tree["modes"] = xr.DataTree(modes)
    status = judge(bound, outcome, draws, labels, tree)
    tree["fit"].attrs.update({"verdict": status.sentence, "converged": int(status.converged)})
    tree["fit"].attrs["notices"] = "\n".join(str(notice) for notice in status.notices)
    return Fit(engine, bound, outcome, labels, status, tree)


def build(
    model: MixtureOfExperts,
    X: Any = None,
    y: Any = None,
    *,
    data: Any = None,
    formula: str | None = None,
    gate_X: Any = None,
    weights: Any = None,
    groups: Any = None,
    scaling: Scaling | None = None,
) -> pm.Model:
    """Return the model on data as an ordinary PyMC model.

    Free variables live on the standardised scale, coefficients in the user's units are deterministics, and y is
    observed in the user's units, so that everything PyMC offers works on it.

    Parameters
    ----------
    model, X, y, data, formula, gate_X, weights, groups, scaling
        As for `fit`.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(50, seed=1)
    >>> [v.name for v in bm.build(bm.MixtureOfExperts(2), data.X, data.y).free_RVs][:2]
    ['mu_intercept_z', 'mu_slopes_z']
    """
    check(model, default_engine(model))
    rows = rows_of(model, X, y, gate_X, groups, data, formula, Missing.REFUSE)
    return bound_to(model, rows, weights, Missing.REFUSE, scaling).pymc_model()


class Rows(NamedTuple):
    """What the rows are, as the user passed it or as a formula made it."""

    X: Any
    y: Any
    gate: Any
    groups: Any
    formula: FormulaData | None


def rows_of(
    model: MixtureOfExperts, X: Any, y: Any, gate_X: Any, groups: Any, data: Any, formula: Any, missing: Missing
) -> Rows:
    """Return X, y and the gate's columns: those passed, or those of a formula."""
    if formula is None and data is None:
        if y is None:
            raise InputError("y: expected the values of y, got None → pass X and y, or data= and formula=")
        return Rows(X, y, gate_X, groups, None)
    for name, value in (("X", X), ("y", y), ("gate_X", gate_X)):
        if value is not None:
            raise InputError(f"{name}: expected None beside data and formula, got a value → pass one or the other")
    if formula is None or data is None:
        absent, way_out = ("formula", "'y ~ x'") if formula is None else ("data", "a frame")
        raise InputError(f"{absent}: expected data and formula together, got None → pass e.g. {way_out}")
    made = read_formula(formula, data, named_columns(model), drop=missing is Missing.DROP)
    return Rows(made.table, made.y, made.gate, named_column(groups, data), made)


def bound_to(model: MixtureOfExperts, rows: Rows, weights: Any, missing: Missing, scaling: Scaling | None) -> Bound:
    """Check the data and bind the model to them."""
    if rows.formula is not None and rows.formula.offset is not None:
        model = _with_offset(model, rows.formula.offset)
    data = read_training(
        rows.X,
        rows.y,
        gate_X=rows.gate,
        weights=weights,
        groups=rows.groups,
        missing=missing,
        experts=len(model.experts),
        parameters=0,
        scaling=scaling,
        target=target_of(model),
    )
    if rows.formula is not None:
        data = replace(data, formula=rows.formula.formula, notices=(*rows.formula.notices, *data.notices))
    return bind(model, data)


def default_engine(model: object) -> Engine:
    """Return the engine of a fit that names none."""
    learned = isinstance(model, MixtureOfExperts) and model.learned
    return Training() if learned else EM()


def _with_offset(model: MixtureOfExperts, column: str) -> MixtureOfExperts:
    """Return the model with a column added, as it is, to the first linear predictor of every expert."""
    experts = []
    for expert in model.experts:
        name = expert.family.parameters[0].name
        predictor: Any = expert.predictors[name]
        if predictor.offset is not None:
            raise SpecError(
                f"Expert.{name}: expected a predictor without offset beside one in the formula, got "
                f"offset={predictor.offset!r} → leave one out"
            )
        experts.append(Expert(expert.family, **{**expert.predictors, name: replace(predictor, offset=column)}))
    return replace(model, experts=tuple(experts))


def check(model: object, engine: object) -> None:
    """Refuse what is no model or no engine, or an engine that has no use for the model."""
    if not isinstance(model, MixtureOfExperts):
        raise SpecError(
            f"model: expected a bm.MixtureOfExperts, got {type(model).__name__} → e.g. bm.MixtureOfExperts(3)"
        )
    if not isinstance(engine, _ENGINES):
        names = [f"bm.{kind.__name__}()" for kind in _ENGINES]
        raise SpecError(f"engine: expected {', '.join(names[:-1])} or {names[-1]}, got {engine!r} → pass an instance")
    if isinstance(engine, Training) and not model.learned:
        raise SpecError(
            "engine: expected bm.EM() or an engine for posteriors, got bm.Training() for a model without networks → it "
            "trains networks; use bm.EM()"
        )
    if isinstance(engine, VariationalEM):
        check_conjugate(model)


def _start(start: Fit | Mapping[str, Any] | None, bound: Bound) -> np.ndarray | None:
    if start is None:
        return None
    point = start.point if isinstance(start, Fit) else start
    if not isinstance(point, Mapping):
        raise InputError(f"start: expected a Fit or a mapping like fit.point, got {type(start).__name__} → pass one")
    network = () if bound.features is None else bound.features.free
    shapes = {free.value_name: free.value_shape for free in (*network, *bound.parameters.free)}
    for name in point:
        if name not in shapes:
            raise InputError(f"start: expected names {list(shapes)}, got {name!r}{nearest(str(name), shapes)}")
    out = np.concatenate([_start_values(point, name, shape, shapes) for name, shape in shapes.items()])
    with np.errstate(over="ignore"):
        value = bound.density.logp(out) if bound.features is None else bound.network_density.logp_and_gradient(out)[0]
    if not np.isfinite(value):
        raise InputError("start: expected a finite log density there, got none → start nearer to the data")
    return out


def _start_values(
    point: Mapping[str, Any], name: str, shape: tuple[int, ...], known: Mapping[str, tuple[int, ...]]
) -> np.ndarray:
    """Return the values of one variable of a start, flat."""
    if name not in point:
        raise InputError(f"start[{name!r}]: expected an entry, got none → pass all of {list(known)}")
    try:
        values = np.asarray(point[name], dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"start[{name!r}]: expected numbers, got {point[name]!r} → pass an array") from None
    if values.shape != shape:
        raise InputError(
            f"start[{name!r}]: expected shape {shape}, got {values.shape} → take it from a fit of this model"
        )
    if not np.all(np.isfinite(values)):
        raise InputError(f"start[{name!r}]: expected finite numbers, got {values!r} → replace them")
    return values.ravel()
