"""What fits are chosen by: values such as ``bm.LOO()`` that give every fit a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..binding.bind import Bound
from ..errors import NotFittedError, SpecError
from ..inference.em import EM
from ..inference.progress import Report
from ..inference.settings import generator, whole
from ..inference.training import Training
from ..inference.variational_em import VariationalEM
from ..posterior.fit import Fit
from ..specification import Engine
from .refits import log_densities_left_out, units

_FOLD_ROLE = 20


@dataclass(frozen=True, eq=False)
class Score:
    """What a criterion says of one fit.

    Parameters
    ----------
    value
        Larger is better.
    columns
        What the table shows, by column.
    pointwise
        Log predictive density of every row, or group, left out; None where the criterion has none.
    """

    value: float
    columns: Mapping[str, float]
    pointwise: np.ndarray | None = None

    def behind(self, best: Score) -> tuple[float, float]:
        """Return how far this score lies below the best one, and the standard error of that difference.

        The error is that of a sum of paired differences over rows; NaN where there are none.
        """
        if self.pointwise is None or best.pointwise is None:
            return best.value - self.value, float("nan")
        with np.errstate(invalid="ignore"):
            # a row that both call impossible tells them not apart
            same = best.pointwise == self.pointwise
            gap = np.where(same, 0.0, best.pointwise - self.pointwise)
            return float(gap.sum()), float(np.sqrt(len(gap) * gap.var()))


class Criterion(ABC):
    """A way to score fits."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the score is called in sentences and tables."""

    @property
    @abstractmethod
    def better(self) -> str:
        """Which scores are better, in a word."""

    @abstractmethod
    def check(self, name: str, bound: Bound, engine: Engine) -> None:
        """Refuse a model or an engine that cannot be scored; nothing is fitted yet."""

    @abstractmethod
    def score(self, fit: Fit, report: Report) -> Score:
        """Return the score of a fit."""


@dataclass(frozen=True)
class BIC(Criterion):
    """Choose by the Bayesian information criterion of point fits; the lowest is chosen.

    References
    ----------
    Schwarz (1978), Estimating the dimension of a model, Annals of Statistics 6.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.BIC()
    BIC()
    """

    @property
    def name(self) -> str:
        return "BIC"

    @property
    def better(self) -> str:
        return "lowest"

    def check(self, name: str, bound: Bound, engine: Engine) -> None:
        _check_information(self.name, name, bound, engine)

    def score(self, fit: Fit, report: Report) -> Score:
        return Score(-fit.bic, _information(fit))


@dataclass(frozen=True)
class ICL(Criterion):
    """Choose by the integrated completed likelihood of point fits; the lowest is chosen.

    It adds twice the entropy of the responsibilities to BIC, and so prefers experts that are told apart.

    References
    ----------
    Biernacki, Celeux and Govaert (2000), Assessing a mixture model for clustering with the integrated completed
    likelihood, IEEE Transactions on Pattern Analysis and Machine Intelligence 22.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.ICL()
    ICL()
    """

    @property
    def name(self) -> str:
        return "ICL"

    @property
    def better(self) -> str:
        return "lowest"

    def check(self, name: str, bound: Bound, engine: Engine) -> None:
        _check_information(self.name, name, bound, engine)

    def score(self, fit: Fit, report: Report) -> Score:
        return Score(-fit.icl, _information(fit))


