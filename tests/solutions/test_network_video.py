"""Video from addresses: HTTP, RTSP with a server that stops, and passwords that do not show."""

import http.server
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from moving_square import FPS, WIDTH, write_square

from solutions.phase4_production.video_analysis.edge_inference import edge
from solutions.phase4_production.video_analysis.reconnect import Backoff
from solutions.phase4_production.video_analysis.stream_reader import StreamReader
from solutions.phase4_production.video_analysis.stream_url import StreamUrl, without_password
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_source import open_reader, open_source
from zoo.errors import InferenceError
from zoo.terminal import run_command

SECRETS = {
    "rtsp://user:secret@host:554/a": "rtsp://user:***@host:554/a",
    "rtsp://user:se@cret@host/a": "rtsp://user:***@host/a",
    "rtsp://user:se/cret@host/a": "rtsp://user:***@host/a",
    "RTSP://:secret@host": "RTSP://:***@host",
    "rtsp://user@host/a": "rtsp://user@host/a",
    "rtsp://host:554/cam@2": "rtsp://host:554/cam@2",
    "rtsp://[::1]:554/cam@2": "rtsp://[::1]:554/cam@2",
    "http://host/a?user=me&password=secret&x=1": "http://host/a?user=me&password=***&x=1",
    "http://host/a?access_token=secret#t": "http://host/a?access_token=***#t",
    "http://host/a.mp4?x=1": "http://host/a.mp4?x=1",
    "a.mp4": "a.mp4",
}


@pytest.mark.parametrize("url", SECRETS)
def test_passwords_are_hidden(url: str) -> None:
    assert without_password(url) == SECRETS[url]


def test_a_stream_never_prints_its_password() -> None:
    url = StreamUrl("rtsp://user:secret@host/a")
    source = open_source(url.url, None)
    for shown in (str(url), repr(url), f"{url}", source.name, repr(source)):
        assert "secret" not in shown
    assert url.url.endswith("secret@host/a")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in tmp_path."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_over_http_is_read_like_a_file(tmp_path: Path, web: str) -> None:
    write_square(tmp_path / "a.mp4", 30)
    reader = open_reader(open_source(f"{web}/a.mp4", None))
    assert (reader.width, reader.fps, reader.expected_frames, reader.live) == (
        WIDTH, FPS, 30, False
    )
    there = list(reader.frames())
    here = list(VideoReader(tmp_path / "a.mp4").frames())
    assert [f.time for f in there] == [f.time for f in here]
    assert all((a.image == b.image).all() for a, b in zip(there, here, strict=True))
    assert reader.broken is None


def test_what_is_missing_over_http_is_named_without_the_password(tmp_path: Path, web: str) -> None:
    (tmp_path / "a.html").write_text("<p>no video</p>" * 100)
    login = web.replace("//", "//user:secret@")
    for name, reason in (("none.mp4", "404"), ("a.html", "cannot be opened")):
        with pytest.raises(InferenceError, match=reason) as caught:
            open_reader(open_source(f"{login}/{name}?token=secret", None))
        assert "secret" not in str(caught.value) and "***@127.0.0.1" in str(caught.value)


def test_a_playlist_over_http_may_not_read_local_files(tmp_path: Path, web: str) -> None:
    write_square(tmp_path / "a.ts", 30)
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    (tmp_path / "far.m3u8").write_text(lines.format("a.ts"))
    (tmp_path / "near.m3u8").write_text(lines.format(f"file://{tmp_path}/a.ts"))
    assert len(list(open_reader(open_source(f"{web}/far.m3u8", None)).frames())) == 30
    with pytest.raises(InferenceError):
        open_reader(open_source(f"{web}/near.m3u8", None))


def test_a_playlist_in_a_file_opens_nothing_else(tmp_path: Path) -> None:
    write_square(tmp_path / "a.ts", 30)
    (tmp_path / "b.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "b.txt").write_text("ffconcat version 1.0\nfile a.ts\n")
    (tmp_path / "b.sdp").write_text("v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")
    for name in ("b.m3u8", "b.txt", "b.sdp"):
        with pytest.raises(InferenceError, match=name):
            VideoReader(tmp_path / name)


def test_nobody_there_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"rtsp://user:secret@127.0.0.1:{free_port()}/a"
    monkeypatch.setattr(sys, "argv", ["edge_inference.py", "--video", url])
    assert run_command(edge) == 2
    printed = capfd.readouterr()
    assert len(printed.err.splitlines()) == 1 and "Connection refused" in printed.err
    assert "secret" not in printed.err + printed.out


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for scheme in ("rtsp", "http"):
            with pytest.raises(InferenceError, match=r"no answer within 0\.3 s"):
                VideoReader(StreamUrl(f"{scheme}://127.0.0.1:{port}/a"), timeout=0.3)


def test_ctrl_c_ends_waiting_for_a_silent_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/a"
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from solutions.phase4_production.video_analysis.edge_inference import edge\n"
            "from zoo.terminal import run_command\n"
            f"sys.argv = ['edge', '--video', {url!r}]; print('ready', flush=True)\n"
            "sys.exit(run_command(edge))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        connection, _ = silent.accept()
        with connection:  # open until the program has ended
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=8) == 130  # the server would be given 10 seconds


