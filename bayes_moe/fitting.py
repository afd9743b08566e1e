"""The verbs: fit a model, or build it for PyMC."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .binding.bind import Bound, bind, target_of
from .binding.extras import named_columns
from .data import Missing, read_training
from .errors import FitWarning, InputError, SpecError, nearest
from .experts import Expert
from .formula import FormulaData, read_formula
from .groups import named_column
from .inference.advi import ADVI
from .inference.em import EM
from .inference.laplace import Laplace
from .inference.nuts import NUTS
from .inference.outcome import Outcome
from .inference.progress import Report
from .mixture import MixtureOfExperts
from .posterior.draws import Draws, label_draws
from .posterior.fit import Fit
from .posterior.judge import judge
from .posterior.tree import make_tree
from .scaling import Scaling
from .specification import Engine

if TYPE_CHECKING:
    import pymc as pm

_ENGINES = (EM, Laplace, ADVI, NUTS)


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
        ``bm.EM()`` (default), ``bm.Laplace()``, ``bm.ADVI()`` or ``bm.NUTS()``.
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
        engines without one run EM first.
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
    chosen = EM() if engine is None else engine
    _check(model, chosen)
    rows = _rows(model, X, y, gate_X, groups, data, formula, missing)
    bound = _bound(model, rows, weights, missing, scaling)
    outcome = chosen.run(bound.density, start=_start(start, bound), report=Report(visible=progress))
    result = assemble(bound, chosen, outcome)
    if not result.status.converged:
        warnings.warn(FitWarning(str(result.status)), stacklevel=2)
    return result


def assemble(bound: Bound, engine: Engine, outcome: Outcome) -> Fit:
    """Return the fit of an outcome: relabelled, judged, in ArviZ's schema."""
    flat = outcome.draws.reshape(-1, outcome.draws.shape[-1])
    labels = label_draws(bound, flat, outcome.mode)
    draws = Draws(bound, outcome.draws, labels.permutations)
    tree = make_tree(bound, outcome, draws, labels)
    status = judge(bound, outcome, draws, labels, tree["posterior"].to_dataset())
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
    _check(model, EM())
    rows = _rows(model, X, y, gate_X, groups, data, formula, Missing.REFUSE)
    return _bound(model, rows, weights, Missing.REFUSE, scaling).pymc_model()


class _Rows(NamedTuple):
    """What the rows are, as the user passed it or as a formula made it."""

    X: Any
    y: Any
    gate: Any
    groups: Any
    formula: FormulaData | None


def _rows(
    model: MixtureOfExperts, X: Any, y: Any, gate_X: Any, groups: Any, data: Any, formula: Any, missing: Missing
) -> _Rows:
    """Return X, y and the gate's columns: those passed, or those of a formula."""
    if formula is None and data is None:
        if y is None:
            raise InputError("y: expected the values of y, got None → pass X and y, or data= and formula=")
        return _Rows(X, y, gate_X, groups, None)
    for name, value in (("X", X), ("y", y), ("gate_X", gate_X)):
        if value is not None:
            raise InputError(f"{name}: expected None beside data and formula, got a value → pass one or the other")
    if formula is None or data is None:
        absent, way_out = ("formula", "'y ~ x'") if formula is None else ("data", "a frame")
        raise InputError(f"{absent}: expected data and formula together, got None → pass e.g. {way_out}")
    made = read_formula(formula, data, named_columns(model), drop=missing is Missing.DROP)
    return _Rows(made.table, made.y, made.gate, named_column(groups, data), made)


def _bound(model: MixtureOfExperts, rows: _Rows, weights: Any, missing: Missing, scaling: Scaling | None) -> Bound:
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
    return MixtureOfExperts(experts, model.gate, model.features)


def _check(model: object, engine: object) -> None:
    if not isinstance(model, MixtureOfExperts):
        raise SpecError(
            f"model: expected a bm.MixtureOfExperts, got {type(model).__name__} → e.g. bm.MixtureOfExperts(3)"
        )
    if not isinstance(engine, _ENGINES):
        raise SpecError(
            f"engine: expected bm.EM(), bm.Laplace(), bm.ADVI() or bm.NUTS(), got {engine!r} → pass an instance"
        )


def _start(start: Fit | Mapping[str, Any] | None, bound: Bound) -> np.ndarray | None:
    if start is None:
        return None
    point = start.point if isinstance(start, Fit) else start
    if not isinstance(point, Mapping):
        raise InputError(f"start: expected a Fit or a mapping like fit.point, got {type(start).__name__} → pass one")
    parameters = bound.parameters
    shapes = {free.value_name: free.value_shape for free in parameters.free}
    for name in point:
        if name not in shapes:
            raise InputError(f"start: expected names {list(shapes)}, got {name!r}{nearest(str(name), shapes)}")
    out = np.empty(parameters.size)
    for name, where in parameters.slices.items():
        if name not in point:
            raise InputError(f"start[{name!r}]: expected an entry, got none → pass all of {list(shapes)}")
        try:
            values = np.asarray(point[name], dtype=float)
        except (TypeError, ValueError):
            raise InputError(f"start[{name!r}]: expected numbers, got {point[name]!r} → pass an array") from None
        if values.shape != shapes[name]:
            raise InputError(
                f"start[{name!r}]: expected shape {shapes[name]}, got {values.shape} → take it from a fit of this model"
            )
        if not np.all(np.isfinite(values)):
            raise InputError(f"start[{name!r}]: expected finite numbers, got {values!r} → replace them")
        out[where] = values.ravel()
    with np.errstate(over="ignore"):
        value = bound.density.logp(out)
    if not np.isfinite(value):
        raise InputError("start: expected a finite log density there, got none → start nearer to the data")
    return out
