"""How commands end: their exit code and what stands on stderr."""

import click
import pytest

from zoo.errors import InferenceError
from zoo.terminal import run_command


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["command"])


def ends(outcome: object) -> int:
    """The exit code of a command that returns or raises ``outcome``."""

    @click.command()
    def command() -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return run_command(command)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_that_returns(returned, code, capsys) -> None:
    assert ends(returned) == code
    assert capsys.readouterr().err == ""


def test_a_mistake_is_one_line_and_2(capsys) -> None:
    assert ends(InferenceError("street.mp4 is empty:\n  give a video")) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: street.mp4 is empty: give a video\n"
    assert captured.out == ""


def test_a_wrong_option_is_one_line_and_2(capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["command", "--nonsense"])
    assert ends(None) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "--nonsense" in error and error.count("\n") == 1


def test_an_interrupt_is_130(capsys) -> None:
    assert ends(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_a_fault_of_ours_stays_visible() -> None:
    with pytest.raises(ZeroDivisionError):
        ends(ZeroDivisionError("a bug"))
