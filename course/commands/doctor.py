"""``course doctor``: what stands in the way, and what to do about it."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

import click

from course.checkout import Checkout
from course.template_source import generate
from zoo.errors import InferenceError

NEEDED = {"numpy": "edge", "cv2": "edge", "onnxruntime": "edge", "rich": "edge", "click": "edge",
          "torch": "learn", "torchvision": "learn", "onnx": "learn", "safetensors": "learn",
          "watchfiles": "learn", "matplotlib": "learn"}


class Finding(NamedTuple):
    """One thing that was looked at."""

    good: bool
    text: str
    remedy: str = ""


@click.command("doctor")
def command() -> int:
    """Look at Python, packages, the checkout and the machine; 1 where something is wrong."""
    from rich.console import Console

    console = Console(highlight=False)
    bad = 0
    for finding in findings(Checkout()):
        mark = "[green]✓[/]" if finding.good else "[red]✗[/]"
        console.print(f"{mark} {finding.text}")
        if not finding.good:
            bad += 1
            console.print(f"    {finding.remedy}", style="dim")
    console.print("\neverything is ready" if not bad else f"\n{bad} to look after")
    return int(bad > 0)


def findings(checkout: Checkout) -> Iterator[Finding]:
    """All findings, in the order in which they matter."""
    version = sys.version_info
    yield Finding(version >= (3, 11), f"Python {version.major}.{version.minor}.{version.micro}",
                  "Python 3.11 or newer is needed")
    for package, extra in NEEDED.items():
        there = importlib.util.find_spec(package) is not None
        if not there:
            yield Finding(False, f"{package} is missing", f"pip install -e '.[{extra}]'")
    try:
        manifest = checkout.manifest
        yield Finding(True, f"{len(manifest.exercises)} exercises")
    except InferenceError as error:
        yield Finding(False, "the manifest cannot be read", str(error))
        return
    missing = [t for t in manifest.templates if not (checkout.root / t).exists()]
    yield Finding(not missing, "all templates are there" if not missing
                  else f"{missing[0]} is missing", "course update writes it")
    try:
        for template in manifest.templates:
            generate(manifest, template)
        reference = all((checkout.root / s).exists() for s in manifest.templates.values())
        named = "COURSE_REFERENCE" in os.environ
        yield Finding(reference or named, "the reference is here" if reference else
                      "the reference is in COURSE_REFERENCE" if named else
                      "this copy has no reference", "name one by --reference or COURSE_REFERENCE")
    except InferenceError as error:
        yield Finding(False, "templates cannot be generated", str(error))
    note = checkout.state.note
    yield Finding(not note, note or f"verdicts are kept in {checkout.state.path}",
                  "give yourself the right to write there")
    yield from _machine()


def _machine() -> Iterator[Finding]:
    """What phase 1's diagnosis finds of the machine itself."""
    try:
        from solutions.phase1_basics.diagnosis import diagnose
        from solutions.phase1_basics.machine_facts import gather_facts
        from solutions.phase1_basics.self_tests import run_self_tests
    except ImportError:
        return
    for found in diagnose(gather_facts(), run_self_tests()):
        good = found.verdict != "fault"
        yield Finding(good, f"{found.area}: {found.what}"
                      + (f" ({found.remedy})" if good and found.remedy else ""), found.remedy)
