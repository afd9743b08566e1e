"""What a saved fit holds, and how a fit becomes a file.

The file holds the groups of ``fit.idata`` as they are, and one group more, ``bayes_moe``: every array that the fit
was made of, and a JSON text that says what they are. It is written from the fields of the fit's own classes, so
that a new field is saved without a line more here.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from ..binding.bind import Bound
from ..categories import Encoding
from ..container.sealed import write_file
from ..data import Data
from ..errors import InputError, Notice, SaveFileError
from ..formula import Formula
from ..groups import Groups
from ..inference.outcome import Optimum, Outcome, Status
from ..log_density import CoefficientPosterior
from ..mixture import MixtureOfExperts
from ..raw_columns import RawColumn
from ..records import Arrays, Schema, parse_json, record, write_json
from ..scaling import Scaling
from ..smoothing import SharedMean, Smoother
from ..specification import SPECIFICATIONS, Engine
from ..tables import Table
from .draws import Draws, Labels
from .status import FitStatus

FORMAT = 1
"""Version of the file format; a change that older releases cannot read makes it one more."""

GROUP, DOCUMENT = "bayes_moe", "document"
_PACKAGES = ("bayes_moe", "numpy", "scipy", "pytensor", "pymc", "nutpie", "xarray", "h5netcdf")


class Saveable(Protocol):
    """What ``save`` asks of a fit."""

    @property
    def engine(self) -> Any:
        """The engine that ran."""

    @property
    def bound(self) -> Bound:
        """The model on its data."""

    @property
    def outcome(self) -> Outcome:
        """What the engine returned."""

    @property
    def labels(self) -> Labels:
        """Permutations of the draws."""

    @property
    def status(self) -> FitStatus:
        """The verdict."""

    @property
    def idata(self) -> xr.DataTree:
        """Everything in ArviZ's schema."""


@dataclass(frozen=True, eq=False)
class SavedFit:
    """A fit without what is made again from its parts.

    Parameters
    ----------
    model, engine, data, outcome, labels, status
        As in the fit. Of the engine's seed, the integer that it stood for; of the table, no pandas index.
    versions
        Releases it was written under, by package.
    """

    model: MixtureOfExperts
    engine: Engine
    data: Data
    outcome: Outcome
    labels: Labels
    status: FitStatus
    versions: Mapping[str, str]


_RECORDS = (
    SavedFit,
    Data,
    Table,
    Encoding,
    Groups,
    Formula,
    RawColumn,
    Scaling,
    SharedMean,
    Smoother,
    Notice,
    Outcome,
    Optimum,
    CoefficientPosterior,
    Status,
    Labels,
    FitStatus,
)
SCHEMA = Schema({**SPECIFICATIONS, **{kind.__name__: record(kind) for kind in _RECORDS}})


def save(fit: Saveable, path: str | os.PathLike[str]) -> None:
    """Save a fit as one netCDF file, which ``bm.load`` reads back to identical predictions.

    The file is written beside its place, read back, compared and only then put there in one step.

    Parameters
    ----------
    fit
        Any fit.
    path
        Where to; any suffix will do. An existing file is replaced.

    Raises
    ------
    SaveFileError
        If the file cannot be written there, or does not give back what was written; the message names the path.
    """
    place = as_path(path, "save")
    write_file(place, xr.DataTree.from_dict(groups_of(fit, place)))


