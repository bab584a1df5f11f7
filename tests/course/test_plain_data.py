"""Results as bytes: everything plain survives, nothing else gets in, hostile bytes are refused."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from course.difference import Tolerance, find_difference
from course.plain_data import MAX_DEPTH, NotPlainError, Record, decode, encode

SCALARS = (st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats()
           | st.text(max_size=20) | st.binary(max_size=20))
ARRAYS = arrays.arrays(
    st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "complex64", "float16"]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
TREES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner,
                                                               max_size=4)
    | st.tuples(inner, inner), max_leaves=12,
)


class Pair(NamedTuple):
    left: int
    right: Any


@dataclass(frozen=True)
class Point:
    x: float
    label: str = "a"


class Colour(StrEnum):
    RED = "red"


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_plain_data_survives(value: Any) -> None:
    back = decode(encode(value))
    assert find_difference(decode(encode(back)), back, Tolerance(0, 0)) is None
    assert find_difference(value, back, Tolerance(0, 0)) is None


def test_records_keep_names_and_fields() -> None:
    assert decode(encode(Pair(1, [Point(2.0)]))) == Record(
        "Pair", {"left": 1, "right": [Record("Point", {"x": 2.0, "label": "a"})]})
    assert decode(encode({"c": Colour.RED})) == {"c": "red"}
    turned = np.arange(6).reshape(2, 3).T
    np.testing.assert_array_equal(decode(encode(turned)), turned)
    big = np.arange(3, dtype=">i4")
    np.testing.assert_array_equal(decode(encode(big)), big)
    assert decode(encode(np.float32(0.5))) == np.float32(0.5)


class Liar(np.ndarray):  # type: ignore[type-arg]
    def __eq__(self, other: object) -> Any:
        return True


class Sneaky(dict):  # type: ignore[type-arg]
    pass


class Number(int):
    pass


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [
    (x for x in range(3)), object(), np.zeros(2).view(Liar), Sneaky(a=1), Number(3), {1: 2},
    np.array([object()]), np.array(["text"]), np.array([None]), np.datetime64("2020-01-01"),
    lambda: 1, len, {"a": {"b": {1, 2}}}, 1 << 5000, deep(MAX_DEPTH + 2), int, Point,
    np.ma.masked_array([1, 2], [0, 1]), np.matrix([[1]]), range(3), iter([]), ...,
])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(NotPlainError, match=r"plain|bits|deep|key"):
        encode({"out": value})


def test_a_refusal_says_where() -> None:
    with pytest.raises(NotPlainError, match=r"boxes\[1\]\.score is a generator"):
        encode({"boxes": [1, {"score": (x for x in [])}]})


def message(tree: Any, blob: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    return len(text).to_bytes(4, "little") + text + blob


@pytest.mark.parametrize("data", [
    b"", b"\0\0", b"\xff\xff\xff\xff", b"\x02\0\0\0{", message({"a": 1}), message(["x", 1]),
    message(["a", "object", [1], 8], b"8" * 8), message(["a", "float32", [1 << 50], 4], b"1234"),
    message(["a", "float32", [-1], 4], b"1234"), message(["a", "float32", [1], 400], b"1234"),
    message(["a", "float32", [2], 4], b"1234"), message(["a", "float32", [1, True], 4], b"1234"),
    message(1, b"left over"), message(["b", 9], b"1"), message(["b", -1], b"1"),
    message(["d", [["k"]]]), message(["d", 5]), message(["l", "text"]) + b"x",
    message(["a", "U4", [1], 16], b"0" * 16), message(["r", "name"]), message(["s", "int64", 5, 8]),
    b"\x10\0\0\0" + b"[" * 16, len(b"[" * 100000).to_bytes(4, "little") + b"[" * 100000,
    message(["a", ["float32"], [1], 4], b"1234"), message([[], 1]), message([]),
])
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotPlainError):
        decode(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), TREES, st.integers(0, 200), st.integers(0, 255))
def test_damaged_bytes_are_a_value_or_a_refusal(junk: bytes, value: Any, at: int, byte: int
                                                ) -> None:
    good = bytearray(encode(value))
    if at < len(good):
        good[at] = byte
    for data in (junk, bytes(good), bytes(good[:at])):
        try:
            decode(data)
        except NotPlainError:
            continue
