"""Saved fits: whole again bit by bit, or one clear error; never a half file, and never code that runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import resource
import stat
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayes_moe as bm
from bayes_moe.container import sealed
from bayes_moe.posterior.saving import FORMAT, SavedFit
from bayes_moe.storage import load, save

SIMULATED = bm.datasets.two_lines(90, seed=3)
QUICK = bm.EM(starts=2, seed=1)
SEAL_LENGTH = len(b"\nbayes_moe sha256 \n") + 64


def fitted(model: bm.MixtureOfExperts, engine: Any = QUICK, X: Any = SIMULATED.X, **more: Any) -> bm.Fit:
    return bm.fit(model, X, SIMULATED.y, engine, progress=False, **more)


def short_chains() -> bm.Fit:
    with pytest.warns(bm.FitWarning, match="Not converged"):
        return fitted(bm.MixtureOfExperts(1), bm.NUTS(draws=40, tune=60, chains=2, cores=1, seed=2))


def frame() -> pd.DataFrame:
    names = ["a/b", "é \"ß\" 'x'", "\u0430", "a", "\n<script>alert(1)</script>\t", "", "n" * 3000, "constant"]
    rng = np.random.default_rng(5)
    table = pd.DataFrame({name: SIMULATED.X[:, 0] * i + rng.normal(size=90) for i, name in enumerate(names)})
    table["constant"] = 2.0
    return table


FITS: dict[str, Callable[[], bm.Fit]] = {
    "EM": lambda: fitted(bm.MixtureOfExperts(2)),
    "Laplace": lambda: fitted(bm.MixtureOfExperts(2), bm.Laplace(draws=60, starts=2, seed=2)),
    "ADVI": lambda: fitted(bm.MixtureOfExperts(2), bm.ADVI(draws=60, starts=2, seed=2)),
    "NUTS, not converged": short_chains,
    "VariationalEM": lambda: fitted(bm.MixtureOfExperts(2), bm.VariationalEM(starts=1, seed=2)),
    "one expert": lambda: fitted(bm.MixtureOfExperts(1)),
    "polynomials, shared sigma, constant gate": lambda: fitted(
        bm.MixtureOfExperts(
            [bm.Expert(mu=bm.Polynomial(2), sigma=bm.Constant(shared=True))] * 2, bm.SoftmaxGate(bm.Constant())
        )
    ),
    "equal gate, no columns": lambda: fitted(bm.MixtureOfExperts(2, bm.EqualGate()), X=np.empty((90, 0))),
    "names, weights": lambda: fitted(
        bm.MixtureOfExperts(2, bm.SoftmaxGate(bm.Linear(("a/b",)))), X=frame(), weights=np.arange(90) % 3
    ),
    "a table for the gate": lambda: fitted(
        bm.MixtureOfExperts([bm.Expert(sigma=bm.Linear())] * 2), gate_X=pd.DataFrame({"z": SIMULATED.X[:, 0] ** 2})
    ),
}


@pytest.fixture(scope="module", params=FITS)
def any_fit(request: pytest.FixtureRequest) -> bm.Fit:
    return FITS[request.param]()


@pytest.fixture(scope="module")
def fit() -> bm.Fit:
    return FITS["EM"]()


@pytest.fixture(scope="module")
def content(fit: bm.Fit, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a saved fit."""
    path = tmp_path_factory.mktemp("saved") / "fit.nc"
    fit.save(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    """A saved fit."""
    path = tmp_path / "fit.nc"
    path.write_bytes(content)
    return path


# -- there and back --------------------------------------------------------------------------------------------


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Every place where two values differ, by type, shape, dtype, bits and whether they may be written."""
    if type(a) is not type(b) and not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        return [f"{place}: {type(a)} and {type(b)}"]
    if isinstance(a, np.ndarray):
        same = (a.dtype, a.shape, a.flags.writeable) == (b.dtype, b.shape, b.flags.writeable)
        return [] if same and a.tobytes() == b.tobytes() else [f"{place}: {a!r} and {b!r}"]
    if is_dataclass(a) and not isinstance(a, type):
        return [d for f in fields(a) for d in differences(getattr(a, f.name), getattr(b, f.name), f"{place}.{f.name}")]
    if isinstance(a, Mapping):
        found = [] if list(a) == list(b) else [f"{place}: keys {list(a)} and {list(b)}"]
        return found + [d for key in a if key in b for d in differences(a[key], b[key], f"{place}[{key!r}]")]
    if isinstance(a, tuple) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{place}[{i}]")]
    same = a is b if isinstance(a, Enum) else repr(a) == repr(b)
    return [] if same else [f"{place}: {a!r} and {b!r}"]


def predictions(fit: bm.Fit) -> dict[str, Any]:
    """Everything a fit predicts, at the training rows in another order and in between."""
    rows = np.random.default_rng(1).permutation(90)[:25]
    X, y = fit.data.table.values[rows] + 0.01, fit.data.y[rows]
    if fit.data.table.named:
        X = pd.DataFrame(X, columns=list(fit.data.table.names))
    found = {
        "predict": fit.predict(X),
        "hard": fit.predict(X, hard=True),
        "variance": fit.variance(X),
        "quantile": fit.quantile(X, [0.1, 0.5]),
        "interval": fit.interval(X),
        "log_density": fit.log_density(X, y),
        "cdf": fit.cdf(X, y),
        "gate": fit.gate(X),
        "responsibilities": fit.responsibilities(X, y),
        "expert_means": fit.expert_means(X),
        "sample": fit.sample(X, 20, seed=4),
    }
    values = {name: array.to_numpy() for name, array in found.items()}
    return values | {"summary": fit.summary().to_json(), "status": str(fit.status), "repr": repr(fit)}


def test_a_loaded_fit_is_the_fit_bit_by_bit(any_fit: bm.Fit, tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    assert any_fit.save(path) is None  # type: ignore[func-returns-value]
    again = bm.load(path)
    assert not differences(predictions(any_fit), predictions(again))
    assert (again.model, again.engine, again.status) == (any_fit.model, any_fit.engine, any_fit.status)
    assert again.idata.identical(any_fit.idata)
    for name in ("outcome", "labels", "status", "data"):
        before, after = getattr(any_fit, name), getattr(again, name)
        if name == "data":  # row labels only serve to check training data against each other
            before = replace(before, table=replace(before.table, index=None))
        assert not differences(before, after, name)
    same_groups(any_fit.idata, again.idata)


def same_groups(before: xr.DataTree, after: xr.DataTree) -> None:
    """Every attribute, kind of dtype and bit must be the same."""
    assert before.groups == after.groups
    for node in before.subtree:
        assert not differences(dict(node.attrs), dict(after[node.path].attrs), node.path)
        for name, variable in node.variables.items():
            other = after[node.path].variables[name]
            assert variable.dtype.kind.replace("O", "U") == other.dtype.kind, f"{node.path}/{name}"
            if variable.dtype.kind in "iuf":
                assert variable.values.tobytes() == other.values.tobytes()


def test_a_point_fit_keeps_its_scores(fit: bm.Fit, path: Path) -> None:
    again = load(path)
    for name in ("log_likelihood", "log_posterior", "bic", "icl"):
        assert getattr(again, name) == getattr(fit, name)
    assert not differences(fit.point, again.point)


def test_no_part_of_a_fit_is_left_out() -> None:
    """A new field of Fit must be saved, or be made again from what is."""
    assert {f.name for f in fields(bm.Fit)} == {"engine", "bound", "outcome", "labels", "status", "idata"}
    assert {f.name for f in fields(SavedFit)} == {
        *("model", "data"),  # what bound is made of
        *("engine", "outcome", "labels", "status", "versions"),
    }


def test_a_loaded_fit_saves_to_the_same_bytes(path: Path, tmp_path: Path) -> None:
    load(path).save(tmp_path / "again.nc")
    assert sealed.read_file(tmp_path / "again.nc").identical(sealed.read_file(path))


def test_a_loaded_fit_can_be_fitted_again_from(fit: bm.Fit, path: Path) -> None:
    start = load(path)
    again = bm.fit(fit.model, SIMULATED.X, SIMULATED.y, QUICK, start=start, progress=False)
    assert again.log_posterior == pytest.approx(fit.log_posterior, rel=1e-9)


@pytest.mark.filterwarnings("ignore::bayes_moe.FitWarning")  # five draws say nothing about an approximation
@pytest.mark.parametrize("seed", [np.random.default_rng(7), np.random.SeedSequence(7)], ids=["generator", "sequence"])
def test_the_seed_that_was_used_is_kept(seed: Any, tmp_path: Path) -> None:
    first = fitted(bm.MixtureOfExperts(2), bm.Laplace(draws=5, starts=1, seed=seed))
    first.save(tmp_path / "fit.nc")
    engine = load(tmp_path / "fit.nc").engine
    assert engine == replace(first.engine, seed=first.outcome.facts["seed"])
    assert not differences(fitted(bm.MixtureOfExperts(2), engine).outcome.draws, first.outcome.draws)


class Place:
    """A path of some other library."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize(("kind", "name"), [(str, "fit"), (Path, "fit.pickle"), (Place, "é ü 'x'.nc"), (str, "-")])
def test_any_kind_of_path_and_any_suffix(fit: bm.Fit, tmp_path: Path, kind: Any, name: str) -> None:
    save(fit, kind(tmp_path / name))
    assert load(kind(tmp_path / name)).model == fit.model
    assert os.listdir(tmp_path) == [name]


def test_a_path_without_folder_is_in_the_working_folder(
    fit: bm.Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit.save("fit.nc")
    assert load("fit.nc").model == fit.model


def test_the_file_may_be_replaced_and_removed_while_the_fit_lives(fit: bm.Fit, path: Path) -> None:
    first = load(path)
    FITS["one expert"]().save(path)
    second = load(path)
    path.unlink()
    assert len(second.model.experts) == 1
    assert not differences(predictions(first), predictions(fit))
    assert first.idata.identical(fit.idata)


def test_no_file_stays_open(path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files")
    loaded = load(path)
    loaded.save(path)
    inside = [os.readlink(d) for d in descriptors.iterdir() if d.is_symlink()]
    assert not [name for name in inside if str(path.parent) in name]


def test_other_programs_read_the_groups(fit: bm.Fit, path: Path) -> None:
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        xr.testing.assert_identical(opened["posterior"].to_dataset(), fit.idata["posterior"].to_dataset())
        text = opened["bayes_moe"]["document"].item()
    assert json.loads(text)["format"] == FORMAT
    assert json.loads(text)["fit"]["versions"]["bayes_moe"] == bm.__version__


def test_objects_are_kept_as_text_and_truth_as_numbers(fit: bm.Fit, tmp_path: Path) -> None:
    tree = fit.idata.copy()
    messages = np.array(["diverged", None, ""], dtype=object)
    tree["extra"] = xr.DataTree(xr.Dataset({"message": ("row", messages)}, attrs={"yes": True, "none": ""}))
    replace(fit, idata=tree).save(tmp_path / "fit.nc")
    extra = load(tmp_path / "fit.nc").idata["extra"]
    assert extra["message"].values.tolist() == ["diverged", "", ""]
    assert extra.attrs == {"yes": 1, "none": ""}
    assert tree["extra"]["message"].dtype == object  # what is in memory stays as it is
    assert tree["extra"].attrs["yes"] is True


# -- places that cannot be written -----------------------------------------------------------------------------


def refused(action: Callable[[], object], path: object, match: str) -> None:
    """The action must raise one line that names the path."""
    with pytest.raises(bm.SaveFileError, match=match) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    assert isinstance(caught.value, OSError)


def test_missing_folder(fit: bm.Fit, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "fit.nc", tmp_path / "s3:" / "bucket" / "fit.nc"):
        refused(lambda path=path: fit.save(path), path, "expected an existing folder .* make")
    assert not os.listdir(tmp_path)


def test_a_folder_or_device_is_no_file(fit: bm.Fit, tmp_path: Path) -> None:
    refused(lambda: fit.save(tmp_path), tmp_path, "got the folder")
    refused(lambda: fit.save("/dev/null"), "/dev/null", "got the device")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: fit.save(tmp_path / "pipe"), tmp_path / "pipe", "got the device")


def test_a_name_no_disk_takes(fit: bm.Fit, tmp_path: Path) -> None:
    for name in ("n" * 300, "a\0b"):
        refused(lambda name=name: fit.save(tmp_path / name), tmp_path / name, "save: expected to write")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("path", [None, 3, b"fit.nc", "", object()])
def test_what_is_no_path(fit: bm.Fit, path: Any) -> None:
    for verb in (fit.save, load):
        with pytest.raises(bm.SaveFileError, match=r"expected a path, got .* pass text such as 'fit.nc'"):
            verb(path)


def unharmed(path: Path, content: bytes) -> None:
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_a_read_only_file_stays(fit: bm.Fit, path: Path, content: bytes) -> None:
    path.chmod(0o444)
    refused(lambda: fit.save(path), path, "read-only")
    unharmed(path, content)


def test_a_folder_without_permission(fit: bm.Fit, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sealed.os, "open", denied)
    refused(lambda: fit.save(path), path, "Permission denied .* check the folder, its permissions")
    monkeypatch.undo()
    unharmed(path, content)


def test_a_full_disk_leaves_the_old_file(fit: bm.Fit, path: Path, content: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        refused(lambda: fit.save(path), path, "File too large .* the space left")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    unharmed(path, content)


def test_ctrl_c_leaves_the_old_file(fit: bm.Fit, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sealed.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit.save(path)
    unharmed(path, content)


def test_a_disk_that_lies_is_found_out(
    fit: bm.Fit, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sealed._write_bytes

    def lying(place: Path, content: bytes, mode: int | None) -> None:
        honest(place, content, mode)
        with place.open("r+b") as file:
            file.seek(5000)
            file.write(b"\xff")

    monkeypatch.setattr(sealed, "_write_bytes", lying)
    refused(lambda: fit.save(path), path, "expected to read .* back")
    unharmed(path, content)


def test_what_netcdf_would_change_is_found_out(fit: bm.Fit, path: Path, content: bytes) -> None:
    additions = {
        "an attribute": xr.Dataset(attrs={"settings": {"a": 1}}),
        "text with NUL": xr.Dataset({"v": ("row", np.array(["a\0b"]))}),
        "half a character": xr.Dataset({"v": ("row", np.array(["\ud800"]))}),
        "durations": xr.Dataset({"v": ("row", np.array([3], dtype="m8[ns]"))}),
    }
    for extra in additions.values():
        tree = fit.idata.copy()
        tree["extra"] = xr.DataTree(extra)
        refused(lambda tree=tree: replace(fit, idata=tree).save(path), path, "leave out what was added")
        unharmed(path, content)


def test_our_own_group_is_taken(fit: bm.Fit, path: Path) -> None:
    tree = fit.idata.copy()
    tree["bayes_moe"] = xr.DataTree()
    refused(lambda: replace(fit, idata=tree).save(path), path, "without a group 'bayes_moe'")


def test_a_fit_with_nan_is_not_saved(fit: bm.Fit, path: Path, content: bytes) -> None:
    broken = replace(fit, outcome=replace(fit.outcome, draws=np.full_like(fit.outcome.draws, np.nan)))
    refused(lambda: broken.save(path), path, "outcome.draws: expected finite numbers")
    unharmed(path, content)


def test_permissions_follow_the_old_file_and_the_umask(fit: bm.Fit, path: Path) -> None:
    path.chmod(0o600)
    fit.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    umask = os.umask(0o027)
    try:
        fit.save(path.with_name("new.nc"))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.with_name("new.nc").stat().st_mode) == 0o640


def test_a_link_is_replaced_and_what_it_names_stays(path: Path, content: bytes) -> None:
    link = path.with_name("link.nc")
    link.symlink_to(path)
    FITS["one expert"]().save(link)
    assert path.read_bytes() == content
    assert len(load(link).model.experts) == 1


def test_two_who_save_to_one_path_leave_one_whole_file(fit: bm.Fit, path: Path) -> None:
    others = [fit, FITS["one expert"]()]
    threads = [threading.Thread(target=lambda f=f: [f.save(path) for _ in range(2)]) for f in others]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(load(path).model.experts) in (1, 2)
    assert os.listdir(path.parent) == [path.name]


# -- files that cannot be believed -----------------------------------------------------------------------------


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(lambda: load(tmp_path / "fit.nc"), tmp_path / "fit.nc", "No such file")
    refused(lambda: load(tmp_path), tmp_path, "a folder or device")
    refused(lambda: load("/dev/zero"), "/dev/zero", "a folder or device")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: load(tmp_path / "pipe"), tmp_path / "pipe", "a folder or device")


def test_a_file_without_permission(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sealed.Path, "stat", denied)
    refused(lambda: load(path), path, "Permission denied")


@pytest.mark.parametrize("share", [0, 1e-4, 0.01, 0.25, 0.5, 0.75, 0.99, 0.9999])
def test_a_file_cut_short(path: Path, content: bytes, share: float) -> None:
    path.write_bytes(content[: int(share * len(content))])
    refused(lambda: load(path), path, "empty|another kind|cut short")


def test_a_file_with_something_more(path: Path, content: bytes) -> None:
    path.write_bytes(content + b"\n")
    refused(lambda: load(path), path, "was changed")


def test_a_flipped_bit_anywhere_is_found(path: Path, content: bytes, rng: np.random.Generator) -> None:
    seal = range(len(content) - SEAL_LENGTH, len(content))
    for offset in [0, *rng.integers(len(content), size=100), *seal]:
        damaged = bytearray(content)
        damaged[offset] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        refused(lambda: load(path), path, "another kind|cut short|damaged")


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def foreign(path: Path, marker: Path) -> dict[str, Callable[[], object]]:
    def archive() -> None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("../../fit.nc", "text")

    return {
        "netCDF": lambda: xr.Dataset({"a": ("x", [1.0])}).to_netcdf(path, engine="h5netcdf"),
        "a tree": lambda: xr.DataTree.from_dict({"posterior": xr.Dataset()}).to_netcdf(path, engine="h5netcdf"),
        "classic netCDF": lambda: xr.Dataset({"a": ("x", [1.0])}).to_netcdf(path, engine="scipy"),
        "zip": archive,
        "text": lambda: path.write_text("a,b\n1,2\n" * 100),
        "JSON": lambda: path.write_text('{"format": 1}'),
        "PNG": lambda: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200)),
        "pickle": lambda: path.write_bytes(pickle.dumps(Payload(marker))),
        "NumPy objects": lambda: np.savez(path.open("wb"), a=np.array([Payload(marker)], dtype=object)),
        "a magic number alone": lambda: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    }


@pytest.mark.parametrize("kind", list(foreign(Path(), Path())))
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_a_file_of_another_kind(kind: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "fit.nc", tmp_path / "marker"
    foreign(path, marker)[kind]()
    refused(lambda: load(path), path, "another kind|never a bayes_moe file")
    assert not marker.exists()


def test_the_payload_would_bite(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_a_sealed_pickle_is_not_run(path: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    seal_again(path, pickle.dumps(Payload(marker)))
    refused(lambda: load(path), path, "another kind")
    seal_again(path, b"\x89HDF\r\n\x1a\n" + pickle.dumps(Payload(marker)))
    refused(lambda: load(path), path, "expected a file written by fit.save")
    assert not marker.exists()


def seal_again(path: Path, content: bytes) -> None:
    """Write a file with a seal that fits, as whoever wants to deceive would."""
    path.write_bytes(content + b"\nbayes_moe sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n")


def test_a_sealed_file_of_other_groups(path: Path) -> None:
    sealed.write_file(path, xr.DataTree.from_dict({"posterior": xr.Dataset({"a": ("x", [1.0])})}))
    refused(lambda: load(path), path, "expected a group 'bayes_moe'")


Edit = Callable[[dict[str, np.ndarray], dict[str, Any]], object]


@pytest.fixture(scope="module")
def tree(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    """What a file holds, without the groups that load only passes on."""
    path = tmp_path_factory.mktemp("saved") / "fit.nc"
    path.write_bytes(content)
    whole = sealed.read_file(path)
    return whole.drop_nodes([name for name in whole.children if name not in {"posterior", "bayes_moe"}])


def edited(tree: xr.DataTree, path: Path, edit: Edit) -> None:
    """Change arrays and the text of a saved fit, and seal it again."""
    group = tree["bayes_moe"].to_dataset()
    document = json.loads(group["document"].item())
    arrays = {str(name): group[name].values.copy() for name in group.data_vars if name != "document"}
    edit(arrays, document)
    values: dict[str, Any] = {n: ([f"{n}_{i}" for i in range(a.ndim)], a) for n, a in arrays.items()}
    values["document"] = ((), np.bytes_(json.dumps(document).encode()))
    seal_tree(path, {"posterior": tree["posterior"].to_dataset(), "bayes_moe": xr.Dataset(values)})


def seal_tree(path: Path, groups: dict[str, xr.Dataset]) -> None:
    stream = io.BytesIO()
    xr.DataTree.from_dict(groups).to_netcdf(stream, engine="h5netcdf")
    seal_again(path, stream.getvalue())


def put(name: str, index: Any, value: Any) -> Edit:
    def edit(arrays: dict[str, np.ndarray], _: dict[str, Any]) -> None:
        arrays[name][index] = value

    return edit


def reshape(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    def edit(arrays: dict[str, np.ndarray], _: dict[str, Any]) -> None:
        arrays[name] = change(arrays[name])

    return edit


def text(way: str, value: Any) -> Edit:
    def edit(_: dict[str, np.ndarray], document: dict[str, Any]) -> None:
        *steps, last = way.split(".")
        inside: Any = document
        for step in steps:
            inside = inside[int(step) if step.isdigit() else step]
        inside[last] = value(inside[last]) if callable(value) else value

    return edit


EDITS: dict[str, tuple[Edit, str]] = {
    "NaN in the draws": (put("outcome.draws", (0, 0, 0), np.nan), "outcome.draws: expected finite"),
    "infinity in the mode": (put("outcome.mode", 0, np.inf), "outcome.mode: expected finite"),
    "NaN in X": (put("data.table.values", (3, 0), np.nan), "data.table.values: expected finite"),
    "NaN in y": (put("data.y", 3, np.nan), "data.y: expected finite"),
    "NaN in the weights": (put("data.weights", 3, np.nan), "data.weights: expected finite"),
    "NaN in an optimum": (put("outcome.optima.0.q", 0, np.nan), "outcome.optima.0.q: expected finite"),
    "an expert twice": (put("labels.permutations", (0, 0), 1), "labels.permutations: expected permutations of 2"),
    "a row less": (reshape("data.y", lambda a: a[1:]), r"data.table.values: expected shape \(89, 1\), got \(90, 1\)"),
    "a column more": (reshape("data.table.values", lambda a: np.hstack([a, a])), "data.table.values: expected shape"),
    "flat draws": (reshape("outcome.draws", np.ravel), "outcome.draws: expected 3 dimensions, got 1"),
    "draws of another length": (reshape("outcome.draws", lambda a: a[..., 1:]), "outcome.mode: expected shape"),
    "draws as text": (reshape("outcome.draws", lambda a: a.astype(str)), "outcome.draws: expected finite numbers"),
    "y as text": (reshape("data.y", lambda a: a.astype(str)), "data.y: expected an array of float64"),
    "an array less": (lambda arrays, _: arrays.pop("data.y"), "expected an array 'data.y' in the file, got none"),
    "another K": (text("fit.model.experts", lambda e: [*e, e[0]]), r"labels.permutations: expected shape \(1, 3\)"),
    "another model of the same K": (
        text("fit.model.gate", {"class": "EqualGate"}),
        "outcome.draws: expected 6 values, as the model has, got 9",
    ),
    "a column the table lacks": (
        text("fit.model.gate.predictor.columns", ["nowhere"]),
        "expected names of the table's columns",
    ),
    "columns of one name": (text("fit.data.table.names", ["a", "a"]), "data.table.values: expected shape"),
    "a gate column from nowhere": (text("fit.data.gate_columns", ["z"]), "data.table.names: expected distinct names"),
    "another scaling": (text("fit.data.scaling.x_scale", [0.0]), "data.scaling: .*positive finite scales"),
    "a scaling of two columns": (
        lambda _, document: document["fit"]["data"]["scaling"].update(
            x_center=[0.0, 0.0], x_scale=[1.0, 1.0], x_constant=[]
        ),
        "data.scaling: expected 1 columns, got 2",
    ),
    "a later format": (text("format", 2), "expected format 1, got 2, written by bayes_moe '.*' → load it with"),
    "a later format of another form": (
        lambda _, document: document.update(format=9, fit=[]),
        "got 9, written by bayes_moe 'unknown'",
    ),
    "a format that is no number": (text("format", "1"), "expected a format and a fit"),
    "another entry": (lambda _, document: document.update(run="os.system"), "expected a format and a fit"),
    "a class of Python": (text("fit.engine.class", "os.system"), "got an unknown class 'os.system'"),
    "a class of Python for a fit": (text("fit.class", "subprocess.Popen"), "unknown class 'subprocess.Popen'"),
    "an unknown field": (text("fit.engine.command", "true"), "engine: expected fields .* got 'command'"),
    "an unknown status": (text("fit.outcome.status.name", "PERFECT"), "outcome.status: 'PERFECT'"),
    "text for a number": (text("fit.engine.max_iter", "eval('1')"), "engine.max_iter: expected int"),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_file_is_refused_by_name(case: str, tree: xr.DataTree, tmp_path: Path) -> None:
    edit, message = EDITS[case]
    path = tmp_path / "fit.nc"
    edited(tree, path, edit)
    refused(lambda: load(path), path, message)


def test_an_edit_that_changes_nothing_loads(fit: bm.Fit, tree: xr.DataTree, tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    edited(tree, path, lambda *_: None)
    assert not differences(predictions(load(path)), predictions(fit))


POSTERIOR: dict[str, tuple[Callable[[xr.Dataset], xr.Dataset], str]] = {
    "NaN": (
        lambda p: p.assign(mu_intercept=p["mu_intercept"] * np.nan),
        r"\['mu_intercept'\]: expected what the draws",
    ),
    "a negative sigma": (lambda p: p.assign(sigma=-p["sigma"]), r"\['sigma'\]: expected what the draws"),
    "a draw more": (lambda p: xr.concat([p, p], "draw"), "expected what the draws say"),
    "an expert less": (lambda p: p.isel(expert=[0]), "expected what the draws say"),
    "no sigma": (lambda p: p.drop_vars("sigma"), "expected a variable 'sigma', got none"),
}


@pytest.mark.parametrize("case", POSTERIOR)
def test_a_posterior_that_the_draws_contradict_is_refused(
    case: str, fit: bm.Fit, tree: xr.DataTree, tmp_path: Path
) -> None:
    edit, message = POSTERIOR[case]
    path = tmp_path / "fit.nc"
    groups = {"posterior": edit(tree["posterior"].to_dataset()), "bayes_moe": tree["bayes_moe"].to_dataset()}
    seal_tree(path, groups)
    refused(lambda: load(path), path, message)
    path.unlink()
    whole = fit.idata.copy()
    whole["posterior"] = xr.DataTree(groups["posterior"])
    refused(lambda: replace(fit, idata=whole).save(path), path, message)
    assert not path.exists()


def test_a_file_without_posterior_is_refused(tree: xr.DataTree, tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    seal_tree(path, {"bayes_moe": tree["bayes_moe"].to_dataset()})
    refused(lambda: load(path), path, r"idata\['posterior'\]: expected a variable 'mu_intercept', got none")


def test_groups_may_be_left_out_and_added(fit: bm.Fit, tmp_path: Path) -> None:
    whole = fit.idata.drop_nodes(["log_likelihood", "constant_data"])
    whole["mine"] = xr.DataTree(xr.Dataset({"a": ("b", [1.0, np.nan])}))
    replace(fit, idata=whole).save(tmp_path / "fit.nc")
    assert load(tmp_path / "fit.nc").idata.identical(whole)
