"""Minibatch gradient training of a network, stopped by rows that it does not see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import InterruptedFit, Notice, NumericalError
from ..log_density import Trainable
from .outcome import Outcome, Status
from .progress import Report
from .settings import Seed, between, check_seed, generator, settle_seed, whole

_SPLIT_ROLE, _START_ROLE, _ORDER_ROLE = 300, 301, 302
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8  # decays of Adam's moments
_SHORTENINGS, _SHORTER = 3, 3.0
_FAREWELL = 0.1  # share of the first step with which all rows are seen at the end
_FAREWELL_EPOCHS = 60
_MOST_SKIPPED = 0.1
_WARM_UP = 500  # steps over which their length grows
_EPOCHS_AVERAGED = 5


@dataclass(frozen=True)
class Training:
    """Point estimate of a model with networks by gradient steps on minibatches, stopped by held-out rows.

    Adam climbs the log posterior of networks and output layers together, in coordinates where the prior is a standard
    normal: that prior is the weight decay. After every epoch the weights, averaged over it, are judged by the log
    density of the held-out rows. When that has not risen for ``patience`` epochs, training goes back to the best
    weights and on with a third of the step; the fourth time it stops. Then all rows, those held out among them, are
    seen for 60 epochs with a tenth of the first step.

    Parameters
    ----------
    epochs
        Passes over the training rows at most.
    batch
        Rows of one step, or groups where the rows share labels by groups.
    held_out
        Share of the rows, or groups, that decide when to stop. 0: all train, for all ``epochs``, with a third of the
        step after each quarter of them.
    patience
        Epochs without a better held-out log density that end a step length.
    step
        First step length, in prior standard deviations.
    seed
        Integer, SeedSequence, Generator or None; None draws one and records it.

    Raises
    ------
    SpecError
        If a setting is out of range.

    Notes
    -----
    The result is no mode of the posterior, and its status says that it was stopped early: it carries no certificate, no
    BIC and no Laplace approximation. ``bm.EM()``, ``bm.Laplace()``, ``bm.ADVI()`` and ``bm.NUTS()`` on a model with
    networks train these first, then hold them fixed and bring the output layers to their mode. It climbs from one
    start, and another seed may end higher: ``fit.outcome.facts["held_out_log_density"]`` says how high.

    References
    ----------
    Kingma and Ba (2015), Adam: a method for stochastic optimization, ICLR. Prechelt (1998), Early stopping, but when?,
    in Neural Networks: Tricks of the Trade. Polyak and Juditsky (1992), for the average over an epoch.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> bm.Training(batch=64, seed=1).patience
    30
    """

    epochs: int = 2000
    batch: int = 128
    held_out: float = 0.1
    patience: int = 30
    step: float = 0.02
    seed: Seed = None

    def __post_init__(self) -> None:
        whole("Training", "epochs", self.epochs, 1, 10**7)
        whole("Training", "batch", self.batch, 1, 10**7)
        if self.held_out != 0:
            between("Training", "held_out", self.held_out, 0, 1)
        whole("Training", "patience", self.patience, 1, 10**7)
        between("Training", "step", self.step, 0, 10)
        check_seed("Training", self.seed)

    def run(self, density: Trainable, *, start: np.ndarray | None = None, report: Report | None = None) -> Outcome:
        """Return the weights that the held-out rows preferred.

        Parameters
        ----------
        density
            The log posterior of network and output layer.
        start
            Begin here instead of at a draw from the prior.
        report
            Where progress goes.

        Raises
        ------
        NumericalError
            If the density is not finite where training begins, or keeps leaving finite numbers.
        InterruptedFit
            If an interrupt came before the first epoch ended.
        """
        began, seed = time.monotonic(), settle_seed(self.seed)
        rows = np.flatnonzero(density.weights > 0)
        count = max(1, round(self.held_out * len(rows))) if self.held_out else 0
        mixed = generator(seed, _SPLIT_ROLE).permutation(rows)
        loop = _Loop(density, mixed[count:], mixed[:count], self.batch, generator(seed, _ORDER_ROLE))
        begin = density.beginning(generator(seed, _START_ROLE)) if start is None else start
        loop.place((begin - loop.loc) / loop.scale, self.step)
        found = _Best(loop.averaged.copy(), -np.inf if count else np.inf)
        # products of a minibatch are too small to share between processors
        with (
            threadpool_limits(1),
            np.errstate(all="ignore"),
            (report or Report(visible=False)).task("training", self.epochs) as advance,
        ):
            try:
                for epoch, note in enumerate(self._epochs(loop, found), 1):
                    advance(epoch, note)
                if found.stopped or not count:
                    _see_all(loop, found, self.step)
                advance(self.epochs, f"best epoch {found.epoch}")
            except KeyboardInterrupt:
                found.interrupted = True
        if found.interrupted and not found.epoch:
            raise InterruptedFit("Training was interrupted before its first epoch ended → call fit again")
        vector = loop.loc + loop.scale * found.point
        network, output = density.parts(vector)
        return Outcome(
            draws=output[None, None, :],
            status=_status(found, held=count > 0),
            notices=_notices(loop, found),
            mode=output,
            features=network,
            history={"training_log_density": np.array(loop.trace), "held_out_log_density": np.array(found.trace)},
            facts={
                "seed": seed,
                "epochs": len(loop.trace),
                "best_epoch": found.epoch,
                "steps": loop.steps,
                "held_out_rows": count,
                "gradient_norm": _gradient_norm(density, vector),
                "seconds": time.monotonic() - began,
                **({"held_out_log_density": found.value} if count else {}),
            },
            point=True,
        )

    def _epochs(self, loop: _Loop, found: _Best) -> Iterator[str]:
        """Run epochs until patience ends, and say after each how it stands."""
        shortenings = waited = 0
        for epoch in range(1, self.epochs + 1):
            loop.epoch()
            if not len(loop.held):
                found.point, found.epoch = loop.averaged.copy(), epoch
                loop.step = self.step / _SHORTER ** (4 * epoch // self.epochs)
                yield f"log density {loop.trace[-1]:.4f}"
                continue
            value = loop.judged()
            found.trace.append(value)
            waited += 1
            if value > found.value:
                found.point, found.value, found.epoch, waited = loop.averaged.copy(), value, epoch, 0
            yield f"held-out {value:.4f}, best {found.value:.4f}"
            if waited >= self.patience:
                if shortenings == _SHORTENINGS:
                    found.stopped = True
                    return
                shortenings, waited = shortenings + 1, 0
                loop.place(found.point, loop.step / _SHORTER, forget=False)


@dataclass(eq=False)
class _Best:
    """The weights the held-out rows like best, in prior standard deviations, and how training went."""

    point: np.ndarray
    value: float
    epoch: int = 0
    stopped: bool = False
    interrupted: bool = False
    trace: list[float] = field(default_factory=list)


class _Loop:
    """Adam on minibatches, in coordinates where the prior is standard normal."""

    def __init__(
        self, density: Trainable, seen: np.ndarray, held: np.ndarray, batch: int, order: np.random.Generator
    ) -> None:
        self.density, self.seen, self.held, self.batch, self.order = density, seen, held, batch, order
        self.loc, self.scale, self.total = density.prior_loc, density.prior_scale, float(density.weights.sum())
        self.steps, self.skipped, self.step = 0, 0, 0.0
        self.trace: list[float] = []
        self.point = self.averaged = self.first = self.second = np.zeros(density.size)

    def place(self, point: np.ndarray, step: float, *, forget: bool = True) -> None:
        """Go on from ``point`` with another step; ``forget`` what is known of gradients."""
        self.point, self.averaged, self.step = point.copy(), point.copy(), step
        if forget:
            self.first, self.second = np.zeros(len(point)), np.zeros(len(point))
            self.steps = 0

    def epoch(self) -> None:
        """Pass once over the training rows; the average of the points on the way fades over one epoch."""
        density, count = self.density, max(1, round(len(self.seen) / self.batch))
        value = 0.0
        for turn, rows in enumerate(np.array_split(self.order.permutation(self.seen), count)):
            found, gradient = density.rows_gradient(self.loc + self.scale * self.point, rows)
            value += found
            gradient *= self.scale / density.weights[rows].sum()
            gradient += density.prior_slope(self.point) / self.total
            if np.isfinite(gradient).all():
                self._move(gradient)
            else:
                self.skipped += 1
            share = max(1.0 / (_EPOCHS_AVERAGED * count), 1.0 / (turn + 1 + len(self.trace) * count))
            self.averaged += share * (self.point - self.averaged)
        if self.skipped > _MOST_SKIPPED * count * (len(self.trace) + 1):
            raise NumericalError(
                f"Training: expected finite gradients, got none in {self.skipped} of {count * (len(self.trace) + 1)} "
                "steps → lower the step, or look at the data"
            )
        self.trace.append(value / float(density.weights[self.seen].sum()))

    def _move(self, gradient: np.ndarray) -> None:
        self.steps += 1
        self.first += (1.0 - _FIRST) * (gradient - self.first)
        np.square(gradient, out=gradient)
        self.second += (1.0 - _SECOND) * (gradient - self.second)
        length = (
            self.step
            * min(1.0, self.steps / _WARM_UP)
            * np.sqrt(1.0 - _SECOND**self.steps)
            / (1.0 - _FIRST**self.steps)
        )
        np.sqrt(self.second, out=gradient)
        gradient += _TINY
        self.point += length * self.first / gradient

    def judged(self) -> float:
        """Return the mean log density of the held-out rows under the averaged weights."""
        values = self.density.rows_log_density(self.loc + self.scale * self.averaged, self.held)
        value = float(np.average(values, weights=self.density.weights[self.held]))
        return value if np.isfinite(value) else -np.inf


def _see_all(loop: _Loop, found: _Best, step: float) -> None:
    """End with all rows, at a small step."""
    if not len(loop.held):
        return
    loop.seen = np.concatenate([loop.seen, loop.held])
    loop.place(found.point, _FAREWELL * step, forget=False)
    for _ in range(_FAREWELL_EPOCHS):
        loop.epoch()
    found.point = loop.averaged.copy()


def _status(found: _Best, *, held: bool) -> Status:
    if found.interrupted:
        return Status.INTERRUPTED
    return Status.STOPPED if found.stopped or not held else Status.NOT_CONVERGED


def _notices(loop: _Loop, found: _Best) -> tuple[Notice, ...]:
    notices = []
    if len(loop.held) and not found.stopped and not found.interrupted:
        notices.append(
            Notice(
                "epochs_exhausted",
                f"the held-out log density was still being watched after all {len(found.trace)} epochs (best in epoch "
                f"{found.epoch}): raise epochs",
            )
        )
    if loop.skipped:
        notices.append(Notice("steps_skipped", f"{loop.skipped} steps had no finite gradient and were left out"))
    return tuple(notices)


def _gradient_norm(density: Trainable, vector: np.ndarray) -> float:
    """Return the norm of the log posterior's gradient in prior standard deviations, which is 0 at a mode."""
    with threadpool_limits(1):
        return float(np.linalg.norm(density.prior_scale * density.logp_and_gradient(vector)[1]))
