"""Probabilities of labels under mixtures of experts, averaged over posterior draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from .mixtures import Floats, MixtureDraws, pieces


def class_probabilities(m: MixtureDraws, classes: int, *, hard: bool = False) -> Floats:
    """Return P(Y = label) (n, classes): 1/S Σ_s Σ_k g_sk p_sk, or those of the most probable expert."""
    if hard:
        return _of_most_probable(m, classes)
    out = np.zeros((m.rows, classes))
    for piece in pieces(m):
        gate = np.exp(piece.log_gate)
        out[piece.rows] += np.einsum("srk,srkc->rc", gate, _each(m, piece.parameters))
    return out / m.draws


def probabilities_by_draw(m: MixtureDraws, classes: int) -> Floats:
    """Return P(Y = label) of every draw, (draws, n * classes)."""
    out = np.zeros((m.draws, m.rows, classes))
    for piece in pieces(m):
        gate = np.exp(piece.log_gate)
        out[piece.draws, piece.rows] = np.einsum("srk,srkc->src", gate, _each(m, piece.parameters))
    return out.reshape(m.draws, -1)


def _of_most_probable(m: MixtureDraws, classes: int) -> Floats:
    gate, own = np.zeros((m.rows, m.experts)), np.zeros((m.rows, m.experts, classes))
    for piece in pieces(m):
        gate[piece.rows] += np.exp(piece.log_gate).sum(axis=0)
        own[piece.rows] += _each(m, piece.parameters).sum(axis=0)
    found: Floats = own[np.arange(m.rows), gate.argmax(axis=1)] / m.draws
    return found


def _each(m: MixtureDraws, parameters: Any) -> Floats:
    """Return every expert's probabilities, (s, r, K, classes)."""
    family: Any = m.family
    found: Floats = family.probabilities(**parameters)
    return found
