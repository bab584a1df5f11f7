"""The figures and the worked numbers of ``phase1_basics/guidelines.md``.

    python -m benchmarks.chapter1 [--out FOLDER]

Everything is computed by phase 1's solutions; what depends on the machine says so.
"""

import pickle
import pickletools
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from solutions.phase1_basics.activation_memory import activation_peak, lifetimes
from solutions.phase1_basics.batch_prediction import BatchTime, choose_batch_size
from solutions.phase1_basics.device_choice import choose_device
from solutions.phase1_basics.exclusive_time import Span, exclusive_times
from solutions.phase1_basics.layers import Layer, Operation
from solutions.phase1_basics.load_generator import closed_loop, open_loop, poisson_arrivals
from solutions.phase1_basics.machine_facts import Gpu, MachineFacts
from solutions.phase1_basics.percentiles import percentile, percentile_ranks, samples_needed
from solutions.phase1_basics.postprocessing import softmax
from solutions.phase1_basics.preprocessing import letterbox, normalise
from solutions.phase1_basics.roofline import Ceilings, place
from solutions.phase1_basics.warm_up import is_stable
from zoo.errors import InferenceError
from zoo.street import Street, StreetConfig
from zoo.terminal import run_command

OUT = Path(__file__).parents[1] / "phase1_basics" / "figures"
GREY, BLUE, RED, GREEN = "#8a8f98", "#2f6fb3", "#c8473f", "#3d8f5f"
STALL = 0.05  # seconds


class ScriptedModel:
    """A model on a clock of its own: 1 ms a request, but every hundredth stalls."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0

    def clock(self) -> float:
        """The model's clock, seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def call(self) -> None:
        """One request."""
        self.calls += 1
        self.now += STALL if self.calls % 100 == 0 else 0.001


def say(title: str, *lines: str) -> None:
    """One worked example."""
    click.echo(f"\n{title}\n" + "\n".join(f"    {line}" for line in lines))


def pickle_example() -> None:
    """What a pickle that runs a command looks like; nobody loads it."""
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("I am running",)

    data = pickle.dumps(Evil(), 2)
    codes = [f"{op.name} {arg if arg is not None else ''}".strip()
             for op, arg, _ in pickletools.genops(data)]
    say("1.2 a pickle of 1 call", *codes)


def letterbox_example(out: Path) -> None:
    """A street in a square input, and where a box goes."""
    image, truth = Street(StreetConfig(seed=3, frames=40)).frame(30)
    boxed = letterbox(image, 320, 320, "center")
    t = boxed.transform
    box = np.array([truth.objects[0].box], np.float32)
    say("1.3 a picture of 640 x 360 in an input of 320 x 320",
        f"scale {t.scale_x:g}, padding left {t.left:g}, top {t.top:g}",
        f"box {_figures(box[0], 1)} -> {_figures(t.to_network(box)[0], 1)}")
    figure, axes = _plot(1, 2, (7.2, 2.8), width_ratios=[16, 9])
    for axis, shown, b, title in ((axes[0], image, box[0], "camera, 640 x 360"),
                                  (axes[1], boxed.image, t.to_network(box)[0],
                                   "network, 320 x 320")):
        axis.imshow(shown[..., ::-1])
        axis.add_patch(_rectangle(b))
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    _save(figure, out / "letterbox.png")


