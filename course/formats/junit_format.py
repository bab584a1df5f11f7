"""JUnit's XML, which CI servers read: a test case for each exercise."""

import re

from course.verdict import CheckReport, ExerciseResult, Verdict
from zoo.errors import MissingExtraError

try:
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
except ImportError as missing:
    raise MissingExtraError("junitparser", "grade") from missing

ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return ILLEGAL.sub("?", text)


def write(report: CheckReport) -> str:
    """wrong and slow are failures, todo is skipped, error is an error."""
    suite = TestSuite("course")
    for name, value in (("seed", str(report.seed)), ("score", f"{report.score:g}"),
                        ("max_score", f"{report.max_score:g}"),
                        *(("bound", bound) for bound in report.bounds)):
        suite.add_property(name, clean(value))
    for result in report.exercises:
        suite.add_testcase(_case(result))
    document = JUnitXml("course")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    return bytes(document.tostring()).decode("utf-8") + "\n"  # type: ignore[no-untyped-call]


def _case(result: ExerciseResult) -> TestCase:
    phase = f"phase{result.id.partition('.')[0]}"
    case = TestCase(f"{result.id} {result.title}", phase, round(result.seconds, 3))
    first = clean((result.message.splitlines() or [str(result.verdict)])[0])
    reason = result.reason or str(result.verdict)
    match result.verdict:
        case Verdict.TODO:
            case.result = [Skipped(first, reason)]
        case Verdict.WRONG | Verdict.SLOW:
            case.result = [Failure(first, reason)]
        case Verdict.ERROR:
            case.result = [Error(first, reason)]
    for outcome in case.result:
        outcome.text = clean(result.message)
    return case
