"""A `.pt2` archive of ``torch.export``: a graph in JSON, weights, perhaps native code.

Reading the graph back is not harmless: an operator is looked up attribute by attribute from
``torch`` (``torch.serialization.os.system`` would be found), sizes are expressions that sympy
evaluates, weights may be pickles. So names, expressions and pickles are all read first.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.keras_check import parse_json
from solutions.phase1_basics.torch_file import check_torch_zip
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError

JSON_LIMIT, NESTED_LIMIT = 32 << 20, 256 << 20  # bytes, of all descriptions, of one archive
NATIVE = re.compile(r"\.(so|o|a|dll|dylib|cubin|fatbin|hsaco|spv|cpp|cu|cc|ptx)(\.\d+)*$")
NATIVE_FOLDERS = ("data/aotinductor/",)
TARGET = re.compile(
    r"torch\.ops\.(aten|prims|quantized|quantized_decomposed|higher_order|torchvision)"
    r"\.[A-Za-z_]\w*(\.[A-Za-z_]\w*)?"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_"
    r"|not_|getitem|invert|lshift|rshift|xor)"
    r"|math\.(ceil|floor|sqrt|trunc|pow|log2|exp)|torch\.sym_(int|float|max|min|not|sqrt|sum|ite)"
)
FUNCTIONS = {
    "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv",
    "FloatTrueDiv", "ModularIndexing", "CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat",
    "RoundToInt", "RoundDecimal", "ToFloat", "PowByNatural", "FloatPow", "LShift", "RShift",
    "Where", "Identity", "Integer", "Float", "Rational", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And",
    "Or", "Not", "Abs", "Add", "Mul", "Pow", "Symbol", "Equality", "Unequality", "GreaterThan",
    "LessThan", "StrictGreaterThan", "StrictLessThan", "floor", "ceiling",
    "OpaqueUnaryFn_sqrt", "OpaqueUnaryFn_log2",
    "IsNonOverlappingAndDenseIndicator", "len", "size", "stride", "dim", "storage_offset",
}
POWERS = {"Pow", "PowByNatural", "FloatPow", "LShift"}
PARTS = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Name, ast.keyword,
    ast.Call, ast.Attribute, ast.Subscript, ast.Load, ast.operator, ast.unaryop, ast.boolop,
    ast.cmpop,
)
EXPRESSION_LIMIT = 4_000  # characters


def check_torch_export(file: FileBytes, trust: bool = False) -> None:
    """Check an archive of ``torch.export``: native code, operators, expressions, pickles.

    Raises UnsafeModelError that names the entry, operator or expression; InferenceError for a
    damaged archive. ``trust`` allows native code and operators of other libraries, never pickles
    that do more than hold tensors.
    """
    archive = ZipArchive(file)
    total = sum(each.size for each in archive.entries.values() if each.name.endswith(".json"))
    if total > JSON_LIMIT:
        raise InferenceError(f"model {file.path}: {total} bytes of descriptions")
    descriptions = [
        parse_json(archive.read(name, JSON_LIMIT), file.path)
        for name in archive.entries if name.endswith(".json")
    ]
    pickled = any(
        each.get("use_pickle") for value in descriptions for each in objects_within(value)
    )
    for name in archive.entries:
        check_entry(archive, name, file.path, pickled, trust)
    for value in descriptions:
        for each in objects_within(value) if not trust else ():
            _check_fields(each, file.path)


def check_entry(
    archive: ZipArchive, name: str, path: Path, pickled: bool, trust: bool = False
) -> None:
    """One entry by its name: native code, foreign objects, nested files of PyTorch's.

    With ``pickled``, PyTorch will unpickle weights and constants; else it reads raw bytes.
    """
    inner = name.partition("/")[2]
    if (NATIVE.search(name) or inner.startswith(NATIVE_FOLDERS)) and not trust:
        raise UnsafeModelError(f"model {path}: the entry {name!r} is native code")
    if "custom_obj" in inner:
        raise UnsafeModelError(f"model {path}: the entry {name!r} is an object of a class")
    if name.endswith(".json") or archive.entries[name].size == 0:
        return
    values = inner.startswith(("data/weights/", "data/constants/"))
    nested = name.endswith((".pt", ".pkl")) or (pickled and values)
    if archive.read_start(name, 4) == b"PK\x03\x04":
        content = archive.read(name, NESTED_LIMIT)
        check_torch_zip(FileBytes(Path(f"{path}/{name}"), content))
    elif nested:
        raise UnsafeModelError(f"model {path}: the entry {name!r} is a pickle of unknown form")


def objects_within(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON value, at any depth."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, dict):
            pending += each.values()
            yield each


def is_plain_expression(text: str) -> bool:
    """Whether a text is arithmetic over names and sizes, calling nothing but known functions."""
    if len(text) > EXPRESSION_LIMIT or text.count("(") > 200:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    spoken_for = {id(each) for node in nodes for each in _harmless_texts(node)}
    return all(id(node) in spoken_for or _is_plain(node) for node in nodes)


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in POWERS:
            return len(node.args) == 2 and _is_small(node.args[1])
        flags = all(isinstance(each.value, ast.Constant) for each in node.keywords)
        return name in FUNCTIONS and (not node.keywords or (name == "Symbol" and flags))
    if isinstance(node, ast.Attribute):
        return node.attr in FUNCTIONS or node.attr in ("shape", "device", "dtype", "ndim")
    if isinstance(node, ast.Name):
        return "__" not in node.id
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
        return _is_small(node.right)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    return isinstance(node, PARTS)


def _harmless_texts(node: ast.AST) -> list[ast.AST]:
    """The constants that may be texts: a symbol's name, an index into the inputs."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Symbol":
        return [each for each in node.args if isinstance(each, ast.Constant)]
    slices = [node.slice] if isinstance(node, ast.Subscript) else []
    return [each for each in slices if isinstance(each, ast.Constant)]


def _is_small(node: ast.AST) -> bool:
    """Whether an exponent is a number up to 64, so that the power can be written down."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Integer" and node.args:
        return _is_small(node.args[0])
    if isinstance(node, ast.UnaryOp):
        return _is_small(node.operand)
    return isinstance(node, ast.Constant) and node.value in range(65)


def _check_fields(fields: dict[str, Any], path: Path) -> None:
    for key in ("target", "as_operator"):
        target = fields.get(key)
        if isinstance(target, str) and not TARGET.fullmatch(target):
            raise UnsafeModelError(f"model {path}: the operator {target[:200]!r} is not PyTorch's")
    expressions = [fields["expr_str"]] if "expr_str" in fields else []
    guards = fields.get("guards_code") or []
    expressions += guards if isinstance(guards, list) else [guards]
    for text in expressions:
        if not isinstance(text, str) or not is_plain_expression(text):
            raise UnsafeModelError(f"model {path}: the expression {str(text)[:200]!r} is no size")
    for key in ("in_spec", "out_spec"):
        if isinstance(fields.get(key), str) and "defaultdict" in fields[key]:
            raise UnsafeModelError(f"model {path}: {key} names a function to import")
    if fields.get("as_custom_obj") is not None or fields.get("custom_obj_values"):
        raise UnsafeModelError(f"model {path}: the graph holds objects of foreign classes")
