"""Checks of 1.7: batches."""

import numpy as np

from course.scenario import attempt, scenario


@scenario("1.7", seeds=4)
def padding(impl, rng):
    """Batches filled up with their last item; full ones; too long and empty ones."""
    count, size = int(rng.integers(1, 6)), int(rng.integers(6, 12))
    items = rng.normal(size=(count, 2, 3)).astype(np.float32)
    whole = rng.integers(0, 9, (size, 2))
    return {"filled": impl.pad_batch(items, size), "full": impl.pad_batch(whole, size),
            "too long": attempt(lambda: impl.pad_batch(whole, size - 1)),
            "empty": attempt(lambda: impl.pad_batch(whole[:0], size))}


@scenario("1.7", seeds=4)
def in_batches(impl, rng):
    """Every call gets a full batch; the outputs are those of the items, in order."""
    found = {}
    for name, count, size in (("short", 2, 5), ("even", 8, 4), ("rest", 11, 4), ("ones", 3, 1),
                              ("any", int(rng.integers(1, 40)), int(rng.integers(1, 9)))):
        items = rng.normal(size=(count, 3)).astype(np.float32)
        calls = []

        def predict(batch, calls=calls):
            calls.append(batch.copy())
            return batch.sum(axis=1, keepdims=True) * 2

        found[name] = {"outputs": impl.predict_in_batches(predict, items, size),
                       "calls": [list(call.shape) for call in calls],
                       "last": calls[-1] if calls else None}
    return found


@scenario("1.7", seeds=2)
def refusals(impl, rng):
    """No items, and batches of none, are refused."""
    items = rng.normal(size=(3, 2))
    return {"no items": attempt(lambda: impl.predict_in_batches(lambda b: b, items[:0], 4)),
            "size 0": attempt(lambda: impl.predict_in_batches(lambda b: b, items, 0)),
            "size -1": attempt(lambda: impl.predict_in_batches(lambda b: b, items, -1)),
            "nothing measured": attempt(lambda: impl.choose_batch_size([], 3)),
            "nothing to do": attempt(
                lambda: impl.choose_batch_size([impl.BatchTime(1, 0.1)], 0))}


@scenario("1.7", seeds=6)
def the_best_size(impl, rng):
    """The size that finishes first, what padding wastes included."""
    sizes = [1, 2, 4, 8, 16, 32]
    costs = rng.uniform(0.2, 1.0) + np.array(sizes) * rng.uniform(0.02, 0.3)
    times = [impl.BatchTime(size, float(cost)) for size, cost in zip(sizes, costs, strict=True)]
    counts = [1, 3, 9, 17, 33, int(rng.integers(1, 500)), int(rng.integers(1, 40))]
    return {f"{i}: {count}": impl.choose_batch_size(times, count)
            for i, count in enumerate(counts)}
