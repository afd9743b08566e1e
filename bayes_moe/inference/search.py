"""The search over starts: many short runs, the best distinct ones to the end, splits and merges of the best."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ..errors import EMDecreased
from ..log_density import Latent
from .climb import monotone_step
from .moves import MOVES, boundary_shifts
from .outcome import Optimum
from .progress import Report
from .settings import generator
from .starts import PORTFOLIO, from_labels

_SHORT = 8
_FEWEST, _MOST = 8, 16
_SAME = 1e-5
_THIN_ABOVE, _THIN_TO = 20_000, 10_000
_PROBE, _UNSEEN = 12, 0.2
_FEW_ROWS = 100  # among so few a dozen starts are too much alike to tell of what they have not seen
_ROUNDS, _ROUND_CELLS, _TOP = (24, 100), 2.4e5, 8  # rounds at most; rows times experts in all of them
_PATIENCE, _RIVAL = 8, 10.0  # idle rounds where optima rival, and how far below the best a rival may lie
_MOST_AGREE, _MANY_AGREE, _AGREED = 0.75, 0.5, 2  # share of runs at the best; idle rounds where so many agree
_RESTLESS, _ENDURANCE = 0.4, 2.0  # share of rivals seen once that tells of others unseen; patience with them
_RETURNED, _HOPELESS = 0.05, 6.0  # mean change of a row's log density; log posterior below the last of the best
_ROUND = 6
_USUAL = 64  # who asks for more starts than by default asks for more moves, too
_NEXT = 0.15  # chance that a move starts at the best optimum, else at the next, and so on
_SEARCHING = 8  # with fewer starts the user wants a quick answer, not a search

Candidate = tuple[float, np.ndarray, str]
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
        self.adaptive = starts is None
        self.starts = default if starts is None else starts
        self.candidates: list[Candidate] = []
        self.finished: list[Candidate] = []
        self.landmarks: list[np.ndarray] = []
        self.polished: Optimum | None = None
        self.optima: list[tuple[Optimum, np.ndarray]] = []
        self.short_runs: list[tuple[str, float]] = []
        self.moves = 0
        self.long_runs = 0
        self.reseeded = 0
        self.abandoned = 0

    def run(self, report: Report) -> None:
        """Search from the portfolio of starts."""
        quick = self._quick()
        searching = self.density.experts > 1 and self.starts >= _SEARCHING
        early = self.adaptive and searching and len(self.scene.target) > _FEW_ROWS
        probe = min(self.starts, _PROBE) if early else self.starts
        self._short_runs(quick, probe, report)
        self._long_runs(_FEWEST if probe < self.starts else self._most(), report)
        if probe < self.starts and not self._settled():
            self._short_runs(quick, self.starts, report)
            self._long_runs(self._most(), report)
        if searching:
            self._improve(report)

    def _most(self) -> int:
        return int(np.clip(self.starts // 6 + 1, _FEWEST, _MOST))

    def _short_runs(self, quick: Latent, until: int, report: Report) -> None:
        with report.task(f"EM starts, K = {self.density.experts}", until) as advance:
            for index in range(len(self.candidates), until):
                self.candidates.append(self._short_run(quick, index))
                best = max(value for value, _, _ in self.candidates)
                advance(index + 1, f"best {best:.4f}")

    def _long_runs(self, count: int, report: Report) -> None:
        """Run the best distinct short runs to the end, but for those that have been."""
        chosen = [c for c in _distinct(self.candidates, count) if not any(c is done for done in self.finished)]
        with report.task("EM to the end", len(chosen)) as advance:
            for index, candidate in enumerate(chosen):
                self.finished.append(candidate)
                self.take(candidate[1], candidate[2])
                advance(index + 1, f"best {self.ranked()[0].log_posterior:.4f}")

    def _settled(self) -> bool:
        """Return whether nothing rivals the best, or most runs end there, and the optima not yet seen hold few starts.

        Their share is about that of the runs that ended where no other run did (Good and Turing); one such run is added
        for safety.
        """
        once = sum(optimum.hits == 1 for optimum, _ in self.optima)
        same = len(self.candidates) - len(_distinct(self.candidates, len(self.candidates)))
        seen = (once + 1) / (self.long_runs + same + 1) <= _UNSEEN
        return bool(seen) and (not self._rivals() or self._agreement() >= _MOST_AGREE)

    def rescue(self) -> bool:
        """After an interrupt, run the best short run to the end if nothing else is; return whether there is any."""
        if not self.optima and self.candidates:
            _, q, recipe = max(self.candidates, key=lambda candidate: candidate[0])
            # a second Ctrl-C means that nothing is wanted any more
            with suppress(KeyboardInterrupt):
                self.take(q, recipe)
        return bool(self.optima)

    def take(self, q: np.ndarray, recipe: str) -> bool:
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

    def _short_run(self, quick: Latent, index: int) -> Candidate:
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
        """Move away from the best optima, until a few rounds in a row bring nothing better; one, where none rivals.

        Where there are rivals, the boundaries of the best are tried one by one at the end.
        """
        rng = generator(self.seed, 2)
        quick = self._quick()
        cells = max(len(quick.scene().target) * quick.experts, 1)
        rounds, idle = int(np.clip(_ROUND_CELLS / cells, *_ROUNDS) * max(1.0, self.starts / _USUAL)), 0
        with report.task("EM moves", rounds) as advance:
            for round_ in range(rounds):
                before = self.ranked()[0].log_posterior
                for _, q, recipe in self._promising(quick, self._moves(quick, round_, rng)):
                    self.take(q, recipe)
                best = self.ranked()[0].log_posterior
                advance(round_ + 1, f"best {best:.4f}")
                idle = 0 if best > before + _SAME else idle + 1
                if idle >= self._patience() and not self._polished(quick, rng):
                    break

    def _patience(self) -> int:
        rivals = self._rivals()
        if not rivals:
            return 1
        if self._agreement() >= _MANY_AGREE:
            return _AGREED
        unseen = sum(optimum.hits == 1 for optimum in rivals) / len(rivals)
        effort = max(1.0, self.starts / _USUAL) * (_ENDURANCE if unseen > _RESTLESS else 1.0)
        return int(_PATIENCE * effort)

    def _agreement(self) -> float:
        """Return the share of the runs that ended at the best optimum."""
        return self.ranked()[0].hits / self.long_runs

    def _rivals(self) -> list[Optimum]:
        """Return the sound optima that are nearly as good as the best."""
        best, *others = self.ranked()
        return [o for o in others if best.log_posterior - o.log_posterior < _RIVAL and not o.collapsed]

    def _moves(self, quick: Latent, round_: int, rng: np.random.Generator) -> list[Candidate]:
        """Return short runs from one round of moves, each away from one of the best optima."""
        known = self.ranked()[:_TOP]
        moves = []
        for turn in range(_ROUND * round_, _ROUND * (round_ + 1)):
            move = MOVES[turn % len(MOVES)]
            optimum = known[min(int(rng.geometric(_NEXT)), len(known)) - 1]
            moves += self._moved(quick, move(quick, optimum.q, rng), move.__name__)
        return moves

    def _moved(self, quick: Latent, responsibilities: np.ndarray, recipe: str) -> list[Candidate]:
        """Return the short run from responsibilities, or none."""
        self.moves += 1
        try:
            return [(*self._few_steps(quick, responsibilities, reseed=False), recipe)]
        except EMDecreased:
            # into a spike, where rounding alone lowers the log posterior: a move in vain, and counted
            self.abandoned += 1
            return []

    def _polished(self, quick: Latent, rng: np.random.Generator) -> bool:
        """Return whether the best optimum got better by a few rows handed over from neighbour to neighbour."""
        best, before = self.ranked()[0], self.ranked()[0].log_posterior
        if not self._rivals() or best is self.polished:
            return False
        self.polished = best
        floor = quick.logp(best.q) + _SAME
        for responsibilities in boundary_shifts(quick, best.q, rng):
            for value, q, recipe in self._moved(quick, responsibilities, "boundary_shift"):
                if value > floor:
                    self.take(q, recipe)
        return self.ranked()[0].log_posterior > before + _SAME

    def _promising(self, quick: Latent, moves: list[Candidate]) -> list[Candidate]:
        """Return the moves that neither fell too low nor are on their way back to an optimum already known."""
        known = self.ranked()[:_TOP]
        # thinned rows stand for all, so that both log posteriors are of the same size
        values = [quick.logp(o.q) for o in known]
        best, floor = values[0] + _SAME, min(values) - _HOPELESS
        self.landmarks += [quick.row_log_density(o.q) for o, _ in self.optima[len(self.landmarks) :]]
        weights = quick.scene().weights
        kept = []
        for value, q, recipe in _distinct(moves, _ROUND):
            rows = quick.row_log_density(q)
            nearest = min(weights @ np.abs(rows - other) for other in self.landmarks) / weights.sum()
            if value > best or (value > floor and nearest > _RETURNED):
                kept.append((value, q, recipe))
        return kept


def _distinct(candidates: list[Candidate], count: int) -> list[Candidate]:
    """Return the best candidates whose log posteriors differ."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c[0]):
        if all(abs(candidate[0] - other[0]) > 1e-3 for other in kept):
            kept.append(candidate)
        if len(kept) == count:
            break
    return kept
