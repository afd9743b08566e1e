"""Every plot: what it draws is what the fit says, and nothing else is touched."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

import bayes_moe as bm
from bayes_moe.plots.along import along, shown_rows
from bayes_moe.plots.canvas import ALARM, INK, expert_colours
from bayes_moe.posterior.draws import Labels

ALONG = (bm.plots.predictive, bm.plots.gate, bm.plots.experts, bm.plots.responsibilities, bm.plots.density)
COLUMNS = ["age", "dose", "weight"]
Plot = Callable[..., Axes]


def _approximate(em: bm.Fit, engine: bm.Laplace) -> bm.Fit:
    data = em.data
    X = pd.DataFrame(np.asarray(data.table.values), columns=list(data.table.names))
    y = pd.Series(data.y, name=data.y_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bm.FitWarning)  # how good the approximation is does not matter here
        return bm.fit(em.model, X, y, engine, start=em, progress=False)


@pytest.fixture(scope="module")
def em() -> bm.Fit:
    """Return an EM fit of motorcycle data, with one covariate and names that a user would give."""
    data = bm.datasets.motorcycle()
    X, y = pd.DataFrame(data.X, columns=["time (ms)"]), pd.Series(data.y, name="acceleration (g)")
    return bm.fit(bm.MixtureOfExperts(3), X, y, bm.EM(starts=8, seed=1), progress=False)


@pytest.fixture(scope="module")
def em3() -> bm.Fit:
    """Return an EM fit with three covariates."""
    data = bm.datasets.true_moe(300, features=3, experts=2, seed=2)
    X = pd.DataFrame(data.X, columns=COLUMNS)
    return bm.fit(bm.MixtureOfExperts(2), X, data.y, bm.EM(starts=6, seed=1), progress=False)


@pytest.fixture(scope="module")
def posterior(em: bm.Fit) -> bm.Fit:
    """Return draws from a posterior, by Laplace's approximation."""
    return _approximate(em, bm.Laplace(draws=120, seed=1))


@pytest.fixture(params=["em", "em3", "posterior"])
def fit(request: pytest.FixtureRequest) -> bm.Fit:
    """Return each of the fits in turn."""
    return request.getfixturevalue(request.param)


def drawn(ax: Axes, kind: type) -> list[Any]:
    return [artist for artist in ax.get_children() if type(artist) is kind]


def points(ax: Axes) -> PathCollection:
    """Return the scatter of the data: the one with rows, not a legend's."""
    return next(scatter for scatter in drawn(ax, PathCollection) if len(scatter.get_offsets()))


# ------------------------------------------------------------------------------------------- every plot


@pytest.mark.parametrize("plot", ALONG)
def test_axes_come_back_and_are_labelled(fit: bm.Fit, plot: Plot) -> None:
    ax = plot(fit)
    assert isinstance(ax, Axes)
    assert ax.get_xlabel().startswith(fit.data.table.names[0])
    assert ax.get_ylabel() == ("gate probability" if plot is bm.plots.gate else fit.data.y_name)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("plot", ALONG)