def numbers_example() -> None:
    """Normalisation and softmax by hand."""
    grey = np.full((1, 1, 3), 128, np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    say("1.4 a grey pixel, 128, for a network trained on ImageNet",
        _figures(normalise(grey, mean, std, 1.0)[0, 0]))
    logits = np.array([2.0, 1.0, 0.0], np.float32)
    with np.errstate(all="ignore"):
        naive = np.exp(logits + np.float32(1000)) / np.exp(logits + np.float32(1000)).sum()
    say("1.5 softmax of 2, 1, 0", _figures(softmax(logits)),
        f"the same plus 1000: {_figures(softmax(logits + np.float32(1000)))}",
        f"the same plus 1000, without the shift: {_figures(naive)}")


def batch_example() -> None:
    """What a number of items costs in batches of 1 and of 8."""
    times = [BatchTime(1, 0.001), BatchTime(8, 0.004)]
    lines = []
    for count in (1, 8, 9):
        size = choose_batch_size(times, count)
        costs = {t.size: -(-count // t.size) * t.seconds * 1e3 for t in times}
        lines.append(f"{count} items: {costs[1]:g} ms one by one, {costs[8]:g} ms in batches of "
                     f"8; chosen: {size}")
    say("1.7 batches of 1 take 1 ms, batches of 8 take 4 ms", *lines)


def device_example() -> None:
    """What auto takes on a machine with three GPUs."""
    gib = 1 << 30
    gpus = tuple(Gpu(name, (8, 0), 24 * gib, free * gib)
                 for name, free in (("first", 4), ("second", 11), ("third", 23)))
    facts = MachineFacts(gpus=gpus, torch_arches=("sm_80",))
    lines = [f"auto, model of {size} GiB: {found.device} ({found.reason})"
             for size in (1, 30) for found in [choose_device("auto", facts, size * gib)]]
    try:
        choose_device("cuda:7", facts)
    except InferenceError as error:
        lines.append(f"cuda:7: {error}")
    say("1.8 three GPUs with 4, 11 and 23 GiB free", *lines)


def warm_up_example() -> None:
    """When a series of times is stable."""
    seconds = [9.0, 4.0, 2.0, 1.3, 1.1, 1.02, 1.01, 0.99, 1.0, 1.01, 1.0, 0.99, 3.0, 1.0, 1.01]
    first = next(n for n in range(len(seconds) + 1) if is_stable(seconds[:n]))
    say("1.9 call times in ms", str(seconds), f"stable after call {first}")


def percentile_example(out: Path) -> None:
    """How far a p99 can be trusted."""
    rows = []
    for count in (100, 300, 368, 1000, 10000):
        low, high = percentile_ranks(count, 0.99)
        rows.append(f"{count:6} requests: p99 is the {int(np.ceil(0.99 * count))}th, between the "
                    f"{low}th and the {f'{high}th' if high else '? (beyond the sample)'}")
    say("1.11 ranks around p99, 95% confidence", *rows,
        *(f"{name} needs {samples_needed(q)} requests"
          for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999))))
    rng = np.random.default_rng(1)
    counts = np.unique(np.geomspace(30, 10000, 40).astype(int))
    figure, axes = _plot(1, 1, (6.4, 2.8))
    axis = axes[0]
    true = -np.log(1 - 0.99)
    for count in counts:
        sample = np.sort(rng.exponential(1.0, count))
        low, high = percentile_ranks(int(count), 0.99)
        bottom = sample[(low or 1) - 1]
        top = sample[high - 1] if high else 14.0
        axis.plot([count, count], [bottom, top], color=BLUE if high else GREY, linewidth=2)
        axis.plot(count, percentile(sample, 0.99), "o", color=RED, markersize=3)
    axis.axhline(true, color=GREEN, linewidth=1)
    axis.annotate("true p99", (10000, true), (-2, 12), textcoords="offset points", color=GREEN,
                  fontsize=8)
    axis.set(xscale="log", xlabel="requests", ylabel="latency, means of the model", ylim=(0, 12))
    _save(figure, out / "percentiles.svg")


def stall_example(out: Path) -> None:
    """The same model, asked by a closed and by an open loop."""
    model = ScriptedModel()
    closed = closed_loop(model.call, 2000, model.clock).latency * 1e3
    model = ScriptedModel()
    arrivals = poisson_arrivals(np.random.default_rng(5).random(2000), 200.0)
    opened = open_loop(model.call, arrivals, model.clock, model.sleep).latency * 1e3
    say("1.12 a model of 1 ms that stalls for 50 ms once in 100 requests; 200 requests a second",
        *(f"{name}: p50 {percentile(found, 0.5):.1f} ms, p95 {percentile(found, 0.95):.1f} ms, "
          f"p99 {percentile(found, 0.99):.1f} ms"
          for name, found in (("closed loop", closed), ("open loop  ", opened))))
    figure, axes = _plot(1, 1, (6.4, 2.8))
    for name, found, colour in (("closed loop: from the call", closed, GREY),
                                ("open loop: from the arrival", opened, RED)):
        slower = 100 * (1 - np.arange(len(found)) / len(found))
        axes[0].step(np.sort(found), slower, where="post", color=colour, label=name)
    axes[0].set(yscale="log", xlabel="latency, ms", ylabel="requests at least as slow, %")
    axes[0].legend(frameon=False, fontsize=8)
    _save(figure, out / "stall.svg")


def own_time_example() -> None:
    """Own times of nested layers."""
    spans = [Span("block", 0.0, 10.0), Span("conv", 1.0, 5.0), Span("im2col", 2.0, 3.0),
             Span("relu", 6.0, 7.0)]
    own = exclusive_times(spans)
    say("1.13 block 0..10 calls conv 1..5, which calls im2col 2..3; then relu 6..7",
        ", ".join(f"{name} {seconds:g}" for name, seconds in own.items()))


def memory_example(out: Path) -> None:
    """The lives of the activations of a small network with a skip connection."""
    operations = [
        Operation("conv1", ("image",), ("a",)), Operation("conv2", ("a",), ("b",)),
        Operation("conv3", ("b",), ("c",)), Operation("add", ("a", "c"), ("d",)),
        Operation("pool", ("d",), ("e",)),
    ]
    sizes = {"image": 3, "a": 8, "b": 8, "c": 8, "d": 8, "e": 2}
    found = activation_peak(operations, sizes, ("e",))
    say("1.14 a skip connection; sizes in MB", f"all activations {found.total_bytes}, peak "
        f"{found.peak_bytes} during {found.operation}, alive: {', '.join(found.living)}")
    figure, axes = _plot(1, 1, (6.4, 2.4))
    lives = lifetimes(operations, ("e",))
    for row, (name, life) in enumerate(lives.items()):
        alive = name in found.living
        axes[0].barh(row, life.last - life.first + 0.9, left=life.first - 0.45, height=0.3
                     + sizes[name] / 20, color=RED if alive else GREY)
        axes[0].text(life.first - 0.4, row, f"{name}, {sizes[name]} MB", va="center", fontsize=8,
                     color="white" if sizes[name] > 3 else "black")
    axes[0].set_xticks(range(len(operations)), [o.name for o in operations])
    axes[0].set_yticks([])
    axes[0].invert_yaxis()
    axes[0].spines["left"].set_visible(False)
    _save(figure, out / "memory.svg")


def roofline_example(out: Path) -> None:
    """Layers under the roof of a made-up machine."""
    roof = Ceilings(100e9, 20e9, "made up")
    layers = [Layer("conv 3x3", "Conv", 2.0e-3, 150_000_000, 1_500_000),
              Layer("conv 1x1", "Conv", 0.5e-3, 20_000_000, 1_800_000),
              Layer("relu", "Relu", 0.2e-3, 800_000, 3_200_000),
              Layer("dense, batch 1", "Gemm", 0.4e-3, 4_000_000, 8_000_000)]
    points = [p for p in (place(layer, roof) for layer in layers) if p is not None]
    say(f"1.15 a machine of 100 GFLOP/s and 20 GB/s: ridge at {roof.ridge:g} operations a byte",
        *(f"{p.name}: intensity {p.intensity:.3g}, achieved {p.achieved / 1e9:.3g} of "
          f"{p.attainable / 1e9:.3g} GFLOP/s ({p.efficiency:.0%}), limited by {p.bound}"
          for p in points))
    figure, axes = _plot(1, 1, (6.4, 3.0))
    x = np.geomspace(0.05, 300, 100)
    axes[0].plot(x, [roof.attainable(i) / 1e9 for i in x], color="black", linewidth=1)
    axes[0].axvline(roof.ridge, color=GREY, linewidth=0.8, linestyle=":")
    for p in points:
        colour = BLUE if p.bound == "memory" else RED
        axes[0].plot(p.intensity, p.achieved / 1e9, "o", color=colour, markersize=5)
        axes[0].plot([p.intensity] * 2, [p.achieved / 1e9, p.attainable / 1e9], color=colour,
                     linewidth=0.8)
        axes[0].annotate(p.name, (p.intensity, p.achieved / 1e9), (6, -10),
                         textcoords="offset points", fontsize=8)
    axes[0].set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s",
                ylim=(0.5, 200))
    _save(figure, out / "roofline.svg")


def _figures(values: Any, digits: int = 3) -> str:
    return ", ".join(f"{float(value):.{digits}f}" for value in values)


def _plot(rows: int, columns: int, size: tuple[float, float], **named: Any) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "chapter1", "font.size": 9})
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False,
                                gridspec_kw=named)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def _rectangle(box: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(box[:2], *(box[2:] - box[:2]), fill=False, color="yellow", linewidth=1.5)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=90, metadata=metadata)
    plt.close(figure)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def chapter(out: Path) -> int:
    """Print the chapter's numbers and draw its figures."""
    pickle_example()
    letterbox_example(out)
    numbers_example()
    batch_example()
    device_example()
    warm_up_example()
    percentile_example(out)
    stall_example(out)
    own_time_example()
    memory_example(out)
    roofline_example(out)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(chapter))
