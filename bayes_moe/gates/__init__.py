"""Gates: log p(z = k | x)."""

from .base import BoundGate, Free, Gate
from .equal import EqualGate
from .gaussian import GaussianGate
from .softmax import SoftmaxGate
from .stick_breaking import StickBreakingGate
from .tree import TreeGate

__all__ = ["BoundGate", "EqualGate", "Free", "Gate", "GaussianGate", "SoftmaxGate", "StickBreakingGate", "TreeGate"]