def groups_of(fit: Saveable, place: Path) -> dict[str, xr.Dataset]:
    """Return the groups of a file that holds one fit, by path."""
    arrays: Arrays = {}
    data = fit.bound.data
    saved = SavedFit(
        model=fit.bound.model,
        engine=_settled(fit.engine, fit.outcome),
        data=replace(data, table=replace(data.table, index=None)),
        outcome=fit.outcome,
        labels=fit.labels,
        status=fit.status,
        versions={name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
    )
    try:
        document = write_json({"format": FORMAT, "fit": SCHEMA.encode(saved, arrays)})
        check(SCHEMA.decode(parse_json(document)["fit"], SavedFit, arrays))
        check_draws(fit.bound, fit.outcome, fit.labels, fit.idata)
    except SaveFileError as error:
        raise SaveFileError(f"save: expected a whole fit for {str(place)!r}, got {error}") from error
    if GROUP in fit.idata.children:
        raise SaveFileError(
            f"save: expected a fit.idata without a group {GROUP!r} for {str(place)!r}, got one → rename it"
        )
    groups = {node.path: node.to_dataset(inherit=False) for node in fit.idata.subtree}
    return groups | {f"/{GROUP}": _group(document, arrays)}


def read_saved(tree: xr.DataTree, path: Path) -> tuple[SavedFit, xr.DataTree]:
    """Return what the tree of a file holds: the parts of the fit, and its ``idata``.

    Raises
    ------
    SaveFileError
        If ``save`` did not write it, it is of a later format, or its parts contradict each other.
    """
    try:
        if GROUP not in tree.children or DOCUMENT not in tree[GROUP].data_vars:
            raise SaveFileError(f"expected a group {GROUP!r} with a {DOCUMENT!r}, got none: this is no saved fit")
        group = tree[GROUP].to_dataset()
        text = parse_json(text_of(group[DOCUMENT]))
        if not isinstance(text, dict) or text.keys() != {"format", "fit"} or not isinstance(text["format"], int):
            raise SaveFileError("expected a format and a fit, got other entries")
        refuse_later(text)
        arrays = {str(name): array.values for name, array in group.data_vars.items() if name != DOCUMENT}
        saved: SavedFit = SCHEMA.decode(text["fit"], SavedFit, arrays)
        check(saved)
    except SaveFileError as error:
        raise SaveFileError(f"load: expected a file written by fit.save, got {str(path)!r}: {error}") from error
    return saved, tree.drop_nodes(GROUP)


def as_path(path: object, verb: str) -> Path:
    """Return a path from text or anything that stands for a path.

    Raises
    ------
    SaveFileError
        For anything else.
    """
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if isinstance(text, str) and text:
            return Path(text)
    raise SaveFileError(f"{verb}: expected a path, got {path!r} → pass text such as 'fit.nc', or a pathlib.Path")


def check(saved: SavedFit) -> None:
    """Refuse parts that contradict each other or hold numbers that no fit has.

    Raises
    ------
    SaveFileError
        Naming the array.
    """
    data, outcome, labels = saved.data, saved.outcome, saved.labels
    rows, columns = len(data.y), len(data.table.names)
    _shaped("data.y", data.y, (rows, len(data.outputs)) if data.outputs else (rows,))
    _shaped("data.table.values", data.table.values, (rows, columns))
    _shaped("data.weights", data.weights, (rows,))
    _shaped("data.rows", data.rows, (rows,))
    if len(set(data.table.names)) < columns or not {*data.gate_columns, *data.dropped} <= {*data.table.names}:
        raise SaveFileError("data.table.names: expected distinct names with those of gate and constant columns")
    if data.groups is not None:
        _shaped("data.groups.codes", data.groups.codes, (rows,))
        if not np.array_equal(np.unique(data.groups.codes), np.arange(len(data.groups.labels))):
            raise SaveFileError("data.groups.codes: expected positions of the labels, each at least once")
    if data.formula is not None:
        _check_formula(data.formula, data.own.names)
    encoded = [name for encoding in data.table.encodings for name in encoding.names]
    if len(set(encoded)) < len(encoded) or not {*encoded} <= {*data.table.names}:
        raise SaveFileError("data.table.encodings: expected the names of columns of the table, each once")
    if len(data.scaling.x_center) != columns:
        raise SaveFileError(f"data.scaling: expected {columns} columns, got {len(data.scaling.x_center)}")
    if outcome.draws.ndim != 3:
        raise SaveFileError(f"outcome.draws: expected 3 dimensions, got {outcome.draws.ndim}")
    chains, draws, size = outcome.draws.shape
    _shaped("outcome.draws", outcome.draws, (chains, draws, size))
    if outcome.mode is not None:
        _shaped("outcome.mode", outcome.mode, (size,))
    for i, optimum in enumerate(outcome.optima):
        _shaped(f"outcome.optima.{i}.q", optimum.q, (size,))
    _check_network(saved.model, outcome.features)
    experts = len(saved.model.experts)
    _check_posterior(outcome, experts)
    _shaped("labels.permutations", labels.permutations, (chains * draws, experts))
    if not (np.sort(labels.permutations, axis=1) == np.arange(experts)).all():
        raise SaveFileError(f"labels.permutations: expected permutations of {experts} experts, got other numbers")


def _check_posterior(outcome: Outcome, experts: int) -> None:
    """Refuse posteriors of coefficients that are not one of an expert each."""
    found = outcome.posterior
    if found is None:
        return
    for part in fields(found):
        values = getattr(found, part.name)
        if len(values) != experts:
            raise SaveFileError(f"outcome.posterior.{part.name}: expected {experts} entries, got {len(values)}")
        for expert, (array, positions, logs) in enumerate(
            zip(values, found.positions, found.log_precisions, strict=True)
        ):
            width = positions.size
            shapes = {"positions": (width,), "roots": (width, width)}
            _shaped(f"outcome.posterior.{part.name}.{expert}", array, shapes.get(part.name, (logs.size,)))


def _check_network(model: MixtureOfExperts, weights: np.ndarray | None) -> None:
    if (weights is not None) != model.learned:
        raise SaveFileError("outcome.features: expected the weights of the model's networks, where there are some")
    if weights is not None:
        _shaped("outcome.features", weights, (weights.size,))


def check_draws(bound: Bound, outcome: Outcome, labels: Labels, idata: xr.DataTree) -> None:
    """Refuse draws that are not those of the model, or that ``idata["posterior"]`` contradicts.

    Raises
    ------
    SaveFileError
        Naming the variable.
    """
    size = outcome.draws.shape[-1]
    if size != bound.parameters.size:
        raise SaveFileError(f"outcome.draws: expected {bound.parameters.size} values, as the model has, got {size}")
    posterior = idata["posterior"].data_vars if "posterior" in idata.children else {}
    for name, values in Draws(bound, outcome.draws, labels.permutations).user().items():
        if name not in posterior:
            raise SaveFileError(f"idata['posterior']: expected a variable {name!r}, got none")
        found = posterior[name].values
        close = 1e-9 * np.nanmax(np.abs(values), initial=0.0)  # rounding may differ between machines
        if found.shape != values.shape or not np.allclose(found, values, rtol=1e-6, atol=close, equal_nan=True):
            raise SaveFileError(f"idata['posterior'][{name!r}]: expected what the draws say, got other numbers")


def _check_formula(formula: Formula, names: tuple[str, ...]) -> None:
    """Refuse a formula whose raw columns do not give the columns of the table."""
    for column in formula.columns:
        _shaped(f"data.formula.columns.{column.name}", column.values, formula.columns[0].values.shape[:1])
        if column.levels is not None and not np.isin(column.values, np.arange(len(column.levels))).all():
            raise SaveFileError(f"data.formula.columns.{column.name}: expected positions of levels, got other numbers")
    try:
        own, gate = formula.names
    except InputError as error:
        raise SaveFileError(f"data.formula: expected terms of its raw columns, got {error}") from error
    if (*own, *gate) != names:
        raise SaveFileError(f"data.formula: expected the columns {list(names)}, got {[*own, *gate]}")


def _shaped(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise SaveFileError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise SaveFileError(f"{name}: expected finite numbers, got NaN, infinity or no numbers")


def _settled(engine: Any, outcome: Outcome) -> Any:
    """Return the engine with the integer its seed stood for: a generator has moved on and would not repeat the fit."""
    if isinstance(engine.seed, np.random.Generator | np.random.SeedSequence):
        return replace(engine, seed=int(outcome.facts["seed"]))
    return engine


def _group(document: str, arrays: Arrays) -> xr.Dataset:
    """Return the arrays with their lengths as dimensions, and the text as characters, which any netCDF tool shows."""
    values: dict[str, Any] = {
        name: ([f"axis{axis}_{n}" for axis, n in enumerate(array.shape)], array) for name, array in arrays.items()
    }
    return xr.Dataset(values | {DOCUMENT: ((), np.bytes_(document.encode()))})


def text_of(document: xr.DataArray) -> bytes:
    """Return the JSON text of a file."""
    if document.ndim != 0 or document.dtype.kind != "S":
        raise SaveFileError(f"expected a text as {DOCUMENT!r}, got {document.dtype} of {document.ndim} dimensions")
    return bytes(document.item())


def refuse_later(text: Mapping[str, Any]) -> None:
    """Refuse a file of a later format, naming the release that wrote it."""
    if text["format"] == FORMAT:
        return
    try:
        release = str(text["fit"]["versions"]["bayes_moe"])[:40]
    except (TypeError, KeyError):
        release = "unknown"
    raise SaveFileError(
        f"expected format {FORMAT}, got {text['format']!r}, written by bayes_moe {release!r} → load it with that "
        "release or a later one"
    )
