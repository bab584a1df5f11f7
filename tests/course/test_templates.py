"""Templates out of solutions, on a small made-up course."""

import ast
from pathlib import Path

import pytest

from course.manifest import Manifest, ManifestError, load_manifest
from course.template_source import generate, is_untouched, replace_symbol, symbol_text

SOLUTION = '''"""Numbers.

The problem: there are many.
"""

import math
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from solutions.part.given import GIVEN
from solutions.part.other import twice, thrice

LIMIT = 3


class Box:
    """A box."""

    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def area(self) -> int:
        """Size times size."""
        return self.size * _square(1) * self.size


def add(a: int, b: int = LIMIT) -> int:
    """a plus b.

    Raises nothing.
    """
    # the answer stands here
    return _sum(a, b)


def given(a: int) -> int:
    """Stays as it is."""
    return _kept(a) + LIMIT  # and its comment


def _sum(a: int, b: int) -> int:
    return _deeper(a) + b


def _deeper(a: int) -> int:
    return a


def _kept(a: int) -> int:
    return a


def _square(a: int) -> int:
    return a * a


def _wished(a: int) -> int:
    return a


def main() -> int:
    """The program."""
    return add(1, 2)


if __name__ == "__main__":
    sys.exit(main())
'''
MANIFEST = '''
[[exercise]]
id = "1.1"
title = "Add"
points = 5
template = "part/template_numbers.py"
solution = "solutions/part/numbers.py"
symbols = ["add", "Box.area"]
keep = ["_wished"]
guide = "add"
steps = ["Add the two.", "area: Multiply, with a sentence that is long enough to be broken, so \
that it goes on and on."]
hints = ["+"]

[[exercise]]
id = "1.2"
title = "Twice"
points = 1
template = "part/template_other.py"
solution = "solutions/part/other.py"
symbols = ["twice"]
needs = ["1.1", "torch"]
guide = "twice"
steps = ["Twice."]
hints = ["*"]
'''


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "course").mkdir()
    (tmp_path / "course/exercises.toml").write_text(MANIFEST)
    (tmp_path / "solutions/part").mkdir(parents=True)
    (tmp_path / "solutions/part/numbers.py").write_text(SOLUTION)
    (tmp_path / "solutions/part/other.py").write_text(
        '"""Other."""\n\n\ndef twice(a: int) -> int:\n    """2 a."""\n    return 2 * a\n\n\n'
        'def thrice(a: int) -> int:\n    """3 a."""\n    return 3 * a\n')
    return load_manifest(tmp_path)


def test_a_template_keeps_what_is_given_and_loses_the_answers(manifest: Manifest) -> None:
    text = generate(manifest, Path("part/template_numbers.py"))
    compile(text, "template", "exec")
    for gone in ("the answer stands here", "_sum", "_deeper", "def _square", "parents[2]",
                 "solutions.part.other"):
        assert gone not in text, gone
    for there in ("def _kept", "def _wished", "and its comment", "LIMIT = 3", "a plus b.",
                  "from part.template_other import twice, thrice",
                  "from solutions.part.given import GIVEN", "    @property\n    def area",
                  "    # 1. Add the two.", 'raise NotImplementedError("exercise 1.1: add")',
                  'raise NotImplementedError("exercise 1.1: Box.area")',
                  "1.1 Add: add, Box.area", "guidelines.md#add", "run_template(__file__)"):
        assert there in text, there
    assert max(map(len, text.splitlines())) <= 100
    assert "def main() -> int:" in text and text.count("__main__") == 1


def test_answers_are_whole(manifest: Manifest) -> None:
    text = generate(manifest, Path("part/template_numbers.py"), answers=True)
    assert "_sum(a, b)" in text and "NotImplementedError" not in text
    assert "from part.template_other import twice, thrice" in text


def test_untouched_and_touched(manifest: Manifest) -> None:
    text = generate(manifest, Path("part/template_numbers.py"))
    exercise = manifest.find("1.1")
    assert is_untouched(ast.parse(text), exercise, "add")
    done = replace_symbol(text, "add", "def add(a, b=LIMIT):\n    return a + b\n")
    assert not is_untouched(ast.parse(done), exercise, "add")
    assert is_untouched(ast.parse(done), exercise, "Box.area")
    assert symbol_text(done, "add") == "def add(a, b=LIMIT):\n    return a + b"
    back = replace_symbol(done, "add", text)
    assert back == text


@pytest.mark.parametrize(("old", "new", "said"), [
    ('id = "1.2"', 'id = "1.1"', "twice"), ('id = "1.2"', 'id = "x"', "an id is"),
    ('needs = ["1.1", "torch"]', 'needs = ["1.7"]', "does not come before"),
    ('title = "Twice"', 'titel = "Twice"', "missing"), ("points = 1", "points = 0", "points"),
    ('points = 1', 'points = 1\nsurprise = 2', "surprise is no field"),
    ('"part/template_other.py"', '"../outside.py"', "within the course"),
    ('"part/template_other.py"', '"part/template_numbers.py"', "mirrors two"),
    ('"solutions/part/other.py"', '"solutions/part/numbers.py"', "two templates"),
    ('steps = ["Twice."]', "steps = []", "must not be empty"),
    ("[[exercise]]", "[[exercise", "TOML"),
    ('symbols = ["twice"]', 'symbols = ["nothing"]', "no nothing"),
])
def test_a_wrong_manifest_is_named(manifest: Manifest, old: str, new: str, said: str) -> None:
    path = manifest.root / "course/exercises.toml"
    head, found, tail = path.read_text().rpartition(old)
    assert found
    path.write_text(head + new + tail)
    with pytest.raises(ManifestError) as caught:
        generate(load_manifest(manifest.root), Path("part/template_other.py"))
    assert said in str(caught.value) or said == "TOML", caught.value
    assert "exercises.toml" in str(caught.value) or "no nothing" in str(caught.value)
