"""Addresses in compiled code: arrays behind numbers, and log densities called through theirs.

A sampler written in another language calls a C function with one pointer to everything that the function needs.
Here are the three steps between that pointer and NumPy-like arrays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

DENSITY = types.int32(
    types.uint64,
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.int64),
)
"""C type of a log density: size, point, gradient (written), value (written), data; it returns 0 where finite."""

ROWS = types.int64(*[types.int64] * 6)
"""C type of a pass over some rows: six integers, lengths and addresses among them; it returns 0."""


@intrinsic
def doubles_at(typingctx: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return a pointer to doubles from an integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float64)(types.int64), codegen


@intrinsic
def integers_at(typingctx: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return a pointer to 64-bit integers from an integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(types.int64), codegen


@intrinsic
def call_density(typingctx: Any, address: Any, size: Any, point: Any, gradient: Any, value: Any, data: Any) -> Any:  # noqa: ARG001
    """Call the log density of type `DENSITY` at an address; the three arrays are one-dimensional and contiguous."""
    vector = types.Array(types.float64, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word, double = ir.IntType(64), ir.DoubleType().as_pointer()
        function = ir.FunctionType(ir.IntType(32), [word, double, double, double, word.as_pointer()])
        arrays = [context.make_array(vector)(context, builder, args[i]).data for i in (2, 3, 4)]
        return builder.call(
            builder.inttoptr(args[0], function.as_pointer()),
            [args[1], *arrays, builder.inttoptr(args[5], word.as_pointer())],
        )

    return types.int32(types.int64, types.uint64, vector, vector, vector, types.int64), codegen


@intrinsic
def call_rows(typingctx: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:  # noqa: ARG001
    """Call the function of type `ROWS` at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word = ir.IntType(64)
        function = ir.FunctionType(word, [word] * 6)
        return builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])

    return types.int64(*[types.int64] * 7), codegen


@cache
def _sources() -> str:
    """Return a digest of all files that compiled code is made from."""
    here, digest = Path(__file__).parent, sha256()
    for path in sorted({*here.glob("graph/*.py"), *here.glob("families/*.py"), *here.glob("*/*kernel*.py")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache on disk, which looks at the function's own file alone, and here at what it calls as well."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), _sources())


class _Callback(CFunc):
    """What `numba.cfunc` makes, with that cache."""

    def enable_caching(self) -> None:
        self._cache = _Cache(self.__wrapped__)


@cache
def address_of(function: Callable[..., int], signature: Any = ROWS) -> int:
    """Return the address of a function as a C function; compiled once and kept on disk."""
    compiled: Any = _Callback(function, (signature.args, signature.return_type), locals={}, options={})
    compiled.enable_caching()
    compiled.compile()
    return int(compiled.address)


def called_at(address: int, data: int) -> Callable[[np.ndarray], tuple[int, float, np.ndarray]]:
    """Return the log density of type `DENSITY` at an address as a function of q: its code, value and gradient."""
    words = [ctypes.c_uint64, *[ctypes.c_void_p] * 4]
    function = ctypes.CFUNCTYPE(ctypes.c_int32, *words)(address)  # lets go of the interpreter's lock

    def called(q: np.ndarray) -> tuple[int, float, np.ndarray]:
        point, gradient, value = np.ascontiguousarray(q, dtype=float), np.empty(len(q)), np.empty(1)
        code = function(len(q), *(array.ctypes.data for array in (point, gradient, value)), data)
        return int(code), float(value[0]), gradient

    return called
