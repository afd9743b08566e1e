"""Small data and seeded simulators that ship with the package.

``motorcycle()`` is measured data. The simulators draw from a mixture of experts that is known exactly, and
hand it out beside the rows, so that a fit can be compared with the truth: its density, its parameters, its
labels. Everything here is plain NumPy.
"""

from bayes_moe.datasets.dataset import Dataset
from bayes_moe.datasets.inverse import Inverse, bishop_inverse, sin_inverse
from bayes_moe.datasets.motorcycle import motorcycle
from bayes_moe.datasets.simulate import Simulation, heteroscedastic, true_moe, two_lines
from bayes_moe.datasets.truth import NormalMixture

__all__ = [
    "Dataset",
    "Inverse",
    "NormalMixture",
    "Simulation",
    "bishop_inverse",
    "heteroscedastic",
    "motorcycle",
    "sin_inverse",
    "true_moe",
    "two_lines",
]
