"""Answers that make the judge stumble: its own faults give points, so nobody must cause one."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.difference import find_difference
from course.grading import grade_submission
from course.manifest import load_manifest
from course.plain_data import NotPlainError
from course.runner import checked_frame
from course.submission import Submission
from course.template_source import generate, replace_symbol
from course.verdict import CheckReport, Verdict

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)
EXERCISE = MANIFEST.find("1.5")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's bounds")
SEND = """
    import os
    from course.plain_data import encode
    data = encode(FRAME)
    for fd in range(3, 64):
        try: os.write(fd, len(data).to_bytes(4, "little") + data)
        except OSError: pass
    return logits
"""


def graded(body: str) -> CheckReport:
    """The report on a softmax with that body."""
    text = generate(MANIFEST, EXERCISE.template, answers=True)
    text = replace_symbol(text, "softmax", "def softmax(logits, axis=-1):\n" + body)
    return grade_submission(Submission("x", {EXERCISE.template: text}), MANIFEST, seed=3,
                            exercises=(EXERCISE,))


@linux
@pytest.mark.parametrize("frame", [
    '{"kind": "exception", "lines": 5}',
    '{"kind": "exception", "error": "E", "message": "m", "lines": [], "call": "f"}',
    '{"kind": "exception", "error": [1], "message": {"a": 1}}', '{"kind": "import"}',
    '{"kind": "nonsense"}', '{"kind": ["result"]}', '{"kind": "bounds", "value": ["fine"]}',
    '{"kind": "result", "value": 10**399}', '[1, 2]', '"text"',
])
def test_forged_frames_are_wrong_and_no_fault_of_the_judge(frame: str) -> None:
    result = graded(SEND.replace("FRAME", frame)).exercises[0]
    assert (result.verdict, result.points) == (Verdict.WRONG, 0), result.message
    assert result.message and "None" not in result.message


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                 max_size=3), max_leaves=8)
FRAMES = st.fixed_dictionaries({}, optional={
    "kind": st.sampled_from(["result", "exception", "import", "mutation"]) | PLAIN,
    "value": PLAIN, "lines": st.lists(st.text(max_size=3)) | PLAIN, "own": st.booleans() | PLAIN,
    "error": st.text(max_size=3) | PLAIN, "message": st.text(max_size=3) | PLAIN,
    "call": st.text(max_size=3) | PLAIN, "returned": st.text(max_size=3) | PLAIN,
})


@given(FRAMES | PLAIN)
@settings(max_examples=300, deadline=None)
def test_a_frame_is_read_or_refused(frame: object) -> None:
    try:
        kind, _, fault = checked_frame(frame)
    except NotPlainError:
        return
    assert isinstance(kind, str) and isinstance(fault.get("lines", []), list)
    assert all(isinstance(value, str) for name, value in fault.items()
               if name not in ("lines", "own"))


@pytest.mark.parametrize("got", [10**399, -(10**399), True, "x", None, [1.0], 1 + 2j])
@pytest.mark.parametrize("expected", [0.5, 3, float("nan"), float("inf")])
def test_any_number_can_be_compared(expected: float, got: object) -> None:
    assert find_difference(expected, got) is not None
