"""Compiled loops under the mixing operations: arrays in the layout of a graph in, the same out.

Graphs hold one row of a data set per row of a matrix. These loops copy a block of rows into the layout of
`kernels`, run its passes there and copy the results back, so that a mixture has one implementation.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit

from .kernels import mix, normal_experts, normal_scores

_BLOCK_ROWS = 256  # a block of any usual number of experts stays in the processor's cache
_HALF_LOG_2PI = 0.9189385332046727
_FILES = ("arithmetic.py", "kernels.py", "mixing_kernels.py", "mixing_c.py")


@njit(cache=True, nogil=True)
def _copy_in(rows, start, block, at):  # type: ignore[no-untyped-def]
    """Copy rows from ``start`` into lines ``at`` and following of a block; pad the block with zeros."""
    count = min(block.shape[1], rows.shape[0] - start)
    for k in range(rows.shape[1]):
        for b in range(count):
            block[at + k, b] = rows[start + b, k]
        for b in range(count, block.shape[1]):
            block[at + k, b] = 0.0


@njit(cache=True, nogil=True)
def _copy_out(block, at, rows, start):  # type: ignore[no-untyped-def]
    """Copy lines ``at`` and following of a block back to rows from ``start``."""
    for b in range(min(block.shape[1], rows.shape[0] - start)):
        for k in range(rows.shape[1]):
            rows[start + b, k] = block[at + k, b]


@njit(cache=True, nogil=True, error_model="numpy")
def mixing_rows(logits, densities):  # type: ignore[no-untyped-def]
    """Return log density (n,), responsibilities and gate probabilities (n, K) of every row.

    Parameters
    ----------
    logits, densities
        (n, K): unnormalised log weights of the gate and log densities of the experts.
    """
    if densities.shape != logits.shape:
        raise ValueError("mixing: expected log weights and log densities of one shape (rows, experts)")
    total, experts = logits.shape
    log_density, responsibilities = np.empty(total), np.empty((total, experts))
    probabilities = np.empty((total, experts))
    block = min(_BLOCK_ROWS, total)
    gate, joint = np.empty((experts, block)), np.empty((experts, block))
    value, scratch = np.empty(block), np.empty((4, block))
    for start in range(0, total, _BLOCK_ROWS):
        _copy_in(logits, start, gate, 0)
        _copy_in(densities, start, joint, 0)
        for k in range(experts):
            for b in range(block):
                joint[k, b] += gate[k, b]
        mix(gate, joint, value, scratch)
        count = min(block, total - start)
        for b in range(count):
            log_density[start + b] = value[b]
        _copy_out(joint, 0, responsibilities, start)
        _copy_out(gate, 0, probabilities, start)
    return log_density, responsibilities, probabilities


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_rows(logits, mu, log_sigma, constant, y):  # type: ignore[no-untyped-def]
    """Mix Normal experts; ``log_sigma`` is (n, K), or (0, K) where ``constant`` (K,) stands for every row."""
    total, experts = logits.shape
    varies = constant.shape[0] == 0
    log_density = np.empty(total)
    responsibilities, d_logits = np.empty((total, experts)), np.empty((total, experts))
    d_mu, d_log_sigma = np.empty((total, experts)), np.empty((total, experts))
    block = min(_BLOCK_ROWS, total)
    eta = np.empty((3 * experts if varies else 2 * experts, block))
    gate, joint = np.empty((experts, block)), np.empty((experts, block))
    inverse_sigma = np.empty((experts, block))
    target, ones = np.zeros(block), np.ones(block)
    value, scratch = np.empty(block), np.empty((4, block))
    for start in range(0, total, _BLOCK_ROWS):
        count = min(block, total - start)
        _copy_in(logits, start, eta, 0)
        _copy_in(mu, start, eta, experts)
        if varies:
            _copy_in(log_sigma, start, eta, 2 * experts)
        for b in range(count):
            target[b] = y[start + b]
        for k in range(experts):
            for b in range(gate.shape[1]):
                gate[k, b] = eta[k, b]
        normal_experts(eta, constant, target, joint, inverse_sigma)
        mix(gate, joint, value, scratch)
        _copy_out(joint, 0, responsibilities, start)
        normal_scores(eta, joint, gate, inverse_sigma, ones)
        for b in range(count):
            log_density[start + b] = value[b] - _HALF_LOG_2PI
        _copy_out(eta, 0, d_logits, start)
        _copy_out(eta, experts, d_mu, start)
        _copy_out(inverse_sigma, 0, d_log_sigma, start)
    return log_density, responsibilities, d_logits, d_mu, d_log_sigma


@njit(cache=True, nogil=True, error_model="numpy")
def normal_mixing_by_row(logits, mu, log_sigma, y):  # type: ignore[no-untyped-def]
    """Return log density (n,), responsibilities and scores of logits, mu and log sigma (n, K).

    Parameters
    ----------
    logits, mu, log_sigma
        (n, K): unnormalised log weights, means and log standard deviations.
    y
        (n,): where the density is taken.
    """
    if mu.shape != logits.shape or log_sigma.shape != logits.shape or y.shape[0] != logits.shape[0]:
        raise ValueError("normal mixing: expected logits, mu, log_sigma (rows, experts) and y (rows,)")
    return _normal_rows(logits, mu, log_sigma, np.empty(0), y)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_mixing_constant(logits, mu, log_sigma, y):  # type: ignore[no-untyped-def]
    """Do as `normal_mixing_by_row` for log standard deviations (K,) that hold for every row."""
    if mu.shape != logits.shape or log_sigma.shape[0] != logits.shape[1] or y.shape[0] != logits.shape[0]:
        raise ValueError("normal mixing: expected logits, mu (rows, experts), log_sigma (experts,), y (rows,)")
    return _normal_rows(logits, mu, np.empty((0, logits.shape[1])), log_sigma, y)


@lru_cache(maxsize=1)
def source_version() -> int:
    """Return a number that changes with the source of kernels and C code, for caches of what they became."""
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join((here / name).read_bytes() for name in _FILES))
    return int.from_bytes(digest.digest()[:7])
