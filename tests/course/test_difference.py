"""The diff: type, shape, dtype, values, in this order; lenient only where answers may differ."""

from typing import Any

import numpy as np
import pytest

from course.difference import Tolerance, find_difference
from course.plain_data import Record

F = np.float32
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(("expected", "got"), [
    (1, 1), (1.0, np.float64(1)), (F(0.5), 0.5), ([1, 2], (1, 2)), (NAN, NAN), (0.0, -0.0),
    (INF, INF), (np.zeros(3, np.int64), np.zeros(3, np.int32)), (True, np.bool_(True)),
    (np.array([NAN, 1.0]), np.array([NAN, 1.0])), ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (Record("A", {"x": 1}), Record("B", {"x": 1})), (1.0, 1), (3, np.int64(3)),
    (2.0, np.array(2.0)), ("text", "text"), (None, None), (np.zeros((0, 4)), np.zeros((0, 4))),
    (np.array([INF, -INF]), np.array([INF, -INF])), (b"x", b"x"), (1 + 2j, 1 + 2j),
])
def test_equal(expected: Any, got: Any) -> None:
    assert find_difference(expected, got) is None


@pytest.mark.parametrize(("expected", "got", "kind", "said"), [
    (np.zeros(2), [0.0, 0.0], "type", "a list of 2, expected an array of float64 [2]"),
    (1, None, "type", "None, expected 1 (int)"), (1, 1.0, "type", "whole number"),
    (True, 1, "type", "bool"), (1, True, "type", "int"), ("1", 1, "type", "str"),
    (np.zeros((2, 3)), np.zeros((3, 2)), "shape", "[3, 2], expected [2, 3]"),
    ([1, 2], [1], "shape", "1 items, expected 2"),
    (np.zeros(2, F), np.zeros(2), "dtype", "float64, expected float32"),
    (np.zeros(2, np.uint8), np.zeros(2, np.int64), "dtype", "int64, expected uint8"),
    (np.zeros(2, np.int64), np.zeros(2), "dtype", "float64"),
    (1.0, 1.1, "value", "1.1, expected 1"), (NAN, 1.0, "value", "expected nan"),
    (INF, -INF, "value", "-inf"), ("a", "b", "value", "'b', expected 'a'"),
    (np.array([1, 2, 3]), np.array([1, 5, 9]), "value",
     "2 of 3 values differ; the first at [1]: 5, expected 2; the worst at [2]: 9, expected 3"),
    (np.array([1.0, NAN]), np.array([1.0, 2.0]), "value", "first at [1]: 2, expected nan"),
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "value", "a.b[1] is 3, expected 2"),
    ({"a": 1}, {}, "type", "lacks 'a'"), ({}, {"z": 1}, "type", "'z', which is not expected"),
    (Record("A", {"x": 1}), 1, "type", "a A"), (10**20, 10**20 + 1, "value", "expected"),
])
def test_different(expected: Any, got: Any, kind: str, said: str) -> None:
    found = find_difference(expected, got)
    assert found is not None and found.kind == kind and said in found.text, found


def test_tolerances() -> None:
    near = np.array([1.0, 100.0]), np.array([1.0005, 100.05])
    assert find_difference(*near, Tolerance(1e-3, 0)) is None
    found = find_difference(*near, Tolerance(1e-4, 0))
    assert found is not None and found.first == (0,) and found.worst == (1,)
    loose = {"a": Tolerance(0, 1)}
    assert find_difference({"a": 1.0, "b": 1.0}, {"a": 1.5, "b": 1.0}, None, loose) is None
    assert find_difference({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.5}, None, loose) is not None
    assert find_difference(5, 6, Tolerance(1, 1)) is not None  # whole numbers are exact
