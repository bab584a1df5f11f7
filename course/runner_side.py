"""The child: imports one answer, runs checks on it, sends raw results through a pipe.

    python -m course.runner_side JOB

``JOB`` is a JSON text (see :class:`course.runner.Job`). It holds no expected value and no
reference: there is nothing here to be found. Everything that the answer prints goes to this
process's standard output, never into the pipe.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

MOST_LINES = 6  # of a traceback
MOST_TEXT = 2000  # characters of a message


def main(text: str) -> None:
    """Run the job; one frame for each seed of each check, a first one for the import."""
    job = json.loads(text)
    channel = os.fdopen(job["channel"], "wb", buffering=0)
    sys.path[:0] = [path for path in job["paths"] if path not in sys.path]
    from course.plain_data import NotPlainError, encode

    def send(frame: dict[str, Any]) -> None:
        try:
            data = encode(frame)
        except NotPlainError as error:
            data = encode({"kind": "not plain", "message": str(error)})
        channel.write(len(data).to_bytes(4, "little") + data)

    try:
        module = importlib.import_module(job["module"])
    except BaseException as error:  # whatever an answer does when it is imported
        send({"kind": "import", **_fault(error, job["template"])})
        _leave(1)
    send({"kind": "ready"})
    from course.scenario import load_scenarios

    checks = {check.name: check for check in load_scenarios(Path(job["scenarios"]))
              if check.exercise == job["exercise"]}
    for name, seed in job["checks"]:
        if job["go"] is not None:  # its turn comes with its seed
            turn = os.read(job["go"], 8)
            if not turn:
                break
            seed = int.from_bytes(turn, "little")
        send(_run(checks[name], seed, module, job["template"]))
    _leave(0)


def _run(check: Any, seed: int, module: Any, template: str) -> dict[str, Any]:
    from course.scenario import Guarded, MutationError, draw

    guarded = Guarded(module)
    try:
        return {"kind": "result", "value": check.check(guarded, draw(seed))}
    except MutationError as error:
        return {"kind": "mutation", "message": str(error)}
    except BaseException as error:  # SystemExit and KeyboardInterrupt, too
        return {"kind": "exception", **_fault(error, template), **_last(guarded)}


def _last(guarded: Any) -> dict[str, Any]:
    """The latest call and what it returned, for a check that could not use it."""
    if guarded.last is None:
        return {}
    name, value = guarded.last
    return {"call": name, "returned": f"{value!r:.80}", "returned_type": type(value).__name__}


def _fault(error: BaseException, template: str) -> dict[str, Any]:
    """What was raised, cut to the learner's own lines."""
    own = [f"line {frame.lineno}, in {frame.name}: {frame.line}"
           for frame in traceback.extract_tb(error.__traceback__)
           if os.path.basename(frame.filename).startswith("template_")]  # noqa: PTH119
    if isinstance(error, SyntaxError):
        own = [f"line {error.lineno}: {(error.text or '').strip()}"]
    try:
        message = str(error)[:MOST_TEXT]
    except Exception:  # an exception whose text raises
        message = ""
    return {"error": type(error).__name__, "message": message, "lines": own[-MOST_LINES:],
            "own": bool(own)}


def _leave(code: int) -> None:
    """End at once: threads that the answer left behind do not hold this process up."""
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
