"""Which causes explain an effect, when several do and their average does not?

Bishop's inverse problem: x = t + 0.3 sin(2πt) + noise, and t is asked from x. In the middle three values of t explain
the same x. A least-squares curve passes between them, where no t ever was; a mixture density network gives all three,
with their probabilities. ``python examples/bishop_inverse.py [picture.png]``
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import sys

import numpy as np
from matplotlib import pyplot as plt

import bayes_moe as bm


def main(picture: str) -> None:
    """Train, compare with the best possible, draw."""
    data, new = bm.datasets.bishop_inverse(1000, seed=1), bm.datasets.bishop_inverse(5000, seed=2)
    fit = bm.fit(bm.mixture_density_network(components=10), data.X, data.y, bm.Training(seed=1), progress=False)
    print(fit.status)
    reached = float(fit.log_density(new.X, new.y).mean())
    print(f"log density of new rows: {reached:.3f} each; no model can exceed {data.bound:.3f} on average")

    x, t = np.linspace(0.0, 1.0, 241), np.linspace(-0.05, 1.05, 221)
    rows = np.array([(a, b) for b in t for a in x])
    density = np.exp(fit.log_density(rows[:, :1], rows[:, 1]).values).reshape(len(t), len(x))
    plt.switch_backend("agg")
    figure, ax = plt.subplots(figsize=(7.0, 5.0), layout="constrained")
    image = ax.pcolormesh(x, t, density, cmap="Blues", vmax=float(np.quantile(density, 0.995)), rasterized=True)
    figure.colorbar(image, label="density of t given x")
    ax.plot(data.X[:, 0], data.y, ".", color="0.15", markersize=2, label="1000 training rows")
    ax.plot(x, fit.predict(x[:, None]).values, color="tab:red", lw=2, label="mean: between the causes")
    ax.set(xlabel="x, the effect", ylabel="t, the cause", xlim=(0, 1), ylim=(-0.05, 1.05))
    ax.legend(loc="upper left")
    figure.savefig(picture, dpi=120)
    print(f"drawn: {picture}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "bishop_inverse.png")
