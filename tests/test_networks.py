"""Mixture density networks: a network whose features stand where the columns stood."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayes_moe as bm
from bayes_moe.binding.bind import Bound, bind, target_of
from bayes_moe.data import read_training
from bayes_moe.graph.graded import PLAIN
from bayes_moe.inference.progress import Report

DATA = bm.datasets.bishop_inverse(200, seed=1)
SMALL = bm.mixture_density_network(3, hidden=(5, 4))
SHORT = bm.Training(seed=1, patience=4)


def trained(model: Any = SMALL, engine: Any = SHORT, x: Any = DATA.X, y: Any = DATA.y, **options: Any) -> bm.Fit:
    return bm.fit(model, x, y, engine, **({"progress": False} | options))


@pytest.fixture(scope="module")
def fit() -> bm.Fit:
    return trained()


def bound_of(model: bm.MixtureOfExperts, x: np.ndarray, y: np.ndarray) -> Bound:
    return bind(model, read_training(x, y, experts=len(model.experts), parameters=0, target=target_of(model)))


def some_vector(bound: Bound, seed: int = 0) -> np.ndarray:
    density = bound.network_density
    draw = np.random.default_rng(seed).standard_normal(density.size)
    return density.prior_loc + 0.5 * density.prior_scale * draw


def point_of(bound: Bound, vector: np.ndarray) -> dict[str, np.ndarray]:
    network, q = bound.network_density.parts(vector)
    learned = bound.learned(network)
    assert learned.features is not None
    return learned.features.named() | learned.parameters.named(q)


MODELS = {
    "normal, silu": bm.mixture_density_network(3, hidden=(5, 4)),
    "normal, tanh, sigma constant": bm.MixtureOfExperts(2, features=bm.MLP((4,), bm.Activation.TANH)),
    "normal, relu, gate on a column": bm.MixtureOfExperts(
        2, bm.SoftmaxGate(bm.Polynomial(2, columns=(1,))), features=bm.MLP((4, 3), bm.Activation.RELU, scale=2.0)
    ),
    "student t": bm.mixture_density_network(2, hidden=(4,), family=bm.StudentT()),
    "equal gate, one column": bm.MixtureOfExperts(2, bm.EqualGate(), features=bm.MLP((3,), columns=("x0",))),
}


@pytest.mark.full  # the table of models has values and differences
@pytest.mark.parametrize("name", MODELS)
def test_the_density_is_that_of_the_graph(name: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(25, 2)) * [3.0, 0.1] + [5.0, -1.0], rng.normal(size=25)
    weights = rng.choice([0.5, 1.0, 2.0], size=25)
    bound = bind(MODELS[name], read_training(x, y, weights=weights, experts=2, parameters=0))
    built = bm.build(MODELS[name], x, y, weights=weights)
    function, slope = (built.compile_fn(graph, mode=PLAIN) for graph in (built.logp(), built.dlogp()))
    for seed in range(2):
        vector = some_vector(bound, seed)
        point = point_of(bound, vector)
        value, gradient = bound.network_density.logp_and_gradient(vector)
        assert function(point) == pytest.approx(value, rel=1e-10)
        np.testing.assert_allclose(slope(point), gradient, rtol=1e-8, atol=1e-9 * (1 + np.abs(gradient).max()))


@pytest.mark.parametrize("family", [bm.LogNormal(), bm.Poisson(), bm.SkewNormal()], ids=lambda f: type(f).__name__)
def test_any_family_has_its_gradient(family: Any) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(30, 1))
    y = rng.poisson(3.0, size=30) + (0.0 if isinstance(family, bm.Poisson) else 0.5)
    density = bound_of(bm.mixture_density_network(2, hidden=(3,), family=family), x, y).network_density
    vector = some_vector_of(density)
    gradient = density.logp_and_gradient(vector)[1]
    for place in range(density.size):
        step = np.zeros(density.size)
        step[place] = 1e-5
        above, below = (density.logp_and_gradient(vector + sign * step)[0] for sign in (1, -1))
        assert (above - below) / 2e-5 == pytest.approx(gradient[place], rel=1e-5, abs=1e-5)
    rows = np.arange(30)
    assert density.rows_gradient(vector, rows)[0] == pytest.approx(density.rows_log_density(vector, rows).sum())


def some_vector_of(density: Any) -> np.ndarray:
    draw = np.random.default_rng(1).standard_normal(density.size)
    return np.asarray(density.prior_loc + 0.3 * density.prior_scale * draw)


def test_training_raises_the_held_out_density_and_says_how_it_ended(fit: bm.Fit) -> None:
    held = fit.outcome.history["held_out_log_density"]
    assert held.max() > held[0] + 0.5
    assert fit.outcome.facts["best_epoch"] == 1 + int(np.argmax(held))
    assert not fit.status.converged
    assert fit.status.sentence.startswith("Stopped early, at no mode of the posterior")
    assert "20 held-out rows" in fit.status.sentence
    assert fit.outcome.optima == ()
    assert fit.outcome.facts["gradient_norm"] > 1e-3
    new = bm.datasets.bishop_inverse(2000, seed=2)
    assert new.bound - 0.45 < float(fit.log_density(new.X, new.y).mean()) < new.bound
    assert fit.log_posterior == pytest.approx(
        fit.bound.network_density.logp_and_gradient(np.concatenate([fit.outcome.features, fit.outcome.mode]))[0]
    )


def test_a_stopped_fit_has_no_information_criterion(fit: bm.Fit) -> None:
    for name in ("bic", "icl"):
        with pytest.raises(bm.NotFittedError, match=f"{name}: expected a fit at a mode, got a network"):
            getattr(fit, name)


def test_the_seed_decides(fit: bm.Fit) -> None:
    again = trained()
    assert np.array_equal(again.outcome.features, fit.outcome.features)
    other = trained(engine=bm.Training(seed=2, epochs=2, held_out=0))
    assert not np.array_equal(other.outcome.features, fit.outcome.features)


def test_rows_of_weight_zero_are_not_there() -> None:
    weights = np.ones(60)
    weights[::3] = 0.0
    x, y = DATA.X[:60], DATA.y[:60]
    engine = bm.Training(seed=3, epochs=3, held_out=0)
    all_rows = trained(engine=engine, x=x, y=np.where(weights > 0, y, 1e3), weights=weights)
    kept = trained(engine=engine, x=x[weights > 0], y=y[weights > 0], scaling=all_rows.data.scaling)
    np.testing.assert_allclose(all_rows.predict(x).values, kept.predict(x).values, rtol=1e-9)


def test_without_held_out_rows_all_epochs_run() -> None:
    fit = trained(engine=bm.Training(seed=1, epochs=7, held_out=0))
    assert "All rows trained for 7 epochs" in fit.status.sentence
    assert fit.outcome.facts["held_out_rows"] == 0


def test_too_few_epochs_are_said() -> None:
    with pytest.warns(bm.FitWarning, match="epochs_exhausted"):
        fit = trained(engine=bm.Training(seed=1, epochs=3))
    assert fit.status.codes[-1] == "epochs_exhausted"
    assert fit.status.sentence.startswith("Not converged.")


def test_saved_and_loaded(fit: bm.Fit, tmp_path: Path) -> None:
    fit.save(tmp_path / "network.nc")
    again = bm.load(tmp_path / "network.nc")
    assert again.predict(DATA.X).identical(fit.predict(DATA.X))
    assert again.quantile(DATA.X[:5], [0.1, 0.9]).identical(fit.quantile(DATA.X[:5], [0.1, 0.9]))
    assert (again.model, again.engine) == (fit.model, fit.engine)
    assert str(again.status) == str(fit.status)


def test_given_its_features_it_is_an_ordinary_mixture(fit: bm.Fit) -> None:
    frozen = trained(engine=bm.EM(seed=1), start=fit)
    assert np.array_equal(frozen.outcome.features, fit.outcome.features)
    assert frozen.status.converged
    assert "features_frozen" in frozen.status.codes
    assert frozen.outcome.facts["features"] == "taken from the start"
    features = frozen.bound.features
    assert features is not None
    scaling = frozen.data.scaling
    plain_scaling = bm.Scaling((0.0,) * 4, (1.0,) * 4, scaling.y_center, scaling.y_scale)
    met = frozen.bound.met
    mixture = bm.MixtureOfExperts(met.experts, met.gate)
    columns = features.extended(DATA.X)[:, 1:]
    start = frozen.bound.parameters.named(fit.outcome.mode)
    plain = bm.fit(mixture, columns, DATA.y, bm.EM(seed=1), start=start, scaling=plain_scaling, progress=False)
    new = features.extended(DATA.X[:7] + 0.01)
    assert plain.log_posterior + features.log_prior() == pytest.approx(frozen.log_posterior, rel=1e-12)
    np.testing.assert_allclose(plain.predict(new[:, 1:]).values, frozen.predict(new[:, :1]).values, rtol=1e-9)
    np.testing.assert_allclose(
        plain.log_density(new[:, 1:], DATA.y[:7]).values, frozen.log_density(new[:, :1], DATA.y[:7]).values, rtol=1e-9
    )
    with pytest.raises(bm.NotFittedError, match="bic"):
        _ = frozen.bic


def test_posterior_engines_train_first_and_sample_the_last_layer() -> None:
    model = bm.mixture_density_network(2, hidden=(3,))
    with pytest.warns(bm.FitWarning):  # so few draws
        sampled = trained(model, bm.NUTS(draws=30, tune=60, chains=2, seed=1))
    assert sampled.outcome.facts["features"] == "frozen after training"
    assert "features_frozen" in sampled.status.codes
    assert sampled.outcome.draws.shape == (2, 30, sampled.bound.parameters.size)
    assert "held_out_log_density" in sampled.outcome.history
    assert np.isfinite(sampled.log_density(DATA.X, DATA.y).values).all()
    assert sampled.idata["fit"]["network"].size == sampled.bound.features.size


@pytest.mark.parametrize("covariance", list(bm.Covariance))
def test_several_outputs_have_one_network(covariance: bm.Covariance) -> None:
    y = np.column_stack([DATA.y, 1.0 - DATA.y + 0.1 * np.random.default_rng(1).normal(size=len(DATA.y))])
    model = bm.mixture_density_network(2, hidden=(6,), family=bm.MvNormal(covariance=covariance))
    fit = trained(model, bm.Training(seed=1, epochs=40, held_out=0.0), y=y)
    mean = fit.predict(DATA.X).values
    assert mean.shape == y.shape
    assert np.corrcoef(mean.T)[0, 1] < -0.9
    rows = np.column_stack([fit.cdf(DATA.X, y).values, fit.log_density(DATA.X, y).values])
    assert np.isfinite(rows).all()


def test_advi_draws_the_last_layer(fit: bm.Fit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)  # whether the guide is close enough is not asked here
        posterior = trained(engine=bm.ADVI(draws=60, steps=200, seed=1), start=fit)
    assert "features_frozen" in posterior.status.codes
    assert (np.ptp(posterior.draws.flat, axis=0) > 0).all()
    far = abs(float(posterior.log_density(DATA.X, DATA.y).mean() - fit.log_density(DATA.X, DATA.y).mean()))
    assert far < 0.2


def test_training_goes_on_from_a_fit(fit: bm.Fit) -> None:
    further = trained(engine=bm.Training(seed=5, epochs=2, step=1e-9, held_out=0), start=fit)
    np.testing.assert_allclose(further.outcome.features, fit.outcome.features, atol=1e-5)
    by_name = trained(engine=bm.Training(seed=5, epochs=2, step=1e-9, held_out=0), start=fit.point)
    assert np.array_equal(by_name.outcome.features, further.outcome.features)
    with pytest.raises(bm.InputError, match="network_weights_0_z"):
        trained(start={name: value for name, value in fit.point.items() if name != "network_weights_0_z"})


def test_frames_are_matched_by_name() -> None:
    frame = pd.DataFrame({"a": DATA.X[:, 0], "h0": np.cos(9.0 * DATA.X[:, 0])})
    fit = trained(bm.MixtureOfExperts(2, features=bm.MLP((3,))), bm.Training(seed=1, epochs=4, held_out=0), x=frame)
    assert fit.predict(frame[["h0", "a"]]).identical(fit.predict(frame))
    assert "h_0" in fit.idata["posterior"]["mu_feature"].values


class Interrupting(Report):
    """A report that is interrupted at a given epoch."""

    def task(self, title: str, total: int) -> Any:
        del title, total

        @contextmanager
        def run() -> Any:
            def advance(done: int, note: str) -> None:
                del note
                if done >= 2:
                    raise KeyboardInterrupt

            yield advance

        return run()


def test_an_interrupted_training_keeps_its_best_weights() -> None:
    outcome = bm.Training(seed=1).run(bound_of(SMALL, DATA.X, DATA.y).network_density, report=Interrupting())
    assert outcome.status.name == "INTERRUPTED"
    assert outcome.facts["best_epoch"] in (1, 2)


# -- networks as predictors of one gate or one parameter ---------------------------------------------------------


def two_curves(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows of two curves of a; which one holds turns with b, three times."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3.0, 3.0, size=(rows, 2))
    first = np.sin(2.0 * x[:, 1]) > 0
    y = np.where(first, 3.0 + 2.0 * np.sin(2.0 * x[:, 0]), x[:, 0] ** 2 / 3.0 - 2.0) + 0.2 * rng.normal(size=rows)
    return pd.DataFrame(x, columns=["a", "b"]), y


CURVES, CURVED = two_curves(500, 1)
OWN = bm.MixtureOfExperts(
    [bm.Expert(mu=bm.MLP((12,), columns=("a",)), sigma=bm.Constant())] * 2,
    bm.SoftmaxGate(bm.MLP((12,), columns=("b",))),
)


@pytest.fixture(scope="module")
def own() -> bm.Fit:
    return trained(OWN, bm.Training(seed=3), CURVES, CURVED)  # an eighth of seeds ends in a worse optimum


def test_a_gate_and_experts_may_be_networks(own: bm.Fit) -> None:
    assert own.status.sentence.startswith("Stopped early")
    x, y = two_curves(2000, 2)
    density = own.log_density(x, y).mean().item()
    shared = trained(bm.mixture_density_network(2, hidden=(12,)), bm.Training(seed=1), CURVES, CURVED)
    assert density > 0.1  # who knew all labels would have 0.19
    assert density > shared.log_density(x, y).mean().item() + 0.1
    high = own.expert_means(x).values.argmax(axis=1)
    towards = np.take_along_axis(own.gate(x).values, high[:, None], axis=1)[:, 0]
    assert np.corrcoef(towards, np.sin(2.0 * x["b"]))[0, 1] > 0.8


def test_every_expert_has_its_own_network(own: bm.Fit) -> None:
    networks = own.bound.features
    assert networks is not None
    assert [one.name for one in networks.maps] == ["gate_network", "mu_network_0", "mu_network_1"]
    assert [one.columns for one in networks.maps] == [("b",), ("a",), ("a",)]
    assert own.point["mu_network_0_weights_0_z"].shape == own.point["mu_network_1_weights_0_z"].shape == (1, 12)
    assert not np.allclose(own.point["mu_network_0_weights_0_z"], own.point["mu_network_1_weights_0_z"])
    assert own.bound.kinds == ((0,), (1,))  # other features: labels cannot change places
    assert own.idata["posterior"]["mu_slopes"].shape == (1, 1, 2, 12)
    assert own.idata["posterior"]["gate_feature"].values.tolist() == [f"h{unit}" for unit in range(12)]


def test_the_prior_of_weights_is_said(own: bm.Fit) -> None:
    priors = own.prior_summary()["scale"]
    assert priors["mu_network_1_weights_0_z"] == priors["gate_network_biases_0_z"] == 2.0
    assert priors["mu_slopes_1_z[0, 3]"] == pytest.approx(2.0 / np.sqrt(12.0))


def test_shared_experts_have_one_network() -> None:
    model = bm.MixtureOfExperts([bm.Expert(sigma=bm.MLP((3,), shared=True))] * 3)
    bound = bound_of(model, CURVES.to_numpy(), CURVED)
    assert bound.features is not None
    assert [one.name for one in bound.features.maps] == ["log_sigma_network"]
    assert bound.kinds == ((0, 1, 2),)
    log_sigma = bound.parameters.coefficients(np.arange(bound.parameters.size) / 10.0)[-3:]
    assert (log_sigma == log_sigma[0]).all()


def test_the_layout_does_not_depend_on_weights() -> None:
    """Units that never fire are equal columns, in two networks too, and stay apart."""
    dead = bm.MLP((2,), bm.Activation.RELU)
    model = bm.MixtureOfExperts([bm.Expert(mu=dead)] * 2, bm.SoftmaxGate(dead))
    bound = bound_of(model, CURVES.to_numpy(), CURVED)
    assert bound.features is not None
    again = bound.learned(np.full(bound.features.size, -50.0) * (bound.features.prior_scale == 2.0))
    assert (again.density.table[:, 1:] == 0.0).all()
    assert again.design.width == bound.design.width == 7
    assert [places.tolist() for places in again.design.feature_places] == [[1, 2], [3, 4], [5, 6]]


def test_engines_go_on_with_all_output_layers(own: bm.Fit) -> None:
    frozen = trained(OWN, bm.EM(seed=1), CURVES, CURVED, start=own.point)
    assert frozen.status.converged
    assert "features_frozen" in frozen.status.codes
    assert np.array_equal(frozen.outcome.features, own.outcome.features)
    assert frozen.log_posterior > own.log_posterior
    laplace = trained(OWN, bm.Laplace(draws=50, seed=1), CURVES, CURVED, start=own)
    near = laplace.log_density(CURVES, CURVED).mean() - frozen.log_density(CURVES, CURVED).mean()
    assert abs(float(near)) < 0.1


def test_the_gate_reads_its_own_columns() -> None:
    bound = bind(
        bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.MLP((3,)))),
        read_training(CURVES[["a"]], CURVED, gate_X=CURVES[["b"]], experts=2, parameters=0),
    )
    assert bound.features is not None
    assert bound.features.maps[0].columns == ("b",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bm.MLP((3,), shared=("a",)), "MLP.shared: expected True or False"),
        (lambda: bm.MLP((3,), offset=1), "MLP.offset"),
        (lambda: bm.SoftmaxGate(bm.MLP((3,), shared=True)), "SoftmaxGate.predictor: expected coefficients per expert"),
        (lambda: bm.GaussianGate(bm.MLP((3,))), "GaussianGate.predictor: expected bm.Linear"),
        (
            lambda: bm.Expert(mu=bm.MLP(slopes=bm.priors.LearnedScale(1.0, 1.0))),
            "Expert.mu: expected priors.Normal for",
        ),
        (
            lambda: bm.MixtureOfExperts(2, features=bm.MLP((3,), slopes=bm.priors.Normal(0.0, 1.0))),
            "MixtureOfExperts.features: expected a network without slopes",
        ),
        (lambda: trained(bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.MLP((3,), offset="a")))), "gate: .* without offset"),
        (
            lambda: trained(bm.MixtureOfExperts([bm.Expert(mu=bm.Constant())] * 2, bm.EqualGate(), features=bm.MLP())),
            "MixtureOfExperts.features: expected a gate or experts that use them",
        ),
        (
            lambda: trained(bm.MixtureOfExperts([bm.Expert(mu=bm.MLP())] * 2, features=bm.MLP())),
            r"MixtureOfExperts.experts\[0\].mu: .* name the columns it is to see",
        ),
        (
            lambda: trained(OWN, x=CURVES, y=CURVED, groups=np.arange(500) // 2),
            "groups: .* got column 'b' that varies",
        ),
        (lambda: trained(OWN, x=CURVES.assign(a=1.0), y=CURVED), "MLP.columns: expected a column that varies"),
        (lambda: trained(OWN, x=CURVES[["a"]], y=CURVED), "MLP.columns: expected names of the table's columns"),
        (
            lambda: trained(
                bm.MixtureOfExperts([bm.Expert(bm.Categorical(), logits=bm.MLP(offset="a"))] * 2),
                x=CURVES,
                y=CURVED > 0,
            ),
            "MLP.offset: expected a parameter that is one number",
        ),
    ],
)
def test_what_has_no_meaning_for_one_predictor_is_refused(make: Any, message: str) -> None:
    with pytest.raises((bm.SpecError, bm.InputError), match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bm.MLP((0,)), "MLP.hidden: expected whole numbers of units from 1 to 4096, got 0"),
        (lambda: bm.MLP((3, True)), "MLP.hidden"),
        (lambda: bm.MLP(()), "MLP.hidden"),
        (lambda: bm.MLP(32), r"MLP.hidden: .* write \(32,\)"),
        (lambda: bm.MLP((3,), activation="swish"), "MLP.activation: expected one of bm.Activation.TANH"),
        (lambda: bm.MLP((3,), columns="a"), "MLP.columns"),
        (lambda: bm.MLP((3,), scale=0.0), "MLP.scale"),
        (lambda: bm.mixture_density_network(0), "components"),
        (lambda: bm.mixture_density_network(3, hidden=(0,)), "MLP.hidden"),
        (lambda: bm.mixture_density_network(3, family=bm.Normal), "family"),
        (lambda: bm.MixtureOfExperts(2, features=bm.Linear()), "MixtureOfExperts.features: expected bm.MLP or None"),
        (lambda: bm.Training(epochs=0), "Training.epochs"),
        (lambda: bm.Training(batch=0), "Training.batch"),
        (lambda: bm.Training(held_out=1.0), "Training.held_out"),
        (lambda: bm.Training(patience=0), "Training.patience"),
        (lambda: bm.Training(step=0.0), "Training.step"),
        (lambda: bm.Training(seed=-1), "Training.seed"),
        (lambda: trained(bm.MixtureOfExperts(2), bm.Training()), r"engine: .* a model without networks"),
        (lambda: trained(bm.MixtureOfExperts(2, features=bm.MLP(columns=("b",)))), "MLP.columns"),
        (
            lambda: trained(bm.MixtureOfExperts([bm.Expert(mu=bm.Polynomial(2))] * 2, features=bm.MLP())),
            r"MixtureOfExperts.experts\[0\].mu: expected bm.Linear or bm.Constant on learned features",
        ),
        (lambda: trained(x=np.ones((200, 0))), "MLP.columns: expected a column that varies"),
        (
            lambda: trained(bm.MixtureOfExperts(2, bm.GaussianGate(), features=bm.MLP())),
            "MixtureOfExperts.gate: expected a gate without a density of its own",
        ),
        (lambda: trained(groups=np.arange(200) // 2), "groups: .* constant within every group, got column 'x0' that"),
    ],
)
def test_what_has_no_meaning_is_refused(make: Any, message: str) -> None:
    with pytest.raises((bm.SpecError, bm.InputError), match=message):
        make()
