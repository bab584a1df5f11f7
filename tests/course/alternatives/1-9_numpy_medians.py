"""NumPy's medians, and a running total."""

import time

import numpy as np


def is_stable(seconds, window=5, tolerance=0.05):
    seconds = list(seconds)
    if len(seconds) < window + window:
        return False
    old, new = np.median(seconds[-window - window : -window]), np.median(seconds[-window:])
    return bool(-tolerance * old <= new - old <= tolerance * old)


def warm_up(call, clock=time.perf_counter, synchronise=lambda: None, most_calls=200,
            most_seconds=20.0):
    spent = []
    stable = False
    while not stable and len(spent) < most_calls and sum(spent) < most_seconds:
        before = clock()
        call()
        synchronise()
        after = clock()
        spent.append(after - before)
        stable = is_stable(spent)
    return WarmUp(tuple(spent), stable)
