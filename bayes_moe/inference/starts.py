"""Where EM starts: a portfolio of ways to divide rows among experts.

Published packages print local optima in their own manuals: which optimum EM finds is decided here. Each recipe
looks at the rows differently; none is best everywhere. All return responsibilities (rows, K).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..log_density import Scene
from .segmentation import along, divide

_SWEEPS = 4
_HARD, CERTAIN = 0.95, 0.99999
_CUTS = 120
_VARIANCE_FLOOR = (1e-4, 1e-1)


Recipe = Callable[[Scene, int, np.random.Generator], np.ndarray]


def from_labels(labels: np.ndarray, experts: int, belief: float = _HARD) -> np.ndarray:
    """Return responsibilities that believe hard labels to some degree.

    Examples
    --------
    >>> import numpy as np
    >>> from_labels(np.array([0, 1]), 2).sum(axis=1)
    array([1., 1.])
    """
    out = np.full((len(labels), experts), (1.0 - belief) / experts)
    out[np.arange(len(labels)), labels] += belief
    return out


def k_regressions(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Lines through random small subsets of rows, then reallocation to the nearest line and refitting."""
    n, p = scene.features.shape
    design = np.column_stack([np.ones(n), scene.features])
    size = min(n, p + 2)
    beta = np.empty((experts, p + 1))
    for k in range(experts):
        chosen = rng.choice(n, size, replace=False, p=probabilities(scene.weights))
        beta[k] = ridge(design[chosen], scene.target[chosen], np.ones(size))
    labels = np.zeros(n, dtype=int)
    for _ in range(_SWEEPS):
        labels = np.argmin(np.abs(scene.target[:, None] - design @ beta.T), axis=1)
        for k in range(experts):
            mine = labels == k
            if mine.sum() > p + 1:
                beta[k] = ridge(design[mine], scene.target[mine], scene.weights[mine])
    return from_labels(labels, experts)


