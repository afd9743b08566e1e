"""A fit: one result, whichever engine made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..data import Data
from ..families import Support
from ..inference.outcome import Outcome
from ..mixture import MixtureOfExperts
from . import criteria, label_free, mixtures, modes, notebook, predictions, scores, tables
from .draws import Draws, Labels
from .mixtures import MixtureDraws
from .predictive import Predictive
from .saving import save
from .shrinkage import coefficient_errors
from .standard_errors import Errors, standard_errors
from .status import FitStatus


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Predictive):
    """A model, the engine that fitted it, and what came out; every method works for every engine.

    Predictions average densities, distribution functions and first two moments over the draws; a point fit
    has one. ``X`` is what training took: frames are matched by column name. Results are ``xarray.DataArray``.

    Where training had ``groups``, predictions take them too: in rows of a group that training knows, what it says of
    the group's label under every draw stands in place of the gate; other rows, and all without ``groups=``, have the
    gate. Rows are predicted one by one, also where several belong to one new group.

    Parameters
    ----------
    engine
        The engine that ran.
    bound
        The model on its data.
    outcome
        What the engine returned.
    labels
        Permutations of the draws.
    status
        Whether it converged, and coded warnings.
    idata
        Everything in ArviZ's schema.
    """

    engine: Any
    bound: Bound = field(repr=False)
    outcome: Outcome
    labels: Labels
    status: FitStatus
    idata: xr.DataTree
    report = property(attrgetter("status.report"), doc="What `bm.auto_fit` chose and why; empty for other fits.")

    @property
    def model(self) -> MixtureOfExperts:
        """The specification."""
        return self.bound.model

    @property
    def data(self) -> Data:
        """The checked training data."""
        return self.bound.data

    @cached_property
    def draws(self) -> Draws:
        """The relabelled draws."""
        return Draws(self.bound, self.outcome.draws, self.labels.permutations, self.outcome.posterior)

    # -- point fits --------------------------------------------------------------------------------------------

    @property
    def point(self) -> dict[str, np.ndarray]:
        """The mode, or posterior means, as {value variable name: unconstrained value}, as PyMC's logp takes it."""
        return criteria.named_point(self.bound, self.outcome, self.engine)

    @property
    def log_likelihood(self) -> float:
        """Plain log likelihood at the mode, without prior, in the units of y."""
        return self.bound.density.log_likelihood(criteria.point_of(self.outcome, self.engine, "log_likelihood"))

    @property
    def log_posterior(self) -> float:
        """Log likelihood plus log prior of the free variables at the mode; of x and y where the gate models x too."""
        return criteria.log_posterior(self.bound, self.outcome, self.engine)

    @property
    def bic(self) -> float:
        """Bayesian information criterion ``-2 log likelihood + d log n`` (Schwarz 1978); smaller is better.

        d counts coefficients of experts and gate, not the gate's scale, and columns of one predictor that depend on
        each other only as far as they are independent; n is the sum of weights: rows, not groups of rows, as in
        flexmix.
        """
        return criteria.bic(self.bound, self.outcome, self.engine)

    @property
    def icl(self) -> float:
        """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities (Biernacki 2000)."""
        return criteria.icl(self.bound, self.outcome, self.engine)

    # -- predictions -------------------------------------------------------------------------------------------

    def predict(self, X: Any, *, gate_X: Any = None, groups: Any = None, hard: bool = False) -> xr.DataArray:
        """Return the predictive mean (obs,) or (obs, output); of labels, the most probable one.

        With ``hard=True`` the most probable expert's alone.
        """
        mixture = self.mixture(X, gate_X, groups)
        return predictions.hard_mean(mixture, self.data) if hard else predictions.mean(mixture, self.data)

    def predict_proba(self, X: Any, *, gate_X: Any = None, groups: Any = None, hard: bool = False) -> xr.DataArray:
        """Return the probability of every label (obs, class), or with ``hard=True`` the most probable expert's."""
        mixture = self.mixture(X, gate_X, groups)
        if hard:
            return predictions.hard_probabilities(mixture, self.data)
        return predictions.probabilities(mixture, self.data)

    def gate(self, X: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return gate probabilities (obs, expert)."""
        return _by_expert(mixtures.gate_probabilities(self.mixture(X, gate_X, groups)), "gate")

    def expert_means(self, X: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return the experts' means (obs, expert) or (obs, output, expert)."""
        return predictions.expert_means(self.mixture(X, gate_X, groups), self.data, self.support)

    def responsibilities(self, X: Any = None, y: Any = None, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return p(expert | x, y) (obs, expert) of new rows: ``E[g_k f_k] / Σ_j E[g_j f_j]``.

        Without arguments: those of the training rows, whose y the draws have seen: the mean of ``g_k f_k / Σ_j g_j
        f_j``, the same for all rows of a group.
        """
        if X is None and y is None:
            return _by_expert(self.draws.training_responsibilities(), "responsibility")
        mixture = self.mixture(X, gate_X, groups)
        return _by_expert(mixtures.responsibilities(mixture, self.target(y, X, mixture.rows)), "responsibility")

    # -- without labels ----------------------------------------------------------------------------------------

    def co_assignment(self, rows: Sequence[int] | None = None) -> xr.DataArray:
        """Return the posterior probability (obs, obs_other) that two training rows have the same expert.

        ``1/S Σ_s Σ_k r_isk r_jsk`` over draws s with their responsibilities r: the names of the experts play no part.
        ``rows`` are positions among the training rows, at most 3000; None: all.
        """
        return label_free.co_assignment(self.draws, label_free.checked_rows(rows, len(self.data.y)))

    def experts_used(self) -> xr.DataArray:
        """Return the posterior probability of every number of experts that hold rows, half a row or more each."""
        return label_free.experts_used(self.draws)

    def partition(self, X: Any, *, gate_X: Any = None, groups: Any = None) -> xr.DataArray:
        """Return into which part of the gate's division of x a row falls (obs,): that of its most probable expert.

        The division is that of the one draw that is most like all others (least Binder loss on the training rows), so
        that it is one which the posterior holds for possible, and no average over names of experts. Its mean Rand index
        with the others, 1 where all divide alike, is in ``attrs``. The numbers of the parts are names alone.
        """
        return label_free.partition(self.mixture(X, gate_X, groups), *self._representative)

    @cached_property
    def _representative(self) -> tuple[int, float]:
        return label_free.representative(self.draws)

    def mixture(self, X: Any, gate_X: Any = None, groups: Any = None) -> MixtureDraws:
        """Return the mixture of every draw at rows; what the other predictions are made of."""
        return predictions.mixture_at(self.draws, X, gate_X, groups)

    @property
    def support(self) -> Support:
        """Where y lives."""
        return self.model.experts[0].family.support

    # -- tables ------------------------------------------------------------------------------------------------

    def summary(self, *, prob: float = 0.9) -> Any:
        """Return a table of relabelled parameters in the user's units (a pandas frame).

        For draws: ArviZ's summary with an equal-tailed interval of ``prob``. For a point fit: the mode, its standard
        errors from the observed information of the log posterior (``se``; Louis 1982), and those of the sandwich, which
        do not lean on the model being right (``sandwich_se``; White 1982); ``attrs["no_standard_errors"]`` says why
        where there are none. By ``bm.VariationalEM()``: posterior means, and deviations ``sd`` where there are some.
        """
        posterior = self.idata["posterior"].to_dataset()
        return tables.summary(posterior, prob, self._errors if self.outcome.point else None)

    @cached_property
    def _errors(self) -> Errors | dict[str, np.ndarray] | str:
        return (coefficient_errors if self.outcome.posterior else standard_errors)(self.bound, self.draws)

    def optima(self) -> Any:
        """Return a row for every optimum that EM's search found, the best first (a pandas frame).

        Columns: ``log_posterior``; how far below the first (``gap``); runs that ended there (``hits``) and their
        ``share``; the start or move that led there first (``recipe``); EM ``iterations``; ``gradient_norm``, Newton
        ``decrement`` and ``smallest_eigenvalue`` of the negative Hessian; experts ``collapsed`` on few rows, and those
        that repeat another (``duplicates``). Optima with a collapsed expert come last.
        """
        return tables.optima(self.bound, self.outcome)

    def modes(self) -> Any:
        """Return the modes of the posterior, those that hold most first (a pandas frame).

        Per mode: ``log_posterior``; ``log_mass``, Laplace's log integral around it; ``share`` of all masses (copies
        under other names of the experts cancel); ``hits`` of EM's runs; ``draws``, the share of some 20 draws that
        climb to it; and ``status``. The masses are approximate, and count what two close modes share twice.
        ``start=fit.point_at(i)`` starts another fit from mode i.

        Raises
        ------
        NotFittedError
            For a network that was trained, which ends at no mode.
        """
        return tables.modes(self._modes)

    def point_at(self, mode: int) -> dict[str, np.ndarray]:
        """Return one of `modes` as {value variable name: unconstrained value}, which ``bm.fit`` takes as ``start``."""
        return modes.point_at(self.bound, self._modes, mode)

    @cached_property
    def _modes(self) -> xr.Dataset:
        return modes.modes_in(self.idata, self.bound, self.outcome)

    def shrinkage(self) -> Any:
        """Return what ``bm.VariationalEM()`` learned of the prior of every expert's groups of slopes (a frame)."""
        return tables.shrinkage(self.bound, self.outcome, self.engine)

    def prior_summary(self) -> Any:
        """Return every free variable with its prior on the standardised scale, and what that says of coefficients.

        Rows "as reported" are the coefficients of `summary`, in the units of the data, with the 5 %, 50 % and 95 %
        points of their prior by 4000 draws of it. Priors of intercepts are about the average row; an intercept is
        reported at 0.
        """
        return tables.prior_summary(self.bound)

    def loo(self) -> Any:
        """Return PSIS leave-one-out cross-validation on the marginal log density (ArviZ's ELPDData).

        Rows of a group are left out together. So are the copies that a weight w stands for, unlike rows repeated: the
        log of the mean of ``p(y)^w``, given the other rows, is one observation in the standard error. Rows of weight 0
        are none.

        Raises
        ------
        NotFittedError
            For a point fit, or when weights are not whole numbers.

        References
        ----------
        Vehtari, Gelman and Gabry (2017); Magnusson et al. (2019) for Laplace and ADVI draws.
        """
        return scores.loo(self.draws, self.outcome, self.idata)

    def save(self, path: Any) -> None:
        """Save as netCDF with a JSON specification inside; ``bm.load`` reads it back."""
        save(self, path)

    def __repr__(self) -> str:
        rows, columns = self.data.table.values.shape
        return (
            f"Fit of {_number(len(self.model.experts), 'expert')} by {type(self.engine).__name__} to "
            f"{_number(rows, 'row')} x {_number(columns, 'column')}\n{self.status}"
        )

    def _repr_html_(self) -> str:
        modes = self.modes() if "modes" in self.idata.children else None
        return notebook.as_html(repr(self).splitlines()[0], self, self.summary(), modes)


def _number(count: int, of: str) -> str:
    return f"{count} {of}" if count == 1 else f"{count} {of}s"


def _by_expert(values: np.ndarray, name: str) -> xr.DataArray:
    return xr.DataArray(values, dims=("obs", "expert"), coords={"expert": np.arange(values.shape[1])}, name=name)
