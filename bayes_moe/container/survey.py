"""What an HDF5 file declares, checked before anything is read.

No links out of the file or in circles, no filters, no arrays elsewhere, no arrays larger than the file that holds
them: a file of a few kilobytes cannot ask for a terabyte.
"""

from __future__ import annotations

import io
import re
from math import prod
from typing import Any

import h5py  # type: ignore[import-untyped]
from h5netcdf import CompatibilityError

__all__ = ["CompatibilityError", "survey"]

_MOST_OBJECTS, _MOST_LEVELS = 20_000, 8
_HEAP, _HEAP_OBJECT = rb"GCOL\x01\0\0\0", 16  # how a heap begins; bytes of an object's head: index, users, length
_DIMENSION = b"This is a netCDF dimension but not a netCDF variable"


def survey(content: bytes) -> None:
    """Refuse an HDF5 file that declares what ``write_file`` does not write; reads none of its arrays.

    Raises
    ------
    ValueError
        If there is such a thing; errors of HDF5 itself pass through.
    """
    _check_heaps(content)
    with h5py.File(io.BytesIO(content), "r") as file:
        found = _Survey(len(content))
        found.attributes(file, "/")
        found.check(file)


def _check_heaps(content: bytes) -> None:
    """Raise ``ValueError`` for heaps of text whose objects do not follow one another to the end.

    HDF5 2.0 goes round for ever at an object without a length that says it is free space.
    """
    for heap in re.finditer(_HEAP, content):
        at, end = heap.end() + 8, heap.start() + int.from_bytes(content[heap.end() : heap.end() + 8], "little")
        while at + _HEAP_OBJECT <= min(end, len(content)):
            index, length = (int.from_bytes(content[at + i : at + j], "little") for i, j in ((0, 2), (8, 16)))
            step = _HEAP_OBJECT + -(-length // 8) * 8 if index else length
            if step < _HEAP_OBJECT:
                raise ValueError("a heap with an object of no length")
            at += step
        if end > len(content) or at > end:
            raise ValueError("a heap with an object that ends beyond it")


class _Survey:
    """Looks at everything an HDF5 file declares, and reads nothing.

    Parameters
    ----------
    size
        Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.size, self.declared = size, 0
        self.seen: set[Any] = set()

    def check(self, group: h5py.Group, level: int = 0) -> None:
        """Raise ``ValueError`` for anything that ``write_file`` does not write."""
        if level > _MOST_LEVELS:
            raise ValueError(f"more than {_MOST_LEVELS} levels of groups")
        for name in group:
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise ValueError(f"a link in place of {name!r}")
            found = group[name]
            self._once(found, name)
            if isinstance(found, h5py.Group):
                self.check(found, level + 1)
            else:
                self._check_array(found, name)

    def _once(self, found: h5py.HLObject, name: str) -> None:
        address = h5py.h5o.get_info(found.id).addr
        if address in self.seen or len(self.seen) >= _MOST_OBJECTS:
            raise ValueError(f"a second name {name!r} for one object, or too many objects")
        self.seen.add(address)
        self.attributes(found, name)

    def attributes(self, found: h5py.HLObject, name: str) -> None:
        """Raise ``ValueError`` for attributes that would be more than the file when they are read."""
        for attribute in found.attrs:
            opened = h5py.h5a.open(found.id, attribute.encode())
            shape = opened.get_space().get_simple_extent_dims() or ()
            if prod(shape) * opened.get_type().get_size() > self.size:
                raise ValueError(f"an attribute {attribute!r} of {name!r} larger than the file")

    def _check_array(self, found: Any, name: str) -> None:
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{name!r}, which is no array")
        how = found.id.get_create_plist()
        if found.is_virtual or how.get_external_count() or how.get_nfilters():
            raise ValueError(f"{name!r} stored elsewhere or through a filter")
        if found.dtype.kind not in "iufS" and h5py.check_string_dtype(found.dtype) is None:
            raise ValueError(f"{name!r} of a type {found.dtype} that is not numbers or text")
        elements = prod(found.shape or ())
        needed = elements * found.id.get_type().get_size()
        label = found.attrs.get("NAME")
        if isinstance(label, bytes) and label.startswith(_DIMENSION):  # a mere length: nothing is stored or read
            needed = elements
        elif found.id.get_storage_size() < needed:
            raise ValueError(f"{name!r} of {elements} elements that are not there")
        else:
            self.declared += needed
        if max(needed, self.declared) > self.size:
            raise ValueError(f"{name!r} of {elements} elements, more than the file can hold")
