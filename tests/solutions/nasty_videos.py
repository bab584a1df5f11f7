"""Videos with what real cameras and phones do to them, made for the tests."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
CORNERS = ((200, 30, 60), (40, 180, 20), (30, 60, 220), (128, 128, 128))  # BGR, one a quarter


def quarters(width: int, height: int) -> Image:
    """Four colours: upper left, upper right, lower left, lower right."""
    image = np.zeros((height, width, 3), np.uint8)
    for colour, (row, column) in zip(CORNERS, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        rows = slice(height // 2, None) if row else slice(height // 2)
        columns = slice(width // 2, None) if column else slice(width // 2)
        image[rows, columns] = colour
    return image


def corner_colours(image: Image) -> NDArray[np.float64]:
    """The colours in the middle of the quarters, [4, 3]."""
    height, width = image.shape[:2]
    points = [(h, w) for h in (height // 4, 3 * height // 4) for w in (width // 4, 3 * width // 4)]
    return np.array([image[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1)) for y, x in points])


def write_video(
    path: Path,
    images: Iterable[Image | av.VideoFrame],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Callable[[int], int] = lambda index: index,
    rate: int = 25,
    options: dict[str, str] | None = None,
    prepare: Callable[[av.VideoStream], None] = lambda stream: None,
) -> Path:
    """A video of these images; ``times`` gives each frame's timestamp, in 1/rate seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        for index, image in enumerate(images):
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(
                image, format="bgr24" if image.shape[2] == 3 else "bgra"
            )
            if index == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                stream.options = options or {}
                prepare(stream)
            frame.pts, frame.time_base = times(index), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # ITU-R BT.601, BT.709: Kr, Kb


def encode_yuv(
    bgr: tuple[int, int, int], matrix: str, full: bool, bits: int
) -> tuple[int, int, int]:
    """Y, Cb, Cr of a colour by the formulas of ITU-R BT.601 and BT.709."""
    kr, kb = MATRICES[matrix]
    blue, green, red = (value / 255 for value in bgr)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    scale = 2 ** (bits - 8)
    if full:
        top = 2**bits - 1
        return round(luma * top), round(cb * top + 128 * scale), round(cr * top + 128 * scale)
    return (round((16 + 219 * luma) * scale), round((128 + 224 * cb) * scale),
            round((128 + 224 * cr) * scale))


def plain_yuv(pix_fmt: str, bgr: tuple[int, int, int], matrix: str, full: bool) -> av.VideoFrame:
    """A frame 64x64 of one colour in that pixel format, opaque where it has alpha."""
    frame = av.VideoFrame(64, 64, pix_fmt)
    bits = frame.format.components[0].bits
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    values = (*encode_yuv(bgr, matrix, full, bits), 2**bits - 1)
    for plane, value in zip(frame.planes, values, strict=False):
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, value, kind).tobytes())
    return frame
