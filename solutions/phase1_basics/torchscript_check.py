"""TorchScript is a programming language, and its files are programs.

An archive holds source text (``code/*.py``) and pickles of its objects. The text can call every
operator of PyTorch's, among them some that open files (``aten::from_file`` maps any file, and may
write to it), and operators and classes of native libraries that happen to be loaded. So the text
is read for the names that it calls: PyTorch's own that compute are allowed, the rest is refused.
"""

import re
from typing import Any

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.pickle_rules import Rule, is_harmless_state
from solutions.phase1_basics.pickle_scan import state_dict_rule
from solutions.phase1_basics.pickle_trace import Global, Made
from solutions.phase1_basics.torch_file import check_torch_zip
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError

SOURCE_LIMIT = 32 << 20  # bytes of source text in all
# A text, a comment, or a dotted name, perhaps after the mark of a Python call. What stands before
# a name is not looked at: "1.\nops.x" is a number and a call, not an attribute.
TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|#[^\n]*'
    r"|(?P<python>\^\s*)?(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)"
)
NAMESPACES = {"aten", "prim", "prims", "quantized", "_quantized", "mkldnn", "mkldnn_prepacked",
              "prepacked", "sparse", "torchvision"}
NATIVE_CLASSES = {
    f"__torch__.torch.classes.quantized.{name}"
    for name in ("Conv2dPackedParamsBase", "Conv3dPackedParamsBase", "LinearPackedParamsBase",
                 "EmbeddingPackedParamsBase")
}
# The operators of PyTorch's own that take a file name or leave the interpreter
REACHING_OUT = {"save", "from_file", "PythonOp", "rpc_async", "rpc_sync", "rpc_remote"}
BUILDERS = {"build_intlist", "build_tensorlist", "build_doublelist", "build_boollist",
            "build_tensor_from_id", "restore_type_tag"}


def check_torchscript(file: FileBytes, trust: bool = False) -> None:
    """Check every pickle and every line of source text of a TorchScript archive.

    Raises UnsafeModelError that names the operator or class and the entry it stands in,
    InferenceError for a damaged archive.
    """
    rule = _trusted_rule if trust else torchscript_rule
    check_torch_zip(file, rule, is_object_of_archive)
    archive = ZipArchive(file)
    total = 0
    for name, entry in archive.entries.items():
        if trust or not name.endswith(".py"):
            continue
        total += entry.size
        if total > SOURCE_LIMIT:
            raise InferenceError(f"model {file.path}: more than {SOURCE_LIMIT} bytes of source")
        text = archive.read(name, SOURCE_LIMIT).decode("utf-8", errors="replace")
        found = first_unsafe_name(text)
        if found is not None:
            raise UnsafeModelError(
                f"model {file.path}: {found[:200]!r} in the program text {name!r} is not one of "
                "PyTorch's operators that only compute"
            )


def first_unsafe_name(source: str) -> str | None:
    """The first name in a program text that reaches beyond computing; None where all is well."""
    for token in TOKEN.finditer(source):
        name = token.group("name")
        if name is None:
            continue
        if token.group("python"):
            return f"^{name}"
        parts = [part.strip() for part in name.split(".")]
        if not REACHING_OUT.isdisjoint(parts) or _is_foreign(parts):
            return name
    return None


def torchscript_rule(found: Global) -> Rule | None:
    """The rule for an import in a TorchScript pickle.

    Its reader is PyTorch's own, in C++: classes of the archive (``__torch__...``) are data there,
    and ``torch.jit._pickle`` marks typed lists.
    """
    full = str(found)
    if found.module == "torch.jit._pickle":
        return _any_arguments if found.name in BUILDERS else None
    if full.startswith("__torch__."):
        native = full.startswith("__torch__.torch.classes.")
        return _any_arguments if not native or full in NATIVE_CLASSES else None
    return state_dict_rule(found)


def is_object_of_archive(target: Any, state: Any) -> bool:
    """Whether BUILD fills an object of the archive's own classes, or what a state dict may hold."""
    own = isinstance(target, Made) and target.by.startswith("__torch__.")
    return own or is_harmless_state(target, state)


def _trusted_rule(found: Global) -> Rule | None:
    """With native classes, whatever library they come from."""
    return _any_arguments if found.module.startswith("__torch__") else torchscript_rule(found)


def _is_foreign(parts: list[str]) -> bool:
    """Whether a name leads to operators or classes that are not PyTorch's own.

    A bare ``torch`` or ``ops``, which another expression could take apart, is such a name too.
    """
    if parts[0] == "torch":
        return len(parts) < 2 or parts[1] in ("ops", "classes") or parts[-1] == "autograd"
    if parts[0] == "ops":
        return len(parts) < 3 or parts[1] not in NAMESPACES
    native = parts[:3] == ["__torch__", "torch", "classes"]
    return native and ".".join(parts) not in NATIVE_CLASSES


def _any_arguments(arguments: tuple[object, ...]) -> bool:
    return True
