"""What a pickle would do, found out without doing it.

The problem: a pickle is a program for a small stack machine, and two of its instructions import
any function and call it. The idea: run the same program on a machine whose stack holds notes
instead of objects. Importing ``os.system`` leaves the note ``Global("os", "system")``, calling it
leaves the note of the call; nothing is imported, nothing is called::

    opcode      stack of the real machine         stack of this one
    GLOBAL      <function system>                 Global("os", "system", 0)
    UNICODE     <function system>, "rm ..."       Global(...), "rm ..."
    TUPLE1      <function system>, ("rm ...",)    Global(...), ("rm ...",)
    REDUCE      (the files are gone)              Made("os.system"), one Call noted

Source: the comments of CPython's ``pickletools``, which also splits the bytes into opcodes.
"""

import io
import pickletools
import struct
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import InferenceError

OPCODE_LIMIT = 2_000_000
PROTOCOL_LIMIT = 5
CONTAINERS = {"list", "dict", "set", "collections.OrderedDict", "collections.Counter"}
TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
ATOMS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
MAKERS = {
    "LIST": "list", "EMPTY_LIST": "list", "DICT": "dict", "EMPTY_DICT": "dict",
    "EMPTY_SET": "set", "FROZENSET": "frozenset", "STRING": "string", "BINSTRING": "string",
    "SHORT_BINSTRING": "string", "BYTEARRAY8": "bytearray",
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK_OBJECT = pickletools.markobject  # in an opcode's description: it takes a group


@dataclass(frozen=True, slots=True)
class Global:
    """An import: the name that a pickle asks for, and the byte where it does."""

    module: str
    name: str
    position: int

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Made:
    """A value that the real machine would have made: by a call, or a container."""

    by: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A value that the pickle fetches from outside itself (a persistent id): a tensor's storage."""

    identity: Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the pickle asks for: ``function(*arguments)``, as notes."""

    opcode: str
    position: int
    function: Any
    arguments: Any


@dataclass(slots=True)
class Trace:
    """Everything that one pickle would do beyond building plain containers."""

    protocol: int = 0
    opcodes: int = 0
    end: int = 0  # byte after STOP
    globals: list[Global] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    result: Any = None


def trace_pickle(data: bytes, start: int = 0) -> Trace:
    """Follow one pickle from ``start`` to its STOP.

    Raises InferenceError for a pickle that is damaged, cut off, longer than ``OPCODE_LIMIT``
    opcodes, or needs a stack or memo entry that is not there.
    """
    machine = _Machine(data)
    stream = io.BytesIO(data)
    stream.seek(start)
    position = start
    try:
        for count, (opcode, argument, at) in enumerate(pickletools.genops(stream)):
            position = at if at is not None else position
            if count >= OPCODE_LIMIT:
                raise InferenceError(f"pickle of more than {OPCODE_LIMIT} opcodes")
            machine.step(opcode, argument, position)
            machine.trace.opcodes = count + 1
    except (ValueError, IndexError, KeyError, struct.error, OverflowError, MemoryError) as error:
        raise InferenceError(f"damaged pickle at byte {position}: {error}") from error
    machine.trace.end = stream.tell()
    return machine.trace


class _Machine:
    """The stack, the memo and the notes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self.trace = Trace()

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any, position: int) -> None:
        """Note what one opcode would do."""
        name = opcode.name
        if name in TEXTS:
            self.trace.texts.append(argument)
            self._stack.append(argument)
        elif name in ATOMS:
            self._stack.append(argument)
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in MAKERS:
            if MARK_OBJECT in opcode.stack_before:
                self._group()
            self._stack.append(Made(MAKERS[name]))
        elif name in TUPLES:
            self._stack.append(tuple(self._take(TUPLES[name])))
        elif name == "TUPLE":
            self._stack.append(tuple(self._group()))
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
            self._fill(name, position)
        elif not (self._step_memo(name, argument) or self._step_program(name, argument, position)):
            raise ValueError(f"opcode {name} has no place in a model")

    def _step_memo(self, name: str, argument: Any) -> bool:
        """Marks, memo and stack order; whether the opcode was one of them."""
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "POP":
            if self._marks and self._marks[-1] == len(self._stack):
                self._marks.pop()
            else:
                self._take(1)
        elif name == "POP_MARK":
            self._group()
        elif name == "DUP":
            self._stack.append(self._top())
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(self._memo) if name == "MEMOIZE" else argument
            if not 0 <= index <= len(self._data):
                raise ValueError(f"memo entry {index} in a pickle of {len(self._data)} bytes")
            self._memo[index] = self._top()
        elif name == "PROTO":
            if argument > PROTOCOL_LIMIT:
                raise ValueError(f"pickle protocol {argument}")
            self.trace.protocol = max(self.trace.protocol, argument)
        elif name == "STOP":
            (self.trace.result,) = self._take(1)
            if self._stack or self._marks:
                raise ValueError("values left on the stack at the end")
        else:
            return name == "FRAME"
        return True

    def _step_program(self, name: str, argument: Any, position: int) -> bool:
        """Imports, calls and persistent ids; whether the opcode was one of them."""
        if name == "GLOBAL":
            self._import(*_names(self._data, position), position)
        elif name == "STACK_GLOBAL":
            module, attribute = self._take(2)
            if type(module) is not str or type(attribute) is not str:
                module, attribute = "?", "a name made at run time"
            self._import(module, attribute, position)
        elif name == "INST":
            arguments = tuple(self._group())
            self._import(*_names(self._data, position), position)
            self._call(name, position, self._take(1)[0], arguments)
        elif name == "OBJ":
            function, *rest = self._group()
            self._call(name, position, function, tuple(rest))
        elif name in ("REDUCE", "NEWOBJ"):
            self._call(name, position, *self._take(2))
        elif name == "NEWOBJ_EX":
            function, positional, named = self._take(3)
            self._call(name, position, function, (positional, named))
        elif name == "BUILD":
            target, state = self._take(2)
            self.trace.calls.append(Call(name, position, target, state))
            self._stack.append(target)
        elif name in ("EXT1", "EXT2", "EXT4"):
            self._import("copyreg", f"extension {argument}", position)
        elif name in ("PERSID", "BINPERSID"):
            identity = argument if name == "PERSID" else self._take(1)[0]
            self._stack.append(Stored(identity))
            self.trace.stored.append(self._stack[-1])
        else:
            return False
        return True

    def _import(self, module: str, name: str, position: int) -> None:
        self._stack.append(Global(module, name, position))
        self.trace.globals.append(self._stack[-1])

    def _call(self, opcode: str, position: int, function: Any, arguments: Any) -> None:
        self.trace.calls.append(Call(opcode, position, function, arguments))
        self._stack.append(Made(str(function) if isinstance(function, Global) else "?"))

    def _fill(self, name: str, position: int) -> None:
        """Items into a container; into anything else it is a call of that thing's methods."""
        if name.endswith("S"):
            self._group()
        else:
            self._take(2 if name == "SETITEM" else 1)
        target = self._top()
        if not (isinstance(target, Made) and target.by in CONTAINERS):
            self.trace.calls.append(Call(name, position, target, ()))

    def _top(self) -> Any:
        (top,) = self._take(1)
        self._stack.append(top)
        return top

    def _take(self, count: int) -> list[Any]:
        """The last ``count`` values, which must all stand above the last mark."""
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - count < floor:
            raise ValueError("the stack is too short")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _group(self) -> list[Any]:
        """Everything above the last mark."""
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken


def _names(data: bytes, position: int) -> tuple[str, str]:
    """The two lines after GLOBAL or INST as the unpickler reads them.

    ``pickletools`` would undo backslash escapes that the unpickler leaves alone.
    """
    middle = data.index(b"\n", position + 1)
    end = data.index(b"\n", middle + 1)
    return data[position + 1 : middle].decode("utf-8"), data[middle + 1 : end].decode("utf-8")
