"""MLPerf's LoadGen around a system that answers one request after the other."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.load_generator import poisson_arrivals
from zoo.errors import InferenceError, MissingExtraError

Scenario = Literal["SingleStream", "Server", "Offline"]
SEED = 1234  # of LoadGen's schedule
SUMMARY = "mlperf_log_summary.txt"


def server_arrivals(count: int, rate: float) -> NDArray[np.float64]:
    """The moments at which LoadGen's Server scenario sends its requests, [count] seconds.

    Its gaps are C++'s exponential distribution over a Mersenne twister, which takes two words
    for a uniform number; the first request is sent at once. Both generators thus meet the
    same queue, and their difference is that of the measurement.
    """
    words = np.random.RandomState(SEED).randint(0, 2**32, 2 * count, dtype=np.uint64)
    uniforms = (words[0::2] + words[1::2] * 2.0**32) / 2.0**64
    return np.concatenate([[0.0], poisson_arrivals(uniforms, rate)[:-1]])


def run_loadgen(
    scenario: Scenario, call: Callable[[], None], count: int, rate: float,
    quantiles: Sequence[float], folder: Path,
) -> dict[float, float]:
    """Percentiles of the latency in ms, as LoadGen's summary states them.

    Requests are answered where they are issued, first come, first served; LoadGen counts from the
    scheduled moment, also of those that it could not send in time. Raises MissingExtraError where
    LoadGen is not installed, InferenceError where its summary lacks a percentile.
    """
    try:
        import mlperf_loadgen as lg
    except ImportError as error:
        raise MissingExtraError("mlcommons-loadgen", "bench") from error

    def issue(samples: list[Any]) -> None:
        for sample in samples:
            call()
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    sut = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(count, count, lambda samples: None, lambda samples: None)
    try:
        lg.StartTestWithLogSettings(sut, library, _settings(lg, scenario, count, rate),
                                    _log_settings(lg, folder))
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(sut)
    return _percentiles((folder / SUMMARY).read_text(), quantiles)


def _settings(lg: Any, scenario: Scenario, count: int, rate: float) -> Any:
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    settings.min_query_count = count
    settings.max_query_count = 1 if scenario == "Offline" else count
    settings.server_target_qps = rate
    settings.schedule_rng_seed = SEED
    settings.offline_expected_qps = 1
    settings.performance_sample_count_override = count
    return settings


def _log_settings(lg: Any, folder: Path) -> Any:
    settings = lg.LogSettings()
    settings.log_output.outdir = str(folder)
    settings.log_output.copy_summary_to_stdout = False
    settings.enable_trace = False
    return settings


def _percentiles(summary: str, quantiles: Sequence[float]) -> dict[float, float]:
    found = {
        float(percent) / 100: float(value) * 1e-6
        for percent, value in re.findall(r"([\d.]+) percentile latency \(ns\)\s*:\s*(\d+)", summary)
    }
    if any(quantile not in found for quantile in quantiles):
        raise InferenceError(f"LoadGen's summary names only the quantiles {sorted(found)}")
    return {quantile: found[quantile] for quantile in quantiles}
