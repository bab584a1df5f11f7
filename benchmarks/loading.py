"""The loader's part of the suite ``phase1``: what ``predict`` costs, and batches by themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Spread, interleave
from benchmarks.suite import Context, Goal, Row, SuiteResult, at_least, at_most
from solutions.phase1_basics.batch_prediction import (
    choose_batch_size,
    predict_in_batches,
    time_batches,
)
from solutions.phase1_basics.model_loader import load_model
from zoo import registry

Array = NDArray[Any]
BY_HAND = (1, 8, 32)
ITEMS = 96
CALLS = 200  # of a small network in a row


class Pair(NamedTuple):
    """The same prediction through ours and through the bare runtime."""

    name: str
    ours: Callable[[], object]
    bare: Callable[[], object]


def measure(context: Context) -> SuiteResult:
    """The overhead of ``predict`` on small networks, then batches of several networks."""
    rows: list[Row] = []
    goals: list[Goal] = []
    rounds = 15 if context.quick else 60
    context.say(f"predict beside the bare runtimes: {rounds} rounds of {CALLS} calls")
    for pair in _pairs():
        found = interleave({"ours": pair.ours, "bare": pair.bare}, rounds, CALLS, warm_up=CALLS)
        extra = Spread.of([
            1e6 * (ours - bare)
            for ours, bare in zip(found.seconds["ours"], found.seconds["bare"], strict=True)
        ])
        rows.append(_row(f"predict over the bare runtime, us: {pair.name}", extra, None))
        goals.append(at_most(f"overhead of predict in us, {pair.name}", extra.median, 30))
    context.say(f"{ITEMS} items in batches of a measured size, and by hand")
    for name, predict, items in _networks():
        ours, hand = _batches(predict, items, 15 if context.quick else 41)
        ratio = Spread.of([b / a for a, b in zip(ours.seconds, hand.seconds, strict=True)])
        rows.append(_row(f"batches of {ours.size}, items a second: {name}", ours.rate, hand.rate))
        goals.append(at_least(
            f"speed over the best of batches of 1, 8, 32 by hand (1 is equal), {name}",
            ratio.median, 0.98))
    return SuiteResult(rows, goals, lambda figure: _plot(figure, rows), {})


class Timed(NamedTuple):
    """Seconds for all items, round by round."""

    size: int
    seconds: list[float]

    @property
    def rate(self) -> Spread:
        """Items a second."""
        return Spread.of([ITEMS / seconds for seconds in self.seconds])


def _batches(
    predict: Callable[[Array], Array], items: Array, rounds: int
) -> tuple[Timed, Timed]:
    """With the size that ``choose_batch_size`` finds, and the best by hand."""
    size = choose_batch_size(time_batches(predict, items[:1]), len(items))

    def by_hand(step: int) -> Callable[[], object]:
        return lambda: [predict(items[at : at + step]) for at in range(0, len(items), step)]

    variants: dict[str, Callable[[], object]] = {
        "ours": lambda: predict_in_batches(predict, items, size)
    } | {str(step): by_hand(step) for step in BY_HAND}
    found = interleave(variants, rounds)
    best = min(BY_HAND, key=lambda step: found.spread(str(step)).median)
    return Timed(size, found.seconds["ours"]), Timed(best, found.seconds[str(best)])


def _pairs() -> list[Pair]:
    pairs = [_onnx_pair("zoo:digits")]
    if _has("torch"):
        pairs.append(_torch_pair())
    return pairs


def _onnx_pair(name: str) -> Pair:
    import onnxruntime as ort

    path = registry.fetch(registry.find(name))
    model = load_model(path, device="cpu")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    key, batch = model.input_spec[0].name, _random(model.input_spec[0].shape)
    return Pair(f"ONNX Runtime, {name}", lambda: model.predict(batch),
                lambda: session.run(None, {key: batch}))


def _torch_pair() -> Pair:
    import torch

    from solutions.phase1_basics.architectures import build_architecture
    from solutions.phase1_basics.torch_model import torch_model

    torch.set_num_threads(1)
    network = build_architecture("mnist_conv3")
    model = torch_model(network.state_dict(), "mnist_conv3", Path("mnist_conv3"))
    batch = _random(model.input_spec[0].shape)
    tensor = torch.from_numpy(batch)

    def bare() -> object:
        with torch.inference_mode():
            return network(tensor)

    return Pair("PyTorch, mnist_conv3", lambda: model.predict(batch), bare)


def _networks() -> list[tuple[str, Callable[[Array], Array], Array]]:
    found: list[tuple[str, Callable[[Array], Array], Array]] = []
    model = load_model(registry.fetch(registry.find("zoo:digits")), device="cpu")
    found.append(("zoo:digits", model.predict, _random(model.input_spec[0].shape, ITEMS)))
    if _has("torch"):
        from solutions.phase1_basics.architectures import build_architecture
        from solutions.phase1_basics.torch_model import torch_model

        for name in ("cifar_resnet20", "mnist_conv3"):
            state = build_architecture(name).state_dict()
            network = torch_model(state, name, Path(name))
            found.append((name, network.predict, _random(network.input_spec[0].shape, ITEMS)))
    return found


def _random(shape: tuple[int | None, ...], count: int = 1) -> Array:
    rng = np.random.default_rng(0)
    return rng.random([size or count for size in shape]).astype(np.float32)


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _row(name: str, ours: Spread, other: Spread | None) -> Row:
    return {
        "measurement": name,
        "ours": str(ours),
        "other": None if other is None else str(other),
        "ours / other": None if other is None else f"{ours.median / other.median:.3f}",
    }


def _plot(figure: Any, rows: list[Row]) -> None:
    axes = figure.subplots()
    shown = [row for row in rows if row["ours / other"] is not None]
    names = [str(row["measurement"]).split(": ")[-1] for row in shown]
    axes.barh(names, [float(str(row["ours / other"])) for row in shown], height=0.5)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_xlabel("items a second in batches of a measured size / best of 1, 8, 32 by hand")
    axes.spines[["top", "right"]].set_visible(False)
