"""The drawing of a tree shows what the fit says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import PathPatch

import bayes_moe as bm


def fitted(branches: Any) -> bm.Fit:
    data = bm.datasets.true_moe(200, features=2, experts=3, seed=4)
    X = pd.DataFrame(data.X, columns=["dose", "a column with a long name"])
    return bm.fit(bm.hierarchical_moe(branches), X, data.y, bm.EM(starts=2, seed=1, max_iter=50), progress=False)


@pytest.mark.filterwarnings("ignore::bayes_moe.FitWarning")
@pytest.mark.parametrize(("branches", "nodes", "arms"), [((2, 2), 3, 6), ((3,), 1, 3), (((1, 1), 3), 3, 7)])
def test_weights_means_and_slopes(branches: Any, nodes: int, arms: int) -> None:
    fit = fitted(branches)
    ax = bm.plots.tree(fit)
    ax.figure.canvas.draw()
    words = [text.get_text() for text in ax.texts]
    boxes = [word for word in words if word.startswith("root")]
    assert len(boxes) == nodes
    assert "root\n100 %" in boxes
    widths = [p.get_linewidth() for p in ax.patches if isinstance(p, PathPatch)]
    assert len(widths) == arms
    table = np.asarray(fit.data.table.values)
    gate, means = fit.gate(table).values, fit.expert_means(table).values
    for expert in range(gate.shape[1]):
        mean = np.average(means[:, expert], weights=gate[:, expert])
        share = 100 * gate[:, expert].mean()
        said = next(word for word in words if word.startswith(f"expert {expert} ")).replace("−", "-")
        assert float(said.split("mean ")[1]) == pytest.approx(mean, rel=0.01)
        assert f"{share:.0f} %" in said or (share < 0.5 and "<1 %" in said)
    assert any("a column with a…" in word for word in words)
    # words stay inside the picture, and those of two leaves apart from each other
    renderer = ax.figure.canvas.get_renderer()
    extents = [t.get_window_extent(renderer) for t in ax.texts if t.get_text().startswith(("expert", "root"))]
    assert all(ax.figure.bbox.contains(e.x0, e.y0) and ax.figure.bbox.contains(e.x1, e.y1) for e in extents)
    assert not any(a.overlaps(b) for i, a in enumerate(extents) for b in extents[:i])


def test_only_trees_are_drawn() -> None:
    data = bm.datasets.two_lines(60, seed=3)
    fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=1, seed=1), progress=False)
    with pytest.raises(bm.InputError, match=r"expected a fit of a tree of gates, got one with SoftmaxGate\("):
        bm.plots.tree(fit)
    with pytest.raises(bm.SpecError, match="expected a fit, got str"):
        bm.plots.tree("fit")
    assert plt.get_fignums() == []
