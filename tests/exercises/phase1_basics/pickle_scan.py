"""Checks of 1.2: pickles read, never run."""

import collections
import io
import os
import pickle
import pickletools

from course.scenario import attempt, scenario
from zoo.errors import InferenceError


class Evil:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Storages(pickle.Pickler):
    """Writes bytes objects as references to storages, as PyTorch does."""

    def __init__(self, file, identity):
        super().__init__(file, 2)
        self.identity = identity

    def persistent_id(self, thing):
        return self.identity if isinstance(thing, bytes) else None


def stored(identity):
    """A pickle that fetches a storage of that identity."""
    file = io.BytesIO()
    Storages(file, identity).dump([b"weights"])
    return file.getvalue()


def verdict(impl, data, **rules):
    """What is made of a pickle: the calls and imports that were allowed, or the refusal."""
    def look():
        trace = impl.check_pickle(data, "the file", **rules)
        return {"imports": [str(g) for g in trace.globals], "calls": len(trace.calls),
                "stored": len(trace.stored), "end": trace.end}

    try:
        return attempt(look)
    except InferenceError as error:
        return {"raises": str(error)}


def refusal(impl, data):
    """The class of the refusal and whether its message says where."""
    try:
        impl.check_pickle(data, "the file")
    except InferenceError as error:
        return {"class": type(error).__name__, "where": "the file" in str(error)}
    return {"class": "none"}


@scenario("1.2", seeds=2)
def harmless_pickles(impl, rng):
    """State dicts without tensors: numbers, texts, ordered dicts, sets, bytes."""
    count = int(rng.integers(1, 9))
    values = {
        "numbers": {"epoch": count, "loss": float(rng.random()), "name": "net"},
        "ordered": collections.OrderedDict((f"k{i}", i) for i in range(count)),
        "nested": [{"a": (1, 2, None)}, {"b": [True, b"xy"]}] * count,
        "set": {"keys": set(range(count))},
    }
    return {f"{name} {protocol}": verdict(impl, pickle.dumps(value, protocol))
            for name, value in values.items() for protocol in (2, 4, 5)}


@scenario("1.2", seeds=2)
def imports_that_run(impl, rng):
    """Pickles that import and call what no state dict needs."""
    word = f"echo {rng.integers(1000)}"
    evil = {
        "system": pickle.dumps(Evil(os.system, word)), "eval": pickle.dumps(Evil(eval, "1 + 1")),
        "open": pickle.dumps({"w": Evil(open, "/etc/hostname")}),
        "import alone": pickle.dumps([os.system]),
        "old protocol": pickle.dumps(Evil(os.system, word), 0),
        "memo": b"\x80\x02cos\nsystem\nq\x00X\x01\x00\x00\x00aq\x01\x85R.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01a\x85R.",
    }
    return {name: refusal(impl, data) for name, data in evil.items()}


@scenario("1.2", seeds=2)
def allowed_names_abused(impl, rng):
    """Names that are on the list, called in ways that no state dict does."""
    huge = int(rng.integers(1 << 40, 1 << 44))
    pickles = {
        "a huge bytearray": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06"
                            + huge.to_bytes(6, "little") + b"\x85R.",
        "a type called": b"\x80\x02ctorch\nFloatStorage\n)R.",
        "arguments that are no tuple": b"\x80\x02ccollections\nOrderedDict\n]R.",
        "a made thing called": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
        "state of a stranger": b"\x80\x02ccollections\nOrderedDict\n)R}b.",
        "state of an import": b"\x80\x02ccollections\nOrderedDict\n}b.",
        "state that is a list": b"\x80\x02ccollections\nOrderedDict\n)R]b.",
        "new object": b"\x80\x02ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85\x81.",
        "device": b"\x80\x02ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85R.",
    }
    return {name: refusal(impl, data) for name, data in pickles.items()}


@scenario("1.2", seeds=2)
def storages_and_damage(impl, rng):
    """References to storages, right and wrong; pickles that are cut off."""
    whole = pickle.dumps({"epoch": int(rng.integers(100)), "name": "net" * 9}, 2)
    kind = b"ctorch\nFloatStorage\n"
    good = (b"\x80\x02(X\x07\x00\x00\x00storage" + kind + b"X\x01\x00\x00\x000"
            b"X\x03\x00\x00\x00cpuK\x04tQ.")
    return {
        "storage": refusal(impl, good),
        "text": refusal(impl, stored("weights")), "number": refusal(impl, stored(7)),
        "tuple": refusal(impl, stored(("file", "/etc/passwd"))),
        "negative": refusal(impl, good.replace(b"K\x04", b"J\xff\xff\xff\xff")),
        "cut": refusal(impl, whole[: int(rng.integers(3, len(whole) - 1))]),
        "empty": refusal(impl, b""),
    }


@scenario("1.2", seeds=2)
def other_lists(impl, rng):
    """Lists of names other than the usual one, and a pickle that begins later in the file."""
    data = pickle.dumps(Evil(os.getcwd), 2)
    name = pickletools.genops(data)
    module = next(str(arg) for op, arg, _ in name if op.name == "GLOBAL")
    offset = int(rng.integers(1, 20))
    return {
        "all allowed": verdict(impl, data, rule_of=lambda found: lambda arguments: True),
        "never called": verdict(impl, data, rule_of=lambda found: lambda arguments: False),
        "none allowed": verdict(impl, data, rule_of=lambda found: None),
        "module": module, "later": verdict(impl, b"x" * offset + pickle.dumps(5, 2), start=offset),
        "any state": verdict(impl, b"\x80\x02ccollections\nOrderedDict\n)R]b.",
                             allows_state=lambda target, state: True),
        "no state": verdict(impl, b"\x80\x02ccollections\nOrderedDict\n)R}b.",
                            allows_state=lambda target, state: False),
    }