@dataclass(frozen=True)
class LOO(Criterion):
    """Choose by leave-one-out cross-validation of posterior fits.

    Importance sampling (PSIS) stands in for a fit without each row. Where its Pareto k-hat says that it cannot, the
    model is fitted again without the row, from the mode of the first fit. If there are more such rows than ``refits``,
    they share them: each fit leaves out its part of them, evenly spread, which makes their scores a little too low.
    Draws of Laplace and ADVI are weighted towards the posterior where importance sampling serves, and taken as they are
    where the model is fitted again.

    Parameters
    ----------
    refits
        Fits at most for each model; 0 keeps what importance sampling says.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
    Statistics and Computing 27.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.LOO(refits=20)
    LOO(refits=20)
    """

    refits: int = 10

    def __post_init__(self) -> None:
        whole("LOO", "refits", self.refits, 0, 100_000)

    @property
    def name(self) -> str:
        return "elpd"

    @property
    def better(self) -> str:
        return "highest"

    def check(self, name: str, bound: Bound, engine: Engine) -> None:
        if isinstance(engine, VariationalEM):
            raise SpecError(
                f"criterion: expected bm.KFold() for a fit by bm.VariationalEM(), got {self!r} → leave it out"
            )
        if isinstance(engine, EM | Training) and bound.features is None:
            raise SpecError(
                f"criterion: expected bm.BIC(), bm.ICL() or bm.KFold() for point fits by EM, got {self!r} → leave it "
                "out, or choose engine=bm.NUTS()"
            )
        if bound.features is not None:
            raise SpecError(
                f"criterion: expected bm.KFold() for {name}, whose features have seen every row, got {self!r} → leave "
                "it out"
            )
        if np.any(bound.data.weights != np.round(bound.data.weights)):
            raise SpecError(
                f"criterion: expected bm.KFold() for weights that are no whole numbers, got {self!r} → rows of a power "
                "likelihood cannot be left out one by one"
            )

    def score(self, fit: Fit, report: Report) -> Score:
        found = fit.loo()
        left = units(fit)
        values, k_hat = found.elpd_i.values.copy(), found.pareto_k.values
        high = np.flatnonzero(~(k_hat <= found.good_k))
        blocks = [high[start :: self.refits] for start in range(min(self.refits, len(high)))]
        title = f"fits without {_things(fit, len(high))} of high k-hat"
        exact = log_densities_left_out(fit, [left[block] for block in blocks], report, title)
        for block, again in zip(blocks, exact, strict=True):
            values[block] = again
        columns = {**_elpd(values), "p_loo": float(found.p), "high_k": len(high), "refits": len(blocks)}
        return Score(columns["elpd"], columns, values)


@dataclass(frozen=True)
class KFold(Criterion):
    """Choose by cross-validation: every row is predicted by a fit that has not seen its fold.

    It serves every engine, and takes ``folds`` fits more for each model. Rows of a group are held out together.

    Parameters
    ----------
    folds
        Number of parts; the same ones for all models.
    seed
        Which rows are in which fold.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.KFold(5)
    KFold(folds=5, seed=0)
    """

    folds: int = 10
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        whole("KFold", "folds", self.folds, 2, 100_000)
        whole("KFold", "seed", self.seed, 0, 2**63 - 1)

    @property
    def name(self) -> str:
        return "elpd"

    @property
    def better(self) -> str:
        return "highest"

    def check(self, name: str, bound: Bound, engine: Engine) -> None:
        return

    def score(self, fit: Fit, report: Report) -> Score:
        left = units(fit)
        order = generator(self.seed, _FOLD_ROLE).permutation(len(left))
        places = [np.sort(order[start :: self.folds]) for start in range(min(self.folds, len(left)))]
        blocks = [left[place] for place in places]
        values = np.empty(len(left))
        for place, found in zip(places, log_densities_left_out(fit, blocks, report, "folds"), strict=True):
            values[place] = found
        columns = _elpd(values)
        return Score(columns["elpd"], columns | {"refits": len(blocks)}, values)


def _check_information(criterion: str, name: str, bound: Bound, engine: Engine) -> None:
    if not isinstance(engine, EM) and bound.features is None:
        raise SpecError(
            f"criterion: expected bm.LOO() or bm.KFold() for {name} by {type(engine).__name__}, got bm.{criterion}() → "
            "leave it out, or choose engine=bm.EM()"
        )
    if bound.features is not None:
        raise SpecError(
            f"criterion: expected bm.KFold() for {name}, whose features were not trained to a mode, got "
            f"bm.{criterion}() → leave it out"
        )


def _information(fit: Fit) -> dict[str, float]:
    return {"log_likelihood": fit.log_likelihood, "BIC": fit.bic, "ICL": fit.icl}


def _elpd(values: np.ndarray) -> dict[str, float]:
    if np.isnan(values).any():
        raise NotFittedError("elpd: expected a log density for every row left out, got NaN → look at fit.status")
    return {"elpd": float(values.sum()), "se": float(np.sqrt(len(values) * values.var()))}


def _things(fit: Fit, count: int) -> str:
    what = "row" if fit.data.groups is None else "group"
    return f"{count} {what}{'' if count == 1 else 's'}"
