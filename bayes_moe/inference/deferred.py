"""A package that another one imports and we do not need, loaded when something in it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands for a package in whoever imported it meanwhile; looks names up in the package itself."""

    def __getattr__(self, name: str) -> Any:
        _withdraw(self)
        return getattr(import_module(self.__name__), name)


@contextmanager
def deferred(package: str) -> Iterator[None]:
    """Let imports inside of a package not load it, unless it is loaded already.

    Who imports it inside holds a module that loads the package at the first name asked of it; who imports it
    afterwards gets the package itself.

    Parameters
    ----------
    package
        Name of a top-level package.
    """
    if package in sys.modules:
        yield
        return
    stand_in = _Deferred(package)
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        _withdraw(stand_in)


def _withdraw(stand_in: _Deferred) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]
