"""Checks of 1.6: one picture through a network."""

import numpy as np

from course.scenario import attempt, scenario


def network(rng, classes, shape=()):
    """A linear network: scores [1, classes, ...] of a batch [1, 3, 4, 4]."""
    weights = rng.normal(0, 0.5, (3 * 4 * 4, classes)).astype(np.float32)
    return lambda batch: (batch.reshape(len(batch), -1) @ weights).reshape(-1, classes, *shape)


def prepare(image):
    """The middle of a picture as a batch of one, 0..1."""
    return np.ascontiguousarray(image[:4, :4].transpose(2, 0, 1)[None], dtype=np.float32) / 255


@scenario("1.6", seeds=4, relative=1e-4, absolute=1e-6)
def logits_and_probabilities(impl, rng):
    """Networks that end in logits, in a 1x1 convolution, and in probabilities."""
    classes = int(rng.integers(3, 12))
    labels = [f"class {i}" for i in range(classes)]
    image = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    logits = network(rng, classes)
    shares = rng.dirichlet(np.ones(classes)).astype(np.float32)[None]

    def named(predict, k=5):
        return [[r.label, float(r.score)]
                for r in impl.classify(predict, image, prepare, labels, k)]

    return {"logits": named(logits), "convolution": named(network(rng, classes, (1, 1))),
            "probabilities": named(lambda batch: shares), "two": named(logits, 2)}


@scenario("1.6", seeds=2)
def not_one_picture(impl, rng):
    """An answer for two pictures, or for none, is refused."""
    image = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    labels = ["a", "b", "c", "d", "e", "f"]
    found = {}
    for count in (0, 2, 3):
        scores = rng.normal(size=(count, 2)).astype(np.float32)
        found[f"{count}"] = attempt(
            lambda scores=scores: len(impl.classify(lambda b: scores, image, prepare, labels)))
    return found
