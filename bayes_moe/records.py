"""Frozen values as JSON and back, by a closed list of classes.

What is written of a class is the list of its fields, read from the class itself, so that none can be forgotten.
Reading follows the types of those fields: a class that is not on the list, a field too many or too few, or a value
of another type is refused, and nothing is ever called but the constructors on the list. Arrays stay outside the
text, under the name of their place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeAliasType, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from .errors import SaveFileError, nearest

MOST_TEXT = 64_000_000
MOST_DEPTH = 64
_MOST_DIGITS = 40
_CLASS, _ARRAY, _WRITEABLE, _FLOAT = "class", "array", "writeable", "float"
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', re.DOTALL)  # strings whole, so that theirs do not count
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Record:
    """How the values of one class are taken apart and made again.

    Parameters
    ----------
    kind
        The class.
    hints
        Type of every part, by the name of the attribute.
    make
        The value from its parts.
    """

    kind: type
    hints: Mapping[str, Any]
    make: Callable[[dict[str, Any]], Any]


def record(kind: type) -> Record:
    """Return how a dataclass is written: every field its constructor takes; an Enum by the name of its member.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if issubclass(kind, Enum):
        return Record(kind, {"name": str}, lambda parts: kind[parts["name"]])
    if not is_dataclass(kind):
        raise TypeError(f"record: expected a dataclass or an Enum, got {kind!r} → give it a Record of its own")
    hints = get_type_hints(kind)
    return Record(kind, {f.name: hints[f.name] for f in fields(kind) if f.init}, lambda parts: kind(**parts))


