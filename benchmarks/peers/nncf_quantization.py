"""NNCF's post-training quantization of ONNX models: its default, and with accuracy control."""

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from solutions.phase2_optimization.evaluation_task import Feeds
from solutions.phase2_optimization.onnx_rewrite import Model, copy_model
from zoo.errors import InferenceError, MissingExtraError

os.environ.setdefault("NNCF_CI", "1")  # before it is imported: it tells its makers of each use
RANKED_BY = 8  # validation inputs: each layer's rank costs a run over all of them

MOST_STEPS = 30  # groups of layers that it turns back to float, one after the other


def quantize_default(model: Model, batches: Sequence[Feeds]) -> Model:
    """``nncf.quantize`` with nothing but the calibration data.

    Raises MissingExtraError without NNCF, InferenceError with NNCF's reason where it fails.
    """
    with _quiet() as nncf:
        data = nncf.Dataset([dict(batch) for batch in batches])
        return nncf.quantize(copy_model(model), data, subset_size=len(batches))


def quantize_with_accuracy_control(
    model: Model, batches: Sequence[Feeds], count: int,
    scores: Callable[[Model, Sequence[int]], tuple[float, list[float]]], loss: float,
) -> Model:
    """NNCF's accuracy control: at most ``loss`` of the metric, as a share, may be lost.

    ``scores`` gives the metric over some of ``count`` validation inputs, by their numbers, and of
    each alone: for ONNX models NNCF can rank layers by nothing else. Raises as
    :func:`quantize_default` does.
    """

    def validate(candidate: Model, numbers: Iterable[int]) -> tuple[float, list[float]]:
        return scores(candidate, list(numbers))

    with _quiet() as nncf:
        data = nncf.Dataset([dict(batch) for batch in batches])
        return nncf.quantize_with_accuracy_control(
            copy_model(model), data, nncf.Dataset(list(range(count))), validate, max_drop=loss,
            drop_type=nncf.DropType.RELATIVE, subset_size=len(batches),
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=min(count, RANKED_BY), max_num_iterations=MOST_STEPS),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """NNCF without its logs and progress bars; its errors in one line."""
    try:
        import nncf
    except ImportError as error:
        raise MissingExtraError(str(error.name), "bench") from error
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield nncf
    except InferenceError:
        raise
    except Exception as error:  # NNCF's own, ONNX Runtime's, protobuf's
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InferenceError(f"{type(error).__name__}: {reason}"[:160]) from error
    finally:
        logging.disable(before)
