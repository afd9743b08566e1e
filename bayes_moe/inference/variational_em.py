"""Variational EM: coefficients of experts' means integrated out, their prior precisions chosen by evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import EMDecreased, InterruptedFit, Notice
from ..log_density import Approximation, Conjugate
from .climb import SLACK
from .outcome import Outcome, Status
from .progress import Report
from .settings import Seed, between, check_seed, generator, settle_seed, whole
from .starts import (
    clusters,
    joint_gaussians,
    k_regressions,
    local_regressions,
    slices,
    target_clusters,
    tree_leaves,
)

_START_ROLE = 400
_RECIPES = (
    clusters,
    local_regressions,
    tree_leaves,
    clusters,
    joint_gaussians,
    slices,
    k_regressions,
    target_clusters,
)
_SHORT = 12
_MOST_STARTS, _START_CELLS = 4, 1e5  # starts at most; rows times experts in all of them
_SHARE = 4  # one run in so many is brought to the end


@dataclass(frozen=True)
class VariationalEM:
    r"""Normal experts whose coefficients are integrated out, with prior precisions chosen by evidence.

    Given labels and sigmas an expert's mean is a Bayesian linear regression. Variational EM keeps the whole posterior
    :math:`N(m_k, S_k)` of its coefficients where ``bm.EM()`` keeps a point, and a point for log sigma and the gate. For
    every expert and every group of slopes whose prior the model does not state (``slopes=None``) it also chooses the
    prior precision, by evidence: groups are the parts of a ``bm.Sum``, and in ``bm.Spline`` every column's
    curve. A group that says nothing is shrunk away, one that says much is left free, and an expert may have more
    columns than rows. Predictions have :math:`\phi' S_k \phi` beside :math:`\sigma_k^2` in the variance of
    an expert, in closed form.

    Every round takes its turn with the labels, the coefficients with their precisions, log sigma and the gate, and none
    lowers the evidence lower bound. Short runs from several starts; the best are brought to the end.

    Parameters
    ----------
    starts
        Number of short runs. None: 4, 2 for large data; 1 for one expert. Where several fits are averaged 1 is enough.
    max_iter
        Rounds at most in each long run.
    tol
        Gain of the bound in one round, relative to its size, below which a long run ends.
    seed
        Integer, SeedSequence, Generator or None; None draws one and records it.

    Raises
    ------
    SpecError
        If a setting is out of range. From ``bm.fit``, if the model has other experts than ``bm.Normal()``, other gates
        than ``bm.SoftmaxGate`` and ``bm.EqualGate``, networks, learned scales of slopes, or means that share
        coefficients.
    InputError
        From ``bm.fit``, if there are groups of rows.

    Notes
    -----
    ``fit.point`` holds the coefficients' posterior means. ``fit.shrinkage()`` tells what was chosen for every
    group. There is no mode, so that ``fit.log_posterior``, BIC and the like have no meaning; the bound is
    ``fit.outcome.facts["elbo"]``. The labels' and sigmas' own uncertainty is left out: average fits with several seeds,
    ``bm.average``, for a part of it.

    A log precision has a nearly flat Normal prior, with mean log(p / 0.3²) for p slopes, which gives the group's part
    of the mean 0.3 of the standard deviation of y, and standard deviation 8.

    References
    ----------
    Waterhouse, MacKay and Robinson (1996), Bayesian methods for mixtures of experts, NIPS 8. Ueda and Ghahramani
    (2002), Bayesian model search for mixture models based on optimizing variational bounds, Neural Networks 15.
    MacKay (1992), Bayesian interpolation, Neural Computation 4.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> curve = bm.Expert(mu=bm.Sum((bm.Linear((0,)), bm.Spline(8, columns=(0,)))))
    >>> fit = bm.fit(bm.MixtureOfExperts([curve] * 2), data.X, data.y, bm.VariationalEM(seed=1), progress=False)
    >>> fit.status.converged
    True
    """

    starts: int | None = None
    max_iter: int = 500
    tol: float = 1e-5
    seed: Seed = None

    def __post_init__(self) -> None:
        if self.starts is not None:
            whole("VariationalEM", "starts", self.starts, 1, 100_000)
        whole("VariationalEM", "max_iter", self.max_iter, 1, 10**7)
        between("VariationalEM", "tol", self.tol, 0, 1)
        check_seed("VariationalEM", self.seed)

    def run(self, density: Conjugate, *, start: np.ndarray | None = None, report: Report | None = None) -> Outcome:
        """Return the best approximation found.

        Parameters
        ----------
        density
            A density whose experts' means are conjugate given labels.
        start
            Begin with the labels that belong to this point instead of searching.
        report
            Where progress goes.

        Raises
        ------
        InterruptedFit
            If an interrupt came before the first round ended.
        """
        seed = settle_seed(self.seed)
        runs = _Runs(density, self, seed, report or Report(visible=False))
        interrupted = False
        try:
            with np.errstate(all="ignore"):
                if start is None:
                    runs.search()
                else:
                    runs.finish(_Run("start", [density.begin_at(start)]))
        except KeyboardInterrupt:
            interrupted = True
        return runs.outcome(interrupted=interrupted)


class _Run:
    """One run: where it started, and the approximations so far, all but the last as their bounds alone."""

    def __init__(self, recipe: str, first: list[Approximation]) -> None:
        self.recipe, self.last = recipe, first[-1]
        self.trace = [each.elbo for each in first]
        self.ended = False

    def ascend(self, density: Conjugate) -> float:
        """Take one round and return its gain."""
        found = density.ascend(self.last)
        gain = found.elbo - self.last.elbo
        if not gain >= -SLACK * (1.0 + abs(found.elbo)) and not density.at_rounding(self.last):
            raise EMDecreased(self.last.elbo, found.elbo, len(self.trace), self.last.q)
        if gain > 0:
            self.last = found
        self.trace.append(self.last.elbo)
        return gain


class _Runs:
    """All runs of one fit."""

    def __init__(self, density: Conjugate, engine: VariationalEM, seed: int, report: Report) -> None:
        self.density, self.engine, self.seed, self.report = density, engine, seed, report
        self.runs: list[_Run] = []
        self.short: list[tuple[str, float]] = []

    def search(self) -> None:
        """Run all starts for a few rounds, and the best to the end."""
        scene, experts = self.density.scene(), self.density.experts
        cells = len(scene.target) * experts
        default = 1 if experts == 1 else int(np.clip(_START_CELLS / max(cells, 1), 2, _MOST_STARTS))
        count = default if self.engine.starts is None else self.engine.starts
        with self.report.task(f"variational EM starts, K = {experts}", count) as advance:
            for index in range(count):
                recipe = _RECIPES[index % len(_RECIPES)]
                rng = generator(self.seed, _START_ROLE, index)
                alone = np.ones((len(scene.target), 1))
                run = _Run(
                    recipe.__name__,
                    [self.density.begin(alone if experts == 1 else recipe(scene, experts, rng))],
                )
                self.runs.append(run)
                for _ in range(min(_SHORT, self.engine.max_iter) if count > 1 else 0):
                    run.ascend(self.density)
                self.short.append((run.recipe, run.last.elbo))
                advance(index + 1, f"best bound {self.best.last.elbo:.4f}")
        chosen = sorted(self.runs, key=lambda run: -run.last.elbo)[: 1 + (count - 1) // _SHARE]
        for place, run in enumerate(chosen, 1):
            self.finish(run, f"variational EM, run {place} of {len(chosen)}")

    def finish(self, run: _Run, title: str = "variational EM") -> None:
        """Bring one run to the end."""
        if run not in self.runs:
            self.runs.append(run)
        with self.report.task(title, self.engine.max_iter) as advance:
            while len(run.trace) <= self.engine.max_iter:
                gain = run.ascend(self.density)
                advance(len(run.trace) - 1, f"bound {run.last.elbo:.4f}")
                if gain <= self.engine.tol * (1.0 + abs(run.last.elbo)):
                    run.ended = True
                    break
            advance(self.engine.max_iter, f"bound {run.last.elbo:.4f}")

    @property
    def best(self) -> _Run:
        return max(self.runs, key=lambda run: run.last.elbo)

    def _notices(self, best: _Run) -> Iterator[Notice]:
        if not best.ended:
            gain = best.trace[-1] - best.trace[max(0, len(best.trace) - 2)]
            yield Notice(
                "bound_still_rises",
                f"the evidence lower bound still rose by {gain:.2g} in the last of {len(best.trace) - 1} rounds: raise "
                "max_iter",
            )
        if self.density.at_rounding(best.last):
            yield Notice(
                "exact_rows",
                "rows lie on the curve of an expert up to a millionth of the standard deviation of y: its sigma and "
                "the bound are matters of rounding",
            )

    def outcome(self, *, interrupted: bool) -> Outcome:
        """Return the best run as an outcome."""
        if not self.runs:
            raise InterruptedFit("VariationalEM was interrupted before its first round ended → call fit again")
        best = self.best
        notices = list(self._notices(best))
        status = Status.NOTICED if notices else Status.CONVERGED
        status = status if best.ended else Status.NOT_CONVERGED
        return Outcome(
            draws=best.last.q[None, None, :],
            status=Status.INTERRUPTED if interrupted else status,
            notices=tuple(notices),
            history={"elbo": np.array(best.trace)},
            table={
                "start_elbo": np.array([value for _, value in self.short]),
                "start_recipe": np.array([recipe for recipe, _ in self.short], dtype=str),
            },
            facts={
                "seed": self.seed,
                "elbo": best.last.elbo,
                "recipe": best.recipe,
                "starts": len(self.short),
                "long_runs": sum(run.ended for run in self.runs),
            },
            point=True,
            posterior=self.density.posterior(best.last),
        )
