"""``course diff``: the smallest input that fails, expected and got side by side."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from course.checkout import Checkout
from course.failing import Failing, smallest_failing
from course.show import show_result
from course.verdict import Verdict

MOST = 12  # values of a row, and rows
OUT = Path("out/course")


@click.command("diff")
@click.argument("exercise_id", metavar="ID")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--reference", type=click.Path(path_type=Path, exists=True))
def command(exercise_id: str, seed: int | None, reference: Path | None) -> int:
    """Find the smallest failing input; 1 where there is one."""
    checkout = Checkout()
    exercise = checkout.manifest.find(exercise_id)
    judge = checkout.judge(seed, reference)
    console = Console(highlight=False)
    with console.status("looking for a small input that fails"):
        result = judge.check(exercise)
        failing = smallest_failing(judge, exercise, result) if result.difference else None
    show_result(result, console)
    if failing is None:
        if result.verdict == Verdict.WRONG:
            console.print("[dim]nothing to lay side by side: see the message[/]")
        return int(result.verdict == Verdict.WRONG)
    show_failing(failing, console)
    picture = draw(failing, checkout.root / OUT / f"{exercise.id}.png")
    if picture:
        console.print(f"picture: {picture}")
    console.print(f"[dim]again: course diff {exercise.id} --seed {judge.seed}[/]")
    return 1


def show_failing(failing: Failing, console: Console) -> None:
    """The calls of the check, and both results around the first difference."""
    for name, args, named in failing.calls[-3:]:
        words = [*(_shape(a) for a in args), *(f"{k}={_shape(v)}" for k, v in named.items())]
        console.print(f"\n[bold]{name}[/]({escape(', '.join(words))})")
        for number, arg in enumerate(args):
            if isinstance(arg, np.ndarray) and arg.size <= 64:
                console.print(f"  argument {number + 1}:\n{escape(_indented(arg))}")
    table = Table(box=None, padding=(0, 3))
    table.add_column("")
    table.add_column("expected", style="green")
    table.add_column("got", style="red")
    for label, expected, got in _rows(failing):
        table.add_row(label, escape(expected), escape(got))
    console.print()
    console.print(table)


def _rows(failing: Failing) -> list[tuple[str, str, str]]:
    a, b = failing.difference.expected, failing.difference.got
    path = failing.difference.path or "result"
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape and a.ndim:
        flat = list(np.ndindex(a.shape))
        start = max(0, flat.index(failing.difference.first) - 2) if failing.difference.first else 0
        return [(f"{path}{list(i)}", _value(a[i]), _value(b[i])) for i in flat[start:start + MOST]]
    if isinstance(a, list) and isinstance(b, list):
        rows = [(f"{path}[{i}]", _value(a[i]) if i < len(a) else "–",
                 _value(b[i]) if i < len(b) else "–") for i in range(max(len(a), len(b)))]
        return rows[:MOST]
    return [(path, _shape(a), _shape(b))]


def _value(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float | np.floating) else f"{value!s:.60}"


def _shape(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"{value!r:.60}"


def _indented(array: Any) -> str:
    text = np.array2string(array, precision=4, threshold=64, max_line_width=90)
    return "\n".join("    " + line for line in text.splitlines())


def draw(failing: Failing, path: Path) -> Path | None:
    """A picture of both results where they are pictures or curves; None where they are not."""
    a, b = failing.difference.expected, failing.difference.got
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)) or a.shape != b.shape:
        return None
    image = a.dtype == np.uint8 and a.ndim in (2, 3) and min(a.shape[:2]) >= 8
    curve = a.ndim == 1 and a.size >= 8 and a.dtype.kind == "f"
    if not (image or curve):
        return None
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3 if image else 1, figsize=(9, 3.2), layout="constrained",
                                squeeze=False)
    if image:
        gap = np.abs(a.astype(int) - b.astype(int))
        for axis, (title, shown) in zip(axes[0], (("expected", a), ("got", b),
                                                  ("difference", gap)), strict=True):
            axis.imshow(shown[..., ::-1] if title != "difference" and shown.ndim == 3 else
                        shown.max(axis=-1) if shown.ndim == 3 else shown, cmap="viridis")
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    else:
        axes[0, 0].plot(a, label="expected", color="tab:green")
        axes[0, 0].plot(b, label="got", color="tab:red", linestyle="--")
        axes[0, 0].legend(frameon=False)
        axes[0, 0].spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
