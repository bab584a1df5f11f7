"""Reading and writing video: what comes out is what went in, and bad files get a clear word."""

import threading
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from moving_square import FPS, HEIGHT, WIDTH, square_box, square_frame, write_square
from nasty_videos import write_video

from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_writer import VideoWriter
from zoo.errors import InferenceError


def test_reader_gives_every_frame_with_its_time(tmp_path: Path) -> None:
    reader = VideoReader(write_square(tmp_path / "a.mp4", 25))
    frames = list(reader.frames())
    reader.close()
    assert (reader.width, reader.height, reader.fps) == (WIDTH, HEIGHT, FPS)
    assert [f.index for f in frames] == list(range(25))
    assert np.allclose([f.time for f in frames], np.arange(25) / FPS, atol=1e-3)
    assert reader.broken is None
    for frame in frames:
        x1, y1, x2, y2 = square_box(frame.index)
        assert frame.image[y1:y2, x1:x2].mean() > 220, frame.index
        assert frame.image[:, : x1 - 4].mean() < 60, frame.index


def test_reader_gives_blue_green_red(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 64, 64, 25)
    writer.write(np.full((64, 64, 3), (200, 30, 60), np.uint8))
    writer.close()
    frame = next(VideoReader(tmp_path / "a.mp4").frames())
    assert np.abs(frame.image.mean(axis=(0, 1)) - (200, 30, 60)).max() < 6


def test_limit_ends_early_and_is_not_broken(tmp_path: Path) -> None:
    reader = VideoReader(write_square(tmp_path / "a.mp4", 25))
    assert len(list(reader.frames(7))) == 7
    assert reader.broken is None


@pytest.mark.parametrize("size", [(64, 48), (63, 48), (3, 5), (1, 1)])
def test_writer_keeps_size_rate_and_count(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    writer = VideoWriter(tmp_path / "a.mp4", width, height, 29.97)
    for value in range(12):
        writer.write(np.full((height, width, 3), value * 20, np.uint8))
    writer.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        images = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
        assert abs(float(container.streams.video[0].average_rate) - 29.97) < 0.01
    assert [i.shape for i in images] == [(height, width, 3)] * 12


def test_a_cut_video_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = write_square(tmp_path / "whole.mp4", 120, index_first=True).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    reader = VideoReader(cut)
    count = len(list(reader.frames()))
    assert 10 <= count < 120
    assert reader.broken == f"{count} of 120 frames could be decoded"


def _cut_before_index(path: Path) -> None:
    whole = write_square(path.with_name("whole.mp4"), 60).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


BAD_FILES = {
    "missing.mp4": (lambda path: None, "no such file"),
    "empty.mp4": (lambda path: path.touch(), "the file is empty"),
    "text.mp4": (lambda path: path.write_text("hello\n" * 400), "not a readable video"),
    "notes.txt": (lambda path: path.write_text("hello\n" * 400), "a text file, no video"),
    "zeros.mp4": (lambda path: path.write_bytes(bytes(4000)), "not a readable video"),
    "folder.mp4": (lambda path: path.mkdir(), "not a file"),
    "cut.mp4": (_cut_before_index, "an MP4 without its index"),
    "sound.mp4": (_sound_only, "has no picture stream"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path: Path, name: str) -> None:
    make, reason = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(InferenceError, match=reason) as caught:
        VideoReader(tmp_path / name)
    assert name in str(caught.value)


def test_a_video_that_decodes_nothing_is_an_error(tmp_path: Path) -> None:
    whole = write_square(tmp_path / "whole.mp4", 60, index_first=True).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: whole.index(b"mdat") + 4])
    with pytest.raises(InferenceError, match="no frame can be decoded"):
        list(VideoReader(cut).frames())


def test_unwritable_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match=r"no/such\.mp4: cannot be written"):
        VideoWriter(tmp_path / "no" / "such.mp4", 64, 64, 25)