def test_nothing_global_changes(posterior: bm.Fit, plot: Plot) -> None:
    settings = dict(mpl.rcParams)
    before = posterior.idata.copy(deep=True)
    figure = Figure()
    ax = figure.add_subplot()
    assert plot(posterior, ax=ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == settings
    xr.testing.assert_identical(posterior.idata, before)


@pytest.mark.parametrize("plot", ALONG)
def test_a_figure_of_its_own_is_one(em: bm.Fit, plot: Plot) -> None:
    plot(em)
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("plot", ALONG)
@pytest.mark.parametrize("column", ["dose", 1])
def test_a_column_is_chosen_and_the_others_are_said(em3: bm.Fit, plot: Plot, column: str | int) -> None:
    ax = plot(em3, column=column)
    assert ax.get_xlabel().startswith("dose")
    if plot is not bm.plots.responsibilities:  # there every row is where it is: nothing is held
        middle = np.median(np.asarray(em3.data.table.values), axis=0)
        assert f"age = {middle[0]:.3g}, weight = {middle[2]:.3g}, their medians" in ax.get_xlabel()


@pytest.mark.parametrize("plot", ALONG)
@pytest.mark.parametrize("column", ["dosis", 3, -1, True, 0.5])
def test_a_column_that_is_none_is_refused(em3: bm.Fit, plot: Plot, column: Any) -> None:
    with pytest.raises(bm.InputError, match=r"^column: expected one of \['age', 'dose', 'weight'\]"):
        plot(em3, column=column)
    assert plt.get_fignums() == []


def test_the_nearest_column_is_named(em3: bm.Fit) -> None:
    with pytest.raises(bm.InputError, match="did you mean 'dose'"):
        bm.plots.gate(em3, column="dosis")


@pytest.mark.parametrize("plot", [*ALONG, bm.plots.convergence])
def test_what_is_no_fit_is_refused(plot: Callable[[Any], Any]) -> None:
    with pytest.raises(bm.SpecError, match=r"^fit: expected a fit, got MixtureOfExperts"):
        plot(bm.MixtureOfExperts(2))


def test_a_fit_without_covariates_is_refused() -> None:
    data = bm.datasets.two_lines(40, seed=1)
    fit = bm.fit(bm.MixtureOfExperts(2), np.empty((40, 0)), data.y, bm.EM(starts=2, seed=1), progress=False)
    with pytest.raises(bm.InputError, match="without covariates"):
        bm.plots.predictive(fit)


def test_missing_matplotlib_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(bm, "plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(bm.MissingExtraError, match=r"pip install 'bayes_moe\[plots\]'"):
        _ = bm.plots


def unclear(fit: bm.Fit) -> bm.Fit:
    """Return the fit as if its experts could not be told apart."""
    return replace(fit, labels=Labels(fit.labels.permutations, 0.5, 0.9, ambiguous=True))


def notes(ax: Axes) -> list[Text]:
    return ax.findobj(lambda artist: isinstance(artist, Text) and "ambiguous" in artist.get_text())


OF_EXPERTS = (bm.plots.gate, bm.plots.experts, bm.plots.responsibilities)


def test_ambiguous_labels_are_said(posterior: bm.Fit) -> None:
    for plot in OF_EXPERTS:
        (note,) = notes(plot(unclear(posterior)))
        assert to_rgb(note.get_color()) == to_rgb(ALARM)
        assert notes(plot(posterior)) == []


@pytest.mark.parametrize("dpi", [60, 130])
@pytest.mark.parametrize(
    ("size", "rows", "columns", "layout"),
    [
        ((3, 2.4), 1, 1, "constrained"),
        ((15, 9), 1, 1, "constrained"),
        ((11, 7), 2, 2, "constrained"),
        ((9, 7), 2, 3, "constrained"),
        ((6.4, 4.8), 1, 1, None),
        ((6.4, 4.8), 1, 2, None),
    ],
)
def test_the_note_and_the_legend_leave_each_other_room(
    posterior: bm.Fit, dpi: int, size: tuple[float, float], rows: int, columns: int, layout: Any
) -> None:
    page, grid = plt.subplots(rows, columns, figsize=size, dpi=dpi, layout=layout, squeeze=False)
    for ax, plot in zip(grid.flat, OF_EXPERTS * 2, strict=False):
        plot(unclear(posterior), ax=ax)
    page.canvas.draw()
    axes = grid.ravel().tolist()
    for ax in axes:
        legend = ax.get_legend()
        (note,) = notes(ax)
        place = note.get_window_extent()
        for other in (*legend.get_texts(), ax.patch):
            assert not place.padded(-1).overlaps(other.get_window_extent().padded(-1))
        assert page.bbox.padded(1).containsx(place.x1)
        assert page.bbox.padded(1).containsy(place.y1)
        for neighbour in (each for each in axes if each is not ax):
            assert not place.overlaps(neighbour.get_tightbbox())


# -------------------------------------------------------------------------------------------- each plot


def test_bands_are_the_intervals(fit: bm.Fit) -> None:
    ax = bm.plots.predictive(fit, prob=(0.5, 0.9))
    table = along(fit, None).table
    bands = [artist for artist in ax.collections if artist.get_label().endswith("band")]
    assert [band.get_label() for band in bands] == ["90 % band", "50 % band"]
    for band, prob in zip(bands, (0.9, 0.5), strict=True):
        corners = band.get_paths()[0].vertices
        ends = fit.interval(table, prob).values
        for x, low, high in zip(table[::50, 0], *ends[::50].T, strict=True):
            there = corners[corners[:, 0] == x, 1]
            np.testing.assert_allclose([there.min(), there.max()], [low, high], rtol=1e-12)


def test_the_mean_is_the_predictive_mean(fit: bm.Fit) -> None:
    (line,) = (line for line in bm.plots.predictive(fit).lines if line.get_label() == "mean")
    np.testing.assert_array_equal(line.get_ydata(), fit.predict(along(fit, None).table).values)


def test_a_single_band(em: bm.Fit) -> None:
    ax = bm.plots.predictive(em, prob=(0.8,))
    assert [artist.get_label() for artist in ax.collections if artist.get_label().endswith("band")] == ["80 % band"]


def test_a_probability_that_is_none_is_refused(em: bm.Fit) -> None:
    with pytest.raises(bm.InputError, match="prob"):
        bm.plots.predictive(em, prob=(1.5,))


def test_expert_lines_are_as_opaque_as_the_gate(fit: bm.Fit) -> None:
    path = along(fit, None)
    lines = drawn(bm.plots.predictive(fit), LineCollection)
    gate, means = fit.gate(path.table).values, fit.expert_means(path.table).values
    assert len(lines) == gate.shape[1]
    for k, line in enumerate(lines):
        np.testing.assert_allclose(line.get_colors()[:, 3], 0.5 * (gate[1:, k] + gate[:-1, k]), atol=1e-12)
        np.testing.assert_allclose(line.get_colors()[0, :3], expert_colours(gate.shape[1])[k])
        starts = np.array([segment[0] for segment in line.get_segments()])
        np.testing.assert_allclose(starts, np.column_stack([path.x, means[:, k]])[:-1])


def test_expert_lines_do_not_stretch_the_axes(em: bm.Fit) -> None:
    path = along(em, None)
    low, high = bm.plots.predictive(em).get_ylim()
    band = em.interval(path.table, 0.9).values
    reach = np.ptp([em.data.y.min(), em.data.y.max(), band.min(), band.max()])
    assert high - low < 1.2 * reach
    assert np.ptp(em.expert_means(path.table).values) > 2 * (high - low)


def test_gate_areas_are_the_probabilities_and_sum_to_one(fit: bm.Fit) -> None:
    path = along(fit, None)
    areas = [artist for artist in bm.plots.gate(fit).collections if isinstance(artist, PolyCollection)]
    heights = []
    for area in areas:
        corners = area.get_paths()[0].vertices
        heights.append([np.ptp(corners[corners[:, 0] == x, 1]) for x in path.x])
    np.testing.assert_allclose(np.transpose(heights), fit.gate(path.table).values, atol=1e-12)
    np.testing.assert_allclose(np.sum(heights, axis=0), 1.0, atol=1e-12)
    for k, area in enumerate(areas):
        np.testing.assert_allclose(area.get_facecolor()[0, :3], expert_colours(len(areas))[k])


def test_gate_borders_of_draws_are_drawn_for_a_posterior_alone(em: bm.Fit, posterior: bm.Fit) -> None:
    assert drawn(bm.plots.gate(em), LineCollection) == []
    (borders,) = drawn(bm.plots.gate(posterior), LineCollection)
    assert len(borders.get_segments()) == 40 * 2
    assert all(np.ptp(segment[:, 0]) > 0 for segment in borders.get_segments())


def test_ribbons_are_one_standard_deviation(em: bm.Fit) -> None:
    """Under EM, an expert's ribbon is its mean plus and minus its sigma, as the parameter table states them."""
    ax = bm.plots.experts(em)
    path = along(em, None)
    sigma = em.idata["posterior"]["sigma"].values.ravel()
    means = em.expert_means(path.table).values
    ribbons = drawn(ax, AxesImage)
    assert len(ribbons) == len(sigma)
    for k, ribbon in enumerate(ribbons):
        corners = ribbon.get_clip_path().get_fully_transformed_path().vertices
        corners = ax.transData.inverted().transform(corners)
        np.testing.assert_allclose(corners[: len(path.x), 1], means[:, k] - sigma[k], rtol=1e-6)
        np.testing.assert_allclose(corners[len(path.x) :, 1][::-1], means[:, k] + sigma[k], rtol=1e-6)
        gate = em.gate(path.table).values[:, k]
        np.testing.assert_allclose(np.asarray(ribbon.get_array())[0, :, 3], 0.3 * gate, atol=1e-12)


def test_experts_of_single_draws_are_drawn_for_a_posterior(em: bm.Fit, posterior: bm.Fit) -> None:
    assert len(drawn(bm.plots.experts(em), LineCollection)) == 3
    assert len(drawn(bm.plots.experts(posterior), LineCollection)) == 3 + 3 * 40


def test_rows_are_coloured_by_their_responsibilities(fit: bm.Fit) -> None:
    scatter = points(bm.plots.responsibilities(fit))
    r = fit.responsibilities().values
    np.testing.assert_allclose(scatter.get_facecolors()[:, :3], r @ expert_colours(r.shape[1]), atol=1e-12)
    shared = r.max(axis=1) < 0.9
    rims = scatter.get_edgecolors()
    assert 0 < shared.sum() < len(shared)
    np.testing.assert_array_equal(rims[:, 0] < 0.5, shared)


def test_the_legend_counts_rows(em: bm.Fit) -> None:
    legend = bm.plots.responsibilities(em).get_legend()
    r = em.responsibilities(np.asarray(em.data.table.values), em.data.y).values
    words = [text.get_text() for text in legend.get_texts()]
    assert words == [*(f"expert {k}: {total:.0f} rows" for k, total in enumerate(r.sum(axis=0))), "shared"]


def test_the_heat_map_is_the_density(fit: bm.Fit) -> None:
    ax = bm.plots.density(fit)
    (mesh,) = drawn(ax, QuadMesh)
    corners, values = mesh.get_coordinates(), np.asarray(mesh.get_array())
    path = along(fit, None, points=values.shape[1])
    place = np.ix_(np.arange(0, values.shape[0], 9), np.arange(0, values.shape[1], 11))
    columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)[place].ravel()
    y = corners[..., 1][place].ravel()
    expected = np.exp(fit.log_density(path.table[columns], y).values)
    np.testing.assert_allclose(values[place].ravel(), expected, rtol=1e-9, atol=1e-300)


def test_the_heat_map_holds_nearly_all_probability(em: bm.Fit) -> None:
    """A column of the map integrates to 1 by the trapezoidal rule wherever its density is wider than a cell."""
    (mesh,) = drawn(bm.plots.density(em), QuadMesh)
    y, values = np.asarray(mesh.get_coordinates()[:, 0, 1]), np.asarray(mesh.get_array())
    mass = np.trapezoid(values, y, axis=0)
    assert np.all(mass < 1.01)
    assert np.median(mass) > 0.97


def test_the_heat_map_of_many_draws_averages_some(em: bm.Fit) -> None:
    many = _approximate(em, bm.Laplace(draws=700, seed=2))
    (mesh,) = drawn(bm.plots.density(many), QuadMesh)
    values, y = np.asarray(mesh.get_array()), mesh.get_coordinates()[:, 0, 1]
    path = along(many, None, points=values.shape[1])
    at, up = 120, np.arange(0, len(y), 20)
    expected = np.exp(many.log_density(np.repeat(path.table[[at]], len(up), axis=0), y[up]).values)
    # half of the draws against all: alike, and not the same
    assert np.max(np.abs(values[up, at] - expected)) < 0.1 * expected.max()
    assert not np.array_equal(values[up, at], expected)


# ------------------------------------------------------------------------------------------ convergence


def test_the_trace_of_em(em: bm.Fit) -> None:
    figure = bm.plots.convergence(em)
    (line,) = figure.axes[0].lines
    trace = em.idata["fit"]["em_log_posterior"].values
    gap = trace.max() - trace
    np.testing.assert_array_equal(line.get_ydata(), gap[gap > 0])
    assert f"{em.log_posterior:.2f}" in figure.axes[0].get_ylabel()


def test_the_starts_of_em(em: bm.Fit) -> None:
    right = bm.plots.convergence(em).axes[1]
    record = em.idata["fit"]
    found = np.concatenate([line.get_xdata() for line in right.lines if line.get_marker() == "o"])
    np.testing.assert_array_equal(np.sort(found), np.sort(record["start_log_posterior"].values))
    names = {tick.get_text() for tick in right.get_yticklabels()}
    assert names == {name.replace("_", " ") for name in record["start_recipe"].values.tolist()}
    assert f"{int(record['optimum_hits'][0])} of" in right.get_xlabel()


def test_a_fit_from_a_start_says_so(em: bm.Fit) -> None:
    X = pd.DataFrame(np.asarray(em.data.table.values), columns=list(em.data.table.names))
    again = bm.fit(em.model, X, em.data.y, bm.EM(seed=1), start=em, progress=False)
    left, right = bm.plots.convergence(again).axes
    assert "began where it ended" in left.texts[0].get_text()
    assert "start that was given" in right.texts[0].get_text()


def test_the_bound_and_the_ratios_of_advi(em3: bm.Fit) -> None:
    X = pd.DataFrame(np.asarray(em3.data.table.values), columns=COLUMNS)
    fit = bm.fit(em3.model, X, em3.data.y, bm.ADVI(draws=200, seed=1), start=em3, progress=False)
    left, right = bm.plots.convergence(fit).axes
    bound = fit.idata["fit"]["elbo"].values
    np.testing.assert_array_equal(left.lines[0].get_ydata()[0], bound.max() - bound[0])
    assert f"k-hat {fit.idata['fit'].attrs['k_hat']:.2f}" in right.get_title()
    counted = sum(bar.get_height() for bar in right.patches)
    assert counted == 200


def sampled(fit: bm.Fit, logp: np.ndarray, diverging: np.ndarray) -> bm.Fit:
    """Return the fit as if a sampler had left these statistics."""
    tree = fit.idata.copy()
    stats = {"logp": (("chain", "draw"), logp), "diverging": (("chain", "draw"), diverging)}
    tree["sample_stats"] = xr.DataTree(xr.Dataset(stats))
    return replace(fit, idata=tree)


def test_chains_and_ranks_of_nuts(posterior: bm.Fit, rng: np.random.Generator) -> None:
    logp = rng.standard_normal((4, 400))
    logp[3] += 5.0  # a chain that sits elsewhere
    diverging = np.zeros((4, 400), dtype=bool)
    diverging[1, 7] = diverging[2, 30] = True
    left, right = bm.plots.convergence(sampled(posterior, logp, diverging)).axes
    chains = [line for line in left.lines if line.get_label().startswith("chain")]
    np.testing.assert_array_equal([line.get_ydata() for line in chains], logp)
    (marks,) = (line for line in left.lines if line.get_label() == "_divergences")
    assert marks.get_xdata().tolist() == [7, 30]
    assert left.get_title() == "2 divergences"
    counts = np.array([patch.get_data().values for patch in right.patches if hasattr(patch, "get_data")])
    assert counts.sum(axis=1).tolist() == [400.0] * 4
    assert counts[3, :10].sum() == 0
    assert counts[:3, 15:].sum() < 30


def test_the_verdict_stands_above(em: bm.Fit) -> None:
    title = bm.plots.convergence(em).get_suptitle()
    assert title.startswith("EM: converged")
    assert all(code in title for code in em.status.codes)
    failed = replace(em, status=replace(em.status, converged=False))
    figure = bm.plots.convergence(failed)
    assert figure.get_suptitle().startswith("EM: not converged")
    assert figure._suptitle.get_color() == ALARM


def test_convergence_draws_where_it_is_told(em: bm.Fit) -> None:
    figure = Figure()
    part = figure.subfigures(1, 2)[1]
    assert bm.plots.convergence(em, figure=part) is part
    assert len(part.axes) == 2
    assert plt.get_fignums() == []


# ---------------------------------------------------------------------------------- colours, rows, paths


def test_experts_have_colours_of_their_own() -> None:
    for experts in (1, 3, 8, 12, 30):
        colours = expert_colours(experts)
        assert len({tuple(colour) for colour in colours.tolist()}) == experts
    np.testing.assert_array_equal(expert_colours(3), expert_colours(5)[:3])


def test_colours_are_told_apart_without_colour_vision() -> None:
    """Seen by someone without green receptors (Viénot, Brettel and Mollon 1999), the first five stay apart."""
    rgb_to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    deuteranope = np.array([[1.0, 0.0, 0.0], [0.494207, 0.0, 1.24827], [0.0, 0.0, 1.0]])
    seen = np.linalg.inv(rgb_to_lms) @ deuteranope @ rgb_to_lms
    colours = expert_colours(5) ** 2.2 @ seen.T
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.eye(5)
    assert distance.min() > 0.05


def test_points_are_pale_far_from_the_path(em3: bm.Fit) -> None:
    scatter = points(bm.plots.predictive(em3, column="dose"))
    table = np.asarray(em3.data.table.values)
    others = np.delete(table, 1, axis=1)
    distance = (((others - np.median(others, axis=0)) / others.std(axis=0)) ** 2).sum(axis=1)
    opacity = scatter.get_alpha()
    assert opacity[distance.argmin()] == opacity.max()
    assert opacity[distance.argmax()] == opacity.min()
    assert opacity.min() < 0.5 * opacity.max()


def test_one_covariate_leaves_points_alone(em: bm.Fit) -> None:
    scatter = points(bm.plots.predictive(em))
    assert np.ptp(scatter.get_alpha()) == 0
    np.testing.assert_allclose(scatter.get_facecolors()[0, :3], to_rgb(INK))


def test_weights_are_areas_and_rows_of_no_weight_are_not_drawn() -> None:
    data = bm.datasets.two_lines(60, seed=3)
    weights = np.resize([0.0, 1.0, 3.0], 60)
    fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=3, seed=1), weights=weights, progress=False)
    scatter = points(bm.plots.predictive(fit))
    assert len(scatter.get_offsets()) == 40
    areas = scatter.get_sizes()
    np.testing.assert_allclose(areas[1::2] / areas[::2], 3.0)


