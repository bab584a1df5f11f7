"""Outputs written into one table, and sizes compared in a loop."""

import math

import numpy as np


def pad_batch(batch, size):
    if len(batch) == 0 or len(batch) > size:
        raise InferenceError("cannot be padded")
    rows = list(batch) + [batch[-1]] * (size - len(batch))
    return np.stack(rows)


def predict_in_batches(predict, items, size):
    if size <= 0 or len(items) == 0:
        raise InferenceError("nothing to do")
    table = None
    for first in range(0, len(items), size):
        part = items[first : first + size]
        outputs = predict(pad_batch(part, size))
        if table is None:
            table = np.empty((len(items), *outputs.shape[1:]), outputs.dtype)
        table[first : first + len(part)] = outputs[: len(part)]
    return table


def choose_batch_size(times, count):
    if count <= 0 or len(times) == 0:
        raise InferenceError("nothing to choose")
    best = None
    for entry in times:
        total = math.ceil(count / entry.size) * entry.seconds
        if best is None or total < best[0]:
            best = (total, entry.size)
    return best[1]
