"""JUnit's XML, which CI servers read: a test case for each exercise."""

import re
from xml.etree import ElementTree

from course.verdict import CheckReport, Verdict

ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return ILLEGAL.sub("?", text)


def write(report: CheckReport) -> str:
    """wrong and slow are failures, todo is skipped, error is an error."""
    suite = ElementTree.Element("testsuite", {
        "name": "course", "tests": str(len(report.exercises)),
        "failures": str(report.count(Verdict.WRONG) + report.count(Verdict.SLOW)),
        "errors": str(report.count(Verdict.ERROR)), "skipped": str(report.count(Verdict.TODO)),
        "time": f"{report.seconds:.3f}",
    })
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("seed", str(report.seed)), ("score", f"{report.score:g}"),
                        ("max_score", f"{report.max_score:g}"),
                        *(("bound", bound) for bound in report.bounds)):
        ElementTree.SubElement(properties, "property", name=name, value=clean(value))
    for result in report.exercises:
        phase = f"phase{result.id.partition('.')[0]}"
        case = ElementTree.SubElement(suite, "testcase", {
            "classname": phase, "name": f"{result.id} {result.title}",
            "time": f"{result.seconds:.3f}",
        })
        kind = {Verdict.WRONG: "failure", Verdict.SLOW: "failure", Verdict.ERROR: "error",
                Verdict.TODO: "skipped"}.get(result.verdict)
        if kind is not None:
            first = (result.message.splitlines() or [str(result.verdict)])[0]
            element = ElementTree.SubElement(case, kind, message=clean(first))
            if kind != "skipped":
                element.set("type", result.reason or str(result.verdict))
                element.text = clean(result.message)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
