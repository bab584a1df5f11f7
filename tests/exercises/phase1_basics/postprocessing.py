"""Checks of 1.5: from scores to words."""

import numpy as np

from course.scenario import attempt, scenario


@scenario("1.5", seeds=4, relative=1e-5, absolute=1e-7)
def softmax_of_anything(impl, rng):
    """Ordinary, huge and tiny logits, along the last and the first axis."""
    logits = rng.normal(0, 3, (int(rng.integers(1, 5)), int(rng.integers(1, 9)))).astype(np.float32)
    return {"rows": impl.softmax(logits), "columns": impl.softmax(logits, axis=0),
            "huge": impl.softmax(logits + np.float32(1000)),
            "far apart": impl.softmax(np.array([[-500.0, 0.0, 400.0]], np.float32)),
            "rows far apart": impl.softmax(np.array([[0.0, 1.0], [500.0, 501.0]], np.float32)),
            "very negative": impl.softmax(logits - np.float32(2000)),
            "one axis": impl.softmax(logits[0]), "deep": impl.softmax(logits[None, :, :, None], 2)}


@scenario("1.5", seeds=4, relative=1e-6)
def best_classes(impl, rng):
    """The best of some scores, more than there are, equal ones, and negative ones."""
    count = int(rng.integers(6, 30))
    scores = rng.normal(size=count).astype(np.float32)
    labels = [f"class {i}" for i in range(count)]
    ties = np.array([0.5, 0.25, 0.5, 0.5, 0.25], np.float32)

    def ranked(*words):
        return [[r.label, float(r.score)] for r in impl.top_k(*words)]

    return {"five": ranked(scores, labels), "one": ranked(scores, labels, 1),
            "all": ranked(scores, labels, count + 3), "ties": ranked(ties, list("abcde"), 4),
            "more labels": ranked(scores, [*labels, "spare"], 2)}


@scenario("1.5", seeds=2)
def too_few_labels(impl, rng):
    """Fewer labels than scores are refused, even where the best ones have a label."""
    count = int(rng.integers(3, 9))
    scores = np.linspace(1, 0, count).astype(np.float32)
    return attempt(lambda: len(impl.top_k(scores, ["a"] * (count - 1), 1)))
