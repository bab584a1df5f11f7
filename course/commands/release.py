"""``course release``: a copy to hand out."""

import shutil
import subprocess
from pathlib import Path

import click

from course.checkout import Checkout
from course.manifest import Manifest
from course.template_source import PRISTINE, generate
from zoo.errors import InferenceError

LEFT_OUT = ("tests/mistakes", "tests/solutions", "tests/course", "tests/benchmarks", "benchmarks",
            ".course", ".git", "out")


@click.command("release")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def command(out: Path) -> int:
    """Write the course without reference, mistakes, their tests and history.

    Checks there need ``--reference`` (or COURSE_REFERENCE) and say so.
    """
    checkout = Checkout()
    if out.exists() and any(out.iterdir()):
        raise InferenceError(f"{out} is not empty: a release is written into a new folder")
    count = write_release(checkout.manifest, out)
    click.echo(f"{count} files in {out}; checks there need --reference, a folder or zip archive "
               "with solutions/ in it")
    return 0


def write_release(manifest: Manifest, out: Path) -> int:
    """Copy what belongs to a release; the number of files."""
    secret = set(manifest.templates.values())
    count = 0
    for file in tracked_files(manifest.root):
        text = file.as_posix()
        if file in secret or any(text == p or text.startswith(p + "/") for p in LEFT_OUT):
            continue
        target = out / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if file in manifest.templates:
            text = generate(manifest, file)
            target.write_text(text, "utf-8")
            pristine = out / PRISTINE / file
            pristine.parent.mkdir(parents=True, exist_ok=True)
            pristine.write_text(text, "utf-8")
        else:
            shutil.copy2(manifest.root / file, target)
        count += 1
    return count


def tracked_files(root: Path) -> list[Path]:
    """The files that belong to the course, from the checkout: those that Git knows."""
    try:
        done = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], check=True,
                              capture_output=True, timeout=60)
        names = [n for n in done.stdout.decode().split("\0") if n]
    except (OSError, subprocess.SubprocessError):
        names = [p.relative_to(root).as_posix() for p in root.rglob("*")
                 if p.is_file() and not any(part.startswith(".venv") or part == "__pycache__"
                                            for part in p.parts)]
    return [Path(name) for name in names if (root / name).is_file()]
