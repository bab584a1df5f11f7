"""From a network's numbers to words.

Your part, to be checked by ``course check``:

    1.5 Softmax and top-k: softmax, top_k

The idea, an example and the usual mistakes: guidelines.md#15-softmax-and-top-k
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

Floats = NDArray[np.float32]


def softmax(logits: Floats, axis: int = -1) -> Floats:
    """exp(x) / sum(exp(x)) along an axis, shifted by the maximum so that nothing overflows."""
    # TODO 1.5 Softmax and top-k
    # 1. exp overflows beyond 88 in float32. Subtracting the maximum along the axis changes nothing
    #    in the result.
    raise NotImplementedError("exercise 1.5: softmax")


def as_probabilities(scores: Floats) -> Floats:
    """Probabilities [..., n] of a classifier's output, whichever of three things it is.

    Probabilities stay as they are (not negative, sum 1, or near to it where they were rounded to
    bytes); log-probabilities (not positive, their exponentials add up to 1) are taken back;
    anything else is logits.
    """
    scores = np.asarray(scores, np.float32)
    if scores.min() >= 0 and np.allclose(scores.sum(axis=-1), 1, atol=0.15):
        return scores
    if scores.max() <= 0:
        back: Floats = np.exp(scores)
        if np.allclose(back.sum(axis=-1), 1, atol=1e-3):
            return back
    return softmax(scores)


class Ranked(NamedTuple):
    """One class of a classification."""

    label: str
    score: float


def top_k(scores: Floats, labels: Sequence[str], k: int = 5) -> list[Ranked]:
    """The k best of scores [n], best first; equal scores in the order of the labels.

    Raises InferenceError where there are fewer labels than scores.
    """
    # TODO 1.5 Softmax and top-k
    # 1. Refuse fewer labels than scores with an InferenceError.
    # 2. Order the scores, best first; equal ones stay in the order of the labels.
    raise NotImplementedError("exercise 1.5: top_k")
