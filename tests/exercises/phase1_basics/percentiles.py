"""Checks of 1.11: percentiles and what they are worth."""

import numpy as np

from course.scenario import attempt, scenario


@scenario("1.11", seeds=4, relative=1e-12)
def order_statistics(impl, rng):
    """Percentiles of samples of all sizes, unsorted, with equal values; the extremes."""
    found = {}
    for count in (1, 2, 7, 100, int(rng.integers(3, 400))):
        sample = rng.exponential(0.01, count)
        for quantile in (0.0, 0.01, 0.07, 0.29, 0.5, 0.95, 0.99, 1.0):
            found[f"{count} {quantile}"] = float(impl.percentile(sample, quantile))
    ties = rng.integers(0, 4, 50).astype(float)
    found["ties"] = [float(impl.percentile(ties.tolist(), q)) for q in (0.1, 0.5, 0.9)]
    return found


@scenario("1.11", seeds=2)
def bad_samples(impl, rng):
    """Empty samples, samples that are not finite, quantiles outside 0..1."""
    sample = rng.random(9)
    holed = sample.copy()
    holed[int(rng.integers(9))] = np.nan
    return {"empty": attempt(lambda: impl.percentile([], 0.5)),
            "NaN": attempt(lambda: impl.percentile(holed, 0.5)),
            "above": attempt(lambda: impl.percentile(sample, 1.01)),
            "below": attempt(lambda: impl.percentile(sample, -0.01)),
            "NaN quantile": attempt(lambda: impl.percentile(sample, float("nan")))}


@scenario("1.11", seeds=3)
def enclosing_ranks(impl, rng):
    """The two ranks around the true quantile, for samples from tiny to large; sides that are
    beyond the sample."""
    found = {}
    counts = [1, 5, 10, 59, 100, 299, 300, 473, 1000, int(rng.integers(20, 3000))]
    for number, count in enumerate(counts):
        for quantile in (0.5, 0.9, 0.99, 0.02):
            for confidence in (0.95, 0.8, 0.999):
                ranks = impl.percentile_ranks(count, quantile, confidence)
                found[f"{number}: {count} {quantile} {confidence}"] = [
                    None if end is None else int(end) for end in ranks]
    found["usual confidence"] = [None if e is None else int(e)
                                 for e in impl.percentile_ranks(500, 0.95)]
    for quantile, confidence in ((0.0, 0.95), (1.0, 0.95), (0.5, 0.0), (0.5, 1.0)):
        found[f"refused {quantile} {confidence}"] = attempt(
            lambda q=quantile, c=confidence: list(impl.percentile_ranks(50, q, c)))
    return found


@scenario("1.11", seeds=2)
def enough_samples(impl, rng):
    """How many samples are enough, for high, low and middle quantiles."""
    draws = rng.uniform(0.001, 0.999, 12).round(4).tolist()
    usual = (0.5, 0.9, 0.95, 0.99, 0.999, 0.01)
    found = {f"{q}": int(impl.samples_needed(q)) for q in (*usual, *draws)}
    return found | {f"{q} at 0.8": int(impl.samples_needed(q, 0.8)) for q in (0.5, 0.99, 0.1)}
