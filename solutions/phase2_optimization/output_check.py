"""Does a rewritten model still give the same outputs? Both run on the same generated inputs.

Equal means: integers, booleans and texts exactly; floats within 1e-4 of the largest value of that
output (a sum in another order moves the last digits of all values by about as much); NaN and
infinities at the same places. An output that differs from itself when the untouched model runs
twice is random: it can only be compared by shape.

Some networks amplify rounding: EfficientNet with random weights answers a change of its inputs'
last digits with a change of 3e-4. No other order of summation can keep 1e-4 there, so what is
tolerated grows with that answer, up to a limit, and is told. And some jump: of two detections that
tie, the last digit decides which comes first. Such an output cannot be compared by value.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase2_optimization.generated_inputs import Feeds, proposed_inputs
from solutions.phase2_optimization.onnx_protobuf import Array, Model
from zoo.errors import InferenceError

TOLERANCE = 1e-4  # of the largest value
HALF_TOLERANCE = 1e-2  # float16 and bfloat16 have 3 digits
MOST_TOLERATED = 1e-2
MOVED = 2.0**-20  # of each input: 8 last digits, since every layer rounds anew
MARGIN = 5.0  # the layers' own rounding may add up to more than that of the inputs
JUMP = 0.05  # of the largest value
DRAWS = 4
TINY = 1e-30
Run = Callable[[Feeds], list[Any]]


class OutputCheck:
    """The outputs of an untouched model, to compare those of rewritten ones with.

    Raises InferenceError where the untouched model cannot run, so that nothing can be checked.
    """

    def __init__(self, model: Model, folder: Path | None = None, seed: int = 0) -> None:
        self.folder = folder
        self.names = [value.name for value in model.graph.output]
        run = runner(model, folder)
        self.feeds, self.expected = _first_that_runs(run, model, seed)
        again = run(self.feeds)
        self.random = {name for name, a, b in zip(self.names, self.expected, again, strict=True)
                       if difference(a, b)}
        self.tolerances: dict[str, float] = {}
        self.jumping: set[str] = set()
        rng = np.random.default_rng(seed)
        for _ in range(DRAWS):
            self._learn(run({name: slightly_moved(v, rng) for name, v in self.feeds.items()}))

    def _learn(self, moved: list[Any]) -> None:
        """Note how the outputs answer inputs that were moved by a few last digits."""
        for name, old, new in zip(self.names, self.expected, moved, strict=True):
            if name in self.random or not difference(old, new, TOLERANCE / MARGIN):
                continue
            plain = _is_float(old) and not _other_shape(old, new)
            error = relative_error(old, new) if plain else JUMP
            if error >= JUMP:
                self.jumping.add(name)
            else:
                told = min(MARGIN * error, MOST_TOLERATED)
                self.tolerances[name] = max(told, self.tolerances.get(name, TOLERANCE))

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the comparison."""
        random = [f"output {name!r} is random: only its shape is verified"
                  for name in sorted(self.random)]
        jumping = [f"output {name!r} jumps where rounding changes: only its kind is verified"
                   for name in sorted(self.jumping)]
        return random + jumping + [
            f"output {name!r} amplifies rounding: {error:.0e} is tolerated"
            for name, error in self.tolerances.items() if name not in self.jumping]

    def fault(self, model: Model) -> str:
        """What is wrong with a rewritten model's outputs; empty where nothing is."""
        try:
            found = runner(model, self.folder)(self.feeds)
        except Exception as error:  # the runtime's own
            return f"the model does not run any more: {first_line(error)}"
        for name, old, new in zip(self.names, self.expected, found, strict=True):
            told = self._difference(name, old, new)
            if told:
                return f"output {name!r}: {told}"
        return ""

    def _difference(self, name: str, old: Any, new: Any) -> str:
        if name in self.random:
            return _other_shape(old, new)
        if name in self.jumping:
            kinds = [(getattr(v, "dtype", None), getattr(v, "ndim", None)) for v in (old, new)]
            return "" if kinds[0] == kinds[1] else "another type or rank"
        return difference(old, new, self.tolerances.get(name))


def _first_that_runs(run: Run, model: Model, seed: int) -> tuple[Feeds, list[Any]]:
    """Generated inputs that a model takes, and its outputs."""
    reason = "it takes no inputs"
    for feeds in proposed_inputs(model, seed):
        try:
            return feeds, run(feeds)
        except Exception as error:  # the runtime's own
            reason = first_line(error)
    raise InferenceError(f"the untouched model does not run on generated inputs: {reason}")


def slightly_moved(values: Array, rng: np.random.Generator) -> Array:
    """Floats, each moved up or down by a few last digits; others as they are."""
    if values.dtype.kind != "f":
        return values
    signs = rng.choice([-1.0, 1.0], values.shape)
    return np.asarray(values * (1 + MOVED * signs)).astype(values.dtype)


def runner(model: Model, folder: Path | None) -> Run:
    """A function that runs a model in ONNX Runtime as it is, without ONNX Runtime's rewrites."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, feeds))


def difference(old: Any, new: Any, tolerance: float | None = None) -> str:
    """How two outputs differ beyond the tolerance; empty where they do not."""
    if isinstance(old, Sequence) and not isinstance(old, str | bytes):
        if not isinstance(new, Sequence) or len(old) != len(new):
            return "another number of elements"
        return next(filter(None, map(difference, old, new)), "")
    if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray):
        return "" if old is new or old == new else "another kind of value"
    if _other_shape(old, new) or old.dtype != new.dtype:
        return f"{new.dtype} {list(new.shape)} instead of {old.dtype} {list(old.shape)}"
    if old.dtype.kind not in "fcV" or not old.size:
        return "" if np.array_equal(old, new) else "other values"
    half = old.dtype.itemsize == 2
    return _float_difference(old, new, tolerance or (HALF_TOLERANCE if half else TOLERANCE))


def _float_difference(old: Array, new: Array, tolerance: float) -> str:
    a, b = old.astype(np.float64), new.astype(np.float64)
    finite = np.isfinite(a)
    same_rest = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not same_rest or not np.isfinite(b[finite]).all():
        return "NaN or infinity at other places"
    worst = relative_error(a, b)
    return f"off by {worst:.1e} of the largest value" if worst > tolerance else ""


def relative_error(old: Array, new: Array) -> float:
    """The largest difference between finite values, as a part of the largest of them."""
    a, b = old.astype(np.float64), new.astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return 0.0
    scale = max(float(np.abs(a[both]).max()), TINY)
    return float(np.abs(a[both] - b[both]).max()) / scale


def _is_float(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.size > 0


def _other_shape(old: Any, new: Any) -> str:
    shapes = getattr(old, "shape", None), getattr(new, "shape", None)
    return "" if shapes[0] == shapes[1] else f"shape {shapes[1]} instead of {shapes[0]}"


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
