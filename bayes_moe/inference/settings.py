"""Checks of engine settings, and seeds."""

from __future__ import annotations

import math

import numpy as np

from ..errors import SpecError

Seed = int | np.random.SeedSequence | np.random.Generator | None


def whole(engine: str, name: str, value: object, low: int, high: int) -> None:
    """Refuse anything but a whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise SpecError(f"{engine}.{name}: expected a whole number from {low} to {high}, got {value!r} → change it")


def between(engine: str, name: str, value: object, low: float, high: float) -> None:
    """Refuse anything but a number strictly between ``low`` and ``high``."""
    good = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not low < value < high:  # type: ignore[arg-type, operator]
        raise SpecError(f"{engine}.{name}: expected a number between {low} and {high}, got {value!r} → change it")


def check_seed(engine: str, seed: object) -> None:
    """Refuse seeds other than None, integers from 0 to 2**63 - 1, SeedSequence and Generator."""
    if seed is None or isinstance(seed, np.random.SeedSequence | np.random.Generator):
        return
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise SpecError(
            f"{engine}.seed: expected None, an integer from 0 to 2**63 - 1, a SeedSequence or a Generator, got "
            f"{seed!r} → pass an integer"
        )


def settle_seed(seed: Seed) -> int:
    """Return the integer that stands for a seed; None draws one, so that it can be recorded."""
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    if isinstance(seed, np.random.SeedSequence):
        return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])
    return int(seed)


def generator(seed: int, *role: int) -> np.random.Generator:
    """Return the generator of one role, e.g. one chain or one start; roles never share a stream."""
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=role))
