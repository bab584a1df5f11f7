"""One image file decoded by what it holds, whatever its name says."""

from typing import cast

import av
from av.codec import CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from solutions.phase4_production.video_analysis.frame_pixels import MAX_PIXELS
from zoo.errors import InferenceError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
MAGIC = {  # first bytes: FFmpeg's decoder
    b"\xff\xd8\xff": "mjpeg", b"\x89PNG": "png", b"BM": "bmp", b"RIFF": "webp",
    b"II*\0": "tiff", b"MM\0*": "tiff", b"P5": "pgm", b"P2": "pgm", b"P6": "ppm", b"P3": "ppm",
}


def decode_image(content: bytes) -> av.VideoFrame:
    """The picture in the content of a JPEG, PNG, BMP, WebP, TIFF, PGM or PPM file.

    Raises InferenceError where it is none of these, damaged, or larger than MAX_PIXELS.
    """
    codec = next((name for magic, name in MAGIC.items() if content.startswith(magic)), None)
    if codec is None:
        raise InferenceError("not an image of a known format")
    context = cast(VideoCodecContext, CodecContext.create(codec, "r"))
    context.options, context.thread_count = {"max_pixels": str(MAX_PIXELS)}, 1
    try:
        frames = context.decode(av.Packet(content)) + context.decode(None)
    except (FFmpegError, EOFError) as error:
        raise InferenceError(f"a damaged or too large {codec} image ({error})") from error
    if not frames:
        raise InferenceError(f"a {codec} image without a picture")
    return frames[0]
