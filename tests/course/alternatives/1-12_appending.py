"""Lists that grow, and draws one by one."""

import math
import time

import numpy as np


def poisson_arrivals(uniforms, rate):
    if not rate > 0 or math.isinf(rate):
        raise InferenceError("rate")
    now, moments = 0.0, []
    for draw in uniforms:
        now += -math.log1p(-draw) / rate
        moments.append(now)
    return np.array(moments)


def open_loop(call, arrivals, clock=time.perf_counter, sleep=precise_sleep, synchronise=nothing,
              progress=ignore):
    _check_count(len(arrivals))
    moments = list(map(float, arrivals))
    if not all(map(math.isfinite, moments)) or moments != sorted(moments):
        raise InferenceError("not a schedule")
    rows, stopped, origin = [], "", clock()
    try:
        synchronise()
        for moment in moments:
            due = origin + moment
            now = clock()
            if due > now:
                sleep(due - now)
            begin = clock()
            call()
            synchronise()
            rows.append((min(due, begin), begin, clock()))
            progress(len(rows))
    except (Exception, KeyboardInterrupt) as error:
        stopped = _reason(error, len(rows))
    table = np.array(rows, float).reshape(-1, 3)
    return RequestTimes(table[:, 0], table[:, 1], table[:, 2], stopped)
