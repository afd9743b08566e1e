"""The file on disk: one netCDF file, closed by a seal, read whole or not at all.

The seal is the SHA-256 of everything before it, in the last line of the file, behind what HDF5 reads. It is
checked before HDF5 sees a byte, so that a file that was damaged, cut short or changed by another program is told
apart from a whole one. It is no signature: whoever wants to can seal another file.

A file is written beside its place, read back and compared, and only then put there in one step: what stood
there before stays whole until the new file is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import SaveFileError

LARGEST_FILE = 16 * 2**30
_MAGIC = b"\x89HDF\r\n\x1a\n"
_SEAL = b"\nbayes_moe sha256 "
_SEAL_LENGTH = len(_SEAL) + 64 + 1

# What HDF5, h5py, h5netcdf and xarray were seen to raise on files that are HDF5 but broken or of another kind.
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, OverflowError, MemoryError)


def write_file(path: Path, tree: xr.DataTree) -> None:
    """Write a tree to ``path`` in one step; whatever stood there stays whole if that fails.

    Parameters
    ----------
    path
        Where to; an existing file is replaced.
    tree
        What to write.

    Raises
    ------
    SaveFileError
        If the place cannot be written, or netCDF cannot hold the tree.
    """
    storable = _storable(tree)
    try:
        _refuse_place(path)
        content = _to_bytes(path, storable)
        temporary = path.with_name(f".bayes_moe-{secrets.token_hex(8)}.tmp")
        try:
            _write_bytes(temporary, content, _mode_of(path))
            _verify(path, temporary, storable)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except SaveFileError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SaveFileError(
            f"save: expected to write {str(path)!r}, got {reason} → check the folder, its permissions and the space "
            "left"
        ) from error
    _sync_folder(path.parent)


def read_file(path: Path) -> xr.DataTree:
    """Return the tree in a file, in memory; the file is closed.

    Raises
    ------
    SaveFileError
        If there is no such file, or it is not whole, or not one that ``write_file`` wrote.
    """
    from .survey import survey

    content = _unsealed(path)
    try:
        survey(content)
        stream = io.BytesIO(content)
        with xr.open_datatree(stream, engine="h5netcdf", mask_and_scale=False, decode_timedelta=False) as opened:
            return _plain(opened.load())
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SaveFileError(f"load: expected a file written by fit.save, got {str(path)!r} with {reason}") from error


# -- writing ---------------------------------------------------------------------------------------------------


def _refuse_place(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise SaveFileError(
            f"save: expected an existing folder for {str(path)!r}, got none → make {str(folder)!r} first"
        )
    if path.is_dir():
        raise SaveFileError(f"save: expected the path of a file, got the folder {str(path)!r} → add a file name")
    if path.exists() and not path.is_file():
        raise SaveFileError(f"save: expected the path of a file, got the device {str(path)!r} → choose another")
    if path.exists() and not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):
        raise SaveFileError(
            f"save: expected a file that may be changed, got the read-only {str(path)!r} → choose another"
        )


def _storable(tree: xr.DataTree) -> xr.DataTree:
    """Return a copy whose objects are text and whose variables are written as they are, without a fill value."""
    return xr.DataTree.from_dict({node.path: _storable_group(node.to_dataset(inherit=False)) for node in tree.subtree})


def _storable_group(group: xr.Dataset) -> xr.Dataset:
    out = group.drop_encoding()
    for name, variable in out.variables.items():
        if variable.dtype.kind in "OT":
            texts = ["" if _is_missing(value) else str(value) for value in variable.values.ravel().tolist()]
            out = out.assign(
                {name: (variable.dims, np.array(texts, dtype=str).reshape(variable.shape), variable.attrs)}
            )
    for variable in out.variables.values():
        variable.attrs = _storable_attributes(variable.attrs)
        if variable.dtype.kind == "f" and "_FillValue" not in variable.attrs:
            variable.encoding["_FillValue"] = None
    return out.assign_attrs(_storable_attributes(group.attrs))


def _is_missing(value: object) -> bool:
    """Whether an object stands for no text; xarray makes NaN of None."""
    return value is None or (isinstance(value, float) and np.isnan(value))


def _storable_attributes(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes with truth values as 0 and 1: netCDF has none."""
    return {name: int(value) if isinstance(value, bool | np.bool_) else value for name, value in attributes.items()}


