"""Linear predictors: from the columns of X to one number per row and expert."""

from .base import Basis, Predictor
from .constant import Constant
from .linear import Linear
from .polynomial import Polynomial

__all__ = ["Basis", "Constant", "Linear", "Polynomial", "Predictor"]
