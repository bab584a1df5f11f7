"""TorchScript, torch.export and TensorRT: programs, read for what they call."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import hostile_models as hostile
import pytest

from solutions.phase1_basics.export_check import is_plain_expression
from solutions.phase1_basics.file_signatures import MAGIC_NUMBER
from solutions.phase1_basics.model_safety import UnsafeModelError, check_model
from solutions.phase1_basics.torchscript_check import REACHING_OUT, first_unsafe_name

torch = pytest.importorskip("torch")

FORWARD = "class M(Module):\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    {}\n"


def _torchscript(path: Path, line: str) -> Path:
    source = FORWARD.format(line).encode()
    path.write_bytes(hostile.torch_zip(
        b"\x80\x02c__torch__\nM\n)\x81}b.", hostile.Entry("archive/constants.pkl", b"\x80\x02)."),
        hostile.Entry("archive/code/__torch__.py", source),
    ))
    return path


@pytest.mark.parametrize(("line", "name"), [
    ('_0 = torch.save(x, "/tmp/a")', "torch.save"), ("_0 = torch . save(x)", "torch"),
    ('_0 = ops.aten.from_file("/etc/passwd")', "ops.aten.from_file"),
    ("_0 = ops.mine.run(x)", "ops.mine.run"), ("_0 = torch.ops.mine.run(x)", "torch.ops"),
    ("_0 = __torch__.torch.classes.mine.Runner()", "classes.mine"),
    ("_0 = torch.classes.mine.Runner()", "torch.classes"), ("_0 = ^Run(1)(x)", "^Run"),
    ('_0 = (torch).save(x, "a")', "torch"), ('_0 = getattr(torch, "save")(x)', "torch"),
    ("_0 = ops", "ops"), ("_0 = (ops.aten).relu(x)", "ops.aten"),
    ('_0 = x.save("/tmp/a")', "save"), ('_0 = (torch.autograd).save(x, "a")', "torch.autograd"),
    ('_0 = ["#", torch.save(x)]', "torch.save"), ("_0 = ['\"', torch.save(x)]", "torch.save"),
    ("_0 = 1.\n    _1 = 2.\n    ops.mine.run(x)", "ops.mine.run"),
    ("_0 = ops.prim.PythonOp(x)", "PythonOp"), ("_0 = ops.image.read_file(x)", "ops.image"),
])
def test_program_text_beyond_computing(line: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeModelError, match=re.escape(name)):
        check_model(_torchscript(tmp_path / "m.pt", line))


@pytest.mark.parametrize("line", [
    "return torch.relu(x)", 'return torch.format("torch.save {}", x)  # ops.mine.run',
    "return ops.prim.min([1, 2])", "return (self.conv).forward(x, )", "return ops.quantized.add(x)",
    "return annotate(List[Tensor], [torch._C._nn.gelu(x)])",
])
def test_program_text_that_computes(line: str, tmp_path: Path) -> None:
    assert check_model(_torchscript(tmp_path / "m.pt", line)) == "torchscript"


def test_operators_with_file_names_are_all_known() -> None:
    """Oracle: the schemas of every operator that PyTorch registers."""
    reaching = {
        schema.name.partition("::")[2] for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("aten::")
        and any(re.search("file|path|url", argument.name)
                and str(argument.type) == "str" for argument in schema.arguments)
    }
    assert reaching
    assert reaching <= REACHING_OUT


def test_pickles_of_a_torchscript_archive_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    for name in ("constants.pkl", "attributes.pkl", "code/__torch__.py.debug_pkl"):
        path.write_bytes(hostile.torch_zip(
            b"\x80\x02c__torch__\nM\n)\x81}b.", hostile.Entry("archive/code/__torch__.py", b""),
            hostile.Entry(f"archive/{name}", hostile.hostile_pickles(tmp_path / "c")["global"]),
        ))
        with pytest.raises(UnsafeModelError, match=f"{name}.*posix.system"):
            check_model(path)


def test_foreign_classes_in_a_torchscript_pickle(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(hostile.torch_zip(
        b"\x80\x02c__torch__.torch.classes.mine\nRunner\n)\x81}b.",
        hostile.Entry("archive/constants.pkl", b"\x80\x02)."),
    ))
    with pytest.raises(UnsafeModelError, match=r"classes\.mine\.Runner"):
        check_model(path)


class _Branches(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
        self.names = {"a": 1, "b": 2}

    def forward(self, x: torch.Tensor, flag: bool = True) -> tuple[torch.Tensor, list[int]]:
        sizes: list[int] = []
        for layer in self.layers:
            x = torch.nn.functional.gelu(layer(x)) if flag else x.clamp(min=0.0)
            sizes.append(x.shape[0])
        if x.sum().item() > 1e9:
            raise RuntimeError("too large: torch.save is only a text here")
        return x, sizes


def test_real_torchscript_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    modules = {
        "scripted": torch.jit.script(_Branches()),
        "frozen": torch.jit.freeze(torch.jit.script(torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval())),
        "traced": torch.jit.trace(torch.nn.LSTM(4, 3, batch_first=True), torch.ones(1, 2, 4)),
        "attention": torch.jit.script(torch.nn.TransformerEncoderLayer(8, 2, 16)),
    }
    for name, module in modules.items():
        module.save(path)
        assert check_model(path) == "torchscript", name


def _export(path: Path, module: Any, *inputs: Any, **options: Any) -> Path:
    torch.export.save(torch.export.export(module, inputs, **options), path)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    batch = torch.export.Dim("batch", min=2, max=64)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    return _export(tmp_path_factory.mktemp("export") / "m.pt2", module, torch.ones(4, 4),
                   dynamic_shapes={"input": {0: batch}})


def _edited(source: Path, target: Path, old: str, new: str, **more: bytes) -> Path:
    """The archive with a text replaced in its graph."""
    entries = []
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("model.json"):
                assert old in content.decode()
                content = content.replace(old.encode(), new.encode())
            entries.append(hostile.Entry(name, content))
    entries += [hostile.Entry(f"m/{name}", content) for name, content in more.items()]
    target.write_bytes(hostile.zip_bytes(entries))
    return target


def test_a_real_export_is_accepted(exported: Path, tmp_path: Path) -> None:
    assert check_model(exported) == "torch_export"
    copy = _edited(exported, tmp_path / "m.pt2", "torch.ops.aten.relu", "torch.ops.aten.gelu")
    assert check_model(copy) == "torch_export"


@pytest.mark.parametrize("target", [
    "torch.serialization.os.system", "torch.hub.load", "torch.ops.mine.run.default",
    "_operator.attrgetter", "_operator.methodcaller", "math.__loader__.load_module", "os.system",
    "#extension", "torch.ops.aten.relu.__globals__.x.y",
])
def test_operators_of_an_export(target: str, exported: Path, tmp_path: Path) -> None:
    path = _edited(exported, tmp_path / "m.pt2", "torch.ops.aten.relu.default", target)
    with pytest.raises(UnsafeModelError, match=re.escape(target)):
        check_model(path)


@pytest.mark.parametrize("text", [
    "__import__('os').system('x')", "(1).__class__", "lambdify(s0)", "sympify('x')", "S('x')",
    "[x for x in (1,)]", "exec", "a.b", "f'{1}'", "lambda: 1", "s0 := 1", "9**9**9", "2**99999",
    "L['x'].__class__", "open('x')", "(" * 999, "", "x" * 9999, "Max(*x)", "Max(a=1)", "1 << 999",
    "Symbol(open('x'))", "Symbol('x', f=open('x'))", "Integer('9')", "Pow(9, Pow(9, 9))", "'x'",
])
def test_expressions_that_are_no_arithmetic(text: str) -> None:
    assert not is_plain_expression(text) or text == "exec"  # a bare name is looked up, not called


@pytest.mark.parametrize("text", [
    "s0", "2*s0 + 1", "Max(1, u0)", "FloorDiv(s77, 2)", "Mod(s0, 4)", "s0**2", "Eq(s0, 3)",
    "L['input'].size()[0] >= 2", "ModularIndexing(s0, 1, 4)", "-s0/2", "L['x'].shape[1] == 4",
    "Symbol('s31', positive=True, integer=True)", "Mul(Integer(2), Pow(Symbol('s0'), Integer(2)))",
])
def test_expressions_that_are_arithmetic(text: str) -> None:
    assert is_plain_expression(text)


def test_expressions_of_an_export(exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        graph = json.loads(archive.read(next(n for n in archive.namelist() if "model.json" in n)))
    symbol = re.search(r'"expr_str": "[^"]+"', json.dumps(graph))
    assert symbol is not None
    bad = '"expr_str": "__import__(\'os\').system(\'x\')"'
    path = _edited(exported, tmp_path / "m.pt2", symbol.group(0), bad)
    with pytest.raises(UnsafeModelError, match="__import__"):
        check_model(path)


@pytest.mark.parametrize("entry", [
    "data/aotinductor/model/model.so", "data/aotinductor/model/kernel.cubin", "x/libevil.so.1",
])
def test_native_code_in_an_export(entry: str, exported: Path, tmp_path: Path) -> None:
    path = _edited(exported, tmp_path / "m.pt2", "relu", "relu", **{entry: b"\x7fELF"})
    with pytest.raises(UnsafeModelError, match="native code"):
        check_model(path)
    assert check_model(path, trust=True) == "torch_export"


def test_pickles_inside_an_export(exported: Path, tmp_path: Path) -> None:
    """An archive in the archive, and a weight that its description calls a pickle."""
    evil = hostile.hostile_pickles(tmp_path / "canary")["global"]
    nested = {"data/constants/evil.pt": hostile.torch_zip(evil)}
    path = _edited(exported, tmp_path / "a.pt2", "relu", "relu", **nested)
    with pytest.raises(UnsafeModelError, match=r"posix\.system"):
        check_model(path, trust=True)
    bare = {"data/weights/weight_9": hostile.legacy_torch(evil),
            "data/weights/extra.json": b'{"use_pickle":true}'}
    path = _edited(exported, tmp_path / "b.pt2", "relu", "relu", **bare)
    with pytest.raises(UnsafeModelError, match="is a pickle"):
        check_model(path, trust=True)
    foreign = {"data/constants/custom_obj_0": b"x"}
    path = _edited(exported, tmp_path / "c.pt2", "relu", "relu", **foreign)
    with pytest.raises(UnsafeModelError, match="object of a class"):
        check_model(path)


def test_tensorrt_engines_need_trust(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"ftrt" + bytes(100))
    with pytest.raises(UnsafeModelError, match="native code"):
        check_model(path)
    assert check_model(path, trust=True) == "tensorrt"


def test_the_magic_number_is_pytorchs() -> None:
    assert int.from_bytes(MAGIC_NUMBER, "little") == torch.serialization.MAGIC_NUMBER


def test_names_after_a_long_run_of_spaces() -> None:
    assert first_unsafe_name("x = " + " " * 500 + "torch.save(x)") == "torch.save"
