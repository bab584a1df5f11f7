"""The run around the pipeline: every frame once, in order, and whatever goes wrong is told."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from moving_square import square_box, square_pipeline, write_square

from solutions.phase4_production.video_analysis.detector import PreparedFrame
from solutions.phase4_production.video_analysis.frame_samples import FrameSamples
from solutions.phase4_production.video_analysis.interruption import Interruption, interruption
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult, VideoPipeline
from solutions.phase4_production.video_analysis.run_record import RunRecord
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_run import run_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square(tmp_path_factory.mktemp("clip") / "a.mp4", 50)


def frames_in(path: Path) -> int:
    reader = VideoReader(path)
    try:
        return sum(1 for _ in reader.frames())
    finally:
        reader.close()


def no_threads_left() -> bool:
    return not {t.name for t in threading.enumerate()} & {"decode", "encode"}


def test_every_frame_is_analysed_drawn_and_written_once(clip: Path, tmp_path: Path) -> None:
    record = run_video(square_pipeline(), VideoReader(clip), tmp_path / "out.mp4")
    assert record.frames == record.analysed == 50
    assert record.indices == list(range(50))
    assert record.partial == "" and record.dropped == 0
    assert frames_in(tmp_path / "out.mp4") == 50
    stages = {"decode", "preprocess", "detect", "postprocess", "track", "classify", "draw",
              "encode"}
    assert record.stages_ms.keys() == stages
    assert {spent.count for spent in record.stages.values()} == {50}
    assert record.peak_rss_mb > 10 and min(record.latency_ms) > 0
    assert len(record.samples.chosen()) == 6
    assert no_threads_left()


def test_tracks_lie_on_the_square(clip: Path) -> None:
    record = run_video(square_pipeline(), VideoReader(clip))
    tracked = [(i, t) for i, r in zip(record.indices, record.results, strict=True)
               for t in r.tracks]
    assert {t.identity for _, t in tracked} == {1}
    assert len(tracked) >= 47
    for index, track in tracked:
        assert np.abs(track.box - square_box(index)).max() < 3, (index, track.box)


def test_without_a_video_samples_are_drawn_all_the_same(clip: Path) -> None:
    record = run_video(square_pipeline(), VideoReader(clip))
    assert not {"draw", "encode"} & record.stages_ms.keys()
    assert len(record.samples.chosen()) == 6
    plain = [f.image for f in VideoReader(clip).frames()]
    assert all((s.image != plain[s.index]).any() for s in record.samples.chosen())


def test_a_wish_to_stop_leaves_a_playable_video(clip: Path, tmp_path: Path) -> None:
    stop = Interruption()

    def progress(record: RunRecord) -> None:
        if record.frames == 20:
            stop.signal = signal.SIGINT

    out = tmp_path / "out.mp4"
    record = run_video(square_pipeline(), VideoReader(clip), out, None, progress, stop)
    assert record.partial == "interrupted"
    assert record.analysed == 20 == frames_in(out)
    assert no_threads_left()


def test_a_cut_video_makes_a_partial_run(tmp_path: Path) -> None:
    whole = write_square(tmp_path / "whole.mp4", 120, index_first=True).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * 0.6)])
    record = run_video(square_pipeline(), VideoReader(tmp_path / "cut.mp4"))
    assert 10 <= record.analysed < 120
    assert record.partial == f"{record.analysed} of 120 frames could be decoded"


class Failing(VideoPipeline):
    """Fails at the tenth frame."""

    seen = 0

    def analyse(
        self, frame: np.ndarray, seconds: float = 1 / 30, prepared: PreparedFrame | None = None
    ) -> FrameResult:
        self.seen += 1
        if self.seen == 10:
            raise ArithmeticError("tenth frame")
        return super().analyse(frame, seconds, prepared)


def test_a_fault_of_the_pipeline_ends_the_run_and_its_threads(clip: Path, tmp_path: Path) -> None:
    good = square_pipeline()
    with pytest.raises(ArithmeticError, match="tenth frame"):
        run_video(Failing(good.detector, good.tracker), VideoReader(clip), tmp_path / "out.mp4")
    assert no_threads_left()
    assert frames_in(tmp_path / "out.mp4") == 9


def test_a_fault_of_the_encoder_is_told(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from solutions.phase4_production.video_analysis import video_run

    def full(self: object, image: object, time: float) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(video_run.VideoWriter, "write", full)
    with pytest.raises(OSError, match="disk full"):
        run_video(square_pipeline(), VideoReader(clip), tmp_path / "out.mp4")
    assert no_threads_left()


def test_interruption_notes_the_first_signal_and_lets_the_second_through() -> None:
    inherited = signal.getsignal(signal.SIGINT)  # a background job may have it ignored
    before = signal.default_int_handler
    signal.signal(signal.SIGINT, before)
    with interruption() as stop:
        assert not stop and stop.exit_code == 0
        signal.raise_signal(signal.SIGINT)
        assert stop and stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.parametrize("frames", [1, 6, 12, 13, 500, 5000])
def test_samples_are_few_and_hold_the_fullest_frame(frames: int) -> None:
    samples, image = FrameSamples(6), np.zeros((4, 4, 3), np.uint8)
    fullest = frames * 2 // 3
    for index in range(frames):
        samples.offer(index, index / 30, 9 if index == fullest else index % 4, image)
        assert len(samples._best) <= 12
    chosen = [s.index for s in samples.chosen()]
    assert len(chosen) == min(frames, 6)
    assert chosen == sorted(set(chosen)) and fullest in chosen
