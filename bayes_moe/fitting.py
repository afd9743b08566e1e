"""The verbs: fit a model, or build it for PyMC."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .binding.bind import Bound, bind, target_of
from .data import Missing, read_training
from .errors import FitWarning, InputError, SpecError, nearest
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
    X: Any,
    y: Any,
    engine: Engine | None = None,
    *,
    gate_X: Any = None,
    weights: Any = None,
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
    gate_X
        Further columns that only the gate sees.
    weights
        Row weights (n,); 2 counts a row twice.
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
    bound = _bound(model, X, y, gate_X, weights, missing, scaling)
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
    model: MixtureOfExperts, X: Any, y: Any, *, gate_X: Any = None, weights: Any = None, scaling: Scaling | None = None
) -> pm.Model:
    """Return the model on data as an ordinary PyMC model.

    Free variables live on the standardised scale, coefficients in the user's units are deterministics, and y is
    observed in the user's units, so that everything PyMC offers works on it.

    Parameters
    ----------
    model, X, y, gate_X, weights, scaling
        As for `fit`.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(50, seed=1)
    >>> [v.name for v in bm.build(bm.MixtureOfExperts(2), data.X, data.y).free_RVs][:2]
    ['mu_intercept_z', 'mu_slopes_z']
    """
    _check(model, EM())
    return _bound(model, X, y, gate_X, weights, Missing.REFUSE, scaling).pymc_model()


def _bound(
    model: MixtureOfExperts, X: Any, y: Any, gate_X: Any, weights: Any, missing: Missing, scaling: Scaling | None
) -> Bound:
    """Check the data and bind the model to them."""
    data = read_training(
        X,
        y,
        gate_X=gate_X,
        weights=weights,
        missing=missing,
        experts=len(model.experts),
        parameters=0,
        scaling=scaling,
        target=target_of(model),
    )
    return bind(model, data)


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
