"""The registry, and downloads from a server on this machine that misbehaves in every known way."""

import hashlib
import http.server
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from zoo import registry
from zoo.errors import InferenceError
from zoo.registry import FolderPart, ModelEntry

CONTENT = bytes(range(256)) * 800


class Misbehaving(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, or what the path asks for."""

    requests = 0
    released = threading.Event()  # lets a stalled reply end

    def do_GET(self) -> None:
        type(self).requests += 1
        body, length = CONTENT, len(CONTENT)
        if self.path == "/absent":
            self.send_error(404)
            return
        if self.path == "/wrong":
            body = CONTENT[:-1] + b"!"
        elif self.path == "/half":
            body = CONTENT[: len(CONTENT) // 2]
        elif self.path == "/more":
            body, length = CONTENT + b"more", len(CONTENT) + 4
        elif self.path in ("/short", "/stall"):  # promises all; closes early, or waits
            body = CONTENT[:1000]
        self.send_response(200)
        if self.path != "/half":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.path == "/stall":
            type(self).released.wait(30)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        Misbehaving.requests = 0
        Misbehaving.released.clear()
        yield f"http://127.0.0.1:{running.server_port}"
        Misbehaving.released.set()
        running.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ZOO_CACHE", str(folder))
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    return folder


def entry_at(url: str) -> ModelEntry:
    return ModelEntry(
        "thing", "model", "thing.bin", "MIT", "a test file", url,
        hashlib.sha256(CONTENT).hexdigest(), len(CONTENT),
    )  # fmt: skip


def test_a_download_is_verified_kept_and_not_repeated(server, cache) -> None:
    entry = entry_at(server + "/good")
    seen: list[tuple[int, int]] = []
    path = registry.fetch(entry, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT and path.parent == cache
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert registry.fetch(entry) == path and Misbehaving.requests == 1
    assert [p.name for p in cache.iterdir()] == ["thing.bin"]


def test_a_folder_comes_part_by_part_and_each_is_verified(server, cache) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    parts = tuple(FolderPart(path, digest, len(CONTENT)) for path in ("a.bin", "inner/b.bin"))
    entry = ModelEntry("folder", "model", "folder", "MIT", "a test", f"{server}/x", parts=parts)
    assert registry.available(entry) is None
    path = registry.fetch(entry)
    assert path == cache / "folder" and (path / "inner/b.bin").read_bytes() == CONTENT
    assert registry.fetch(entry) == path and Misbehaving.requests == 2
    (path / "a.bin").write_bytes(b"changed")
    assert registry.available(entry) is None
    registry.fetch(entry)
    assert (path / "a.bin").read_bytes() == CONTENT and Misbehaving.requests == 3
    broken = FolderPart("c.bin", "0" * 64, len(CONTENT))
    with pytest.raises(InferenceError, match=r"folder \(c\.bin\): .* not used"):
        registry.fetch(replace(entry, parts=(*parts, broken)))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/wrong", "not used"),
        ("/half", "broke off after 102400 of 204800 bytes"),
        ("/more", "sends more than"),
        ("/absent", "cannot download"),
    ],
)
def test_a_bad_download_is_one_clear_line_and_leaves_nothing(server, cache, path, words) -> None:
    with pytest.raises(InferenceError, match=words) as caught:
        registry.fetch(entry_at(server + path))
    assert "thing" in str(caught.value) and "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_connection_that_closes_early_or_stalls_leaves_nothing(
    server, cache, monkeypatch
) -> None:
    monkeypatch.setattr(registry, "TIMEOUT", 0.3)
    for path in ("/short", "/stall"):
        with pytest.raises(InferenceError, match=r"thing: .*(broke off|cannot download)") as caught:
            registry.fetch(entry_at(server + path))
        assert "\n" not in str(caught.value)
        assert list(cache.iterdir()) == []


def test_no_network_names_the_way_out(cache) -> None:
    with pytest.raises(InferenceError, match=r"put thing\.bin into a folder .* ZOO_MIRROR"):
        registry.fetch(entry_at("http://127.0.0.1:9/none"))
    assert list(cache.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(server, cache) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.fetch(entry_at(server + "/good"), stop)
    assert list(cache.iterdir()) == []


def test_a_broken_cache_file_is_replaced(server, cache) -> None:
    cache.mkdir()
    (cache / "thing.bin").write_bytes(b"half")
    assert registry.fetch(entry_at(server + "/good")).read_bytes() == CONTENT


def test_the_mirror_comes_first_but_only_if_right(server, cache, tmp_path, monkeypatch) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("ZOO_MIRROR", str(mirror))
    (mirror / "thing.bin").write_bytes(b"another file of that name")
    entry = entry_at(server + "/good")
    assert registry.fetch(entry).parent == cache
    (mirror / "thing.bin").write_bytes(CONTENT)
    assert registry.fetch(entry) == mirror / "thing.bin"


def test_two_at_once(server, cache) -> None:
    entry = entry_at(server + "/good")
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(registry.fetch(entry))) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and {p.read_bytes() for p in paths} == {CONTENT}
    assert [p.name for p in cache.iterdir()] == ["thing.bin"]


def test_two_processes_at_once(server, cache) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    program = (
        "from zoo.registry import ModelEntry, fetch;"
        "print(fetch(ModelEntry('thing', 'model', 'thing.bin', 'MIT', 'a test file',"
        f"'{server}/good', '{digest}', {len(CONTENT)})))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=60)[0].strip() for process in running]
    assert printed == [str(cache / "thing.bin")] * 2
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir()] == ["thing.bin"]


def test_an_unwritable_cache_is_named(tmp_path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(blocked / "cache"))
    with pytest.raises(InferenceError, match="cannot write to"):
        registry.fetch(entry_at("http://127.0.0.1:9/none"))


def test_unknown_names_get_near_ones() -> None:
    with pytest.raises(InferenceError, match="yolox-nano"):
        registry.find("yolox-nanno")
    with pytest.raises(InferenceError, match="zoo list"):
        registry.find("qqqqqq")


def test_every_entry_is_complete() -> None:
    for name, entry in registry.entries().items():
        assert entry.licence and entry.about, name
        if entry.url is None:
            assert name.startswith("zoo:"), name
        else:
            for part in entry.parts or (entry,):
                assert len(part.sha256 or "") == 64 and (part.size or 0) > 0, name
            assert len(entry.url.split("/")[5]) == 40, f"{name}: the url must name a commit"
        if entry.kind == "detector":
            assert entry.labels and entry.strides and entry.input and entry.layout, name
    assert len(registry.find("yolox-nano").labels) == 80


def test_shipped_models_are_there_and_small() -> None:
    shipped = [e for e in registry.entries().values() if e.url is None]
    assert len(shipped) >= 5
    for entry in shipped:
        path = registry.fetch(entry)
        trained = entry if entry.quantized_from is None else registry.find(entry.quantized_from)
        assert registry.fetch(trained).with_suffix(".safetensors").is_file(), entry.name
        card = path.with_suffix(".md").read_text()
        assert "held-out accuracy" in card and "not measured" not in card, entry.name
    assert sum(p.stat().st_size for p in registry.MODELS.iterdir()) < 10_000_000
    sums = dict(
        line.split()[::-1] for line in (registry.MODELS / "SHA256SUMS").read_text().splitlines()
    )
    weights = [p for p in registry.MODELS.iterdir() if p.suffix in (".onnx", ".safetensors")]
    assert {p.name: registry.sha256_of(p) for p in weights} == sums


def test_shipped_networks_say_what_the_registry_says() -> None:
    import onnx

    for name in (f"zoo:street-{size}{form}" for size in ("small", "middle", "large")
                 for form in ("", "-int8")):
        entry = registry.find(name)
        model = onnx.load(registry.fetch(entry))
        facts = {p.key: p.value for p in model.metadata_props}
        assert facts["labels"].split(",") == list(entry.labels)
        assert tuple(map(int, facts["strides"].split(","))) == entry.strides
        assert entry.input is not None and facts["color"] == entry.input.color
        kinds = {node.op_type for node in model.graph.node}
        assert "BatchNormalization" not in kinds, name


def test_public_files_of_the_mirror_have_the_registry_s_hashes() -> None:
    found = [e for e in registry.entries().values() if e.url and registry.available(e)]
    if not found:
        pytest.skip("no public file here: set ZOO_MIRROR")
    for entry in found:
        path = registry.available(entry)
        assert path is not None
        for part in entry.parts:
            assert (path / part.path).stat().st_size == part.size
        assert entry.parts or path.stat().st_size == entry.size


def run_zoo(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "zoo", *words], capture_output=True, text=True, timeout=120,
        env=os.environ | env, check=False,
    )  # fmt: skip


def test_the_command_line(tmp_path) -> None:
    assert "yolox-nano" in run_zoo("list").stdout
    wrong = run_zoo("get", "yolox")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: no model named 'yolox': did you mean yolox-nano?\n"
    assert run_zoo("nonsense").returncode == 2
    size = run_zoo("street", "--size", "big")
    assert size.returncode == 2 and "640x360" in size.stderr
    done = run_zoo("street", "--frames", "2", "--size", "64x48", "--output", str(tmp_path))
    assert done.returncode == 0 and (Path(done.stdout.strip()) / "video.mp4").is_file()
