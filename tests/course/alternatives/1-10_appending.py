"""Lists that grow instead of tables."""

import time

import numpy as np


def closed_loop(call, iterations, clock=time.perf_counter, synchronise=nothing, progress=ignore):
    _check_count(iterations)
    started, finished, stopped = [], [], ""
    try:
        synchronise()
        while len(finished) < iterations:
            begin = clock()
            call()
            synchronise()
            end = clock()
            started.append(begin)
            finished.append(end)
            progress(len(finished))
    except (Exception, KeyboardInterrupt) as error:
        stopped = _reason(error, len(finished))
    return RequestTimes(np.array(started, float), np.array(started, float),
                        np.array(finished, float), stopped)
