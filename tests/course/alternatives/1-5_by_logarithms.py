"""Softmax as exp of log-softmax, and Python's own sort."""

import numpy as np


def softmax(logits, axis=-1):
    peak = np.max(logits, axis=axis, keepdims=True)
    below = logits - peak
    return np.exp(below - np.log(np.sum(np.exp(below), axis=axis, keepdims=True)))


def top_k(scores, labels, k=5):
    if len(scores) > len(labels):
        raise InferenceError("labels are missing")
    pairs = sorted(zip(labels, scores.tolist(), strict=False), key=lambda p: p[1], reverse=True)
    return [Ranked(label, score) for label, score in pairs[:k]]
