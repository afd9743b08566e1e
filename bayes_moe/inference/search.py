"""The search over starts: many short runs, the best distinct ones to the end, splits and merges of the best."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ..log_density import Latent
from .climb import monotone_step
from .outcome import Optimum
from .progress import Report
from .settings import generator
from .starts import PORTFOLIO, from_labels, graft, shift, split

_SHORT = 8
_FEWEST, _MOST = 8, 16
_SAME = 1e-5
_THIN_ABOVE, _THIN_TO = 20_000, 10_000
_ROUNDS, _PATIENCE, _MOVES_KEPT, _TOP = 12, 4, 4, 3
_KINDS = ("graft", "shift", "anneal", "graft", "shift", "split_and_merge") * 2
_SEARCHING = 8  # with fewer starts the user wants a quick answer, not a search
_LOG_TEMPERATURE = (-1.0, 3.5)

Finish = Callable[[Latent, np.ndarray, str], tuple[Optimum, np.ndarray]]


class Search:
    """One search: what it tried and the optima it found.

    Parameters
    ----------
    density
        The density.
    starts
        Number of short runs, or None for the default.
    seed
        Integer seed.
    finish
        Runs one start to the end.
    """

    def __init__(self, density: Latent, starts: int | None, seed: int, finish: Finish) -> None:
        self.density, self.seed, self.finish = density, seed, finish
        self.scene = density.scene()
        rows = len(self.scene.target)
        default = 1 if density.experts == 1 else int(np.clip(1e7 / max(rows * density.experts, 1), 12, 64))
        self.starts = default if starts is None else starts
        self.candidates: list[tuple[float, np.ndarray, str]] = []
        self.optima: list[tuple[Optimum, np.ndarray]] = []
        self.short_runs: list[tuple[str, float]] = []
        self.long_runs = 0
        self.reseeded = 0

    def run(self, report: Report) -> None:
        """Search from the portfolio of starts."""
        quick = self._quick()
        with report.task(f"EM starts, K = {self.density.experts}", self.starts) as advance:
            for index in range(self.starts):
                self.candidates.append(self._short_run(quick, index))
                best = max(value for value, _, _ in self.candidates)
                advance(index + 1, f"best {best:.4f}")
        chosen = _distinct(self.candidates, int(np.clip(self.starts // 6 + 1, _FEWEST, _MOST)))
        with report.task("EM to the end", len(chosen)) as advance:
            for index, (_, q, recipe) in enumerate(chosen):
                self.take(q, recipe, index)
                advance(index + 1, f"best {self.ranked()[0].log_posterior:.4f}")
        if self.density.experts > 1 and self.starts >= _SEARCHING:
            self._improve(report)

    def rescue(self) -> bool:
        """After an interrupt, run the best short run to the end if nothing else is; return whether there is any."""
        if not self.optima and self.candidates:
            _, q, recipe = max(self.candidates, key=lambda candidate: candidate[0])
            # a second Ctrl-C means that nothing is wanted any more
            with suppress(KeyboardInterrupt):
                self.take(q, recipe, 0)
        return bool(self.optima)

    def take(self, q: np.ndarray, recipe: str, index: int) -> bool:
        """Run one start to the end and file its optimum; return whether it is the best so far."""
        optimum, trace = self.finish(self.density, q, recipe)
        self.long_runs += 1
        for place, (known, kept) in enumerate(self.optima):
            if abs(known.log_posterior - optimum.log_posterior) <= _SAME * (1 + abs(known.log_posterior) / 1e3):
                self.optima[place] = (replace(known, hits=known.hits + 1), kept)
                return False
        self.optima.append((optimum, trace))
        return self.ranked()[0] is optimum

    def ranked(self) -> list[Optimum]:
        """Return the optima, best first; those with a collapsed expert last."""
        one = self.density.experts == 1
        return sorted((o for o, _ in self.optima), key=lambda o: (bool(o.collapsed) and not one, -o.log_posterior))

    def trace_of(self, optimum: Optimum) -> np.ndarray:
        """Return the log posteriors along the run that found ``optimum``."""
        return next(trace for known, trace in self.optima if known is optimum)

    def _quick(self) -> Latent:
        rows = len(self.scene.target)
        if rows <= _THIN_ABOVE or self.density.experts == 1:
            return self.density
        return self.density.thinned(generator(self.seed, 1).choice(rows, _THIN_TO, replace=False))

    def _short_run(self, quick: Latent, index: int) -> tuple[float, np.ndarray, str]:
        rng = generator(self.seed, 0, index)
        recipe = PORTFOLIO[index % len(PORTFOLIO)]
        scene = quick.scene()
        alone = quick.experts == 1
        responsibilities = np.ones((len(scene.target), 1)) if alone else recipe(scene, quick.experts, rng)
        value, q = self._few_steps(quick, responsibilities)
        self.short_runs.append((recipe.__name__, value))
        return value, q, recipe.__name__

    def _few_steps(
        self, density: Latent, responsibilities: np.ndarray, *, reseed: bool = True
    ) -> tuple[float, np.ndarray]:
        expectation = density.e_step(density.fit_labels(responsibilities))
        for _ in range(_SHORT * density.phases):
            expectation = monotone_step(density, expectation)
        empty = density.collapsed(expectation) if density.experts > 1 else ()
        if empty and reseed:
            # never delete an expert: give it the rows that the others explain worst, and say so
            self.reseeded += 1
            return self._few_steps(density, self._reseeded(density, expectation.q, empty), reseed=False)
        return expectation.log_posterior, expectation.q

    def _reseeded(self, density: Latent, q: np.ndarray, empty: tuple[int, ...]) -> np.ndarray:
        responsibilities = density.responsibilities(q)
        worst = np.argsort(density.row_log_density(q), kind="stable")
        share = max(3 * density.scene().features.shape[1] + 6, len(worst) // (4 * density.experts))
        labels = np.argmax(responsibilities, axis=1)
        for turn, expert in enumerate(empty):
            labels[worst[turn * share : (turn + 1) * share]] = expert
        return from_labels(labels, density.experts)

    def _improve(self, report: Report) -> None:
        """Move away from the best optima, until a few rounds in a row bring nothing better."""
        rng = generator(self.seed, 2)
        quick = self._quick()
        with report.task("EM moves", _ROUNDS) as advance:
            idle = 0
            for round_ in range(_ROUNDS):
                before = self.ranked()[0].log_posterior
                for _, q, recipe in _distinct(self._moves(quick, rng), _MOVES_KEPT):
                    self.take(q, recipe, round_)
                best = self.ranked()[0].log_posterior
                advance(round_ + 1, f"best {best:.4f}")
                idle = 0 if best > before + _SAME else idle + 1
                if idle == _PATIENCE:
                    break

    def _moves(self, quick: Latent, rng: np.random.Generator) -> list[tuple[float, np.ndarray, str]]:
        """Return short runs from one round of moves, each away from one of the best optima."""
        moves, scene, experts = [], quick.scene(), quick.experts
        known = self.ranked()[:_TOP]
        for kind in _KINDS:
            optimum = known[min(int(rng.geometric(0.4)), len(known)) - 1]
            responsibilities = quick.responsibilities(optimum.q)
            if kind == "graft":
                moved = graft(responsibilities, scene, int(rng.integers(experts)), rng)
            elif kind == "shift":
                moved = shift(responsibilities, scene, rng)
            elif kind == "anneal":
                moved = quick.responsibilities(optimum.q, temperature=float(np.exp(rng.uniform(*_LOG_TEMPERATURE))))
            else:
                expert, into = rng.choice(experts, 2, replace=False)
                moved = split(responsibilities, scene, int(expert), int(into), rng)
            value, q = self._few_steps(quick, moved, reseed=False)
            moves.append((value, q, kind))
        return moves


def _distinct(candidates: list[tuple[float, np.ndarray, str]], count: int) -> list[tuple[float, np.ndarray, str]]:
    """Return the best candidates whose log posteriors differ."""
    kept: list[tuple[float, np.ndarray, str]] = []
    for candidate in sorted(candidates, key=lambda c: -c[0]):
        if all(abs(candidate[0] - other[0]) > 1e-3 for other in kept):
            kept.append(candidate)
        if len(kept) == count:
            break
    return kept