class Schema:
    """The closed list of what can be written and read.

    Parameters
    ----------
    records
        The classes by the name they have in the text.

    Examples
    --------
    >>> from bayes_moe.errors import Notice
    >>> schema = Schema({"Notice": record(Notice)})
    >>> schema.encode(Notice("a", "b"))
    {'class': 'Notice', 'code': 'a', 'message': 'b'}
    >>> schema.decode({"class": "Notice", "code": "a", "message": "b"}, Notice)
    Notice(code='a', message='b')
    """

    def __init__(self, records: Mapping[str, Record]) -> None:
        self.records = dict(records)
        self._tags = {entry.kind: tag for tag, entry in self.records.items()}

    def encode(self, value: object, arrays: Arrays | None = None, place: str = "") -> Any:
        """Return ``value`` as what JSON can hold; arrays go into ``arrays`` under their place.

        Raises
        ------
        SaveFileError
            If a value of another class is inside.
        """
        if type(value) in self._tags:
            tag = self._tags[type(value)]
            parts = {name: getattr(value, name) for name in self.records[tag].hints}
            return {_CLASS: tag} | {n: self.encode(v, arrays, _join(place, n)) for n, v in parts.items()}
        if isinstance(value, np.ndarray) and arrays is not None:
            arrays[place] = value
            return {_ARRAY: place, _WRITEABLE: value.flags.writeable}
        if isinstance(value, tuple | list):
            return [self.encode(v, arrays, _join(place, i)) for i, v in enumerate(value)]
        if isinstance(value, Mapping):
            return {str(k): self.encode(v, arrays, _join(place, k)) for k, v in value.items()}
        return _encode_scalar(value, place)

    def decode(self, value: Any, hint: Any, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> Any:
        """Return the value of type ``hint`` that ``encode`` wrote.

        Raises
        ------
        SaveFileError
            If the text holds anything else; the message names the place.
        """
        return _Reader(self.records, arrays or {}).read(value, hint, "")


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    SaveFileError
        If it is no JSON, is larger than 64 MB or deeper than 64 levels, repeats a key, or holds NaN, infinity or
        a number too large for a float.

    Examples
    --------
    >>> parse_json('{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    if len(text) > MOST_TEXT:
        raise SaveFileError(f"text: expected at most {MOST_TEXT} characters, got {len(text)}")
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        _refuse_deep(decoded)
        return json.loads(
            decoded,
            object_pairs_hook=_distinct,
            parse_constant=_refuse_number,
            parse_float=_finite,
            parse_int=_whole,
        )
    except ValueError as error:
        raise SaveFileError(f"text: expected JSON, got {error}") from error


def write_json(value: Any) -> str:
    """Return JSON in plain ASCII."""
    return json.dumps(value, allow_nan=False, ensure_ascii=True)


def _encode_scalar(value: object, place: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else {_FLOAT: str(number)}
    raise SaveFileError(f"{place or 'value'}: expected a value that can be saved, got {type(value).__name__}")


class _Reader:
    """Reads by type: every method returns the value, or raises with its place."""

    def __init__(self, records: Mapping[str, Record], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.records, self.arrays = records, arrays
        self.kinds = {entry.kind for entry in records.values()}

    def read(self, value: Any, hint: Any, place: str) -> Any:
        hint = _without_alias(hint)
        origin = get_origin(hint)
        if origin in (Union, UnionType):
            return self._read_union(value, get_args(hint), place)
        if not self._fits(value, hint):
            raise _unlike(place, _named(hint), value)
        if hint is float and isinstance(value, dict):
            return _NOT_FINITE[str(value[_FLOAT])]
        if origin is np.ndarray or hint is np.ndarray:
            return self._read_array(value, hint, place)
        if origin is tuple:
            return self._read_tuple(value, get_args(hint), place)
        if origin is not None and issubclass(origin, Mapping):
            return {key: self.read(v, get_args(hint)[1], _join(place, key)) for key, v in value.items()}
        if isinstance(value, dict):
            return self._read_record(value, hint, place)
        return value

    def _fits(self, value: Any, hint: Any) -> bool:
        """Whether the JSON value has the form of the type, without looking inside."""
        hint = _without_alias(hint)
        if hint in (bool, str, NoneType):
            return isinstance(value, hint)
        if hint is int:
            return isinstance(value, int) and not isinstance(value, bool)
        if hint is float:
            tagged = isinstance(value, dict) and value.keys() == {_FLOAT} and str(value[_FLOAT]) in _NOT_FINITE
            return tagged or (isinstance(value, int | float) and not isinstance(value, bool))
        if hint is object or hint is Any:  # what is not worth keeping is written as None
            return value is None
        origin = get_origin(hint)
        if origin is tuple:
            return isinstance(value, list)
        if origin is np.ndarray or hint is np.ndarray:
            return (
                isinstance(value, dict)
                and value.keys() == {_ARRAY, _WRITEABLE}
                and isinstance(value[_ARRAY], str)
                and isinstance(value[_WRITEABLE], bool)
            )
        if origin is not None and issubclass(origin, Mapping):
            return isinstance(value, dict)
        if isinstance(hint, type):
            entry = self.records.get(str(value.get(_CLASS))) if isinstance(value, dict) else None
            return entry is not None and issubclass(entry.kind, hint)
        raise TypeError(f"records: expected a type that can be read, got {hint!r} → teach _Reader to read it")

    def _read_union(self, value: Any, hints: tuple[Any, ...], place: str) -> Any:
        for hint in hints:
            if self._fits(value, hint):
                return self.read(value, hint, place)
        raise _unlike(place, " or ".join(_named(hint) for hint in hints), value)

    def _read_tuple(self, value: list[Any], hints: tuple[Any, ...], place: str) -> tuple[Any, ...]:
        if len(hints) == 2 and hints[1] is Ellipsis:
            hints = (hints[0],) * len(value)
        if len(hints) != len(value):
            raise SaveFileError(f"{place}: expected {len(hints)} entries, got {len(value)}")
        return tuple(self.read(v, h, _join(place, i)) for i, (v, h) in enumerate(zip(value, hints, strict=True)))

    def _read_array(self, value: dict[str, Any], hint: Any, place: str) -> npt.NDArray[Any]:
        name = value[_ARRAY]
        if name not in self.arrays:
            raise SaveFileError(f"{place}: expected an array {name!r} in the file, got none")
        array = np.array(self.arrays[name], order="C")
        expected = _dtype(hint)
        if expected is not None and array.dtype != expected:
            if array.dtype.kind != expected.kind:
                raise SaveFileError(f"{place}: expected an array of {expected}, got {array.dtype}")
            array = array.astype(expected)
        array.setflags(write=value[_WRITEABLE])
        return array

    def _read_record(self, value: dict[str, Any], hint: Any, place: str) -> Any:
        tag = value[_CLASS]
        entry = self.records[tag]
        given = value.keys() - {_CLASS}
        for name in sorted(given - entry.hints.keys()):
            raise SaveFileError(
                f"{place or tag}: expected fields {list(entry.hints)}, got {name!r}{nearest(name, entry.hints)}"
            )
        missing = [name for name in entry.hints if name not in given]
        if missing:
            raise SaveFileError(f"{place or tag}: expected a field {missing[0]!r}, got none")
        parts = {name: self.read(value[name], part, _join(place, name)) for name, part in entry.hints.items()}
        try:
            return entry.make(parts)
        except (ValueError, TypeError, KeyError) as error:
            raise SaveFileError(f"{place or tag}: {error}") from error


def _unlike(place: str, expected: str, value: Any) -> SaveFileError:
    got = f"an unknown class {value[_CLASS]!r}" if isinstance(value, dict) and _CLASS in value else repr(value)
    return SaveFileError(f"{place or 'value'}: expected {expected}, got {got[:80]}")


def _named(hint: Any) -> str:
    return "null" if hint is NoneType else getattr(hint, "__name__", str(hint))


def _without_alias(hint: Any) -> Any:
    """Return what an alias such as NumPy's ``NDArray[...]`` stands for."""
    origin = get_origin(hint) or hint
    if not isinstance(origin, TypeAliasType):
        return hint
    return origin.__value__[get_args(hint)] if get_args(hint) else origin.__value__


def _dtype(hint: Any) -> np.dtype[Any] | None:
    """Return the dtype that an annotation such as ``NDArray[np.float64]`` asks for, None where it does not."""
    inside = get_args(get_args(hint)[1]) if len(get_args(hint)) == 2 else ()
    return np.dtype(inside[0]) if inside and isinstance(inside[0], type) else None


def _join(place: str, part: object) -> str:
    return f"{place}.{part}" if place else str(part)


def _refuse_deep(text: str) -> None:
    depth = 0
    for found in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MOST_DEPTH:
            raise ValueError(f"more than {MOST_DEPTH} levels")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} twice")
        found[key] = value
    return found


def _refuse_number(text: str) -> None:
    raise ValueError(f"the number {text}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]}, too large for a float")
    return number


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
