"""Grading: how many faulty answers are seen, how long a submission and a class take."""

import random
import subprocess
import sys
import tempfile
import time
import tomllib
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Spread
from benchmarks.mutants import Mutant, mutants
from benchmarks.suite import Context, Row, SuiteResult, at_least, at_most
from course.difference import find_difference
from course.grading import grade
from course.judge import Judge, run_reference
from course.manifest import Manifest, load_manifest, module_name
from course.mistakes import module_of
from course.template_source import generate
from course.verdict import Verdict

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).parents[1] / "equivalent_mutants.toml"
SAMPLE = 60  # mutants of a quick run
CLASS = 30
LIMIT = 2.0  # seconds of a check, instead of ten: an endless mutant shall not take minutes


def run(context: Context) -> SuiteResult:
    """Mutants of every exercise as answers; a full submission; a class."""
    manifest = load_manifest(ROOT)
    found = [m for e in manifest.exercises
             for m in mutants((ROOT / e.solution).read_text("utf-8"), e,
                              generate(manifest, e.template))]
    if context.quick:
        found = random.Random(1).sample(found, SAMPLE)
    context.say(f"{len(found)} mutants")
    with ThreadPoolExecutor(2) as pool:
        survived = [m for m, alive in zip(found, pool.map(lambda m: _survives(manifest, m), found),
                                          strict=True) if alive]
    known = tomllib.loads(EQUIVALENT.read_text("utf-8"))
    alike = [m for m in survived if m.key in known]
    killed = 1 - (len(survived) - len(alike)) / max(len(found) - len(alike), 1)
    context.say("other right answers")
    refused = _refused(manifest)
    with tempfile.TemporaryDirectory() as folder:
        answers = _answers(manifest, Path(folder) / "answers")
        seconds = Spread.of([grade(answers, manifest, seed=s).seconds
                             for s in range(2 if context.quick else 5)])
        count = 4 if context.quick else CLASS
        context.say(f"a class of {count}")
        took = _class(answers, Path(folder), count)
    goals = [
        at_least("share of mutants killed, in %", 100 * killed, 95),
        at_most("right answers refused", refused, 0),
        at_most("seconds for a full phase 1 submission", seconds.median, 60),
        at_most(f"minutes for a class of {CLASS}", took / count * CLASS / 60, 15),
    ]
    rows = _rows(manifest, found, survived, alike)
    facts = {"survivors": [m.key for m in survived if m.key not in known],
             "equivalent": {m.key: known[m.key] for m in alike},
             "submission_seconds": str(seconds), "class": count, "class_seconds": round(took, 1)}
    return SuiteResult(rows, goals, lambda figure: _plot(figure, rows), facts)


def _survives(manifest: Manifest, mutant: Mutant) -> bool:
    """Whether a mutant is taken for right."""
    exercise = manifest.find(mutant.exercise)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for template in manifest.templates:
            path = root / template
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generate(manifest, template, answers=True), "utf-8")
        text = mutant.source
        for solution, template_module in manifest.modules.items():
            text = text.replace(f"from {solution} import", f"from {template_module} import")
        (root / exercise.template).write_text(text, "utf-8")
        seed = zlib.crc32(mutant.key.encode()) % 10**6
        judge = Judge(manifest, root, seed=seed, paths=(root, ROOT))
        checks = [_hurried(check) for check in judge.scenarios(exercise)]
        judge._scenarios[manifest.root / exercise.scenarios] = checks
        return judge.check(exercise).verdict == Verdict.DONE


def _hurried(check: Any) -> Any:
    return replace(check, limit_s=LIMIT)


def _refused(manifest: Manifest) -> int:
    """How many of the different right answers are not done."""
    refused = 0
    for path in sorted((ROOT / "tests/course/alternatives").glob("*.py")):
        exercise = manifest.find(path.stem.partition("_")[0].replace("-", "."))
        solution = ROOT / exercise.solution
        module = module_of(solution.read_text("utf-8") + "\n" + path.read_text("utf-8"),
                           module_name(exercise.solution), solution)
        judge = Judge(manifest, seed=4)
        reference = judge.reference_module(exercise)
        refused += any(
            find_difference(run_reference(check, reference, seed),
                            run_reference(check, module, seed), check.tolerance, check.tolerances)
            for check, seed in judge.plan(exercise))
    return refused


def _answers(manifest: Manifest, folder: Path) -> Path:
    for template in manifest.templates:
        path = folder / template
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generate(manifest, template, answers=True), "utf-8")
    return folder


def _class(answers: Path, folder: Path, count: int) -> float:
    """Seconds for a class of equals, as an instructor starts it."""
    names = []
    for number in range(count):
        names.append(str(folder / f"student{number:02}"))
        Path(names[-1]).symlink_to(answers)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "course", "class", *names, "--out",
                    str(folder / "out")], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - start


def _rows(manifest: Manifest, found: list[Mutant], survived: list[Mutant], alike: list[Mutant]
          ) -> list[Row]:
    total, alive = (Counter(m.exercise for m in group) for group in (found, survived))
    same = Counter(m.exercise for m in alike)
    return [{"exercise": f"{e.id} {e.title}", "mutants": total[e.id],
             "killed": total[e.id] - alive[e.id], "equivalent": same[e.id],
             "survived": alive[e.id] - same[e.id]}
            for e in manifest.exercises if total[e.id]]


def _plot(figure: Any, rows: list[Row]) -> None:
    axes = figure.subplots()
    names = [str(row["exercise"]).partition(" ")[0] for row in rows]
    left = [0] * len(rows)
    for kind, colour in (("killed", "#3d8f5f"), ("equivalent", "#8a8f98"), ("survived", "#c8473f")):
        counts = [int(str(row[kind])) for row in rows]
        axes.bar(names, counts, bottom=left, color=colour, label=kind, width=0.6)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_ylabel("mutants")
    axes.legend(frameon=False, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