def test_frames_that_change_size_keep_the_size_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "grows.ts"
    parts = []
    for width in (WIDTH, 2 * WIDTH):
        images = [np.repeat(square_frame(i), width // WIDTH, axis=1) for i in range(10)]
        part = write_video(tmp_path / f"{width}.ts", images)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    frames = list(VideoReader(path).frames())
    assert {f.image.shape for f in frames} == {(HEIGHT, WIDTH, 3)} and len(frames) == 20
    for frame in (frames[3], frames[13]):  # 13: the square at its old place, brought to size
        x1, y1, x2, y2 = square_box(3)
        assert frame.image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() > 220
        assert frame.image[:, x2 + 8 :].mean() < 60
    assert np.diff([f.time for f in frames]).min() > 0


STAMPS = {
    "variable": (lambda i: i * i, lambda i: i * i / 25),
    "late start": (lambda i: 500 + i, lambda i: i / 25),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
@pytest.mark.parametrize("name", STAMPS)
def test_times_are_those_of_the_video(tmp_path: Path, name: str, suffix: str) -> None:
    stamp, expected = STAMPS[name]
    path = write_video(tmp_path / f"a{suffix}", [square_frame(i) for i in range(12)], times=stamp)
    found = [f.time for f in VideoReader(path).frames()]
    assert np.allclose(found, [expected(i) for i in range(12)], atol=2e-3)


def test_without_timestamps_the_rate_counts(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", [square_frame(i) for i in range(12)])
    found = [f.time for f in VideoReader(path).frames()]
    assert np.allclose(found, np.arange(12) / 25, atol=1e-6)


def test_joined_recordings_go_on_in_time(tmp_path: Path) -> None:
    part = write_video(tmp_path / "a.ts", [square_frame(i) for i in range(25)]).read_bytes()
    (tmp_path / "b.ts").write_bytes(part * 3)
    frames = list(VideoReader(tmp_path / "b.ts").frames())
    gaps = np.diff([f.time for f in frames])
    assert len(frames) == 75 and gaps.min() > 0
    assert abs(frames[-1].time - 74 / 25) < 0.2


def test_damage_in_the_middle_is_left_out_and_told(tmp_path: Path) -> None:
    images = [np.random.default_rng(i).integers(0, 255, (96, 160, 3), np.uint8) for i in range(20)]
    content = bytearray(write_video(tmp_path / "a.mov", images, "png", "rgb24").read_bytes())
    places = [at for at in range(len(content)) if content[at : at + 8] == b"\x89PNG\r\n\x1a\n"]
    for at in places[5:8]:
        content[at : at + 30] = bytes(30)
    (tmp_path / "b.mov").write_bytes(content)
    reader = VideoReader(tmp_path / "b.mov")
    frames = list(reader.frames())
    assert len(frames) == 17
    assert reader.broken is not None and "3 damaged packets left out" in reader.broken
    assert (frames[-1].image == images[-1]).all()
    assert np.isclose(frames[-1].time, 19 / 25)


def test_a_codec_that_is_not_built_in_is_an_error(tmp_path: Path) -> None:
    whole = write_square(tmp_path / "a.mp4", 5).read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole.replace(b"avc1", b"xyz9").replace(b"avcC", b"xyzC"))
    with pytest.raises(InferenceError, match=r"b\.mp4: no frame can .* lacks its codec"):
        VideoReader(tmp_path / "b.mp4")


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
    with pytest.raises(InferenceError, match="has no picture stream"):
        VideoReader(path)


def test_reading_can_be_ended_from_another_thread(tmp_path: Path) -> None:
    reader = VideoReader(write_square(tmp_path / "a.mp4", 50))
    frames = reader.frames()
    assert next(frames).index == 0 and next(frames).index == 1
    thread = threading.Thread(target=reader.close)
    thread.start()
    thread.join()
    assert list(frames) == [] and reader.broken is None
    reader.close()


def test_reading_and_writing_5000_frames_needs_no_more_memory(tmp_path: Path) -> None:
    process = psutil.Process()
    writer = VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, FPS)
    used = []
    for index in range(5000):
        writer.write(square_frame(index), index / FPS)
        if index in (1000, 4999):
            used.append(process.memory_info().rss)
    writer.close()
    reader = VideoReader(tmp_path / "a.mp4")
    count = 0
    for frame in reader.frames():
        count += 1
        if frame.index in (1000, 4999):
            used.append(process.memory_info().rss)
    assert count == 5000 and reader.broken is None
    assert used[1] - used[0] < 8 << 20, used  # one frame kept each time would be 176 MB
    assert used[3] - used[2] < 8 << 20, used
