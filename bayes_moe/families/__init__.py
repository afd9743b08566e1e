"""Expert families: p(y | parameters), one file each."""

from .base import Closure, Family, Parameter, Role, Support
from .normal import Normal

__all__ = ["Closure", "Family", "Normal", "Parameter", "Role", "Support"]