def test_rows_of_no_weight_do_not_move_the_path() -> None:
    data = bm.datasets.true_moe(60, features=2, experts=2, seed=3)
    far = np.vstack([data.X, np.full((40, 2), 50.0)])
    y, weights = np.append(data.y, np.zeros(40)), np.repeat([1.0, 0.0], [60, 40])
    fit = bm.fit(bm.MixtureOfExperts(1), far, y, bm.EM(starts=1, seed=1), weights=weights, progress=False)
    path = along(fit, None)
    assert path.x.max() < 2.0
    assert path.table[0, 1] == np.median(data.X[:, 1])


def test_many_rows_are_thinned_evenly() -> None:
    data = bm.datasets.two_lines(12_000, seed=3)
    fit = bm.fit(bm.MixtureOfExperts(1), data.X, data.y, bm.EM(starts=1, seed=1), progress=False)
    rows = shown_rows(fit)
    assert len(rows) == 5000
    assert rows[0] == 0
    assert rows[-1] == 11_999
    assert set(np.diff(rows)) <= {2, 3}
    assert points(bm.plots.predictive(fit)).get_rasterized()


def test_a_gate_table_is_a_column_too() -> None:
    data = bm.datasets.two_lines(80, seed=3)
    model = bm.MixtureOfExperts(2)
    Z = pd.DataFrame({"site": np.linspace(0, 1, 80)})
    fit = bm.fit(model, pd.DataFrame(data.X, columns=["x"]), data.y, bm.EM(starts=3, seed=1), gate_X=Z, progress=False)
    ax = bm.plots.gate(fit, column="site")
    assert ax.get_xlabel().startswith("site")
    assert "x = " in ax.get_xlabel()


