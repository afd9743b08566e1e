"""Head acceleration in a simulated motorcycle crash."""

from __future__ import annotations

from importlib import resources

import numpy as np

from bayes_moe.datasets.dataset import Dataset


def motorcycle() -> Dataset:
    """Return 133 measurements of head acceleration after a simulated motorcycle impact.

    Crash helmets were tested; ``X`` is the time after impact in milliseconds, ``y`` the acceleration of the
    head in g. The spread of ``y`` changes along ``X`` as much as its mean does: almost none before 14 ms,
    then wide, which is why one normal regression fits these data badly and several experts fit them well.
    Times repeat: 94 of them are distinct.

    Returns
    -------
    Dataset
        ``X`` of shape (133, 1), sorted by time, and ``y`` of shape (133,).

    References
    ----------
    .. [1] B. W. Silverman (1985), "Some aspects of the spline smoothing approach to non-parametric regression
       curve fitting", Journal of the Royal Statistical Society, Series B 47, 1-52.
    .. [2] G. Schmidt, R. Mattern and F. Schüler (1981), "Biomechanical investigation to determine physical
       and traumatological differentiation criteria for the maximum load capacity of head and vertebral
       column with and without protective helmet under the effects of impact", EEC Research Program on
       Biomechanics of Impacts, final report, phase III, project G5, Institut für Rechtsmedizin, Universität
       Heidelberg.

    Examples
    --------
    >>> from bayes_moe import datasets
    >>> data = datasets.motorcycle()
    >>> data.X.shape, data.y.shape, data.feature_names, data.target_name
    ((133, 1), (133,), ('times',), 'accel')
    >>> float(data.y.min()), float(data.y.max())
    (-134.0, 75.0)
    """
    with resources.files("bayes_moe.datasets").joinpath("motorcycle.csv").open(encoding="utf-8") as lines:
        names = lines.readline().strip().split(",")
        table = np.loadtxt(lines, delimiter=",")
    return Dataset(
        X=np.ascontiguousarray(table[:, :1]),
        y=np.ascontiguousarray(table[:, 1]),
        feature_names=(names[0],),
        target_name=names[1],
        description="Head acceleration (g) against time after a simulated motorcycle impact (ms).",
        source="Silverman (1985), JRSS B 47, 1-52; measured by Schmidt, Mattern and Schüler (1981).",
        licence="Published measurements; see bayes_moe/datasets/README.md.",
    )
