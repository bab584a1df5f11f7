"""Plain data over a pipe: how this process talks to one that it does not trust.

Nothing is pickled. A message is a length (4 bytes, little-endian), a JSON header of that length,
then the bytes of its arrays::

    | length | {"do": "run", "arrays": [["<f4", [1, 3, 8, 8]]]} | 768 bytes |

Both sides hold every number against a limit before they allocate.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

HEADER_LIMIT = 1 << 20  # bytes
ARRAYS_LIMIT = 1 << 30  # bytes of all arrays in a message
KINDS = "fiub"  # floats, integers, booleans


class Message(NamedTuple):
    """A header of plain JSON, and arrays."""

    header: dict[str, Any]
    arrays: list[NDArray[Any]]


def pack(header: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> list[bytes | memoryview]:
    """A message in the pieces to be written.

    Raises InferenceError for arrays of strings or objects, and for too many bytes.
    """
    plain = [np.ascontiguousarray(array).reshape(array.shape) for array in arrays]
    for array in plain:
        if array.dtype.kind not in KINDS:
            raise InferenceError(f"arrays of {array.dtype} cannot be sent to a worker process")
    if sum(array.nbytes for array in plain) > ARRAYS_LIMIT:
        raise InferenceError(f"more than {ARRAYS_LIMIT >> 20} MiB in one message: smaller batches")
    about = [[array.dtype.newbyteorder("<").str, list(array.shape)] for array in plain]
    text = json.dumps(header | {"arrays": about}).encode()
    data = [_bytes_of(array) for array in plain if array.size]
    return [len(text).to_bytes(4, "little") + text, *data]


def _bytes_of(array: Any) -> memoryview:
    """The bytes of a contiguous array, little-endian, without a copy where they are that."""
    return memoryview(array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1)).cast("B")


def unpack(read: Callable[[int], bytes | bytearray]) -> Message:
    """The next message; ``read(n)`` gives exactly n bytes.

    Raises InferenceError for anything that is not a message within the limits.
    """
    length = int.from_bytes(read(4), "little")
    if not 2 <= length <= HEADER_LIMIT:
        raise InferenceError(f"a message with a header of {length} bytes")
    try:
        header = json.loads(bytes(read(length)))
        about = [(np.dtype(str(dtype)), [int(size) for size in shape])
                 for dtype, shape in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InferenceError("a message with a header that is not understood") from error
    room = ARRAYS_LIMIT
    for dtype, shape in about:
        if dtype.kind not in KINDS or min(shape, default=0) < 0 or len(shape) > 32:
            raise InferenceError(f"a message with an array of {dtype} {shape}")
        room -= dtype.itemsize * math.prod(shape)
    if room < 0:
        raise InferenceError(f"a message with more than {ARRAYS_LIMIT >> 20} MiB of arrays")
    arrays = [
        np.frombuffer(read(dtype.itemsize * math.prod(shape)), dtype).reshape(shape)
        for dtype, shape in about
    ]
    return Message(header, arrays)
