"""Pixels from any camera: right colours, upright, of one size."""

import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from nasty_videos import CORNERS, corner_colours, plain_yuv, quarters, write_video

from solutions.phase4_production.video_analysis.frame_pixels import (
    MAX_SIDE,
    PixelConverter,
    orientation_of,
    too_large,
)
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from zoo.errors import InferenceError

COLOURS = [(200, 30, 60), (20, 190, 40), (30, 60, 220), (128, 128, 128), (250, 250, 250)]
AVCOL = {"bt709": 1, "bt601": 6, "": 2}  # FFmpeg's AVColorSpace


@pytest.mark.parametrize("named", ["bt601", "bt709", ""])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le",
                "yuva420p", "yuva444p10le"],
)
def test_colours_are_those_of_the_standard(pix_fmt: str, full: bool, named: str) -> None:
    for colour in COLOURS:
        frame = plain_yuv(pix_fmt, colour, named or "bt601", full)
        frame.colorspace = AVCOL[named]
        frame.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        found = PixelConverter().convert(frame)
        assert np.abs(found.astype(int) - colour).max() <= 2, (colour, found[32, 32])


def test_full_range_formats_of_old_need_no_tag() -> None:
    frame = plain_yuv("yuvj420p", COLOURS[0], "bt601", True)
    assert np.abs(PixelConverter().convert(frame).astype(int) - COLOURS[0]).max() <= 2


FILES = {  # suffix, codec, pixel format, what may be lost
    "h264": (".mp4", "libx264", "yuv420p", 6),
    "h264 10 bit": (".mp4", "libx264", "yuv420p10le", 3),
    "hevc 10 bit": (".mp4", "libx265", "yuv420p10le", 4),
    "mjpeg full range": (".avi", "mjpeg", "yuvj420p", 3),
    "vp9 alpha": (".webm", "libvpx-vp9", "yuva420p", 6),
    "prores 4444 alpha": (".mov", "prores_ks", "yuva444p10le", 3),
    "png alpha": (".mov", "png", "rgba", 0),
    "animation rgb": (".mov", "qtrle", "rgb24", 0),
    "ffv1 rgb": (".mkv", "ffv1", "bgr0", 0),
    "av1": (".mp4", "libsvtav1", "yuv420p", 8),
}


@pytest.mark.parametrize("name", FILES)
def test_codecs_and_formats_keep_their_colours(tmp_path: Path, name: str) -> None:
    suffix, codec, pix_fmt, loss = FILES[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {codec}")
    path = write_video(tmp_path / f"a{suffix}", [quarters(128, 96)] * 3, codec, pix_fmt)
    frames = list(VideoReader(path).frames())
    assert len(frames) == 3
    assert np.abs(corner_colours(frames[-1].image) - CORNERS).max() <= loss


def test_a_file_that_names_its_matrix_is_believed(tmp_path: Path) -> None:
    def tag(stream: av.VideoStream) -> None:
        stream.codec_context.colorspace = AVCOL["bt709"]

    frames = [plain_yuv("yuv420p", COLOURS[2], "bt709", False) for _ in range(3)]
    for frame in frames:
        frame.colorspace = AVCOL["bt709"]
    path = write_video(tmp_path / "a.mp4", frames, prepare=tag, options={"qp": "1"})
    image = next(iter(VideoReader(path).frames())).image
    assert np.abs(image.mean(axis=(0, 1)) - COLOURS[2]).max() <= 3


def shown(degrees: int, mirrored: bool) -> np.ndarray:
    """The quarters as a player shows them: turned counterclockwise, then mirrored."""
    image = np.rot90(quarters(128, 64), degrees // 90)
    return image[:, ::-1] if mirrored else image


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_all_eight_orientations_are_turned_upright(
    tmp_path: Path, degrees: int, mirrored: bool
) -> None:
    path = write_video(
        tmp_path / "a.mp4", [quarters(128, 64)] * 3,
        prepare=lambda stream: stream.set_display_rotation(degrees, hflip=mirrored),
    )
    reader = VideoReader(path)
    expected = shown(degrees, mirrored)
    assert (reader.height, reader.width) == expected.shape[:2]
    for frame in reader.frames():
        assert frame.image.shape == expected.shape
        assert np.abs(corner_colours(frame.image) - corner_colours(expected)).max() <= 8


def test_a_crooked_matrix_is_turned_to_the_nearest_right_angle() -> None:
    sine, cosine = np.sin(np.radians(80)), np.cos(np.radians(80))
    assert orientation_of(cosine, sine, -sine, cosine) == orientation_of(0, 1, -1, 0)


@pytest.mark.parametrize("width, height, refused", [
    (7680, 4320, False), (MAX_SIDE, 8192, False), (MAX_SIDE + 1, 2, True), (16000, 16000, True),
])
def test_only_pictures_of_a_sane_size_are_decoded(width: int, height: int, refused: bool) -> None:
    assert bool(too_large(width, height)) == refused


def png(path: Path, width: int, height: int) -> Path:
    """A black PNG of one bit a pixel, which is tiny however large the picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)
                     + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [12000, 20000, 60000])
def test_a_decompression_bomb_is_refused(tmp_path: Path, side: int) -> None:
    reader = VideoReader(png(tmp_path / "small.png", 800, 600))
    assert (reader.width, reader.height) == (800, 600)
    bomb = png(tmp_path / "bomb.png", side, side)
    with pytest.raises(InferenceError, match=r"are too many|no frame can be decoded"):
        VideoReader(bomb)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (36, 64), (7680, 4320)])
def test_sizes_from_one_pixel_to_8k(tmp_path: Path, size: tuple[int, int]) -> None:
    pix_fmt = "yuv420p" if size[0] % 2 == 0 else "yuv444p"
    images = [np.full((size[1], size[0], 3), 40 * i, np.uint8) for i in range(1, 4)]
    path = write_video(tmp_path / "a.mp4", images, pix_fmt=pix_fmt,
                       options={"preset": "ultrafast"})
    reader = VideoReader(path)
    assert (reader.width, reader.height) == size
    means = [f.image.mean() for f in reader.frames()]
    assert np.abs(np.array(means) - [40, 80, 120]).max() < 4
    assert reader.broken is None
