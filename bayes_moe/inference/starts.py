"""Where EM starts: a portfolio of ways to divide rows among experts.

Published packages print local optima in their own manuals: which optimum EM finds is decided here. Each recipe
looks at the rows differently; none is best everywhere. All return responsibilities (rows, K).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..log_density import Scene

_SWEEPS = 4
_HARD, _CERTAIN = 0.95, 0.99999
_CUTS = 120
_VARIANCE_FLOOR = (1e-4, 1e-1)
_GRAFTS, _GRAFT_CELLS, _GRAFTS_KEPT = (10, 100), 2e5, 50  # lines tried at once; rows of all of them
_GRAFT_STEPS, _UNLIKE = 3, 0.25
_NARROWEST = (0.01, 0.3)  # least sigma of a graft, in sd of y: collapsed ones would win
_ELSEWHERE = -5.0  # log of a graft's prior weight outside its neighbourhood


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
        chosen = rng.choice(n, size, replace=False, p=_probabilities(scene.weights))
        beta[k] = _ridge(design[chosen], scene.target[chosen], np.ones(size))
    labels = np.zeros(n, dtype=int)
    for _ in range(_SWEEPS):
        labels = np.argmin(np.abs(scene.target[:, None] - design @ beta.T), axis=1)
        for k in range(experts):
            mine = labels == k
            if mine.sum() > p + 1:
                beta[k] = _ridge(design[mine], scene.target[mine], scene.weights[mine])
    return from_labels(labels, experts)


def local_regressions(scene: Scene, experts: int, rng: np.random.Generator) -> np.ndarray:
    """As k_regressions, but each line begins on the neighbours of a random row."""
    n, p = scene.features.shape
    design = np.column_stack([np.ones(n), scene.features])
    joint = np.column_stack([scene.features, scene.target])
    size = min(n, max(p + 3, n // (3 * experts)))
    beta = np.empty((experts, p + 1))
    for k in range(experts):
        centre = joint[rng.choice(n, p=_probabilities(scene.weights))]
        chosen = np.argpartition(((joint - centre) ** 2).sum(axis=1), size - 1)[:size]
        beta[k] = _ridge(design[chosen], scene.target[chosen], np.ones(size))
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
    return from_labels(labels, experts, belief=_CERTAIN if rng.random() < 0.6 else _HARD)


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
    residual = scene.target - design @ _ridge(design, scene.target, scene.weights)
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


def split(responsibilities: np.ndarray, scene: Scene, expert: int, into: int, rng: np.random.Generator) -> np.ndarray:
    """Return responsibilities where ``expert`` gives half of its rows to ``into``, whose rows go to the others.

    The rows are parted along a random direction of covariates and target.
    """
    out = responsibilities.copy()
    others = [k for k in range(out.shape[1]) if k != into]
    out[:, others] += out[:, [into]] / len(others)
    joint = np.column_stack([scene.features, scene.target])
    score = joint @ rng.standard_normal(joint.shape[1])
    mass = out[:, expert] * scene.weights
    order = np.argsort(score, kind="stable")
    half = np.searchsorted(np.cumsum(mass[order]), 0.5 * mass.sum())
    upper = np.zeros(len(score), dtype=bool)
    upper[order[half:]] = True
    out[:, into] = np.where(upper, out[:, expert], 0.0)
    out[:, expert] = np.where(upper, 0.0, out[:, expert])
    return np.asarray(0.98 * out + 0.02 / out.shape[1])


def shift(responsibilities: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return hard labels where one expert hands the rows nearest to another expert over to it.

    Where gates are steps, EM cannot move a boundary past a row; this can.
    """
    labels = np.argmax(responsibilities, axis=1)
    giver, taker = rng.choice(responsibilities.shape[1], 2, replace=False)
    rows, others = np.flatnonzero(labels == giver), np.flatnonzero(labels == taker)
    if len(rows) > 3 and len(others):
        towards = scene.features[others].mean(axis=0) - scene.features[rows].mean(axis=0)
        order = np.argsort(-scene.features[rows] @ towards, kind="stable")
        labels[rows[order[: int(rng.integers(1, len(rows) // 2 + 1))]]] = taker
    return from_labels(labels, responsibilities.shape[1], belief=_CERTAIN)


def graft(responsibilities: np.ndarray, scene: Scene, into: int, rng: np.random.Generator) -> np.ndarray:
    """Return responsibilities where ``into`` moves to rows that a line of its own would explain better.

    Its old rows go to the other experts. Of many random local lines, each improved by EM beside the other experts,
    the distinct ones that would raise the log likelihood most are kept, and a random one of them is taken: their
    order says little of where EM ends.
    """
    near, rows = _neighbourhoods(responsibilities, scene, rng)
    low, high = np.log(_NARROWEST)
    floor = rng.uniform(float(low), float(high), len(near))
    out = responsibilities.copy()
    out[:, into] = 1e-9
    out /= out.sum(axis=1, keepdims=True)
    gain, share = _grown(scene, _own_log_density(out, scene), near, rows, floor)
    kept = _unlike(gain, share)
    if not kept:
        return responsibilities
    chosen = share[kept[int(rng.integers(len(kept)))]][:, None]
    out *= 1.0 - chosen
    out[:, into] += chosen[:, 0]
    return out


def _unlike(gain: np.ndarray, share: np.ndarray) -> list[int]:
    """Return the grafts of highest gain that differ in a good part of their rows."""
    kept: list[int] = []
    sizes = share.sum(axis=1)
    for one in np.argsort(-gain, kind="stable"):
        if not np.isfinite(gain[one]) or len(kept) == _GRAFTS_KEPT:
            break
        apart = np.abs(share[kept] - share[one]).sum(axis=1)
        if np.all(apart > _UNLIKE * np.minimum(sizes[kept], sizes[one])):
            kept.append(int(one))
    return kept


def _neighbourhoods(
    responsibilities: np.ndarray, scene: Scene, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return random neighbourhoods in the covariates and a few rows of one expert in each, (grafts, n) masks."""
    n, p = scene.features.shape
    count = int(np.clip(_GRAFT_CELLS / n, *_GRAFTS))
    centres = rng.choice(n, count, p=_probabilities(scene.weights))
    parents = np.argmax(responsibilities[centres].cumsum(axis=1) > rng.random((count, 1)), axis=1)
    squares = np.sum(scene.features**2, axis=1)
    distance = squares - 2.0 * scene.features[centres] @ scene.features.T + 1e-9 * rng.random((count, n))
    smallest, largest = min(n, p + 4), min(n, max(p + 5, int(0.6 * n)))
    sizes = np.exp(rng.uniform(np.log(smallest), np.log(largest), count)).astype(int)
    turns = np.arange(count)
    near = distance <= np.sort(distance, axis=1)[turns, sizes - 1][:, None]
    keys = near * rng.random((count, n)) * (responsibilities[:, parents].T + 0.02)
    few = np.minimum(sizes, p + 1 + rng.geometric(0.5, count))
    return near, keys >= -np.sort(-keys, axis=1)[turns, few - 1][:, None]


def _own_log_density(responsibilities: np.ndarray, scene: Scene) -> np.ndarray:
    """Return the log density of every row under its own expert, refitted with normal errors."""
    n = len(scene.target)
    design = np.column_stack([np.ones(n), scene.features])
    out = np.zeros(n)
    for share in responsibilities.T:
        mine = share * scene.weights
        square = (scene.target - design @ _ridge(design, scene.target, mine)) ** 2
        variance = mine @ square / (mine.sum() + 1e-9) + 1e-6
        out -= 0.5 * share * (np.log(variance) + square / variance)
    return out


def _grown(
    scene: Scene, own: np.ndarray, near: np.ndarray, rows: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each line beside the mixture gains after a few EM steps, and its responsibilities (grafts, n)."""
    n, p = scene.features.shape
    design = np.column_stack([np.ones(n), scene.features])
    local = np.where(near, 0.0, _ELSEWHERE)
    share, weight = rows * scene.weights, np.full(len(near), 0.4)
    gain = np.zeros(len(near))
    for turn in range(_GRAFT_STEPS + 1):
        beta = np.array([_ridge(design, scene.target, mine) for mine in share])
        square = (scene.target - beta @ design.T) ** 2
        if turn:
            variance = np.sum(share * square, axis=1) / (share.sum(axis=1) + 1e-9)
            weight = np.clip(np.sum(share * near, axis=1) / near.sum(axis=1), 0.02, 0.98)
        else:
            # a line passes through its few rows: a third of the neighbourhood tells its width
            third = np.maximum(rows.sum(axis=1), near.sum(axis=1) // 3) - 1
            variance = np.sort(np.where(near, square, np.inf), axis=1)[np.arange(len(near)), third]
        log_sigma = np.maximum(0.5 * np.log(variance + 1e-12), floor)[:, None]
        prior = np.log(weight)[:, None] + local
        rest = own + np.log1p(-np.exp(prior))
        ahead = np.clip(prior - log_sigma - 0.5 * square * np.exp(-2.0 * log_sigma) - rest, -500.0, 500.0)
        share = scene.weights / (1.0 + np.exp(-ahead))
        gain = np.sum(scene.weights * (rest + np.log1p(np.exp(ahead)) - own), axis=1)
    gain[share.sum(axis=1) < p + 3] = -np.inf
    return gain, np.where(scene.weights > 0, 1.0 / (1.0 + np.exp(-ahead)), 0.0)


def _kmeans(points: np.ndarray, experts: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.cluster.vq import ClusterError, kmeans2  # a third of a second that `import bayes_moe` does not pay

    try:
        _, labels = kmeans2(points, experts, iter=10, minit="++", missing="raise", rng=rng)
    except ClusterError:
        # a cluster ran empty: a random partition is as good a start
        return rng.integers(experts, size=len(points))
    return np.asarray(labels)


def _ridge(design: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weighted = design * weights[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ design + 1e-3 * np.eye(design.shape[1]), weighted.T @ target))


def _spread(scene: Scene, rows: np.ndarray) -> float:
    design = np.column_stack([np.ones(rows.sum()), scene.features[rows]])
    residual = scene.target[rows] - design @ _ridge(design, scene.target[rows], scene.weights[rows])
    return float(scene.weights[rows] @ residual**2)


def _probabilities(weights: np.ndarray) -> np.ndarray:
    return np.asarray((weights > 0) / np.sum(weights > 0))
