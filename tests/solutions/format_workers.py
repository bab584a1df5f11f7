"""Formats that misbehave in one way each, for the tests of the processes around them."""

import os
import signal
import sys
import time

from solutions.phase2_optimization.formats.catalogue import Format
from solutions.phase2_optimization.formats.compiled import Compiled
from zoo.errors import InferenceError


def made(name, run, detail=""):
    return Compiled(name, run, 0.25, 1234, detail)


def twice(source, options):
    """y = 2 x, as the reference model has it."""
    return made("twice", lambda batch: [batch[0] * 2])


def thrice(source, options):
    return made("thrice", lambda batch: [batch[0] * 3])


def flat(source, options):
    return made("flat", lambda batch: [(batch[0] * 2).ravel()])


def refuses(source, options):
    raise InferenceError("this network has no wings")


def raises(source, options):
    raise KeyError("inner")


def dies(source, options):
    print("about to fall", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def exits(source, options):
    os._exit(7)


def hangs(source, options):
    time.sleep(600)


def eats(source, options):
    return made("eats", lambda batch: [bytearray(1 << 40)])


def prints(source, options):
    print("a library says hello on standard output")
    os.write(1, b"and natively")
    return twice(source, options)


def dies_later(source, options):
    calls = []

    def run(batch):
        calls.append(1)
        if len(calls) > 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return [batch[0] * 2]

    return made("dies_later", run)


def format_of(name):
    """A format of this file."""
    return Format(name, f"format_workers:{name}", "onnx", f"a format that {name}")
