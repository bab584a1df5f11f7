"""How quickly the course answers: a check, the board, and the watch after a save."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Spread
from benchmarks.suite import Context, Row, SuiteResult, at_most, unmeasured
from course.manifest import Exercise, Manifest, load_manifest
from course.template_source import generate, replace_symbol

ROOT = Path(__file__).parents[2]
LINKED = ("zoo", "solutions", "course")
PATIENCE = 30.0  # seconds


def run(context: Context) -> SuiteResult:
    """Whole commands, as a learner starts them, in a checkout where everything is done."""
    rounds = 2 if context.quick else 7
    with tempfile.TemporaryDirectory() as folder:
        manifest = _checkout(Path(folder))
        context.say(f"{len(manifest.exercises)} exercises, {rounds} rounds")
        checks: dict[str, list[float]] = {e.id: [] for e in manifest.exercises}
        boards, alls = [], []
        for _ in range(rounds):
            for exercise in manifest.exercises:
                checks[exercise.id].append(_seconds(manifest.root, ["check", exercise.id]))
            alls.append(_seconds(manifest.root, ["check"]))
            boards.append(_seconds(manifest.root, []))
        context.say("watch")
        saves = [_watched(manifest) for _ in range(rounds)]
    slowest = max(checks, key=lambda name: Spread.of(checks[name]).median)
    light = [e for e in manifest.exercises if "torch" not in e.extras]
    worst = max(Spread.of(checks[e.id]).median for e in light)
    goals = [
        at_most(f"seconds of course check ID, the slowest ({slowest})", worst, 2.0),
        at_most("seconds of the board", Spread.of(boards).median, 0.5),
        at_most("seconds from a save to its verdict, course watch",
                Spread.of([s for s in saves if s is not None]).median, 1.0)
        if None not in saves else unmeasured("watch", "at most 1", "no verdict came"),
    ]
    rows: list[Row] = [{"command": f"course check {e.id}", "what": e.title,
                        "seconds": str(Spread.of(checks[e.id]))} for e in manifest.exercises]
    rows.append({"command": "course check", "what": "all of phase 1",
                 "seconds": str(Spread.of(alls))})
    rows.append({"command": "course", "what": "the board", "seconds": str(Spread.of(boards))})
    rows.append({"command": "course watch", "what": "from a save to its verdict",
                 "seconds": str(Spread.of([s for s in saves if s is not None]))})
    return SuiteResult(rows, goals, lambda figure: _plot(figure, checks))


def _checkout(root: Path) -> Manifest:
    """A checkout of links, its templates filled with the reference's answers."""
    for name in LINKED:
        (root / name).symlink_to(ROOT / name)
    (root / "tests").symlink_to(ROOT / "tests")
    manifest = load_manifest(root)
    for template in manifest.templates:
        (root / template).parent.mkdir(exist_ok=True)
        (root / template).write_text(generate(manifest, template, answers=True))
    return manifest


def _environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root), "COLUMNS": "100"}


def _seconds(root: Path, words: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "course", *words], cwd=root, env=_environment(root),
                   check=True, capture_output=True)
    return time.perf_counter() - start


def _watched(manifest: Manifest) -> float | None:
    """Seconds from a save to the line with its verdict; None where it never came."""
    exercise: Exercise = manifest.find("1.5")
    path = manifest.root / exercise.template
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "course", "watch", exercise.id], cwd=manifest.root,
        env=_environment(manifest.root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )
    lines: list[tuple[float, str]] = []
    stream = process.stdout
    assert stream is not None

    def listen() -> None:
        for line in stream:
            lines.append((time.perf_counter(), line))

    threading.Thread(target=listen, daemon=True).start()
    answer = path.read_text()
    try:
        if _when(lines, "done", 0.0) is None:
            return None
        time.sleep(1.0)  # the watch over the folder begins after the first verdict
        saved = time.perf_counter()
        path.write_text(replace_symbol(
            answer, "softmax", "def softmax(logits, axis=-1):\n    return logits"))
        told = _when(lines, "wrong", saved)
        return None if told is None else told - saved
    finally:
        process.kill()
        process.wait()
        path.write_text(answer)


def _when(lines: list[tuple[float, str]], words: str, after: float) -> float | None:
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        for moment, line in list(lines):
            if moment > after and words in line:
                return moment
        time.sleep(0.005)
    return None


def _plot(figure: Any, checks: dict[str, list[float]]) -> None:
    axes = figure.subplots()
    medians = [Spread.of(seconds).median for seconds in checks.values()]
    bars = axes.bar(list(checks), medians, width=0.6)
    axes.bar_label(bars, [f"{m:.2f}" for m in medians], fontsize=7)
    axes.set_ylabel("seconds, whole command")
    axes.set_xlabel("course check ID")
    axes.spines[["top", "right"]].set_visible(False)
