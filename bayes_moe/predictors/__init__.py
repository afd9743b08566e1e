"""Linear predictors: from the columns of X to one number per row and expert."""

from .base import Basis, Predictor
from .constant import Constant
from .linear import Linear
from .mlp import MLP, Activation
from .polynomial import Polynomial

__all__ = ["MLP", "Activation", "Basis", "Constant", "Linear", "Polynomial", "Predictor"]
