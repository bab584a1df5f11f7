"""What a state dict may import and call: an exact list, and what each call may be given.

A name on the list is not enough. ``bytearray`` is harmless, ``bytearray(10**12)`` is not; a
tensor may be rebuilt, but only inside the storage that the file really holds. So each function
has a rule for its arguments.
"""

import re
from collections.abc import Callable
from typing import Any

from solutions.phase1_basics.pickle_trace import Global, Made, Stored

Name = tuple[str, str]
Rule = Callable[[tuple[Any, ...]], bool]  # whether these arguments are harmless

STORAGE_BYTES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "HalfStorage": 2,
    "BFloat16Storage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8,
    "DoubleStorage": 8, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1,
    "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1,
    "UntypedStorage": 1,
}
DTYPE_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4,
    "uint64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex32": 4, "complex64": 8, "complex128": 16, "quint8": 1, "qint8": 1, "qint32": 4,
    "quint4x2": 1, "quint2x4": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1,
}
SCHEMES = {
    "per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
    "per_channel_affine_float_qparams",
}
NUMPY_DTYPE = re.compile(r"[<>|=]?[?biufcSU][0-9]{0,4}")
NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
FILLED_BY_STATE = {"collections.OrderedDict", "argparse.Namespace"}


def is_harmless_value(found: Global) -> bool:
    """Whether an import may stand in a state dict as a value: a type, a dtype, a scheme."""
    module, name = found.module, found.name
    if module == "torch":
        return name in STORAGE_BYTES or name in DTYPE_BYTES or name in SCHEMES or name == "Tensor"
    if module in ("torch.storage", "torch.cuda"):
        return name in STORAGE_BYTES
    return (module, name) in {
        ("torch._tensor", "Tensor"), ("torch.nn.parameter", "Parameter"),
        ("torch.nn.parameter", "Buffer"), ("numpy", "ndarray"),
    }


def storage_bytes(kind: Any) -> int | None:
    """Bytes of one element of a storage type; None for anything else."""
    if not isinstance(kind, Global) or kind.module not in ("torch", "torch.storage", "torch.cuda"):
        return None
    return STORAGE_BYTES.get(kind.name)


def _tensor(arguments: tuple[Any, ...]) -> bool:
    """(storage, offset, size, stride, ...): the tensor lies inside its storage."""
    if len(arguments) < 4 or not isinstance(arguments[0], Stored):
        return False
    kind, _, _, count = arguments[0].identity[1:5]
    offset, size, stride = arguments[1:4]
    if not (_naturals((offset,)) and _naturals(size) and _naturals(stride)):
        return False
    if len(size) != len(stride):
        return False
    if 0 in size:
        return True
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    width = storage_bytes(kind)
    if width == 1 and len(arguments) > 6 and isinstance(arguments[6], Global):
        last = (last + 1) * DTYPE_BYTES.get(arguments[6].name, 1) - 1  # _rebuild_tensor_v3
    return bool(last < count)


def _meta(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) >= 3 and _naturals(arguments[1]) and _naturals(arguments[2])


def _naturals(values: Any) -> bool:
    return isinstance(values, tuple) and all(
        type(value) is int and 0 <= value < 1 << 48 for value in values
    )


def _typed(arguments: tuple[Any, ...]) -> bool:
    """(function, type, arguments, state): the function's own rule decides."""
    if len(arguments) != 4 or not isinstance(arguments[0], Global):
        return False
    rule = RULES.get((arguments[0].module, arguments[0].name))
    if rule is None or rule is _typed or not isinstance(arguments[1], Global):
        return False
    return isinstance(arguments[2], tuple) and rule(arguments[2])


def _made(*makers: str, least: int = 1) -> Rule:
    """All arguments are values made by one of ``makers`` or by nothing but bytes and text."""
    def rule(arguments: tuple[Any, ...]) -> bool:
        return len(arguments) >= least and all(
            (isinstance(each, Made) and each.by in makers) for each in arguments
        )
    return rule


def _numpy_dtype(arguments: tuple[Any, ...]) -> bool:
    return (
        bool(arguments) and isinstance(arguments[0], str)
        and NUMPY_DTYPE.fullmatch(arguments[0]) is not None
        and all(type(flag) in (bool, int) for flag in arguments[1:])
    )


def _numpy_scalar(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 2 and arguments[0] == Made("numpy.dtype") and _is_bytes(arguments[1])


def _numpy_array(arguments: tuple[Any, ...]) -> bool:
    return (
        len(arguments) == 3 and isinstance(arguments[0], Global)
        and str(arguments[0]) == "numpy.ndarray"
        and arguments[1] == (0,) and _is_bytes(arguments[2])
    )


def _numpy_buffer(arguments: tuple[Any, ...]) -> bool:
    """(bytes, dtype, shape, order): an array as protocol 5 writes it."""
    return (
        len(arguments) == 4 and (_is_bytes(arguments[0]) or arguments[0] == Made("bytearray"))
        and arguments[1] == Made("numpy.dtype") and _naturals(arguments[2])
        and arguments[3] in ("C", "F")
    )


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes) or value in (Made("_codecs.encode"), Made("string"))


def _bytearray(arguments: tuple[Any, ...]) -> bool:
    return not arguments or (
        (_is_bytes(arguments[0]) or isinstance(arguments[0], str))
        and all(isinstance(each, str) for each in arguments[1:])
    )


def _encode(arguments: tuple[Any, ...]) -> bool:
    return (
        len(arguments) == 2 and isinstance(arguments[0], str)
        and arguments[1] in ("latin1", "latin-1")
    )


def _plain(*kinds: type) -> Rule:
    """As many arguments of plain types, at most."""
    def rule(arguments: tuple[Any, ...]) -> bool:
        return len(arguments) <= len(kinds) and all(
            type(value) is kind for value, kind in zip(arguments, kinds, strict=False)
        )
    return rule


RULES: dict[Name, Rule] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor,
    ("torch._utils", "_rebuild_qtensor"): _tensor,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _meta,
    ("torch._utils", "_rebuild_parameter"): lambda given: len(given) == 3,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda given: len(given) == 4,
    ("torch._utils", "_rebuild_sparse_tensor"): lambda given: len(given) == 2,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch.serialization", "_get_layout"): _plain(str),
    ("torch", "Size"): lambda given: len(given) == 1 and _naturals(given[0]),
    ("torch", "device"): _plain(str, int),
    ("collections", "OrderedDict"): _made("list", least=0),
    ("collections", "Counter"): _made("dict", least=0),
    ("argparse", "Namespace"): _made(least=0),
    ("builtins", "set"): _made("list"),
    ("builtins", "frozenset"): _made("list"),
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "complex"): _plain(float, float),
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _numpy_dtype,
    **{(module, "scalar"): _numpy_scalar for module in NUMPY},
    **{(module, "_reconstruct"): _numpy_array for module in NUMPY},
    ("numpy.core.numeric", "_frombuffer"): _numpy_buffer,
    ("numpy._core.numeric", "_frombuffer"): _numpy_buffer,
}


def is_harmless_state(target: Any, state: Any) -> bool:
    """Whether BUILD may give ``state`` to what ``target`` notes."""
    if not isinstance(target, Made):
        return False
    if target.by in FILLED_BY_STATE:
        return isinstance(state, Made) and state.by == "dict"
    if target.by == "numpy.dtype":
        return isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
    if target.by.endswith("multiarray._reconstruct"):
        return (
            isinstance(state, tuple) and len(state) == 5 and _naturals(state[1])
            and state[2] == Made("numpy.dtype") and _is_bytes(state[4])
        )
    return False
