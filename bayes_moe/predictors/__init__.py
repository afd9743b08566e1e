"""Linear predictors: from the columns of X to one number per row and expert."""

from .base import Basis, Predictor
from .constant import Constant
from .linear import Linear
from .polynomial import Polynomial
from .rbf import RBF
from .spline import Spline

__all__ = ["RBF", "Basis", "Constant", "Linear", "Polynomial", "Predictor", "Spline"]
