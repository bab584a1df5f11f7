"""The small integer types that a quantized tensor may have."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int32]


@dataclass(frozen=True)
class QuantizedType:
    """An integer type: its name, its range, and the numpy type that holds it.

    Four-bit values are held in eight bits, one value each, until :func:`pack_int4` stores them.
    """

    name: str
    bits: int
    low: int
    high: int
    storage: type[np.signedinteger] | type[np.unsignedinteger]  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        assert self.low < self.high and self.high - self.low < 2**self.bits, self

    @property
    def signed(self) -> bool:
        """Whether negative values exist."""
        return self.low < 0

    @property
    def levels(self) -> int:
        """How many steps lie between the lowest and the highest value."""
        return self.high - self.low


INT8 = QuantizedType("int8", 8, -128, 127, np.int8)
UINT8 = QuantizedType("uint8", 8, 0, 255, np.uint8)
INT4 = QuantizedType("int4", 4, -8, 7, np.int8)
UINT4 = QuantizedType("uint4", 4, 0, 15, np.uint8)
# Products of uint8 and int8 are summed in pairs to 16 bits on x86 without VNNI and saturate
# there; 7-bit weights cannot overflow: 2 * 255 * 64 < 32768.
INT7 = QuantizedType("int7", 7, -64, 63, np.int8)


def pack_int4(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Pack four-bit integers [n] two to a byte, the first in the low half: uint8 [ceil(n / 2)].

    This is ONNX's layout of int4 and uint4 tensors (onnx.proto3, ``int32_data``).
    """
    flat = values.reshape(-1).astype(np.int16) & 0xF
    if flat.size % 2:
        flat = np.append(flat, 0)
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8)


def unpack_int4(packed: NDArray[np.uint8], count: int, kind: QuantizedType) -> Integers:
    """The inverse of :func:`pack_int4`: the first ``count`` values, sign-extended for INT4."""
    halves = np.stack([packed & 0xF, packed >> 4], axis=-1).reshape(-1)[:count].astype(np.int16)
    if kind.signed:
        halves = np.where(halves > 7, halves - 16, halves)
    unpacked: Integers = halves.astype(kind.storage)
    return unpacked
