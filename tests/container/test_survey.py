"""HDF5 files that declare what no saved fit holds are refused before an array of them is read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from bayes_moe.container.sealed import read_file, write_file
from bayes_moe.container.survey import survey
from bayes_moe.errors import SaveFileError
from tests.tiers import seeds

TREE = xr.DataTree.from_dict(
    {
        "/": xr.Dataset(attrs={"library": "bayes_moe", "empty": "", "number": 2.5}),
        "/numbers": xr.Dataset(
            {
                "float": (("row", "column"), np.arange(6.0).reshape(3, 2)),
                "none": (("row", "nothing"), np.empty((3, 0))),
                "whole": ("row", np.arange(3)),
                "truth": ("row", np.array([True, False, True])),
                "text": ("row", np.array(["a", "é", ""])),
                "characters": ((), np.bytes_(b'{"a": 1}' * 50)),
            },
            coords={"row": [3, 5, 8]},
        ),
        "/numbers/deeper": xr.Dataset({"x": ("z", [np.nan, np.inf, -0.0])}),
    }
)


def netcdf() -> bytes:
    stream = io.BytesIO()
    TREE.to_netcdf(stream, engine="h5netcdf")
    return stream.getvalue()


def changed(change: Callable[[h5py.File], object]) -> bytes:
    """The bytes of a good file after a change by HDF5 itself."""
    stream = io.BytesIO(netcdf())
    with h5py.File(stream, "r+") as file:
        change(file)
    return stream.getvalue()


def seal(path: Path, content: bytes) -> Path:
    path.write_bytes(content + b"\nbayes_moe sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n")
    return path


def loop(file: h5py.File) -> None:
    file["numbers/again"] = file["numbers"]


def deep(file: h5py.File) -> None:
    file.create_group("/".join("abcdefghijkl"))


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", shape=(3,))
    file.create_virtual_dataset("v", layout)


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "a soft link": (lambda f: f.__setitem__("s", h5py.SoftLink("/numbers")), "a link in place of 's'"),
    "a soft link to itself": (lambda f: f.__setitem__("s", h5py.SoftLink("/s")), "a link in place of 's'"),
    "a link to another file": (lambda f: f.__setitem__("s", h5py.ExternalLink("b.h5", "/")), "a link in place of 's'"),
    "a group inside itself": (loop, "a second name"),
    "an array under two names": (lambda f: f.__setitem__("t", f["numbers/text"]), "a second name 't'"),
    "a named type": (lambda f: f.__setitem__("t", np.dtype("f8")), "'t', which is no array"),
    "very deep groups": (deep, "levels of groups"),
    "a filter": (lambda f: f.create_dataset("d", data=np.zeros(50), compression="gzip"), "through a filter"),
    "a checksum filter": (lambda f: f.create_dataset("d", data=np.zeros(50), fletcher32=True), "through a filter"),
    "an array in another file": (
        lambda f: f.create_dataset("d", (3,), "f8", external=[("other.bin", 0, 24)]),
        "stored elsewhere",
    ),
    "a virtual array": (virtual, "stored elsewhere"),
    "a terabyte of nothing": (lambda f: f.create_dataset("d", (10**12,), "f8"), "1000000000000 elements"),
    "a terabyte in chunks": (
        lambda f: f.create_dataset("d", (10**6, 10**6), "f8", chunks=(10, 10)),
        "1000000000000 elements that are not there",
    ),
    "more than the address space": (
        lambda f: f.create_dataset("d", (2**40, 2**20), "u1", chunks=(1, 1)),
        "elements that are not there",
    ),
    "a dimension of a terabyte": (
        lambda f: f.create_dataset("d", (10**12,), "f4").attrs.__setitem__(
            "NAME", np.bytes_(b"This is a netCDF dimension but not a netCDF variable   1000000000000")
        ),
        "more than the file can hold",
    ),
    "references": (lambda f: f.create_dataset("d", data=f.ref, dtype=h5py.ref_dtype), "not numbers or text"),
    "records": (lambda f: f.create_dataset("d", data=np.zeros(2, dtype=[("a", "f8")])), "not numbers or text"),
    "opaque bytes": (lambda f: f.create_dataset("d", data=np.void(b"abc")), "not numbers or text"),
    "lists of numbers": (lambda f: f.create_dataset("d", (2,), h5py.vlen_dtype("f8")), "not numbers or text"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_fit_declares_is_refused(case: str, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    path = seal(tmp_path / "fit.nc", changed(change))
    with pytest.raises(SaveFileError, match=message) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_good_file_passes(tmp_path: Path) -> None:
    survey(netcdf())
    assert read_file(seal(tmp_path / "a.nc", netcdf())).groups == TREE.groups


def test_a_tree_comes_back(tmp_path: Path) -> None:
    write_file(tmp_path / "a.nc", TREE)
    back = read_file(tmp_path / "a.nc")
    assert back.identical(TREE)
    for node in TREE.subtree:
        for name, variable in node.variables.items():
            after = back[node.path].variables[name]
            assert after.dtype == variable.dtype
            assert after.values.tobytes() == variable.values.tobytes()
            assert not after.encoding


@pytest.mark.parametrize(("length", "message"), [(0, "of no length"), (2**40, "ends beyond it")])
def test_a_heap_that_hdf5_would_never_leave_is_refused(length: int, message: str, tmp_path: Path) -> None:
    content = bytearray(netcdf())
    at = content.index(b"GCOL") + 16
    while int.from_bytes(content[at : at + 2], "little"):  # the free space comes last
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = length.to_bytes(8, "little")
    with pytest.raises(SaveFileError, match=message):
        read_file(seal(tmp_path / "fit.nc", bytes(content)))


@pytest.mark.parametrize("where", ["/", "numbers", "numbers/float"])
def test_an_attribute_longer_than_the_file_is_refused(where: str, tmp_path: Path) -> None:
    """HDF5 itself refuses most lengths; 2^62 x 4 elements are none as it counts."""
    stream, shape = io.BytesIO(), (7_919, 3)
    with h5py.File(stream, "w", libver=("earliest", "v108")) as file:  # whose objects have no checksums yet
        file["numbers/float"] = np.arange(6.0)
        file[where].attrs["planted"] = np.zeros(shape, "u1")
    content = bytearray(stream.getvalue())
    at = content.index(2 * _packed(*shape), content.index(b"planted"))  # the shape, and the most it can be
    content[at : at + 32] = 2 * _packed(2**62, 4)
    with pytest.raises(SaveFileError, match=r"an attribute 'planted' of .* larger than the file"):
        read_file(seal(tmp_path / "fit.nc", bytes(content)))


def _packed(*lengths: int) -> bytes:
    return b"".join(length.to_bytes(8, "little") for length in lengths)


@pytest.mark.parametrize("seed", seeds(1, 20))
def test_damage_under_a_seal_that_fits_is_one_error_or_none(seed: int, tmp_path: Path) -> None:
    """Whatever HDF5 and its readers raise on broken files becomes a SaveFileError."""
    rng, content, messages = np.random.default_rng(seed), netcdf(), []
    for _ in range(100):
        damaged = bytearray(content)
        at, length = rng.integers(len(content) - 8), rng.integers(1, 9)
        damaged[at : at + length] = rng.bytes(length) if rng.random() < 0.7 else b"\xff" * length
        path = seal(tmp_path / "fit.nc", bytes(damaged))
        try:
            read_file(path)
        except SaveFileError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not [message for message in messages if "\n" in message]
