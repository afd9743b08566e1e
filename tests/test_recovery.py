"""Fixed truths in small: their shares, what is kept of a fit, and that the judge sees what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.recovery import DESIGNS, judge, line, recovered, rows_of, true_parameters


@pytest.mark.parametrize("name", DESIGNS)
def test_a_truth_has_the_share_it_says(name: str) -> None:
    truth = DESIGNS[name].truth
    x = rows_of(truth, 50_000, np.random.default_rng(1)).X
    assert truth.gate(x)[:, 1].mean() == pytest.approx(DESIGNS[name].share, abs=0.005)
    assert true_parameters(truth)["gate slope"] == pytest.approx(DESIGNS[name].gate)


def test_a_fit_is_near_its_truth() -> None:
    """Every parameter within six standard deviations, so that none is mistaken for another's."""
    found = recovered("separated 400", "laplace", 0)
    for name in true_parameters(DESIGNS["separated"].truth):
        assert abs(found["error"][name]) < 6 * found["sd"][name]
        assert abs(found["error"][name]) < 1.0
    assert all(0 < share < 1 for share in found["held"])


@pytest.mark.parametrize(("bias", "spread"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.6)])
def test_the_judge_sees_bias_and_spread(bias: float, spread: float) -> None:
    rng = np.random.default_rng(2)
    errors = bias + rng.normal(size=1000)
    below = [float(np.mean(error + spread * rng.normal(size=500) < 0.0)) for error in errors]
    rows = [
        {"index": i, "flags": ["r_hat"] if i < 20 else [], "held": [0.5, 0.9], "error": {"a": e}, "sd": {"a": spread}}
        | {"below": {"a": b}}
        for i, (e, b) in enumerate(zip(errors, below, strict=True))
    ]
    found = judge(rows)
    assert found.bias["a"] == pytest.approx(bias, abs=0.1)
    assert found.flagged == pytest.approx(0.02)
    right = bias == 0.0 and spread == 1.0
    assert (abs(found.held["a"][1] - 0.9) < 0.03) == right
    assert found.predicted[0] == pytest.approx((0.5, 0.9))
    assert "| separated | 400 | 1000 | 2.0%" in line("nuts", "separated 400", found)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_separated_experts_come_back_and_overlapping_ones_predict() -> None:
    """40 fits of each by NUTS: shares within the binomial limits of 99.9 %, for 8 parameters and two predictions."""
    separated = judge([recovered("separated 400", "nuts", index) for index in range(40)])
    for name, (_, nine) in separated.held.items():
        assert nine >= 30 / 40, name
        assert abs(separated.bias[name]) <= 0.2 + 3.3 / np.sqrt(40), name
    overlapping = judge([recovered("overlapping 400", "nuts", index) for index in range(40)])
    for found in (separated, overlapping):
        for share, error, prob in zip(*found.predicted, (0.5, 0.9), strict=True):
            assert share == pytest.approx(prob, abs=0.01 + 3.3 * error)
