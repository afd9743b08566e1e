"""The verb that needs no choice: it tries a few models on training rows and says what it chose and why."""

from .auto_fit import auto_fit

__all__ = ["auto_fit"]
