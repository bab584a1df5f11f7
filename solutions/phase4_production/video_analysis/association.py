"""Which detection belongs to which track?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Indices = NDArray[np.int64]
NOBODY: Indices = np.zeros(0, np.int64)


class Matches(NamedTuple):
    """Pairs that belong together, and what is left over; indices into rows and columns."""

    rows: Indices  # [k]
    columns: Indices  # [k], columns[i] belongs to rows[i]
    free_rows: Indices
    free_columns: Indices


def associate(similarity: NDArray[np.floating], least: float) -> Matches:
    """One-to-one pairs of rows and columns [n, m] with the greatest total similarity.

    Only pairs with a similarity of at least ``least`` (> 0) are allowed.
    """
    rows, columns = similarity.shape
    if rows == 0 or columns == 0:
        return Matches(NOBODY, NOBODY, np.arange(rows), np.arange(columns))
    allowed = np.where(similarity >= least, similarity, 0.0)
    paired_rows, paired_columns = linear_sum_assignment(allowed, maximize=True)
    good = allowed[paired_rows, paired_columns] > 0
    paired_rows, paired_columns = paired_rows[good], paired_columns[good]
    return Matches(
        paired_rows,
        paired_columns,
        _others(rows, paired_rows),
        _others(columns, paired_columns),
    )


def _others(count: int, taken: Indices) -> Indices:
    free = np.ones(count, bool)
    free[taken] = False
    return free.nonzero()[0]
