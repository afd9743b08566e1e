"""Branch-free exponential and logarithm that the compiler can vectorise.

The loops of a mixture spend their time in ``exp``. The C library's version is a call per number; these
are plain arithmetic, so that LLVM turns a loop over them into wide instructions. Both are exact to about
one unit in the last place (tests compare them with NumPy) and keep ±inf and NaN meaningful, therefore
they are compiled without the flags that assume finite numbers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding and subtracting it rounds to the nearest integer
_LOG2E = 1.4426950408889634074
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_SMALLEST = -708.0  # exp(-708) is the last normal double; what lies below counts as zero
_LARGEST = 709.0


@intrinsic
def _bits_to_float(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Reinterpret 64 bits as a double."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def _float_to_bits(typingctx: Any, value: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Reinterpret a double as 64 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def exp(x: float) -> float:
    """Return e to the power x; 0 below -708, NaN for NaN."""
    clipped = _SMALLEST if x < _SMALLEST else x
    clipped = _LARGEST if clipped > _LARGEST else clipped
    shifted = clipped * _LOG2E + _MAGIC
    n = shifted - _MAGIC
    r = (clipped - n * _LN2_HIGH) - n * _LN2_LOW
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 1.984126984126984e-04
    p = p * r + 1.3888888888888889e-03
    p = p * r + 8.333333333333333e-03
    p = p * r + 4.1666666666666664e-02
    p = p * r + 1.6666666666666666e-01
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    # the low bits of `shifted` hold n as an integer; 1023 is the exponent's bias
    scale = _bits_to_float((_float_to_bits(shifted) + 1023) << 52)
    value = p * scale
    value = 0.0 if x < _SMALLEST else value
    return value if x <= _LARGEST else x * _bits_to_float(9218868437227405311)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def log(x: float) -> float:
    """Return the natural logarithm of a normal positive double; -inf at 0, NaN for NaN and below 0."""
    # shift the exponent's cut from 1 to sqrt(1/2), so that the mantissa lies in [sqrt(1/2), sqrt(2))
    bits = _float_to_bits(x) + (4607182418800017408 - 4604544271217802189)
    exponent = _bits_to_float(((bits >> 52) & 2047) | 4841369599423283200) - 4503599627370496.0
    n = exponent - 1023.0
    m = _bits_to_float((bits & 4503599627370495) + 4604544271217802189)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 1.479819860511658591e-01
    p = p * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = p * z + 6.666666666666735130e-01
    half_square = 0.5 * f * f
    value = n * _LN2_HIGH - ((half_square - (s * (half_square + p * z) + n * _LN2_LOW)) - f)
    value = value if x > 0.0 else _bits_to_float(-4503599627370496)
    value = value if x < _bits_to_float(9218868437227405312) else x
    return value if x >= 0.0 else x * _bits_to_float(9221120237041090560)
