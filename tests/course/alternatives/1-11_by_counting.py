"""Ranks by counting, one after the other."""

import math

import numpy as np


def percentile(values, quantile):
    sample = sorted(checked_sample(values).tolist())
    if not 0 <= quantile <= 1:
        raise InferenceError("quantile")
    for rank, value in enumerate(sample, 1):
        if rank >= quantile * len(sample) * (1 - 1e-12):
            return value
    return sample[-1]


def percentile_ranks(count, quantile, confidence=0.95):
    if not 0 < quantile < 1 or not 0 < confidence < 1:
        raise InferenceError("outside")
    below = binomial_cdf(count, quantile)
    error = (1 - confidence) / 2
    low = [rank for rank in range(1, count + 1) if below[rank - 1] <= error]
    high = [rank for rank in range(1, count + 1) if below[rank - 1] >= 1 - error]
    return RankInterval(max(low, default=None), min(high, default=None))


def samples_needed(quantile, confidence=0.95):
    error, worst = (1 - confidence) / 2, np.maximum(quantile, 1 - quantile)
    return math.ceil(np.log(error) / np.log(worst))
