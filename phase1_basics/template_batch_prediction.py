"""Many items through a model in batches, where a bad one spoils nothing but itself.

The problem: a network is faster per item in batches, up to a size that depends on the machine;
a batch must be full, since runtimes prepare themselves for one size (compiled and captured graphs
take no other); and one broken picture among a thousand must not end the run. The idea: prepare
the items one by one and note what fails, fill the last batch up with copies of its last item,
throw their outputs away, and choose the size by measurement.

    items     a b X c d e      X cannot be read
    batches   [a b] [c d] [e e]
    outputs   A B ! C D E      in the order of the items

Your part, to be checked by ``course check``:

    1.7 Batches: pad_batch, predict_in_batches, choose_batch_size

The idea, an example and the usual mistakes: guidelines.md#17-batches
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

Array = NDArray[Any]
Item = TypeVar("Item")
SIZES = (1, 2, 4, 8, 16, 32)


class ItemResult(NamedTuple, Generic[Item]):
    """What became of one item: an output, or the reason why there is none."""

    item: Item
    output: Array | None  # without the batch axis
    error: str = ""


def pad_batch(batch: Array, size: int) -> Array:
    """A batch [n, ...] filled up to [size, ...] with copies of its last item (zeros could be
    outside of what a network has seen, and slow: denormals)."""
    # TODO 1.7 Batches
    # 1. Fill up with copies of the last item. An empty batch and one that is too long cannot be
    #    padded: InferenceError.
    raise NotImplementedError("exercise 1.7: pad_batch")


def predict_in_batches(predict: Callable[[Array], Array], items: Array, size: int) -> Array:
    """Outputs [n, ...] for items [n, ...], ``size`` at a time; the last batch is padded."""
    # TODO 1.7 Batches
    # 1. Refuse a size below 1, and no items, with an InferenceError.
    # 2. Every call gets exactly `size` items; the outputs of the padding are thrown away; the order
    #    stays.
    raise NotImplementedError("exercise 1.7: predict_in_batches")


def predict_items(
    predict: Callable[[Array], Array],
    items: Iterable[Item],
    prepare: Callable[[Item], Array],
    size: int,
) -> Iterator[ItemResult[Item]]:
    """A result for each item, in order; at most ``size`` prepared items are held at a time.

    ``prepare`` gives an item's input [1, ...]; where it raises InferenceError, or gives another
    shape than the first item did, that item's result says so and the others go on.
    """
    waiting: list[ItemResult[Item]] = []  # with inputs in the place of outputs
    shape: tuple[int, ...] | None = None
    filled = 0
    for item in items:
        try:
            prepared = prepare(item)
            shape = shape or prepared.shape
            if prepared.shape != shape:
                raise InferenceError(f"input of shape {prepared.shape}, the first had {shape}")
            waiting.append(ItemResult(item, prepared))
            filled += 1
        except InferenceError as error:
            waiting.append(ItemResult(item, None, str(error)))
        if filled == size or len(waiting) >= 4 * size:
            yield from _flush(predict, waiting, size)
            waiting, filled = [], 0
    yield from _flush(predict, waiting, size)


def _flush(
    predict: Callable[[Array], Array], waiting: Sequence[ItemResult[Item]], size: int
) -> Iterator[ItemResult[Item]]:
    inputs = [result.output for result in waiting if result.output is not None]
    outputs = iter(predict_in_batches(predict, np.concatenate(inputs), size) if inputs else ())
    for result in waiting:
        yield result if result.output is None else result._replace(output=next(outputs))


class BatchTime(NamedTuple):
    """How long a batch of a size takes."""

    size: int
    seconds: float


def time_batches(
    predict: Callable[[Array], Array],
    item: Array,
    sizes: Sequence[int] = SIZES,
    rounds: int = 3,
    budget: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[BatchTime]:
    """The fastest of at least ``rounds`` rounds for each batch size, for an item [1, ...].

    Rounds go on until ``budget`` seconds are spent: the faster a network, the more it takes to
    tell one size from the next.

    Sizes take turns, so that a noisy minute meets all of them, and in a round each handles as
    many items as the largest; the first call of each is not counted. What disturbs a measurement
    only ever adds time, so the fastest is nearest to truth.
    """
    batches = [np.repeat(item, size, axis=0) for size in sizes]
    for batch in batches:
        predict(batch)
    best = [float("inf")] * len(sizes)
    done, begin = 0, clock()
    while done < rounds or clock() - begin < budget:
        done += 1
        for number, batch in enumerate(batches):
            calls = max(sizes) // len(batch)
            start = clock()
            for _ in range(calls):
                predict(batch)
            best[number] = min(best[number], (clock() - start) / calls)
    return [BatchTime(size, seconds) for size, seconds in zip(sizes, best, strict=True)]


def choose_batch_size(times: Sequence[BatchTime], count: int) -> int:
    """The size that finishes ``count`` items first, what padding wastes included."""
    # TODO 1.7 Batches
    # 1. The time for `count` items is the number of batches, rounded up, times the time of one.
    #    Where nothing was measured or nothing is to be predicted: InferenceError.
    raise NotImplementedError("exercise 1.7: choose_batch_size")
