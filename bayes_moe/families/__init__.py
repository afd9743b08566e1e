"""Expert families: p(y | parameters), one file each."""

from .base import Family, Parameter, Role
from .normal import Normal

__all__ = ["Family", "Normal", "Parameter", "Role"]
