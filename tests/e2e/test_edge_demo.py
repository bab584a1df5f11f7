"""The demo as a user runs it: the command, its video decoded again, its report in a browser."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from zoo import registry
from zoo.street import StreetClip, StreetConfig, materialise

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "solutions/phase4_production/video_analysis/edge_inference.py"
SHIPPED = ("zoo:street-middle", "zoo:street-small", "zoo:street-large")


@pytest.fixture(scope="module")
def detector() -> str:
    """The first shipped detector that is there."""
    for name in SHIPPED:
        if registry.available(registry.find(name)):
            return name
    pytest.skip("no street detector in zoo/models yet")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> StreetClip:
    """Three seconds of a held-out street."""
    return materialise(StreetConfig(seed=11, frames=90), tmp_path_factory.mktemp("streets"))


@pytest.fixture(scope="module")
def demo(
    street: StreetClip, detector: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The command's results, run from another folder."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--video", str(street.video), "--detector", detector,
         "--output", "out"],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def test_the_run_is_measured_against_the_truth_beside_the_video(demo) -> None:
    out, done = demo
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["frames"] == metrics["analysed"] == 90
    assert metrics["dropped"] == 0 and metrics["partial"] is False
    assert metrics["map50"] > 0.5, metrics
    assert 0 < metrics["hota"] <= 1 and metrics["mota"] <= 1 and metrics["idf1"] <= 1
    assert metrics["fps"] > 0 and 0 < metrics["latency_ms"]["p50"] <= metrics["latency_ms"]["p99"]
    assert "accuracy: mAP@0.5" in done.stdout


def test_the_video_plays_with_every_frame(demo, street: StreetClip) -> None:
    out, _ = demo
    with av.open(str(out / "annotated.mp4")) as container:
        drawn = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    with av.open(str(street.video)) as container:
        plain = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    assert len(drawn) == len(plain) == 90
    change = [np.abs(a.astype(int) - b).mean() for a, b in zip(drawn, plain, strict=True)]
    assert 0.2 < np.mean(change) < 30, change  # the same street, with something drawn on it


def test_tracks_touch_the_picture_and_are_unique_in_a_frame(demo) -> None:
    out, _ = demo
    rows = np.loadtxt(out / "tracks.txt", delimiter=",")
    assert len(rows) > 90
    assert rows[:, 0].min() >= 1 and rows[:, 0].max() <= 90
    assert len(np.unique(rows[:, :2], axis=0)) == len(rows)
    assert (rows[:, 4:6] > 0).all()
    assert (rows[:, 2:4] < (640, 360)).all()
    assert (rows[:, 2:4] + rows[:, 4:6] > 0).all()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, the system's or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as driver:
        try:
            made = driver.chromium.launch(
                executable_path=found or shutil.which("google-chrome"), args=["--no-sandbox"]
            )
        except playwright.Error as error:
            pytest.skip(f"no Chromium here: {str(error).splitlines()[0]}")
        yield made
        made.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1240, 400])
def test_the_report_opens_without_network_or_complaint(
    demo, browser, scheme: str, width: int
) -> None:
    out, _ = demo
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((out / "report.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert complaints == []
    assert {u.split(":")[0] for u in asked} <= {"file", "data"}
    assert [u for u in asked if u.startswith("file")] == [(out / "report.html").as_uri()]
    metrics = json.loads((out / "metrics.json").read_text())
    assert f"{metrics['fps']:.0f} frames per second" in page.inner_text("h1")
    shown = page.inner_text("main")
    for text in ("mAP@0.5", "MOTA", "IDF1", "HOTA", "Route numbers", "Where the time goes"):
        assert text in shown, text
    assert page.locator("section svg").count() == 5
    images = page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
    assert len(images) == 6 and min(images) == 640
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} wide on a screen of {width}"
    page.close()


def test_every_plot_has_labelled_axes(demo, browser) -> None:
    out, _ = demo
    page = browser.new_page()
    page.goto((out / "report.html").as_uri())
    texts = page.eval_on_selector_all("section svg", "all => all.map(s => s.textContent)")
    for text, labels in zip(texts, (
        ("time in the video, s", "latency, ms", "p99"), ("latency, ms", "frames done, %", "p95"),
        ("mean time per frame, ms", "detect"), ("time in the video, s", "objects"),
        ("average precision at IoU 0.5, %", "car"),
    ), strict=True):
        assert all(label in text for label in labels), (labels, text)
    page.close()


def test_ctrl_c_leaves_a_playable_video_and_a_partial_report(
    detector: str, tmp_path: Path
) -> None:
    video = tmp_path / "long.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        image = np.full((360, 640, 3), 90, np.uint8)
        for _ in range(6000):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--video", str(video), "--detector", detector,
         "--output", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "annotated.mp4").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "partial: interrupted" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["partial"] is True and 0 < metrics["analysed"] < 6000
    with av.open(str(out / "annotated.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == metrics["analysed"]
    assert "interrupted" in (out / "report.html").read_text()
