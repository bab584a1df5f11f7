"""Pickles: every trick refused and named, nothing executed; state dicts load as saved."""

import argparse
import collections
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import hostile_models as hostile
import numpy as np
import pytest

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.model_safety import UnsafeModelError, check_model
from solutions.phase1_basics.pickle_scan import check_pickle, scan_pickle
from solutions.phase1_basics.torch_file import check_torch_zip, load_state_dict_file
from zoo.errors import InferenceError

torch = pytest.importorskip("torch")
TRICKS = sorted(hostile.hostile_pickles(Path("canary")))


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_trick_is_refused_and_nothing_runs(trick: str, form: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = hostile.hostile_pickles(canary)[trick]
    path = tmp_path / "model.pt"
    path.write_bytes(hostile.torch_zip(data) if form == "zip" else hostile.legacy_torch(data))
    with pytest.raises(InferenceError) as refusal:
        load_state_dict_file(path)
    with pytest.raises(InferenceError):
        check_model(path, trust=True)
    assert not canary.exists()
    if not (trick == "hidden after" and form == "legacy"):  # there it is the table of storages
        assert isinstance(refusal.value, UnsafeModelError)


def test_the_tricks_are_real(tmp_path: Path) -> None:
    """An unrestricted reader would run them: else the test above proves nothing."""
    ran = []
    for number, trick in enumerate(TRICKS):
        canary = tmp_path / f"canary{number}"
        data = hostile.hostile_pickles(canary)[trick]
        if canary.name.encode() in data and trick != "hidden after":
            try:
                pickle.loads(data)
            except Exception:
                continue
            if canary.exists():
                ran.append(trick)
    assert {"global", "stack global", "memo", "memoize", "inst", "obj", "nested"} <= set(ran)


def test_a_refusal_names_the_import_and_its_byte() -> None:
    data = b"\x80\x02" + b"N0" * 10 + hostile.named("os", "system") + b")R."
    with pytest.raises(UnsafeModelError, match=r"'os\.system' at byte 22"):
        check_pickle(data, "the pickle")


@pytest.mark.parametrize("fault", sorted(hostile.damaged_pickles()))
def test_damaged_pickles_raise_one_error(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(hostile.torch_zip(hostile.damaged_pickles()[fault]))
    with pytest.raises(InferenceError):
        check_model(path)


def test_scan_lists_imports_over_several_pickles() -> None:
    data = pickle.dumps(collections.OrderedDict(a=1), 2) + pickle.dumps(np.float64(2), 4)
    found = [str(each) for each in scan_pickle(data)]
    assert found[0] == "collections.OrderedDict"
    assert "numpy.dtype" in found


def test_a_deep_pickle_is_followed_without_recursion() -> None:
    deep = b"\x80\x02)" + b"\x85" * 300_000 + b"."
    assert check_pickle(deep, "deep").end == len(deep)
    with pytest.raises(UnsafeModelError):
        check_pickle(deep[:-1] + b"Q.", "deep")


STATES: dict[str, Any] = {
    "tensor": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.ones(2).half(), "bfloat16": torch.ones(2).bfloat16(),
    "int64": torch.tensor(7), "bool": torch.tensor([True]), "complex": torch.ones(2) * 1j,
    "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(torch.ones(2)),
    "sparse": torch.eye(3).to_sparse(), "csr": torch.eye(2).to_sparse_csr(),
    "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
    "meta": torch.ones(3, device="meta"), "expanded": torch.ones(1).expand(5),
    "ordered": collections.OrderedDict(a=1), "counter": collections.Counter("aab"),
    "set": {1, 2}, "frozenset": frozenset([1]), "bytes": b"abc", "bytearray": bytearray(b"abc"),
    "complex number": 1 + 2j, "great number": 2**70, "none": None, "text": "é" * 300,
    "size": torch.Size([1, 2]), "dtype": torch.float16, "device": torch.device("cpu"),
    "numpy scalar": np.float64(1.5), "numpy int": np.int64(3),
    "numpy text": np.str_("abc"),
    "numpy array": np.arange(3.0),
    "namespace": argparse.Namespace(lr=0.1, name="a"),
    "containers": {"a": [1, (2.5, "b")], 3: {"c": [None, True]}},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_values_load_as_they_were_saved(
    protocol: int, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "values.pt"
    torch.save(STATES, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert check_model(path) == ("pytorch_zip" if zipped else "pytorch_legacy")
    loaded = load_state_dict_file(path)
    oracle = torch.load(path, weights_only=False)
    assert list(loaded) == list(STATES)
    for name, value in STATES.items():
        assert type(loaded[name]) is type(value), name
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and name != "meta":
            assert loaded[name].dtype == value.dtype
            assert loaded[name].stride() == oracle[name].stride()
            assert torch.equal(loaded[name], value), name
        elif not isinstance(value, torch.Tensor | np.ndarray):
            assert loaded[name] == value, name


def _tensor_pickle(count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...],
                   key: str = "0") -> bytes:
    """A pickle of one float32 tensor over a storage of ``count`` elements."""
    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    storage = (b"(" + hostile.text("storage") + hostile.named("torch", "FloatStorage")
               + hostile.text(key) + hostile.text("cpu") + number(count) + b"tQ")
    shape = b"(" + b"".join(map(number, size)) + b"t" + b"(" + b"".join(map(number, stride)) + b"t"
    return (b"\x80\x02" + hostile.named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage
            + number(offset) + shape + b"\x89" + hostile.named("collections", "OrderedDict")
            + b")RtR.")


@pytest.mark.parametrize(("count", "offset", "size", "stride", "fits"), [
    (4, 0, (2, 2), (2, 1), True), (4, 0, (4,), (1,), True), (4, 3, (1,), (1,), True),
    (4, 0, (1 << 40,), (0,), True), (4, 9, (0,), (1,), True), (4, 0, (), (), True),
    (4, 0, (5,), (1,), False), (4, 1, (4,), (1,), False), (4, 0, (2, 2), (3, 1), False),
    (4, -1, (2,), (1,), False), (4, 0, (-2,), (1,), False), (4, 0, (2,), (-1,), False),
    (4, 0, (1 << 60,), (1,), False), (4, 0, (2,), (1, 1), False), (5, 0, (1,), (1,), False),
    (1 << 50, 0, (1,), (1,), False), (-4, 0, (1,), (1,), False),
])
def test_tensors_stay_inside_their_storage(
    count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...], fits: bool,
    tmp_path: Path,
) -> None:
    content = hostile.torch_zip(
        _tensor_pickle(count, offset, size, stride), hostile.Entry("archive/data/0", bytes(16))
    )
    file = FileBytes(tmp_path / "m.pt", content)
    if fits:
        check_torch_zip(file)
    else:
        with pytest.raises(InferenceError):
            check_torch_zip(file)


def test_missing_storage_is_named(tmp_path: Path) -> None:
    content = hostile.torch_zip(_tensor_pickle(4, 0, (4,), (1,), "../data.pkl"))
    with pytest.raises(InferenceError, match=r"needs the storage '\.\./data\.pkl'"):
        check_torch_zip(FileBytes(tmp_path / "m.pt", content))


def test_two_folders_in_one_archive_are_refused(tmp_path: Path) -> None:
    hidden = hostile.Entry("other/data.pkl", hostile.hostile_pickles(tmp_path / "c")["global"])
    content = hostile.torch_zip(b"\x80\x02}.", hidden)
    with pytest.raises(UnsafeModelError, match="several folders"):
        check_torch_zip(FileBytes(tmp_path / "m.pt", content))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_off_anywhere_is_an_error(zipped: bool, tmp_path: Path) -> None:
    state = {"a": torch.arange(10.0), "b": {"c": torch.ones(3, dtype=torch.int64)}}
    whole = hostile.torch_bytes(state, _use_new_zipfile_serialization=zipped)
    path = tmp_path / "cut.pt"
    for length in range(0, len(whole), 1 if not zipped else 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InferenceError):
            check_model(path)
    path.write_bytes(whole)
    check_model(path)


def test_training_checkpoints_load(tmp_path: Path) -> None:
    model = torch.nn.DataParallel(torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    ))
    optimizer = torch.optim.Adam(model.parameters(), lr=np.float64(1e-3))
    model(torch.ones(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    checkpoint = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(),
                  "scheduler": schedule.state_dict(), "best": np.float64(0.9), "epoch": 3,
                  "random": torch.get_rng_state(), "numpy": np.random.get_state()}
    path = tmp_path / "checkpoint.pth"
    torch.save(checkpoint, path)
    loaded = load_state_dict_file(path)
    model.load_state_dict(loaded["state_dict"])
    optimizer.load_state_dict(loaded["optimizer"])
    assert loaded["best"] == 0.9


def test_the_allowlist_is_no_wider_than_pytorchs_and_ours() -> None:
    """Oracle: PyTorch's own list of what a restricted load may import."""
    from torch._weights_only_unpickler import _get_allowed_globals

    from solutions.phase1_basics.pickle_rules import RULES

    ours = {"frozenset", "Namespace", "dtype", "scalar", "_reconstruct", "_frombuffer"}
    for module, name in RULES:
        assert f"{module}.{name}" in _get_allowed_globals() or name in ours, (module, name)


def test_memory_stays_bounded_for_a_pickle_of_many_opcodes() -> None:
    with pytest.raises(InferenceError, match="more than"):
        check_pickle(b"\x80\x02" + b"N0" * 1_100_000 + b"N.", "many")


def test_unpickler_bytes_that_are_no_file_of_pytorchs(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    stream = io.BytesIO()
    pickle.dump({"a": 1}, stream)
    path.write_bytes(stream.getvalue())
    with pytest.raises(InferenceError, match="Python pickle"):
        check_model(path)