# RTSP: GStreamer's server, which only the system's Python can run.

SYSTEM_PYTHON = Path("/usr/bin/python3")
NEEDED = (
    "import gi; gi.require_version('GstRtspServer', '1.0')\n"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
    "raise SystemExit(not all(map(Gst.ElementFactory.find, "
    "('videotestsrc', 'x264enc', 'rtph264pay'))))"
)


@cache
def has_gstreamer() -> bool:
    if not SYSTEM_PYTHON.exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", NEEDED], capture_output=True).returncode == 0


class RtspServer:
    """A server that can be killed and started again on its port."""

    def __init__(self, *login: str) -> None:
        self.port, self.login = free_port(), login
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, script, str(self.port), *self.login], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def url(self, login: str = "") -> StreamUrl:
        return StreamUrl(f"rtsp://{login}127.0.0.1:{self.port}/ball")


@pytest.fixture
def rtsp(request: pytest.FixtureRequest) -> Iterator[RtspServer]:
    if not has_gstreamer():
        pytest.skip("needs GStreamer's RTSP server: gir1.2-gst-rtsp-server-1.0 python3-gst-1.0 "
                    "gstreamer1.0-plugins-base, -good, -ugly")
    server = RtspServer(*getattr(request, "param", ()))
    yield server
    server.stop()


def follow(url: StreamUrl, backoff: Backoff, timeout: float = 10.0) -> StreamReader:
    return StreamReader(
        lambda: VideoReader(url, timeout=timeout), backoff, random.Random(0)
    )


def test_an_rtsp_server_that_stops_and_returns(rtsp: RtspServer) -> None:
    reader = follow(rtsp.url(), Backoff(0.2, 0.5, 60))
    assert (reader.width, reader.height, reader.live) == (160, 96, True)
    assert reader.expected_frames is None
    times, bright = [], []
    for frame in reader.frames(40):
        times.append(frame.time)
        bright.append(frame.image.max())
        if frame.index == 15:
            rtsp.stop()
            threading.Timer(0.7, rtsp.start).start()
    reader.close()
    gaps = np.diff(times)
    assert len(times) == 40 and gaps.min() > 0
    assert reader.reconnects >= 1 and gaps.max() > 0.5
    assert abs(np.median(gaps) - 1 / 25) < 0.01
    assert min(bright) > 150  # the ball is in every frame


def test_an_rtsp_server_that_stops_for_good(rtsp: RtspServer) -> None:
    reader = follow(rtsp.url(), Backoff(0.05, 0.1, 3))
    count = 0
    for frame in reader.frames():
        count += 1
        if frame.index == 10:
            rtsp.stop()
    assert count >= 11 and reader.broken is not None
    assert reader.broken.startswith("stream ended: 3 reconnects failed")


def test_an_rtsp_server_that_freezes_is_left_after_the_timeout(rtsp: RtspServer) -> None:
    assert rtsp.process is not None
    reader = follow(rtsp.url(), Backoff(0.05, 0.1, 1), timeout=1.0)
    count = 0
    for frame in reader.frames():
        count += 1
        if frame.index == 10:
            rtsp.process.send_signal(signal.SIGSTOP)
    rtsp.process.send_signal(signal.SIGCONT)
    assert count >= 11
    assert reader.broken is not None and "no answer within 1 s" in reader.broken


def test_closing_does_not_wait_for_a_frozen_rtsp_server(rtsp: RtspServer) -> None:
    assert rtsp.process is not None
    reader = follow(rtsp.url(), Backoff(), timeout=60)
    frames = reader.frames()
    next(frames)
    rtsp.process.send_signal(signal.SIGSTOP)
    threading.Timer(0.5, reader.close).start()
    start = time.monotonic()
    assert len(list(frames)) < 60
    assert time.monotonic() - start < 20  # not the minute of its timeout
    rtsp.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("rtsp", [("me", "secret")], indirect=True)
def test_an_rtsp_login_is_used_and_not_shown(rtsp: RtspServer) -> None:
    reader = follow(rtsp.url("me:secret@"), Backoff())
    assert len(list(reader.frames(3))) == 3
    reader.close()
    with pytest.raises(InferenceError, match="401") as caught:
        follow(rtsp.url("me:wrong-secret@"), Backoff())
    assert "wrong-secret" not in str(caught.value) and "me:***@" in str(caught.value)
