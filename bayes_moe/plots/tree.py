"""The tree of a hierarchical mixture of experts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from ..errors import InputError
from ..gates.branching import Branching, leaves_of
from ..gates.tree import BoundTree
from ..posterior.fit import Fit
from .along import check_fit
from .canvas import GREY, INK, canvas, expert_colours, note_labels

_LEAF, _LEVEL, _MARGIN = 0.72, 2.8, 2.0
"""Height of a leaf, width of a level and room at both ends, in inches."""
_THINNEST, _WIDTH = 0.8, 14.0
"""Width of a branch that nothing takes, and what is added where everything does, in points."""
_NAMED, _FAINT, _LONGEST = 2, 0.05, 16
_NAMED_OUTPUTS = 3
"""Columns named on a branch, the share of the largest slope that the second must reach, and letters of a name."""
_ALONG = 0.52
"""How far along a branch its words stand, between its two boxes."""
_TINT = 0.18


def tree(fit: Fit, *, ax: Axes | None = None) -> Axes:
    """Draw the tree of gates, the root on the left and the experts on the right.

    A branch is as wide as the share of rows that take it, the average of its probability over the training rows.
    On it stand the one or two columns that matter most there, each with the change of the log odds of the branch
    against its siblings per standard deviation of the column: rows with a large ``x`` take the branch with ``x +``.
    An expert's mean is that of y over the rows it takes; of labels, those that most of them have are named.

    Parameters
    ----------
    fit
        A fit by any engine, of a model with ``bm.TreeGate``; for a posterior, averages over the draws are drawn.
    ax
        Axes to draw in; None makes a figure.

    Raises
    ------
    InputError
        If the gate is no tree.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> model = bm.hierarchical_moe((2,))
    >>> fit = bm.fit(model, data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> [text.get_text().split()[:2] for text in bm.plots.tree(fit).texts if "expert" in text.get_text()]
    [['expert', '0'], ['expert', '1']]
    """
    check_fit(fit)
    gate = fit.bound.parameters.gate
    if not isinstance(gate, BoundTree):
        raise InputError(
            f"fit: expected a fit of a tree of gates, got one with {fit.model.gate!r} → fit bm.hierarchical_moe()"
        )
    levels = max(path.count("/") for path in gate.names)
    ax = canvas(ax, width=_MARGIN + _LEVEL * levels, height=0.6 + _LEAF * gate.experts)
    ax.set(xlim=(-0.25, levels + 0.46), ylim=(gate.experts - 0.5, -0.5), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    share, words = _experts(fit)
    slopes = _slopes(fit, gate)
    for branch, (node, child, path) in enumerate(_branches(gate.root)):
        start, end = (_level(node, levels), _height(node)), (_level(child, levels), _height(child))
        _branch(ax, start, end, float(share[list(leaves_of(child))].sum()), _terms(fit, slopes[branch]))
        if isinstance(child, Branching):
            _node(ax, end, path, float(share[list(child.leaves)].sum()))
    _node(ax, (0.0, _height(gate.root)), "root", 1.0)
    for expert, colour in enumerate(expert_colours(gate.experts)):
        text = f"expert {expert}   {_percent(share[expert])}\n{words[expert]}".replace("-", "−")
        tint = tuple(1.0 - _TINT * (1.0 - colour))
        box = {"boxstyle": "round,pad=0.45", "facecolor": tint, "edgecolor": tuple(colour)}
        ax.text(levels, expert, text, ha="left", va="center", fontsize="small", color=INK, bbox=box, zorder=5)
    ax.set_xlabel("on a branch: change of its log odds per sd of a column", fontsize="small", color=GREY)
    note_labels(fit, ax)
    return ax


def _experts(fit: Fit) -> tuple[np.ndarray, list[str]]:
    """Return every expert's average gate probability, and in words what y is over the rows that it takes."""
    data = fit.data
    counted = data.weights > 0
    table = np.asarray(data.own.values)[counted]
    mass = fit.gate(table).values * data.weights[counted, None]
    total = np.maximum(mass.sum(axis=0), 1e-300)
    if data.classes:
        words = _labels(fit, counted)
    elif data.outputs:
        means = np.einsum("nk,nok->ko", mass, fit.expert_means(table).values) / total[:, None]
        named = data.outputs[:_NAMED_OUTPUTS]
        words = ["\n".join(f"{_short(o)} {m:.3g}" for o, m in zip(named, row, strict=False)) for row in means]
    else:
        means = (mass * fit.expert_means(table).values).sum(axis=0) / total
        words = [f"mean {mean:.3g}" for mean in means]
    return mass.sum(axis=0) / mass.sum(), words


def _labels(fit: Fit, counted: np.ndarray) -> list[str]:
    """Return the labels that most of every expert's training rows have."""
    data = fit.data
    taken = fit.responsibilities().values[counted] * data.weights[counted, None]
    codes = data.y[counted].astype(np.intp)
    share = np.array([np.bincount(codes, weights=column, minlength=len(data.classes)) for column in taken.T])
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    return [
        ", ".join(f"{_short(str(data.classes[code]))} {_percent(row[code])}" for code in np.argsort(-row)[:_NAMED])
        for row in share
    ]


def _slopes(fit: Fit, gate: BoundTree) -> np.ndarray:
    """Return the change of every branch's log odds against its siblings (G, p), per sd of a column."""
    positions = fit.bound.parameters.gate_positions[1:]
    slopes = fit.draws.coefficients[:, : gate.predictors, positions].mean(axis=0)
    out = np.empty_like(slopes)
    for block in gate.blocks:
        size = len(block.rows)
        out[block.rows] = slopes[block.rows] * size / (size - 1)  # less the mean of the others, as all sum to zero
    return out


def _terms(fit: Fit, slopes: np.ndarray) -> str:
    """Return what is written on a branch."""
    names = fit.bound.design.gate.basis.names
    order = np.argsort(-np.abs(slopes), kind="stable")[:_NAMED]
    return "\n".join(
        f"{_short(names[j])}  " + f"{slopes[j]:+.2g}".replace("-", "−")
        for j in order
        if abs(slopes[j]) > _FAINT * abs(slopes[order[0]])
    )


def _branches(node: Branching) -> Iterator[tuple[Branching, Branching | int, str]]:
    """Yield every branch in the order of the gate's linear predictors: its node, its child, its path."""
    for below in node.nodes:
        for path, child in below.branches:
            yield below, child, path


def _level(child: Branching | int, levels: int) -> float:
    return float(levels if isinstance(child, int) else child.path.count("/"))


def _height(child: Branching | int) -> float:
    """Return where a child stands: a leaf in its row, a node in the middle of its children."""
    return float(child) if isinstance(child, int) else float(np.mean([_height(below) for below in child.children]))


def _branch(ax: Axes, start: tuple[float, float], end: tuple[float, float], share: float, words: str) -> None:
    middle = 0.5 * (start[0] + end[0])
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    curve = Path([start, (middle, start[1]), (middle, end[1]), end], codes)
    ax.add_patch(
        PathPatch(
            curve,
            facecolor="none",
            edgecolor="#c9c9c9",
            linewidth=_THINNEST + _WIDTH * share,
            capstyle="butt",
            zorder=2,
        )
    )
    if words:
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        x, y = start[0] + _ALONG * (end[0] - start[0]), start[1] + _risen(_ALONG) * (end[1] - start[1])
        ax.text(x, y, words, ha="center", va="center", fontsize="x-small", color=INK, bbox=box, zorder=4)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _risen(along: float) -> float:
    """Return how far from start to end a branch has risen where it has gone a share of the way across."""
    t = np.linspace(0.0, 1.0, 201)
    across = 1.5 * t * (1 - t) + t**3
    return float(np.interp(along, across, 3 * t**2 * (1 - t) + t**3))


def _node(ax: Axes, at: tuple[float, float], path: str, share: float) -> None:
    box = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": GREY}
    ax.text(
        *at, f"{path}\n{_percent(share)}", ha="center", va="center", fontsize="small", color=INK, bbox=box, zorder=5
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 or share == 0 else "<1 %"
