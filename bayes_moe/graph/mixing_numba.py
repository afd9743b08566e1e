"""The mixing operations for PyTensor's numba linker."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pytensor.graph.op import Op

from .mixing_kernels import source_version


@lru_cache(maxsize=8)
def register(operation: type[Op], kernel_of: Callable[[Any], Callable[..., Any]]) -> None:
    """Tell PyTensor's numba linker, once, which compiled kernel stands for an operation.

    The linker takes 0.7 s to import, so it is imported when the first graph is compiled for it.
    """
    from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

    register_funcify_default_op_cache_key(operation)(lambda op, **_: (kernel_of(op), source_version()))