@pytest.mark.parametrize("experts", [1, 9])
def test_one_expert_and_many(experts: int) -> None:
    data = bm.datasets.two_lines(80, seed=3)
    fit = bm.fit(bm.MixtureOfExperts(experts), data.X, data.y, bm.EM(starts=1, seed=1), progress=False)
    for plot in ALONG:
        ax = plot(fit)
        ax.figure.canvas.draw()
        assert ax.has_data()
        assert ax.get_xlabel()
    figure = bm.plots.convergence(fit)
    figure.canvas.draw()
    assert all(ax.has_data() or ax.texts for ax in figure.axes)
    legend = bm.plots.gate(fit).figure.findobj(
        lambda artist: str(getattr(artist, "get_label", str)()).startswith("expert ")
    )
    assert len({artist.get_label() for artist in legend}) == experts


def test_an_average_of_fits_is_drawn_without_experts() -> None:
    data = bm.datasets.two_lines(80, seed=1)
    fits = [bm.fit(bm.MixtureOfExperts(k), data.X, data.y, bm.EM(starts=2, seed=1), progress=False) for k in (1, 2)]
    both = bm.average(fits, weights=[1, 3])
    axes = bm.plots.predictive(both)
    (mean,) = axes.lines
    path = np.asarray(mean.get_xdata())[:, None]
    np.testing.assert_allclose(mean.get_ydata(), both.predict(path))
    (mesh,) = (each for each in bm.plots.density(both).collections if each.__class__.__name__ == "QuadMesh")
    x, y = mesh.get_coordinates()[..., 0], mesh.get_coordinates()[..., 1]
    values = np.asarray(mesh.get_array()).reshape(x.shape)
    for row, column in ((20, 30), (120, 100)):
        expected = np.exp(both.log_density(x[row, column : column + 1, None], y[row, column : column + 1]))
        np.testing.assert_allclose(values[row, column], expected.item(), rtol=1e-9)
    for plot in (bm.plots.gate, bm.plots.experts, bm.plots.responsibilities, bm.plots.convergence):
        with pytest.raises(bm.SpecError, match=r"^fit: expected one fit, got FitAverage, which has no experts"):
            plot(both)
