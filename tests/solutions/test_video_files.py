"""Reading and writing video: what comes out is what went in, and bad files get a clear word."""

from pathlib import Path

import av
import numpy as np
import pytest
from moving_square import FPS, HEIGHT, WIDTH, square_box, square_frame, write_square

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


def test_frames_that_change_size_keep_the_size_of_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "grows.ts"
    parts = []
    for width in (WIDTH, 2 * WIDTH):
        with av.open(str(tmp_path / f"{width}.ts"), "w") as container:
            stream = container.add_stream("libx264", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = width, HEIGHT, "yuv420p"
            for index in range(10):
                image = np.repeat(square_frame(index), width // WIDTH, axis=1)
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append((tmp_path / f"{width}.ts").read_bytes())
    path.write_bytes(b"".join(parts))
    shapes = {f.image.shape for f in VideoReader(path).frames()}
    assert shapes == {(HEIGHT, WIDTH, 3)}