def _to_bytes(path: Path, tree: xr.DataTree) -> bytes:
    from .survey import CompatibilityError

    stream = io.BytesIO()
    try:
        tree.to_netcdf(stream, engine="h5netcdf")
    except (CompatibilityError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SaveFileError(
            f"save: expected a fit.idata that netCDF can hold for {str(path)!r}, got {reason} → leave out what was "
            "added"
        ) from error
    content = stream.getvalue()
    if len(content) > LARGEST_FILE:
        raise SaveFileError(
            f"save: expected at most {LARGEST_FILE} bytes for {str(path)!r}, got {len(content)} → leave out groups of "
            "fit.idata"
        )
    return content


def _write_bytes(path: Path, content: bytes, mode: int | None) -> None:
    seal = _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
        if mode is not None:
            os.chmod(file.fileno(), mode)
        file.write(content)
        file.write(seal)
        file.flush()
        os.fsync(file.fileno())


def _mode_of(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def _verify(path: Path, temporary: Path, written: xr.DataTree) -> None:
    """Read the new file back; refuse it unless it holds every group as it was."""
    try:
        read = read_file(temporary)
    except SaveFileError as error:
        raise SaveFileError(
            f"save: expected to read {str(path)!r} back, got {error} → leave out what was added "
            "to fit.idata, or try another disk"
        ) from error
    found = {node.path: node.to_dataset(inherit=False) for node in read.subtree}
    for node in written.subtree:
        if node.path not in found or not found[node.path].identical(node.to_dataset(inherit=False)):
            raise SaveFileError(
                f"save: expected {str(path)!r} to give back group {node.path!r} as it was, got something else → leave "
                "out what was added to fit.idata"
            )


def _sync_folder(folder: Path) -> None:
    """Ask the disk to remember the new name; file systems without that are content already."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- reading ---------------------------------------------------------------------------------------------------


def _unsealed(path: Path) -> bytes:
    """Return what stands before the seal, after checking the seal."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # before opening: a pipe would wait for its other end
            raise SaveFileError(f"load: expected a file, got {str(path)!r}, a folder or device → check the path")
        with open(path, "rb") as file:
            _refuse_outside(path, file, about.st_size)
            file.seek(0)
            content, seal = file.read(about.st_size - _SEAL_LENGTH), file.read()
    except SaveFileError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SaveFileError(
            f"load: expected a file that can be read, got {str(path)!r}: {reason} → check the path"
        ) from error
    if seal != _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise SaveFileError(
            f"load: expected a file as fit.save left it, got {str(path)!r} with other contents: it was damaged or "
            "changed → take a copy that is whole"
        )
    return content


def _refuse_outside(path: Path, file: io.BufferedReader, size: int) -> None:
    """Refuse what is not ours by its first and last bytes, before reading it all."""
    if size == 0:
        raise SaveFileError(f"load: expected a file written by fit.save, got {str(path)!r}, which is empty")
    if file.read(len(_MAGIC)) != _MAGIC:
        raise SaveFileError(f"load: expected a file written by fit.save, got {str(path)!r}, which is of another kind")
    file.seek(max(size - _SEAL_LENGTH, 0))
    if not file.read(len(_SEAL)) == _SEAL or size > LARGEST_FILE + _SEAL_LENGTH:
        raise SaveFileError(
            f"load: expected a file as fit.save left it, got {str(path)!r} without the line that ends it: it is cut "
            "short, was changed, or was never a bayes_moe file"
        )


def _plain(tree: xr.DataTree) -> xr.DataTree:
    """Return the tree as it was before it was written: Python numbers in the attributes, no traces of the file."""
    groups = {}
    for node in tree.subtree:
        group = node.to_dataset(inherit=False).drop_encoding()
        group.attrs = {k: v.item() if isinstance(v, np.generic) else v for k, v in group.attrs.items()}
        groups[node.path] = group
    return xr.DataTree.from_dict(groups)
