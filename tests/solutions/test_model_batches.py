"""Batches: order kept, last one padded, bad items named, the size chosen by measurement."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.phase1_basics.batch_prediction import (
    BatchTime,
    choose_batch_size,
    pad_batch,
    predict_in_batches,
    predict_items,
    time_batches,
)
from zoo.errors import InferenceError


class Doubler:
    """A network of one fixed batch size that notes what it was given."""

    def __init__(self, size: int) -> None:
        self.size, self.calls = size, 0

    def __call__(self, batch):
        assert len(batch) == self.size
        self.calls += 1
        return batch * 2


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), size=st.integers(1, 12))
def test_batches_equal_one_great_batch(count, size) -> None:
    items = np.random.default_rng(count).normal(size=(count, 3))
    network = Doubler(size)
    np.testing.assert_array_equal(predict_in_batches(network, items, size), items * 2)
    assert network.calls == -(-count // size)


def test_padding_repeats_the_last_item() -> None:
    batch = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(pad_batch(batch, 4), [[1, 2], [3, 4], [3, 4], [3, 4]])
    assert pad_batch(batch, 2) is batch
    for wrong, size in ((batch, 1), (batch[:0], 2)):
        with pytest.raises(InferenceError):
            pad_batch(wrong, size)
    with pytest.raises(InferenceError, match="no items"):
        predict_in_batches(Doubler(2), batch[:0], 2)
    with pytest.raises(InferenceError, match="at least 1"):
        predict_in_batches(Doubler(2), batch, 0)


@settings(max_examples=60, deadline=None)
@given(good=st.lists(st.booleans(), max_size=30), size=st.integers(1, 7))
def test_bad_items_are_named_and_the_rest_is_done_in_order(good, size) -> None:
    def prepare(number):
        if not good[number]:
            raise InferenceError(f"item {number} is broken")
        return np.full((1, 2), number)

    results = list(predict_items(Doubler(size), range(len(good)), prepare, size))
    assert [result.item for result in results] == list(range(len(good)))
    for number, result in enumerate(results):
        if good[number]:
            np.testing.assert_array_equal(result.output, [2 * number, 2 * number])
            assert not result.error
        else:
            assert result.output is None and result.error == f"item {number} is broken"


def test_items_are_prepared_as_they_are_needed() -> None:
    """Ten million pictures do not lie in memory: a result comes after a batch is full."""
    prepared = []

    def prepare(number):
        prepared.append(number)
        return np.full((1, 1), number)

    results = predict_items(Doubler(4), itertools.count(), prepare, 4)
    assert next(results).item == 0
    assert prepared == [0, 1, 2, 3]


def test_an_item_of_another_shape_spoils_nothing_else() -> None:
    shapes = [(1, 2), (1, 3), (1, 2)]
    results = list(predict_items(Doubler(2), shapes, lambda shape: np.ones(shape), 2))
    assert [result.output is None for result in results] == [False, True, False]
    assert "(1, 3)" in results[1].error


def test_the_size_is_chosen_with_the_waste_of_padding() -> None:
    times = [BatchTime(1, 1.0), BatchTime(8, 4.0), BatchTime(32, 12.0)]
    assert choose_batch_size(times, 1) == 1
    assert choose_batch_size(times, 8) == 8
    assert choose_batch_size(times, 32) == 32
    assert choose_batch_size(times, 33) == 8  # 5 x 4 s against 2 x 12 s
    for wrong in (([], 3), (times, 0)):
        with pytest.raises(InferenceError):
            choose_batch_size(*wrong)


def test_batches_are_timed_by_the_fastest_round() -> None:
    now = [0.0]
    warm_up = [9, 9]
    rounds = [5, 5, 5, 5, 7, 3, 3, 4, 2, 8, 4, 4, 4, 4, 6]  # four batches of one, one of four
    cost = iter(warm_up + rounds)

    def predict(batch):
        now[0] += next(cost)
        return batch

    times = time_batches(predict, np.zeros((1, 2)), (1, 4), 3, 0.0, clock=lambda: now[0])
    assert times == [BatchTime(1, 3), BatchTime(4, 6)]
