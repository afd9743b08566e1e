"""Verdicts: every planted fault is named, healthy draws pass, and each sentence says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import signal, stats

from bayes_moe.errors import InputError
from bayes_moe.inference.importance import psis_khat
from bayes_moe.posterior.chain_checks import RULES
from bayes_moe.posterior.diagnose import Severity, Verdict, sampling_verdict, severity

Array = NDArray[np.float64]
NOTHING = xr.Dataset()
planted = pytest.mark.parametrize(
    "seeds", [range(10), pytest.param(range(10, 110), marks=pytest.mark.full)], ids=["10", "100"]
)


def dataset(**arrays: Array) -> xr.Dataset:
    return xr.Dataset({k: (("chain", "draw", *(f"{k}_{i}" for i in range(v.ndim - 2))), v) for k, v in arrays.items()})


def healthy(seed: int, *, count: int = 3, chains: int = 4, draws: int = 1000) -> Array:
    return np.random.default_rng(seed).standard_normal((count, chains, draws))


def with_density(values: Array) -> xr.Dataset:
    named = {f"q{i}": value for i, value in enumerate(values[1:])}
    return dataset(log_density=values[0], **named)


def statistics(seed: int = 0, *, chains: int = 4, draws: int = 1000) -> xr.Dataset:
    energy = np.random.default_rng(seed).standard_normal((chains, draws))
    none = np.zeros((chains, draws), dtype=bool)
    return dataset(energy=energy, diverging=none, maxdepth_reached=none.copy())


def codes(verdict: Verdict) -> set[str]:
    return {notice.code for notice in verdict.notices}


def message(verdict: Verdict, code: str) -> str:
    (found,) = [notice.message for notice in verdict.notices if notice.code == code]
    return found


# ------------------------------------------------------------------------------------------ healthy chains


@planted
def test_healthy_draws_pass_99_times_in_100(seeds: range) -> None:
    verdicts = [sampling_verdict(with_density(healthy(seed, count=20)), NOTHING, statistics(seed)) for seed in seeds]
    assert sum(verdict.converged for verdict in verdicts) >= 0.99 * len(seeds)
    assert all(not verdict.notices for verdict in verdicts if verdict.converged)


def test_the_sentence_of_a_converged_run() -> None:
    verdict = sampling_verdict(with_density(healthy(1)), NOTHING, statistics())
    worst = float(verdict.table["r_hat"].max())
    least = min(float(verdict.table[name].min()) for name in ("ess_bulk", "ess_tail"))
    assert str(verdict) == (
        f"Converged: 4 chains of 1000 draws, largest R-hat {worst:.3f} (limit 1.01), smallest effective "
        f"sample size {least:.0f} (limit 400), no divergences."
    )
    assert "divergences" not in str(sampling_verdict(with_density(healthy(1)), NOTHING, None))


def test_the_table_holds_every_element_under_its_coordinates() -> None:
    slopes = xr.DataArray(
        np.moveaxis(healthy(2, count=4).reshape(2, 2, 4, 1000), (0, 1), (2, 3)),
        dims=("chain", "draw", "expert", "feature"),
        coords={"feature": ["age", "dose"]},
    )
    parameters = xr.Dataset({"slopes": slopes}).assign(none=(("chain", "draw", "no"), np.empty((4, 1000, 0))))
    table = sampling_verdict(with_density(healthy(3, count=2)), parameters, None).table
    assert table["quantity"].values.tolist() == [
        "log_density", "q0", "slopes[0, age]", "slopes[0, dose]", "slopes[1, age]", "slopes[1, dose]",
    ]  # fmt: skip
    assert table["labelled"].values.tolist() == [False, False, True, True, True, True]
    assert set(table.data_vars) == {"r_hat", "ess_bulk", "ess_tail"}


def test_figures_are_those_of_arviz_quantity_by_quantity() -> None:
    import arviz_stats

    values = signal.lfilter([1.0], [1.0, -0.7], healthy(4), axis=2)
    table = sampling_verdict(with_density(values), NOTHING, None).table
    for name, value in zip(table["quantity"].values, values, strict=True):
        assert float(table["r_hat"].sel(quantity=name)) == pytest.approx(arviz_stats.rhat(value))
        assert float(table["ess_bulk"].sel(quantity=name)) == pytest.approx(arviz_stats.ess(value, method="bulk"))
        assert float(table["ess_tail"].sel(quantity=name)) == pytest.approx(
            arviz_stats.ess(value, method="tail", prob=0.05)
        )


def test_the_verdict_does_not_depend_on_location_and_scale() -> None:
    values = healthy(5)
    plain = sampling_verdict(with_density(values), NOTHING, None).table
    moved = sampling_verdict(with_density(1e3 + 1e-3 * values), NOTHING, None).table
    xr.testing.assert_allclose(plain, moved, rtol=1e-4)


# ------------------------------------------------------------------------------------- faults, 100 of 100


@planted
@pytest.mark.parametrize("position", [0, 1])
def test_a_constant_chain_is_always_found(seeds: range, position: int) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[position, seed % 4] = values[position, seed % 4, 0]
        verdict = sampling_verdict(with_density(values), NOTHING, statistics())
        assert not verdict.converged
        assert f"Chain {seed % 4} stood still" in message(verdict, "stuck_chain")


@planted
def test_a_chain_without_an_accepted_move_is_always_found(seeds: range) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[:, seed % 4] = values[:, seed % 4, :1]
        verdict = sampling_verdict(
            NOTHING.merge(with_density(values)),
            with_density(values + 1.0).rename({"log_density": "a", "q0": "b", "q1": "c"}),
            None,
            ambiguous=True,
        )
        assert not verdict.converged
        assert "stuck_chain" in codes(verdict)


@planted
def test_a_chain_that_stops_half_way_is_always_found(seeds: range) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[:, seed % 4, 500:] = values[:, seed % 4, 500:501]
        assert not sampling_verdict(with_density(values), NOTHING, None).converged


@planted
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_draw_that_is_not_finite_is_always_found(seeds: range, bad: float) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[1, seed % 4, 900 + seed % 100 :] = bad
        verdict = sampling_verdict(with_density(values), NOTHING, None)
        assert not verdict.converged
        assert f"q0 is not finite in {100 - seed % 100} draws of chain {seed % 4}" in message(verdict, "not_finite")
        assert np.isnan(verdict.table["r_hat"].sel(quantity="q0"))


@planted
def test_a_chain_in_another_mode_is_always_found(seeds: range) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[0, seed % 4] -= 5.0
        verdict = sampling_verdict(with_density(values), NOTHING, None)
        assert not verdict.converged
        assert f"Chain {seed % 4} sits elsewhere" in message(verdict, "foreign_mode")
        assert "r_hat" in codes(verdict)


@planted
def test_a_chain_in_a_mode_of_equal_height_is_always_found(seeds: range) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[1, seed % 4] += 5.0
        verdict = sampling_verdict(with_density(values), NOTHING, None)
        assert codes(verdict) >= {"r_hat"}
        assert not verdict.converged


@planted
def test_the_same_chain_twice_is_always_found(seeds: range) -> None:
    for seed in seeds:
        values = healthy(seed)
        values[:, 2] = values[:, 0]
        verdict = sampling_verdict(with_density(values), NOTHING, None)
        assert codes(verdict) == {"identical_chains"}
        assert "Chains 0 and 2" in message(verdict, "identical_chains")
        assert not verdict.converged


# --------------------------------------------------------------------------------------- each rule's limit


def test_slow_chains_fail_on_effective_sample_size_by_name() -> None:
    values = healthy(6)
    values[1] = signal.lfilter([1.0], [1.0, -0.9], values[1], axis=1)
    verdict = sampling_verdict(with_density(values), NOTHING, None)
    size = float(verdict.table["ess_bulk"].sel(quantity="q0"))
    assert size < 400.0
    assert f"of q0 is {size:.0f} and must be at least 400." in message(verdict, "ess_bulk")
    assert str(verdict).startswith("Not converged: ")


def test_tails_are_judged_on_their_own() -> None:
    rng = np.random.default_rng(7)
    scale = np.exp(1.5 * np.repeat(rng.standard_normal((4, 20)), 50, axis=1))  # slow in spread, not in place
    values = healthy(7)
    values[1] = scale * rng.standard_normal((4, 1000))
    assert codes(sampling_verdict(with_density(values), NOTHING, None)) >= {"ess_tail"}
    assert "ess_bulk" not in codes(sampling_verdict(with_density(values), NOTHING, None))


def test_chains_that_disagree_in_spread_alone_fail_on_r_hat() -> None:
    values = healthy(8)
    values[1, 3] *= 3.0
    verdict = sampling_verdict(with_density(values), NOTHING, None)
    assert "r_hat" in codes(verdict)
    assert "R-hat of q0 is 1." in message(verdict, "r_hat")


def test_the_worst_quantity_is_the_one_named() -> None:
    values = healthy(9, count=5)
    values[1, 0] += 1.0
    values[3, 0] += 2.0
    text = message(sampling_verdict(with_density(values), NOTHING, None), "r_hat")
    assert "R-hat of q2 is" in text
    assert "the worst of 2 such quantities among 5" in text


def test_one_divergence_is_enough_to_fail() -> None:
    sample_stats = statistics()
    sample_stats["diverging"][2, 17] = True
    verdict = sampling_verdict(with_density(healthy(10)), NOTHING, sample_stats)
    assert codes(verdict) == {"divergences"}
    assert not verdict.converged
    assert "1 of 4000 draws (0.0%) diverged" in str(verdict)
    assert verdict.table.attrs["divergences"] == 1


@pytest.mark.parametrize(("hits", "fails"), [(39, False), (40, True)])
def test_tree_depth_hits_fail_from_one_percent_on(hits: int, fails: bool) -> None:
    sample_stats = statistics()
    sample_stats["maxdepth_reached"].values.flat[:hits] = True
    verdict = sampling_verdict(with_density(healthy(11)), NOTHING, sample_stats)
    assert ("tree_depth" in codes(verdict)) is fails
    assert verdict.converged is not fails


def test_e_bfmi_of_one_bad_chain_fails() -> None:
    sample_stats = statistics()
    slow = signal.lfilter([1.0], [1.0, -0.95], sample_stats["energy"].values[1])
    sample_stats["energy"][1] = slow
    figure = np.mean(np.diff(slow) ** 2) / np.var(slow, ddof=1)
    assert figure < 0.3
    verdict = sampling_verdict(with_density(healthy(12)), NOTHING, sample_stats)
    assert codes(verdict) == {"e_bfmi"}
    assert f"E-BFMI of chain 1 is {figure:.2f} and must be at least 0.3" in message(verdict, "e_bfmi")


@pytest.mark.parametrize("energy", [np.nan, 3.0])
def test_energy_without_a_figure_fails(energy: float) -> None:
    sample_stats = statistics()
    sample_stats["energy"][0] = energy
    assert "e_bfmi" in codes(sampling_verdict(with_density(healthy(13)), NOTHING, sample_stats))


def test_heights_come_from_the_sampler_where_no_log_density_is_given() -> None:
    values = healthy(14)
    sample_stats = statistics().assign(logp=(("chain", "draw"), values[0] - 20.0 * (np.arange(4) == 2)[:, None]))
    verdict = sampling_verdict(dataset(mean=values[1]), NOTHING, sample_stats)
    assert codes(verdict) == {"foreign_mode"}
    assert "Chain 2 sits elsewhere" in str(verdict)


def test_the_distance_is_from_the_other_chains_in_sds_within() -> None:
    values = healthy(38)
    values[0] = 10.0 * values[0] - 70.0 * (np.arange(4) == 3)[:, None]
    others = values[0, :3].mean() - values[0, 3].mean()
    distance = others / np.sqrt(np.mean([chain.var(ddof=1) for chain in values[0]]))
    assert 6.5 < distance < 7.5
    text = message(sampling_verdict(with_density(values), NOTHING, None), "foreign_mode")
    assert f"Chain 3 sits elsewhere: its mean log density is {distance:.1f} standard deviations" in text


def test_half_a_standard_deviation_is_not_another_mode() -> None:
    values = healthy(15)
    values[0, 1] += 0.5
    assert "foreign_mode" not in codes(sampling_verdict(with_density(values), NOTHING, None))
    values[0, 1] += 1.0
    assert "foreign_mode" in codes(sampling_verdict(with_density(values), NOTHING, None))


# ------------------------------------------------------------------------------------------- special cases


def test_ambiguous_labels_leave_the_decision_to_label_free_quantities() -> None:
    parameters = healthy(16)
    parameters[1, 2] += 3.0
    labelled = dataset(sigma=parameters[1], alpha=parameters[2])
    strict = sampling_verdict(with_density(healthy(17)), labelled, None)
    assert "r_hat" in codes(strict)
    assert not strict.converged
    lenient = sampling_verdict(with_density(healthy(17)), labelled, None, ambiguous=True)
    assert codes(lenient) == {"labels_ambiguous"}
    assert lenient.converged
    assert "1 of 2 parameters by expert miss the limits" in str(lenient)
    assert "R-hat of sigma is" in str(lenient)
    assert "largest R-hat 1.00" in str(lenient)
    assert float(lenient.table["r_hat"].sel(quantity="sigma")) > 1.1


def test_ambiguous_labels_excuse_no_label_free_failure_and_no_nan() -> None:
    values = healthy(18)
    values[1, 0] += 3.0
    assert not sampling_verdict(with_density(values), dataset(sigma=values[2]), None, ambiguous=True).converged
    broken = healthy(19)[0]
    broken[0, 0] = np.nan
    verdict = sampling_verdict(with_density(healthy(18)), dataset(sigma=broken), None, ambiguous=True)
    assert codes(verdict) == {"not_finite", "labels_ambiguous"}
    assert not verdict.converged


def test_one_chain_is_judged_and_its_limits_are_said() -> None:
    verdict = sampling_verdict(with_density(healthy(20, chains=1)), NOTHING, statistics(chains=1))
    assert codes(verdict) == {"no_between_chain_check"}
    assert verdict.converged
    assert np.all(np.isfinite(verdict.table["r_hat"]))
    assert "1 chain of 1000 draws" in str(verdict)
    assert "Run at least 4 chains" in str(verdict)


def test_one_drifting_chain_fails() -> None:
    values = healthy(21, chains=1)
    values[1] += np.linspace(0.0, 3.0, 1000)
    assert "r_hat" in codes(sampling_verdict(with_density(values), NOTHING, None))


def test_a_constant_passes_only_where_it_is_declared() -> None:
    constant = np.full((4, 1000), 0.1)
    quantities = with_density(healthy(22)).assign(slope=(("chain", "draw"), constant))
    undeclared = sampling_verdict(quantities, NOTHING, None)
    assert codes(undeclared) == {"stuck_chain"}
    assert "Chains 0, 1, 2, 3 stood still" in str(undeclared)
    declared = sampling_verdict(quantities, NOTHING, None, fixed=("slope",))
    assert declared.converged
    assert not declared.notices
    assert declared.table["fixed"].sel(quantity="slope")
    assert np.isnan(declared.table["ess_bulk"].sel(quantity="slope"))
    assert "largest R-hat 1.00" in str(declared)


def test_a_single_element_can_be_declared() -> None:
    pair = np.stack([np.zeros((4, 1000)), healthy(23)[0]], axis=2)
    assert sampling_verdict(with_density(healthy(24)), dataset(slope=pair), None, fixed=("slope[0]",)).converged
    assert not sampling_verdict(with_density(healthy(24)), dataset(slope=pair), None, fixed=("slope[1]",)).converged


def test_a_declared_constant_that_differs_between_chains_fails() -> None:
    levels = np.repeat([[2.0], [2.0], [3.0], [2.0]], 1000, axis=1)
    quantities = with_density(healthy(25)).assign(used=(("chain", "draw"), levels))
    verdict = sampling_verdict(quantities, NOTHING, None, fixed=("used",))
    assert not verdict.converged
    assert "used" in message(verdict, "not_finite")


def test_chains_that_step_once_together_fail() -> None:
    step = np.repeat([[0.0, 1.0]] * 4, 500, axis=1)  # every half chain is constant: R-hat has no upper end
    quantities = with_density(healthy(25)).assign(step=(("chain", "draw"), step))
    verdict = sampling_verdict(quantities, NOTHING, None)
    assert not verdict.converged
    assert codes(verdict) & {"r_hat", "not_finite"}
    assert len(str(verdict)) < 1000


def test_a_figure_that_is_not_finite_is_left_to_its_own_notice() -> None:
    figures = np.array([np.nan, np.inf, 1.02, 1.01, 1.0099])
    assert RULES["r_hat"].broken(figures).tolist() == [False, False, True, True, False]
    assert RULES["ess_bulk"].broken(np.array([np.nan, -np.inf, 399.9, 400.0])).tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_a_declared_count_that_sometimes_rests_is_judged_by_its_figures() -> None:
    counts = np.random.default_rng(26).binomial(1, 0.002, (4, 1000)).astype(float)
    counts[0] = 0.0
    assert counts[1:].any(axis=1).all()
    quantities = with_density(healthy(26)).assign(used=(("chain", "draw"), counts))
    assert "stuck_chain" not in codes(sampling_verdict(quantities, NOTHING, None, fixed=("used",)))


@pytest.mark.parametrize("draws", [1, 2, 3, 5])
def test_too_few_draws_never_pass(draws: int) -> None:
    for chains in (1, 2, 4):
        verdict = sampling_verdict(with_density(healthy(27, chains=chains, draws=draws)), NOTHING, None)
        assert not verdict.converged


def test_discrete_and_boolean_quantities_are_accepted() -> None:
    rng = np.random.default_rng(28)
    quantities = with_density(healthy(28)).assign(
        used=(("chain", "draw"), rng.integers(2, 5, (4, 1000))),
        split=(("draw", "chain"), rng.random((1000, 4)) < 0.5),
    )
    assert sampling_verdict(quantities, NOTHING, None).converged


def test_inputs_are_left_as_they_were() -> None:
    quantities, sample_stats = with_density(healthy(29)), statistics()
    before = quantities.copy(deep=True), sample_stats.copy(deep=True)
    sampling_verdict(quantities, NOTHING, sample_stats)
    xr.testing.assert_identical(quantities, before[0])
    xr.testing.assert_identical(sample_stats, before[1])


def test_unusable_input_is_named() -> None:
    good = with_density(healthy(30))
    with pytest.raises(InputError, match="quantities: expected some, got none"):
        sampling_verdict(NOTHING, good, None)
    with pytest.raises(InputError, match="got log_density, q0, q1 → rename"):
        sampling_verdict(good, good, None)
    with pytest.raises(InputError, match="draws of one run"):
        sampling_verdict(good, dataset(sigma=healthy(30, draws=900)[0]), None)
    with pytest.raises(InputError, match="got no energy"):
        sampling_verdict(good, NOTHING, statistics().drop_vars("energy"))
    with pytest.raises(InputError, match="fixed: expected not to name all"):
        sampling_verdict(dataset(log_density=np.zeros((4, 1000))), NOTHING, None, fixed=("log_density",))


def test_severities_and_failures() -> None:
    assert severity("foreign_mode") is Severity.FAILURE
    assert severity("no_between_chain_check") is Severity.WARNING
    values = healthy(31, chains=1)
    values[1, 0, 0] = np.nan
    verdict = sampling_verdict(with_density(values), NOTHING, None)
    assert [notice.code for notice in verdict.failures] == ["not_finite"]
    assert [notice.code for notice in verdict.notices] == ["not_finite", "no_between_chain_check"]


# ---------------------------------------------------------------------------------------------- PSIS k-hat


@pytest.mark.parametrize(("shape", "low", "high"), [(0.3, 0.1, 0.5), (1.0, 0.75, 1.25)])
def test_khat_recovers_the_tail_of_pareto_ratios(shape: float, low: float, high: float) -> None:
    rng = np.random.default_rng(32)
    khats = [psis_khat(np.log(stats.genpareto.rvs(shape, size=4000, random_state=rng))) for _ in range(20)]
    assert low < np.mean(khats) < high


def test_khat_tells_a_narrow_approximation_from_a_wide_one() -> None:
    rng = np.random.default_rng(33)
    for scale, unreliable in ((0.4, True), (1.2, False)):
        q = scale * rng.standard_normal(4000)
        log_ratios = stats.norm.logpdf(q) - stats.norm.logpdf(q, scale=scale)
        assert (psis_khat(log_ratios) > 0.7) is unreliable


def test_khat_ignores_the_unknown_constant_and_the_shape() -> None:
    logs = np.random.default_rng(34).standard_normal(2000)
    assert psis_khat(logs + 700.0) == pytest.approx(psis_khat(logs), rel=1e-9)
    assert psis_khat(logs.reshape(4, 500)) == psis_khat(logs)


def test_an_exact_approximation_has_a_khat_of_zero() -> None:
    assert psis_khat(np.full(1000, -321.5)) == 0.0
    assert psis_khat(-321.5 + 1e-14 * np.random.default_rng(35).standard_normal(1000)) == 0.0


def test_khat_that_cannot_be_estimated_counts_as_unreliable() -> None:
    logs = np.random.default_rng(36).standard_normal(1000)
    assert psis_khat(logs[:24]) == np.inf
    assert psis_khat(np.full(1000, -np.inf)) == np.inf
    assert psis_khat(1000.0 * logs) > 0.7
    assert psis_khat(np.minimum(logs, 0.0)) == np.inf
    for bad in (np.nan, np.inf):
        assert psis_khat(np.append(logs, bad)) == np.inf


def test_a_ratio_of_zero_is_one_more_draw_without_weight() -> None:
    heavy = 3.0 * np.random.default_rng(37).standard_normal(4000)
    with_zeros = psis_khat(np.append(heavy, np.full(10, -np.inf)))
    assert with_zeros == pytest.approx(psis_khat(heavy), rel=0.05)
    assert with_zeros > 0.7
