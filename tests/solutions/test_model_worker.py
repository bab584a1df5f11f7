"""Programs in a worker process: the same numbers, plain data between, and bounds that hold."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from solutions.phase1_basics import worker_model
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.worker_model import WorkerModel
from solutions.phase1_basics.worker_protocol import pack, unpack
from solutions.phase1_basics.worker_sandbox import (
    WorkerBounds,
    namespaces,
    network_namespace,
    sandboxed,
)
from zoo.errors import InferenceError

KINDS = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "u4", "?", ">f4", ">i2"])


def reader(data: bytes):
    """``read`` of some bytes that ends with an error, as a closed pipe does."""
    source = io.BytesIO(data)

    def read(count: int) -> bytes:
        piece = source.read(count)
        if len(piece) < count:
            raise EOFError
        return piece

    return read


@settings(max_examples=80, deadline=None)
@given(st.lists(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, min_side=0)), max_size=3))
def test_arrays_arrive_as_they_were_sent(sent) -> None:
    message = unpack(reader(b"".join(map(bytes, pack({"do": "run", "n": 3}, sent)))))
    assert message.header == {"do": "run", "n": 3}
    for before, after in zip(sent, message.arrays, strict=True):
        assert after.shape == before.shape and after.dtype == before.dtype.newbyteorder("<")
        np.testing.assert_array_equal(after, before)


def framed(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x05\x00\x00\x00{{{{{",
        framed([1, 2]),
        framed({}),
        framed({"arrays": [["O", [1]]]}),
        framed({"arrays": [["<U9", [1]]]}),
        framed({"arrays": [["<f4", [-1, -1]]]}),
        framed({"arrays": [["<f4", [1 << 40, 1 << 40]]]}),
        framed({"arrays": [["<f4", [1] * 99]]}),
        framed({"arrays": [["<f4", "text"]]}),
        framed({"arrays": {"a": 1}}),
        b"\x00\x00\x08\x00" + b"[" * (1 << 19),
    ],
)
def test_a_message_that_lies_is_refused(data) -> None:
    with pytest.raises(InferenceError):
        unpack(reader(data + bytes(1 << 20)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_no_message(data) -> None:
    with pytest.raises((InferenceError, EOFError)):
        unpack(reader((len(data) or 1).to_bytes(4, "little") + data))


def test_strings_and_objects_do_not_travel() -> None:
    for array in (np.array(["a"]), np.array([{}])):
        with pytest.raises(InferenceError, match="cannot be sent"):
            pack({}, [array])


class Probe:
    """What a bounded process says about the world."""

    def __init__(self, code: str) -> None:
        bounds = WorkerBounds((sys.prefix, sys.base_prefix), (), 2 << 30, network_namespace())
        done = subprocess.run(sandboxed([sys.executable, "-s", "-c", code], bounds),
                              capture_output=True, timeout=60, env={"PATH": os.environ["PATH"]})
        read = io.BytesIO(done.stdout)
        self.bounds = unpack(read.read).header["bounds"]
        self.said = read.read().decode().strip()
        self.failed = done.stderr.decode()

    def holds(self, what: str) -> bool:
        return any(bound.startswith(what) for bound in self.bounds)


def attempt(statement: str) -> Probe:
    """The class of the error that a statement dies of in a bounded process, or ``done``."""
    return Probe(f"try:\n    {statement}\n    print('done')\n"
                 "except BaseException as error:\n    print(type(error).__name__)\n")


def test_a_bounded_process_cannot_write(tmp_path) -> None:
    target = tmp_path / "written"
    probe = attempt(f"open({str(target)!r}, 'w').write('x' * 10)")
    assert probe.said in ("PermissionError", "OSError"), probe.failed
    assert not target.exists() or target.stat().st_size == 0


def test_a_bounded_process_cannot_read_what_is_not_its_own(tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    probe = attempt(f"print(open({str(secret)!r}).read())")
    if not probe.holds("files: reads"):
        pytest.skip(f"this machine does not bound reading: {probe.bounds}")
    assert probe.said == "PermissionError"


def test_a_bounded_process_has_no_network() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        probe = attempt(f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)")
    if not probe.holds("network: none"):
        pytest.skip(f"this machine does not bound the network: {probe.bounds}")
    assert namespaces() and probe.said == "OSError"


def test_a_bounded_process_cannot_signal_others() -> None:
    if not namespaces():
        pytest.skip("this machine has no namespaces for users")
    assert attempt(f"import os; os.kill({os.getpid()}, 0)").said == "ProcessLookupError"


def test_a_bounded_process_cannot_multiply_for_ever() -> None:
    if not namespaces():
        pytest.skip("this machine has no namespaces for users")
    code = ("import threading, time\ncount = 0\n"
            "try:\n    for count in range(2000):\n"
            "        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
            "except RuntimeError:\n    print('stopped', count < 1000, flush=True)\n"
            "import os; os._exit(0)\n")
    assert Probe(code).said == "stopped True"


def test_a_bounded_process_has_bounded_memory() -> None:
    probe = attempt("data = bytearray(3 << 30)")
    if not probe.holds("memory: 2.0"):
        pytest.skip(f"this machine does not bound memory: {probe.bounds}")
    assert probe.said == "MemoryError"


def test_a_bounded_process_sees_no_environment() -> None:
    probe = Probe("import os; print(sorted(os.environ))")
    assert "PATH" in probe.said and "HOME" not in probe.said


@pytest.fixture(scope="module")
def network():
    import torch
    from torch import nn

    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).eval()


@pytest.fixture(scope="module")
def programs(network, tmp_path_factory):
    """The network as TorchScript and as an exported program."""
    import torch

    folder = tmp_path_factory.mktemp("programs")
    example = torch.zeros(2, 3, 8, 8)
    with torch.no_grad():
        network(example)
    torch.jit.trace(network, example).save(str(folder / "traced.pt"))
    sizes = {"input": {0: torch.export.Dim("batch", min=1, max=64)}}
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=sizes),
                      folder / "exported.pt2")
    return folder


@pytest.mark.parametrize("name", ["traced.pt", "exported.pt2"])
def test_a_program_computes_in_its_worker_what_it_computes_here(programs, network, name) -> None:
    import torch

    model = load_model(programs / name)
    batch = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)
    assert model.input_spec[0].shape[:2] == (None, 3)
    assert model.about.parameters == sum(w.numel() for w in network.parameters())
    assert "worker process" in model.about.runtime and len(model.about.bounds) == 3
    with pytest.raises(InferenceError, match="does not fit"):
        model.predict(batch[:, :2])
    with pytest.raises(InferenceError, match=r"Error|does not fit"):
        model.predict(np.zeros((1, 3, 2, 2), np.float32))
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)  # it still works
    model.close()
    model.close()


def test_a_worker_that_dies_or_hangs_is_told_and_leaves_nothing(programs, monkeypatch) -> None:
    batch = np.zeros((1, 3, 8, 8), np.float32)
    model = load_model(programs / "exported.pt2")
    assert isinstance(model, WorkerModel)
    os.killpg(model._worker.pid, signal.SIGKILL)
    with pytest.raises(InferenceError, match="its worker ended"):
        model.predict(batch)
    model = load_model(programs / "exported.pt2")
    os.killpg(model._worker.pid, signal.SIGSTOP)
    model._timeout = 0.2
    start = time.monotonic()
    with pytest.raises(InferenceError, match="no answer in time"):
        model.predict(batch)
    assert time.monotonic() - start < 20
    assert model._worker.poll() is not None
    with pytest.raises(InferenceError):
        model.predict(batch)


def test_the_interpreter_may_be_named_in_any_way(monkeypatch, tmp_path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(worker_model.TENSORFLOW_PYTHON, "./python")
    assert worker_model.tensorflow_python() == str(tmp_path / "python")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(worker_model.TENSORFLOW_PYTHON, "python")
    assert worker_model.tensorflow_python() == str(tmp_path / "python")
    monkeypatch.delenv(worker_model.TENSORFLOW_PYTHON)
    assert worker_model.tensorflow_python() == sys.executable


def test_an_interpreter_without_tensorflow_is_told(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    monkeypatch.setenv(worker_model.TENSORFLOW_PYTHON, str(tmp_path / "absent"))
    with pytest.raises(InferenceError, match="no Python interpreter"):
        WorkerModel(folder, "saved_model")
    monkeypatch.setenv(worker_model.TENSORFLOW_PYTHON, sys.executable)
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        with pytest.raises(InferenceError, match="INFERENCE_TENSORFLOW_PYTHON"):
            WorkerModel(folder, "saved_model")
