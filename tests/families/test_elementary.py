"""The functions of closed forms: against SciPy's, and compiled against themselves on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import special

from bayes_moe.families import elementary, elementary_kernels

_WIDE = np.concatenate([-np.logspace(3, -300, 400), [0.0], np.logspace(-300, 3, 400)])
_INF = np.inf
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "exp": (lambda x: elementary.exp(x), np.append(_WIDE[np.abs(_WIDE) < 700], [-_INF, _INF, np.nan, 0.0])),
    "expm1": (lambda x: elementary.expm1(x), np.append(_WIDE[_WIDE < 700], [_INF, np.nan, -_INF])),
    "log": (lambda x: elementary.log(x), np.append(np.logspace(-300, 300, 500), [0.0, _INF, np.nan])),
    "log1p": (lambda x: elementary.log1p(x), np.append(_WIDE[_WIDE > -1], [-1 + 1e-12, -1.0, _INF, 1e300, np.nan])),
    "softplus": (lambda x: elementary.softplus(x), np.append(_WIDE, [-_INF, _INF, np.nan])),
    "expit": (lambda x: elementary.expit(x), np.append(_WIDE[_WIDE > -700], [-_INF, _INF, np.nan])),
    "log_ndtr": (lambda x: elementary.log_ndtr(x), np.append(_WIDE[_WIDE > -25], [_INF, np.nan])),
    "logaddexp": (lambda x: elementary.logaddexp(x, 0.3), np.append(_WIDE, [-_INF, _INF, np.nan])),
    "logaddexp of the impossible": (lambda x: elementary.logaddexp(x, -np.inf), np.append(_WIDE, [-_INF, np.nan])),
    "log_share": (lambda x: tuple(elementary.log_share(x)), _WIDE),
    "stirling": (lambda x: tuple(elementary.stirling(x)), np.logspace(-12, 12, 800)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_it_is_what_it_is_on_arrays(name: str) -> None:
    function, x = FUNCTIONS[name]
    compiled = njit(**elementary_kernels.INLINE)(function)
    found = np.array([compiled(value) for value in x])
    with np.errstate(all="ignore"):
        expected = np.array(function(x)).T
    np.testing.assert_allclose(found, expected, rtol=5e-13, atol=1e-300)


def test_stirling() -> None:
    x = np.logspace(-8, 8, 2000)
    found = elementary.stirling(x)
    log_x = np.log(x)
    value, slope, bend = x * log_x - x - special.gammaln(x), log_x - special.digamma(x), 1 / x - special.polygamma(1, x)
    assert np.all(np.abs(found.value - value) < 5e-14 * (1.0 + np.abs(x * log_x)))
    assert np.all(np.abs(found.slope - slope) < 1e-14 * (1.0 + np.abs(log_x) + 1 / x))
    assert np.all(np.abs(found.bend - bend) < 1e-13 / x**2 + 1e-13 / x)


def test_log_share() -> None:
    x = np.append(-np.logspace(-3, 100, 1500), np.linspace(0.0, 40.0, 100))
    found = elementary.log_share(x)
    np.testing.assert_allclose(found.value, special.log_ndtr(x), rtol=2e-15)
    near = x > -20.0
    slope = np.exp(-0.5 * x[near] ** 2 - special.log_ndtr(x[near])) / np.sqrt(2.0 * np.pi)
    np.testing.assert_allclose(found.slope[near], slope, rtol=1e-12)
    np.testing.assert_allclose(found.slope[~near] / -x[~near], 1.0, rtol=1.0 / 400.0)
    edge = elementary.log_share(np.array([-25.0 - 1e-9, -25.0 + 1e-9]))
    for both in edge:
        assert both[0] == pytest.approx(both[1], rel=1e-7)
