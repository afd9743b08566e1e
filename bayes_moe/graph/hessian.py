r"""The exact Hessian of a mixture's log density in the coefficients of its linear predictors.

With r the responsibilities, g the gate and s, c the first and second derivatives of the experts' log densities, one
row's Hessian in its linear predictors is

.. math:: D - v v^\top + \bar g \bar g^\top, \quad v = (r_k, r_k s_{k1}, r_k s_{k2}, \ldots)

where D couples only predictors of the same expert. Every element of it meets the products :math:`\phi_i \phi_j` of the
row's columns, so that one matrix product of distinct elements with distinct products sums all of them over rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

_CHUNK_ELEMENTS = 150_000  # what a chunk's rows are multiplied from stays in the processor's cache
_KINDS = 3  # predictors of a Normal expert: of the gate, the mean and log sigma

Pair = tuple[int, int]
Kept = tuple[int, ...]


class RowTerms(NamedTuple):
    """What rows contribute: gate, responsibilities, and derivatives of log densities by mean and log sigma, (K, n)."""

    gate: np.ndarray
    responsibilities: np.ndarray
    scores: tuple[np.ndarray, np.ndarray]
    curvatures: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Block:
    """Pairs of kinds of predictors that have the same columns.

    Parameters
    ----------
    kept
        Columns of the first and of the second kind.
    pairs
        The pairs.
    experts
        Number K of experts.
    """

    kept: tuple[Kept, Kept]
    pairs: tuple[Pair, ...]
    experts: int

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of distinct elements, and of distinct products of columns."""
        one, other = self.kept
        products = len(one) * (len(one) + 1) // 2 if one == other else len(one) * len(other)
        return sum(len(self.couples(pair)[0]) for pair in self.pairs), products

    def couples(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Return the experts of the elements of a pair of kinds: all couples, or those of a triangle."""
        k = self.experts
        return np.triu_indices(k) if pair[0] == pair[1] else (np.repeat(np.arange(k), k), np.tile(np.arange(k), k))

    def element_places(self) -> Iterator[tuple[Pair, np.ndarray]]:
        """Yield, for every pair of kinds, where the element of two experts stands (K, K)."""
        at = 0
        for pair in self.pairs:
            one, other = self.couples(pair)
            place = np.zeros((self.experts, self.experts), dtype=np.intp)
            place[one, other] = np.arange(at, at + len(one))
            if pair[0] == pair[1]:
                place[other, one] = place[one, other]
            at += len(one)
            yield pair, place

    def product_places(self, width: int) -> np.ndarray:
        """Return where the product of two of P columns stands (P, P)."""
        out = np.zeros((width, width), dtype=np.intp)
        one, other = (np.array(columns, dtype=np.intp) for columns in self.kept)
        if self.kept[0] != self.kept[1]:
            out[np.ix_(one, other)] = np.arange(len(one) * len(other)).reshape(len(one), len(other))
            return out
        i, j = np.triu_indices(len(one))
        out[one[i], one[j]] = out[one[j], one[i]] = np.arange(len(i))
        return out


@dataclass(frozen=True, eq=False)
class Layout:
    """Which elements there are.

    Parameters
    ----------
    experts
        Number K of experts.
    rows, columns
        Places (A,) of the coefficients in (3K, P) that are not structurally zero.
    """

    experts: int
    rows: np.ndarray
    columns: np.ndarray

    @cached_property
    def blocks(self) -> list[Block]:
        """Pairs of kinds by the columns that they have."""
        used = [tuple(np.unique(self.columns[self.rows // self.experts == kind]).tolist()) for kind in range(_KINDS)]
        found: dict[tuple[Kept, Kept], list[Pair]] = {}
        for a, b in combinations_with_replacement(range(_KINDS), 2):
            found.setdefault((used[a], used[b]), []).append((a, b))
        return [Block(kept, tuple(pairs), self.experts) for kept, pairs in found.items()]

    @cached_property
    def source(self) -> np.ndarray:
        """Where every element of the Hessian (A, A) stands in the sums of all blocks, one after another."""
        kinds, experts = np.divmod(self.rows, self.experts)
        out = np.zeros((len(kinds), len(kinds)), dtype=np.intp)
        first = 0
        for block in self.blocks:
            products = block.product_places(int(self.columns.max()) + 1)
            for (a, b), elements in block.element_places():
                here, there = np.flatnonzero(kinds == a), np.flatnonzero(kinds == b)
                columns = products[np.ix_(self.columns[here], self.columns[there])]
                part = first + elements[np.ix_(experts[here], experts[there])] * block.shape[1] + columns
                out[np.ix_(here, there)] = part
                out[np.ix_(there, here)] = part.T
            first += block.shape[0] * block.shape[1]
        return out

    def assembled(self, sums: Sequence[np.ndarray]) -> np.ndarray:
        """Return the Hessian (A, A) from the sums of elements times products, for every block."""
        return np.asarray(np.concatenate([total.ravel() for total in sums])[self.source])


def normal_terms(eta: np.ndarray, y: np.ndarray, experts: int) -> RowTerms:
    """Return the row terms of Normal experts from linear predictors (3K, n): gate, mean, log sigma."""
    logits, mu, log_sigma = eta[:experts], eta[experts : 2 * experts], eta[2 * experts :]
    inverse = np.exp(-log_sigma)
    z = np.clip((y - mu) * inverse, -1e150, 1e150)
    gate = np.exp(logits - logits.max(axis=0))
    joint = logits - log_sigma - 0.5 * z * z
    joint = np.exp(joint - joint.max(axis=0))
    return RowTerms(
        gate / gate.sum(axis=0),
        joint / joint.sum(axis=0),
        (z * inverse, z * z - 1.0),
        (-inverse * inverse, -2.0 * z * inverse, -2.0 * z * z),
    )


def normal_hessian(
    coefficients: np.ndarray,
    layout: Layout,
    table: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Hessian (A, A) and gradient (A,) of the weighted log density in A coefficients.

    Parameters
    ----------
    coefficients
        (3K, P): gate logits, means and log sigmas on P design columns.
    layout
        The A coefficients.
    table, y, weights
        (n, P), (n,), (n,).
    """
    blocks = layout.blocks
    gradient, sums = np.zeros_like(coefficients), [np.zeros(block.shape) for block in blocks]
    step = max(1, min(len(y), max(64, _CHUNK_ELEMENTS // max(block.shape[0] for block in blocks))))
    # the same memory for every chunk: fresh pages would cost as much as what is written there
    spaces = [tuple(np.empty((count, step)) for count in block.shape) for block in blocks]
    for start in range(0, len(y), step):
        phi, w = np.ascontiguousarray(table[start : start + step].T), weights[start : start + step]
        terms = normal_terms(coefficients @ phi, y[start : start + step], layout.experts)
        slopes = np.concatenate([terms.responsibilities, *(terms.responsibilities * s for s in terms.scores)])
        bends = _own(terms)
        for total, space, block in zip(sums, spaces, blocks, strict=True):
            elements, products = (part[:, : phi.shape[1]] for part in space)
            at = 0
            for pair in block.pairs:
                at = _fill(elements, at, pair, slopes, terms, bends)
            _multiply(phi, phi * w, block.kept, products)
            total += elements @ products.T
        slopes[: layout.experts] -= terms.gate
        gradient += (slopes * w) @ phi.T
    return layout.assembled(sums), gradient[layout.rows, layout.columns]


def _own(terms: RowTerms) -> dict[Pair, np.ndarray]:
    """Return D, what couples predictors of the same expert, (K, n) for every pair of kinds."""
    r, (by_mean, by_scale), (mean, both, scale) = terms.responsibilities, terms.scores, terms.curvatures
    return {
        (0, 0): r - terms.gate,
        (0, 1): r * by_mean,
        (0, 2): r * by_scale,
        (1, 1): r * (by_mean * by_mean + mean),
        (1, 2): r * (by_mean * by_scale + both),
        (2, 2): r * (by_scale * by_scale + scale),
    }


def _fill(
    out: np.ndarray, at: int, pair: Pair, slopes: np.ndarray, terms: RowTerms, bends: dict[Pair, np.ndarray]
) -> int:
    """Write the elements of a pair of kinds into rows of ``out`` from ``at`` on; return where they end."""
    k = len(terms.gate)
    left, right = (slopes[kind * k : (kind + 1) * k] for kind in pair)
    for expert in range(k):
        first = expert if pair[0] == pair[1] else 0
        rows = out[at : at + k - first]
        np.multiply(right[first:], -left[expert], out=rows)
        if pair == (0, 0):
            rows += terms.gate[first:] * terms.gate[expert]
        rows[expert - first] += bends[pair][expert]
        at += k - first
    return at


def _multiply(phi: np.ndarray, weighted: np.ndarray, kept: tuple[Kept, Kept], out: np.ndarray) -> None:
    """Write the distinct products of columns, once weighted and once not, (products, n)."""
    other = weighted[list(kept[1])]
    at = 0
    for i, column in enumerate(kept[0]):
        some = other[i:] if kept[0] == kept[1] else other
        np.multiply(some, phi[column], out=out[at : at + len(some)])
        at += len(some)
