"""Linear predictors: from the columns of X to one number per row and expert."""

from .base import Basis, Predictor
from .constant import Constant
from .hsgp import HSGP, Kernel
from .linear import Linear
from .mlp import MLP, Activation
from .polynomial import Polynomial
from .products import Products
from .rbf import RBF
from .spline import Spline
from .sums import Sum

__all__ = [
    "HSGP",
    "MLP",
    "RBF",
    "Activation",
    "Basis",
    "Constant",
    "Kernel",
    "Linear",
    "Polynomial",
    "Predictor",
    "Products",
    "Spline",
    "Sum",
]
