"""Frozen values as JSON and back: whole, by type, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from bayes_moe.errors import SaveFileError
from bayes_moe.records import MOST_DEPTH, Schema, parse_json, record, write_json


class Colour(Enum):
    RED = "the value is not what is written"
    BLUE = "nor this"


@dataclass(frozen=True)
class Leaf:
    size: float
    name: str | None = None
    flag: bool = False
    derived: int = field(default=7, init=False)

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("13 brings no luck")


@dataclass(frozen=True, eq=False)
class Branch:
    leaves: tuple[Leaf, ...]
    pair: tuple[int, str]
    values: npt.NDArray[np.float64]
    colour: Colour
    facts: Mapping[str, float | int | str]
    arrays: Mapping[str, np.ndarray]
    either: Leaf | int | str | None = None
    ignored: object | None = None


SCHEMA = Schema({"Leaf": record(Leaf), "Branch": record(Branch), "Colour": record(Colour)})
BRANCH = Branch(
    (Leaf(1.5), Leaf(2, "two", flag=True)),
    (3, "three"),
    np.array([0.1, -0.0, np.nan]),
    Colour.BLUE,
    {"a": 1, "b": 2.5, "c": "text", "d": math.inf, "e": -math.inf},
    {"x": np.arange(3, dtype=np.int32), "s": np.array(["p", "qr"])},
)


def there_and_back(value: object, kind: object) -> object:
    arrays: dict[str, np.ndarray] = {}
    text = write_json(SCHEMA.encode(value, arrays))
    return SCHEMA.decode(parse_json(text), kind, arrays)


def test_everything_comes_back() -> None:
    back = there_and_back(BRANCH, Branch)
    assert isinstance(back, Branch)
    assert (back.leaves, back.pair, back.colour, back.facts) == (
        BRANCH.leaves,
        BRANCH.pair,
        BRANCH.colour,
        BRANCH.facts,
    )
    assert back.values.tobytes() == BRANCH.values.tobytes()
    assert all(np.array_equal(back.arrays[name], BRANCH.arrays[name]) for name in BRANCH.arrays)
    assert back.arrays["x"].dtype == np.int32


def test_every_float_comes_back_bit_by_bit(rng: np.random.Generator) -> None:
    floats = rng.integers(0, 2**63, size=200, dtype=np.int64).view(np.float64)
    for number in [*floats[np.isfinite(floats)].tolist(), 5e-324, 1.7976931348623157e308, -0.0]:
        back = there_and_back(Leaf(number), Leaf)
        assert isinstance(back, Leaf)
        assert np.float64(back.size).tobytes() == np.float64(number).tobytes()


def test_an_array_is_a_copy_and_keeps_whether_it_may_be_written() -> None:
    frozen = np.arange(3.0)
    frozen.setflags(write=False)
    for values in (frozen, np.arange(3.0)):
        back = there_and_back(Branch((), (1, ""), values, Colour.RED, {}, {}), Branch)
        assert isinstance(back, Branch)
        assert back.values.flags.writeable is values.flags.writeable
        assert not np.shares_memory(back.values, values)


def test_numpy_numbers_become_numbers() -> None:
    assert SCHEMA.encode(Leaf(np.float32(0.5), np.str_("a"), np.bool_(True))) == {  # type: ignore[arg-type]
        "class": "Leaf",
        "size": 0.5,
        "name": "a",
        "flag": True,
    }


LEAF = {"class": "Leaf", "size": 1, "name": None, "flag": False}
REFUSED = {
    "an unknown class": (LEAF | {"class": "os.system"}, "expected Leaf, got an unknown class 'os.system'"),
    "a class of another kind": ({"class": "Colour", "name": "RED"}, "expected Leaf, got an unknown class 'Colour'"),
    "a class that is no text": (LEAF | {"class": ["Leaf"]}, "unknown class"),
    "no class": ({"size": 1}, "expected Leaf"),
    "no object": ([1, 2], "expected Leaf, got"),
    "an unknown field": (LEAF | {"sizes": 1}, "'sizes'; did you mean 'size'"),
    "a derived field": (LEAF | {"derived": 1}, "derived"),
    "a missing field": ({"class": "Leaf", "size": 1, "name": None}, "expected a field 'flag', got none"),
    "text for a number": (LEAF | {"size": "1"}, "size: expected float, got '1'"),
    "truth for a number": (LEAF | {"size": True}, "size: expected float, got True"),
    "a number for truth": (LEAF | {"flag": 1}, "flag: expected bool, got 1"),
    "a number for text": (LEAF | {"name": 1}, "name: expected str or null, got 1"),
    "a list for a number": (LEAF | {"size": [1]}, "size"),
    "a made-up float": (LEAF | {"size": {"float": "0x10"}}, "size"),
    "a float of a list": (LEAF | {"size": {"float": []}}, "size"),
    "what the constructor refuses": (LEAF | {"size": 13}, "13 brings no luck"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused(case: str) -> None:
    value, message = REFUSED[case]
    with pytest.raises(SaveFileError, match=message.replace("[", r"\[")):
        SCHEMA.decode(value, Leaf)


DAMAGE = {
    "no such array": ({"values": {"array": "nowhere", "writeable": True}}, "values: expected an array 'nowhere'"),
    "an array of another kind": ({"values": {"array": "arrays.s", "writeable": True}}, "expected an array of float64"),
    "an array named by a list": ({"values": {"array": [], "writeable": True}}, "values: expected"),
    "too few entries": ({"pair": [1]}, "pair: expected 2 entries, got 1"),
    "truth for a whole number": ({"pair": [True, "three"]}, "pair.0: expected int, got True"),
    "an entry of another type": ({"leaves": [LEAF, 3]}, "leaves.1: expected Leaf, got 3"),
    "an unknown member": ({"colour": {"class": "Colour", "name": "GREEN"}}, "colour: 'GREEN'"),
    "a fact that is a list": ({"facts": {"a": []}}, "facts.a: expected float or int or str"),
    "what is not kept": ({"ignored": 1}, "ignored: expected"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_by_its_place(case: str) -> None:
    damage, message = DAMAGE[case]
    arrays: dict[str, np.ndarray] = {}
    value = SCHEMA.encode(BRANCH, arrays)
    with pytest.raises(SaveFileError, match=message):
        SCHEMA.decode(value | damage, Branch, arrays)


TEXTS = {
    "no JSON": ("{", "JSON"),
    "empty": ("", "JSON"),
    "not UTF-8": (b'"\xff"', "JSON"),
    "NaN": ('{"a": NaN}', "the number NaN"),
    "infinity": ('{"a": -Infinity}', "the number -Infinity"),
    "too large for a float": ('{"a": 1e999}', "too large"),
    "too many digits": ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
    "a key twice": ('{"a": 1, "a": 2}', "'a' twice"),
    "nested lists": ("[" * 100_000 + "]" * 100_000, f"more than {MOST_DEPTH} levels"),
    "nested objects": ('{"a":' * 100_000, f"more than {MOST_DEPTH} levels"),
    "two values": ("1 2", "JSON"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_beyond_the_limits_is_refused(case: str) -> None:
    text, message = TEXTS[case]
    with pytest.raises(SaveFileError, match=message):
        parse_json(text)


def test_a_text_of_a_gigabyte_is_refused_unread() -> None:
    class Long(str):
        def __len__(self) -> int:
            return 10**9

    with pytest.raises(SaveFileError, match="characters, got 1000000000"):
        parse_json(Long("1"))


def test_brackets_inside_a_text_do_not_count() -> None:
    text = '["' + "[" * 1000 + '", "\\"' + "{" * 1000 + '"]'
    assert parse_json(text) == ["[" * 1000, '"' + "{" * 1000]


def test_values_of_other_classes_are_not_written() -> None:
    with pytest.raises(SaveFileError, match=r"either: expected a value that can be saved, got Fraction"):
        SCHEMA.encode(Branch((), (1, ""), np.zeros(0), Colour.RED, {}, {}, either=Fraction(1)), {})  # type: ignore[arg-type]
    with pytest.raises(SaveFileError, match="ndarray"):
        SCHEMA.encode(np.zeros(1))


def test_a_class_that_cannot_be_taken_apart_is_an_error_of_ours() -> None:
    with pytest.raises(TypeError, match="expected a dataclass or an Enum"):
        record(int)
