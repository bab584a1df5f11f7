"""Protocol buffers by hand: only the wire, no generated classes.

The problem: ONNX and TensorFlow files are protocol buffers, and the usual parser builds the whole
message in memory before anybody can look at it. The idea: on the wire a message is a plain
sequence of fields, each one a tag (field number and wire type) and a value; a length in front of
each nested message allows skipping it unread. So a walker needs no schema beyond the numbers of
the fields that it wants to enter::

    tag       length   bytes ...                 tag       varint
    0x3a      0x05     [nested message]          0x08      0x07
    field 7   5 bytes                            field 1   7

Source: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator
from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from zoo.errors import InferenceError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIELD_LIMIT = 4_000_000  # fields that one file may make us look at
ALL_TEXT_LIMIT = 256 << 20  # bytes of all names together
TEXT_LIMIT = 1 << 20  # bytes of one name


class Span(NamedTuple):
    """A piece of the file: bytes [start, end)."""

    start: int
    end: int


class Field(NamedTuple):
    """One field: its number, wire type, and value (an integer, or where its bytes lie)."""

    number: int
    wire_type: int
    value: int
    span: Span


class WireReader:
    """Walks the fields of messages in one file, within a budget of fields for the whole file."""

    def __init__(self, file: FileBytes, limit: int = FIELD_LIMIT) -> None:
        self.file = file
        self._left = limit
        self._text_left = ALL_TEXT_LIMIT

    def whole(self) -> Span:
        return Span(0, self.file.size)

    def fields(self, message: Span, what: str) -> Iterator[Field]:
        """The fields of one message, in file order.

        Raises InferenceError for what no writer of protocol buffers produces, for a length that
        leaves the message, and where the file has too many fields.
        """
        position = message.start
        while position < message.end:
            self._left -= 1
            if self._left < 0:
                raise InferenceError(
                    f"model {self.file.path}: too many fields (more than {FIELD_LIMIT})"
                )
            field = self._field(position, message.end, what)
            yield field
            position = field.span.end

    def text(self, span: Span, what: str) -> str:
        """A name or another short text, as UTF-8.

        Raises InferenceError where it is longer than a name ever is.
        """
        self._text_left -= span.end - span.start
        if span.end - span.start > TEXT_LIMIT or self._text_left < 0:
            raise InferenceError(f"model {self.file.path}: {what} is longer than {TEXT_LIMIT}")
        raw = self.file.read(span.start, span.end - span.start, what)
        return raw.decode("utf-8", errors="replace")

    def varints(self, field: Field, what: str) -> Iterator[int]:
        """The values of a repeated integer field, packed or not."""
        if field.wire_type == VARINT:
            yield field.value
            return
        position = field.span.start
        while position < field.span.end:
            self._left -= 1
            if self._left < 0:
                raise InferenceError(f"model {self.file.path}: {what} has too many values")
            value, position = self._varint(position, field.span.end, what)
            yield value

    def _field(self, position: int, end: int, what: str) -> Field:
        tag, after = self._varint(position, end, what)
        number, wire_type = tag >> 3, tag & 7
        value, start, stop = 0, after, after
        if wire_type == VARINT:
            value, stop = self._varint(after, end, what)
        elif wire_type == LENGTH:
            length, start = self._varint(after, end, what)
            stop = start + length
        elif wire_type in (FIXED32, FIXED64):
            stop = after + (4 if wire_type == FIXED32 else 8)
        if number == 0 or number >= 1 << 29 or wire_type in (3, 4, 6, 7):
            raise InferenceError(
                f"model {self.file.path} is damaged: {what} has no valid field at byte {position}"
            )
        if stop > end:
            raise InferenceError(
                f"model {self.file.path} is damaged or cut off: field {number} of {what} at byte "
                f"{position} reaches to byte {stop}, its container ends at {end}"
            )
        return Field(number, wire_type, value, Span(start, stop))

    def _varint(self, position: int, end: int, what: str) -> tuple[int, int]:
        """A base-128 number, and the position after it."""
        raw = self.file.read(position, min(10, end - position), what)
        value = 0
        for index, byte in enumerate(raw):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & (1 << 64) - 1, position + index + 1
        raise InferenceError(
            f"model {self.file.path} is damaged or cut off: {what} has a number without an end at "
            f"byte {position}"
        )


def signed(value: int) -> int:
    """A varint read as an int64 (two's complement)."""
    return value - (1 << 64) if value >> 63 else value
