"""Climbing by EM: monotone steps and their acceleration."""

from __future__ import annotations

import numpy as np

from ..errors import EMDecreased
from ..log_density import Expectation, Latent
from .stopping import Gain

SLACK = 1e-9
_HALVINGS = 8


def climb(density: Latent, start: np.ndarray, max_iter: int, stop: Gain) -> tuple[Expectation, list[float]]:
    """Run EM from ``start`` with SQUAREM acceleration; return the last E-step and the log posteriors.

    Every third proposal extrapolates the last two steps and is kept only where it raises the log posterior.
    """
    expectation = density.e_step(start)
    trace = [expectation.log_posterior]
    while len(trace) < max_iter:
        before = expectation
        first = _cycle(density, before, trace)
        second = _cycle(density, first, trace)
        expectation = _extrapolate(density, before.q, first.q, second, trace)
        if stop.reached(before.log_posterior, expectation.log_posterior):
            break
    return expectation, trace


def _cycle(density: Latent, expectation: Expectation, trace: list[float]) -> Expectation:
    for _ in range(density.phases):
        expectation = monotone_step(density, expectation, len(trace))
        trace.append(expectation.log_posterior)
    return expectation


def monotone_step(density: Latent, expectation: Expectation, iteration: int = 0) -> Expectation:
    """Take one EM step, shortening its Newton parts until the log posterior does not fall.

    Raises
    ------
    EMDecreased
        If even the closed-form part alone lowers it by more than 1e-9 (1 + |L|) and more than rounding can.
    """
    floor = expectation.log_posterior - SLACK * (1.0 + abs(expectation.log_posterior))
    damping, proposal = 1.0, expectation
    for attempt in range(_HALVINGS):
        proposal = density.e_step(density.m_step(expectation, damping=damping), expectation)
        if proposal.log_posterior >= floor:
            return proposal
        damping = 0.0 if attempt == _HALVINGS - 2 else 0.25 * damping
    if proposal.log_posterior >= expectation.log_posterior - _noise(density, expectation):
        return expectation
    raise EMDecreased(expectation.log_posterior, proposal.log_posterior, iteration, expectation.q)


def _noise(density: Latent, expectation: Expectation) -> float:
    """Return how much the last digits of q change the log posterior: much, where a sigma is as small as they are."""
    ulps = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
    near = [density.logp(expectation.q * (1.0 + ulp * np.finfo(float).eps)) for ulp in ulps]
    return 10.0 * max(abs(value - expectation.log_posterior) for value in near)


def _extrapolate(
    density: Latent, zero: np.ndarray, one: np.ndarray, two: Expectation, trace: list[float]
) -> Expectation:
    step, bend = one - zero, two.q - 2.0 * one + zero
    length, curve = float(np.linalg.norm(step)), float(np.linalg.norm(bend))
    if curve <= 1e-12 * (1.0 + length) or length <= curve:
        return two
    alpha = min(length / curve, 64.0)
    proposal = density.e_step(zero + 2.0 * alpha * step + alpha**2 * bend, two)
    if not proposal.log_posterior >= two.log_posterior:
        return two
    trace.append(proposal.log_posterior)
    return proposal