def local_regressions(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """As k_regressions, but each line begins on the neighbours of a random row."""
    n, p = scene.features.shape
    design = np.column_stack([np.ones(n), scene.features])
    joint = np.column_stack([scene.features, scene.target])
    size = min(n, max(p + 3, n // (3 * experts)))
    beta = np.empty((experts, p + 1))
    for k in range(experts):
        centre = joint[rng.choice(n, p=probabilities(scene.weights))]
        chosen = np.argpartition(((joint - centre) ** 2).sum(axis=1), size - 1)[:size]
        beta[k] = ridge(design[chosen], scene.target[chosen], np.ones(size))
    residual = np.abs(scene.target[:, None] - design @ beta.T)
    return from_labels(np.argmin(residual, axis=1), experts)


def clusters(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ on covariates and target together, with a random weight on the target."""
    stretch = np.exp(rng.uniform(-1.0, 2.0))
    return from_labels(_kmeans(np.column_stack([scene.features, stretch * scene.target]), experts, rng), experts)


def target_clusters(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ on the target alone."""
    return from_labels(_kmeans(scene.target[:, None], experts, rng), experts)


def slices(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Contiguous slices along one covariate, at random cut points."""
    n, p = scene.features.shape
    along = scene.features[:, rng.integers(p)] if p else rng.standard_normal(n)
    order = np.argsort(along, kind="stable")
    shares = rng.dirichlet(np.full(experts, 4.0))
    cuts = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(n) + 0.5) / n, side="right")
    labels = np.empty(n, dtype=int)
    labels[order] = cuts
    return from_labels(labels, experts)


def segments(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Find the best contiguous segments along one covariate, by dynamic programming over random cut points.

    A segment costs n log of the residual variance of its own line; the shortest segment allowed is random.
    """
    n, p = scene.features.shape
    if p == 0:
        return random_partition(scene, experts, rng)
    column = scene.features[:, rng.integers(p)]
    order = np.argsort(column, kind="stable")
    shortest = int(rng.integers(2, max(4, n // (2 * experts)) + 1))
    inner = np.arange(shortest, n - shortest + 1)
    cuts = np.sort(rng.choice(inner, min(_CUTS, len(inner)), replace=False)) if len(inner) else inner
    edges = np.concatenate([[0], cuts, [n]])
    floor = float(np.exp(rng.uniform(*np.log(_VARIANCE_FLOOR))))
    costs = _segment_costs(column[order], scene.target[order], scene.weights[order], edges, shortest, floor)
    best, came = np.full((experts + 1, len(edges)), np.inf), np.zeros((experts + 1, len(edges)), dtype=int)
    best[0, 0] = 0.0
    for k in range(1, experts + 1):
        total = best[k - 1][:, None] + costs
        came[k] = total.argmin(axis=0)
        best[k] = total.min(axis=0)
    if not np.isfinite(best[experts, -1]):
        return slices(scene, experts, rng)
    labels, at = np.empty(n, dtype=int), len(edges) - 1
    for k in range(experts, 0, -1):
        before = came[k, at]
        labels[order[edges[before] : edges[at]]] = k - 1
        at = before
    # where a gate is a step, EM from soft labels never finds the step
    return from_labels(labels, experts, belief=CERTAIN if rng.random() < 0.6 else _HARD)


def overlapping_segments(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw contiguous segments along one covariate, of which some hold two lines, from their likelihood."""
    n, p = scene.features.shape
    if p == 0:
        return random_partition(scene, experts, rng)
    stretch = along(scene, np.arange(n), int(rng.integers(p)))
    divided = divide(stretch, experts, rng)
    if divided is None:
        return slices(scene, experts, rng)
    out = np.empty((n, experts))
    out[stretch.rows] = divided
    return out


def _segment_costs(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, edges: np.ndarray, shortest: int, floor: float
) -> np.ndarray:
    """Return n log variance of the line through rows edges[i]:edges[j], for all i < j; inf where too short."""
    moments = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y]) * weights[:, None]
    sums = np.concatenate([np.zeros((1, 6)), np.cumsum(moments, axis=0)])[edges]
    w, sx, sy, sxx, sxy, syy = np.moveaxis(sums[None, :] - sums[:, None], 2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        vx, vxy, vy = sxx - sx * sx / w, sxy - sx * sy / w, syy - sy * sy / w
        rss = np.maximum(vy - np.where(vx > 1e-9, vxy * vxy / vx, 0.0), 0.0)
        cost = w * np.log(rss / w + floor)
    long_enough = edges[None, :] - edges[:, None] >= shortest
    return np.where(long_enough & (w > 0), cost, np.inf)


def tree_leaves(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Leaves of a greedy regression tree whose splits are the best of a few random ones."""
    n, p = scene.features.shape
    labels = np.zeros(n, dtype=int)
    if p == 0:
        return random_partition(scene, experts, rng)
    for leaf in range(1, experts):
        best: tuple[float, np.ndarray] | None = None
        for _ in range(8):
            parent = labels == rng.integers(leaf)
            if parent.sum() < 4:
                continue
            column = scene.features[:, rng.integers(p)]
            right = parent & (column > rng.choice(column[parent]))
            left = parent & ~right
            if min(left.sum(), right.sum()) < 2:
                continue
            gain = _spread(scene, parent) - _spread(scene, left) - _spread(scene, right)
            if best is None or gain > best[0]:
                best = (gain, right)
        if best is not None:
            labels[best[1]] = leaf
    return from_labels(labels, experts)


def residual_bands(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Bands of the residuals of one regression, signed or absolute, with random shares."""
    n = len(scene.target)
    design = np.column_stack([np.ones(n), scene.features])
    residual = scene.target - design @ ridge(design, scene.target, scene.weights)
    if rng.random() < 0.5:
        residual = np.abs(residual)
    order = np.argsort(residual, kind="stable")
    shares = np.cumsum(rng.dirichlet(np.full(experts, 4.0)))[:-1]
    labels = np.empty(n, dtype=int)
    labels[order] = np.searchsorted(shares, (np.arange(n) + 0.5) / n, side="right")
    return from_labels(labels, experts)


def joint_gaussians(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Take a few EM steps of a Gaussian mixture with full covariances on covariates and target together."""
    joint = np.column_stack([scene.features, scene.target])
    n, d = joint.shape
    share = from_labels(_kmeans(joint, experts, rng), experts)
    for _ in range(_SWEEPS):
        logs = np.empty((n, experts))
        for k in range(experts):
            w = share[:, k] * scene.weights
            total = w.sum() + 1e-9
            mean = w @ joint / total
            centred = joint - mean
            cov = (centred * w[:, None]).T @ centred / total + (0.01 + d / (total + d)) * np.eye(d)
            factor = np.linalg.cholesky(cov)
            white = np.linalg.solve(factor, centred.T)
            logs[:, k] = np.log(total) - np.log(np.diag(factor)).sum() - 0.5 * (white**2).sum(axis=0)
        share = np.exp(logs - logs.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
    return share


def random_partition(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """Every row to a random expert."""
    return from_labels(rng.integers(experts, size=len(scene.target)), experts)


PORTFOLIO: tuple[Recipe, ...] = (
    k_regressions,
    segments,
    clusters,
    slices,
    overlapping_segments,
    k_regressions,
    tree_leaves,
    local_regressions,
    segments,
    residual_bands,
    k_regressions,
    joint_gaussians,
    slices,
    target_clusters,
    local_regressions,
    random_partition,
)
"""Recipes in the order in which starts take them; those that win most often stand there more than once."""


def _kmeans(points: np.ndarray, experts: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.cluster.vq import ClusterError, kmeans2  # a third of a second that `import bayes_moe` does not pay

    try:
        _, labels = kmeans2(points, experts, iter=10, minit="++", missing="raise", rng=rng)
    except ClusterError:
        # a cluster ran empty: a random partition is as good a start
        return rng.integers(experts, size=len(points))
    return np.asarray(labels)


def ridge(design: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return coefficients of a weighted regression, shrunk a little."""
    weighted = design * weights[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ design + 1e-3 * np.eye(design.shape[1]), weighted.T @ target))


def _spread(scene: Scene, rows: np.ndarray) -> float:
    design = np.column_stack([np.ones(rows.sum()), scene.features[rows]])
    residual = scene.target[rows] - design @ ridge(design, scene.target[rows], scene.weights[rows])
    return float(scene.weights[rows] @ residual**2)


def probabilities(weights: np.ndarray) -> np.ndarray:
    """Return equal probabilities of the rows that count."""
    return np.asarray((weights > 0) / np.sum(weights > 0))
