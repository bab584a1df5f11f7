"""The one exception family of this project.

A message says what was wrong, where, and what to do. Commands print it as one line and exit
with code 2 (see ``zoo.terminal.run_command``); library users catch :class:`InferenceError`.
"""


class InferenceError(Exception):
    """A fault that the user can understand and mend."""


class MissingExtraError(InferenceError):
    """An optional package is not installed.

    >>> str(MissingExtraError("matplotlib", "demo"))
    "matplotlib is not installed: pip install '.[demo]'"
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install '.[{extra}]'")
