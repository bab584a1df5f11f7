"""Checks of 1.10 and 1.12: closed and open loops, on a scripted clock."""

import numpy as np

from course.scenario import attempt, scenario


class System:
    """A model and a clock: the clock advances by the model's work and by sleeps, no more."""

    def __init__(self, seconds, lag=0.0, fails_at=None, error=ValueError, early=0.0):
        self.now, self.calls = 50.0, 0
        self.seconds, self.lag, self.fails_at = seconds, lag, fails_at
        self.error, self.early = error, early
        self.slept, self.told, self.cost = [], [], 0.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(float(seconds))
        self.now += seconds - self.early

    def call(self):
        if self.calls == self.fails_at:
            raise self.error("no more memory\nat all")
        self.now += self.seconds[self.calls % len(self.seconds)]
        self.calls += 1

    def synchronise(self):
        self.now += self.lag

    def progress(self, done):
        self.told.append(done)
        self.now += self.cost


def times(found):
    """Request times as plain data."""
    return {"scheduled": found.scheduled, "started": found.started, "finished": found.finished,
            "stopped": bool(found.stopped), "count": int(found.count)}


@scenario("1.10", seeds=4, relative=1e-12, absolute=1e-9)
def one_after_the_other(impl, rng):
    """Times of calls, with a device that lags behind and a progress bar that takes its time."""
    seconds = rng.uniform(0.001, 0.02, 7).tolist()
    found = {}
    for name, lag, cost in (("plain", 0.0, 0.0), ("device lags", 0.004, 0.0),
                            ("slow progress bar", 0.0, 0.5)):
        system = System(seconds, lag)
        system.cost = cost
        count = int(rng.integers(1, 20))
        found[name] = times(impl.closed_loop(system.call, count, system.clock, system.synchronise,
                                             system.progress)) | {"told": system.told}
    return found


@scenario("1.10", seeds=3, relative=1e-12, absolute=1e-9)
def ended_early(impl, rng):
    """Calls that raise, Ctrl-C, and no iterations at all."""
    found = {}
    for name, error in (("raises", ValueError), ("Ctrl-C", KeyboardInterrupt)):
        for at in (0, int(rng.integers(1, 6))):
            system = System([0.01, 0.02], fails_at=at, error=error)
            done = impl.closed_loop(system.call, 8, system.clock, system.synchronise,
                                    system.progress)
            found[f"{name} at {'first' if at == 0 else 'later'}"] = times(done) | {
                "told": system.told, "says": [word in done.stopped for word in ("ValueError",
                                                                               "interrupted")]}
    system = System([0.01])
    found["none"] = attempt(lambda: times(impl.closed_loop(system.call, 0, system.clock)))
    return found


@scenario("1.12", seeds=4, relative=1e-9)
def gaps(impl, rng):
    """Arrivals from uniform draws at several rates; rates that are none."""
    draws = rng.random(int(rng.integers(1, 30)))
    small = rng.random(5) * 1e-12
    found = {f"rate {rate}": impl.poisson_arrivals(draws, rate) for rate in (0.5, 7.0, 1000.0)}
    found["tiny draws"] = impl.poisson_arrivals(small, 1e-9)
    for rate in (0.0, -1.0, float("inf"), float("nan")):
        found[f"rate {rate}"] = attempt(lambda rate=rate: impl.poisson_arrivals(draws, rate))
    return found


@scenario("1.12", seeds=5, relative=1e-12, absolute=1e-9)
def the_schedule_does_not_wait(impl, rng):
    """A model that stalls: whoever arrives meanwhile waits, from the moment of arrival."""
    count = int(rng.integers(5, 40))
    arrivals = np.cumsum(rng.exponential(0.01, count))
    seconds = rng.uniform(0.002, 0.012, count).tolist()
    seconds[count // 3] = 0.2
    found = {}
    for name, lag, early in (("stall", 0.0, 0.0), ("device lags", 0.003, 0.0),
                             ("sleeps end early", 0.0, 1e-7)):
        system = System(seconds, lag, early=early)
        system.cost = 0.001 if name == "stall" else 0.0
        done = impl.open_loop(system.call, arrivals, system.clock, system.sleep,
                              system.synchronise, system.progress)
        found[name] = times(done) | {"told": system.told,
                                     "slept": round(sum(system.slept), 9)}
    return found


@scenario("1.12", seeds=3, relative=1e-12, absolute=1e-9)
def bad_schedules(impl, rng):
    """Schedules that are empty, run backwards or are not finite; a model that fails."""
    system = System([0.01])
    bad = {"empty": np.zeros(0), "backwards": np.array([0.2, 0.1]),
           "not finite": np.array([0.1, np.nan]), "endless": np.array([0.1, np.inf])}
    found = {name: attempt(lambda a=arrivals: times(impl.open_loop(
        system.call, a, system.clock, system.sleep))) for name, arrivals in bad.items()}
    for error in (RuntimeError, KeyboardInterrupt):
        for at in (0, int(rng.integers(1, 4))):
            system = System([0.01], fails_at=at, error=error)
            done = impl.open_loop(system.call, np.arange(6) * 0.05, system.clock, system.sleep)
            found[f"{error.__name__} at {'first' if at == 0 else 'later'}"] = times(done)
    same = System([0.01])
    found["all at once"] = times(impl.open_loop(same.call, np.zeros(4), same.clock, same.sleep))
    return found
