"""Checks of 1.9: warm-up."""

from course.scenario import scenario


class Script:
    """A clock that advances by scripted calls, and by a device that lags behind."""

    def __init__(self, seconds, lag=0.0):
        self.now, self.calls, self.synchronised = 100.0, 0, 0
        self.seconds, self.lag = seconds, lag

    def clock(self):
        return self.now

    def call(self):
        self.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1

    def synchronise(self):
        self.now += self.lag
        self.synchronised += 1


@scenario("1.9", seeds=6)
def stable_or_not(impl, rng):
    """Series that settle, that fall, that are too short, with one interrupted call."""
    level = float(rng.uniform(0.001, 0.1))
    flat = [level * f for f in rng.uniform(0.99, 1.01, 14)]
    outlier = [*flat[:-2], 9 * level, flat[-1]]
    falling = [level * 0.9**i for i in range(14)]
    edge = [1.0] * 5 + [1.049] * 5
    over = [1.0] * 5 + [1.051] * 5
    below = [1.0] * 5 + [0.951] * 5
    return {"flat": bool(impl.is_stable(flat)), "outlier": bool(impl.is_stable(outlier)),
            "falling": bool(impl.is_stable(falling)), "short": bool(impl.is_stable(flat[:9])),
            "just enough": bool(impl.is_stable(flat[:10])), "none": bool(impl.is_stable([])),
            "edge": bool(impl.is_stable(edge)), "over": bool(impl.is_stable(over)),
            "below": bool(impl.is_stable(below)), "wide": bool(impl.is_stable(over, 5, 0.2)),
            "old times": bool(impl.is_stable([5.0] * 5 + [1.0] * 10)),
            "exactly": bool(impl.is_stable([2.0] * 5 + [3.0] * 5, 5, 0.5)),
            "windows": bool(impl.is_stable([3.0, 1.0, 1.0, 1.0, 1.0], 2)),
            "rising": bool(impl.is_stable([1.0, 1.0, 1.0, 1.06, 1.06, 1.06], 3, 0.058))}


@scenario("1.9", seeds=4, relative=1e-9)
def until_stable(impl, rng):
    """The times of the calls, how many there were, and whether they became stable."""
    settles = [0.5, 0.2, *(0.01 * f for f in rng.uniform(0.99, 1.01, 30))]
    never = [0.01 * 0.9**i for i in range(60)]
    slow = [float(rng.uniform(3, 4)) * 1.2**i for i in range(30)]
    found = {}
    for name, seconds, lag, bounds in (
        ("settles", settles, 0.0, {}), ("device lags", settles, 0.02, {}),
        ("never", never, 0.0, {"most_calls": 40}), ("slow", slow, 0.0, {"most_seconds": 20.0}),
        ("one call", settles, 0.0, {"most_calls": 1}),
        ("to the second", [4.0, 8.0, 8.0, 1.0], 0.0, {"most_seconds": 20.0}),
    ):
        script = Script(seconds, lag)
        done = impl.warm_up(script.call, script.clock, script.synchronise, **bounds)
        found[name] = {"seconds": [float(s) for s in done.seconds], "stable": bool(done.stable),
                       "calls": script.calls, "synchronised": script.synchronised}
    return found
