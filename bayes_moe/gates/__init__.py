"""Gates: log p(z = k | x)."""

from .base import BoundGate, Free, Gate
from .equal import EqualGate
from .softmax import SoftmaxGate
from .stick_breaking import StickBreakingGate
from .tree import TreeGate

__all__ = ["BoundGate", "EqualGate", "Free", "Gate", "SoftmaxGate", "StickBreakingGate", "TreeGate"]
