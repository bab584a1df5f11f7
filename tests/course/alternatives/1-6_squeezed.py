"""Axes of size 1 squeezed instead of flattened."""

import numpy as np


def classify(predict, image, prepare, labels, k=5):
    answer = np.asarray(predict(prepare(image)))
    if answer.shape[0] != 1:
        raise InferenceError("one picture, please")
    return top_k(as_probabilities(np.ravel(answer[0])), list(labels), k)
