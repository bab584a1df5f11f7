"""Opens video files and streams, and nothing that they point to.

FFmpeg opens far more than videos: a "video" may be a playlist that names other files of this
machine, a description of network ports, or a device. A file is therefore opened as that file
alone, whatever its name looks like, and a stream may only lead to further network addresses.
"""

import time
from functools import cache
from pathlib import Path

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError, InvalidDataError
from av.format import ContainerFormat
from av.video.stream import VideoStream

from solutions.phase4_production.video_analysis.frame_pixels import MAX_PIXELS, too_large
from solutions.phase4_production.video_analysis.stream_url import StreamUrl
from zoo.errors import InferenceError

TEXT_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg would draw the characters
PLAYLISTS = {"hls", "dash", "webm_dash_manifest"}
REACHING_OUT = {  # formats that open further files, ports or devices
    "concat", "concatf", "image2", "imf", "sdp", "rtp", "sap", "lavfi", "ffmetadata",
    "vapoursynth", "avisynth", "video4linux2", "v4l2", "fbdev", "kmsgrab", "x11grab", "alsa",
    "oss", "jack", "pulse", "avfoundation", "dshow", "gdigrab", "vfwcap", "decklink",
}
NETWORK = "http,https,httpproxy,tcp,tls,crypto,udp,rtp,srtp"
SANE = {"max_pixels": str(MAX_PIXELS)}  # already while FFmpeg looks what it is
TIMEOUT = 10.0  # seconds


@cache
def harmless_formats(network: bool) -> str:
    """FFmpeg's names of the containers that may be opened, comma-separated."""
    refused = REACHING_OUT if network else REACHING_OUT | PLAYLISTS | {"rtsp"}

    def readable(name: str) -> bool:
        try:
            return ContainerFormat(name, "r").is_input
        except ValueError:
            return False

    return ",".join(
        name for name in sorted(av.formats_available)
        if not refused & set(name.split(",")) and readable(name)
    )


def open_file(path: Path) -> InputContainer:
    """The container in that file.

    Raises InferenceError where the file is missing, empty or no video.
    """
    try:
        if not path.exists():
            raise InferenceError(f"video {path}: no such file")
        if not path.is_file():
            raise InferenceError(f"video {path}: not a file")
        if path.stat().st_size == 0:
            raise InferenceError(f"video {path}: the file is empty")
        options = SANE | {
            "protocol_whitelist": "file", "format_whitelist": harmless_formats(False)
        }
        container = av.open(f"file:{path}", options=options)
    except (FFmpegError, OSError, ValueError) as error:
        raise InferenceError(f"video {path}: {_why_unreadable(path, error)}") from error
    if container.format.name in TEXT_FORMATS:
        container.close()
        raise InferenceError(f"video {path}: a text file, no video")
    return container


def open_url(url: StreamUrl, timeout: float = TIMEOUT) -> InputContainer:
    """The container behind that address; RTSP over TCP.

    ``timeout`` is in seconds: for opening as a whole, and for each read later on.
    Raises InferenceError where nobody answers or the answer is no video.
    """
    options = SANE | {"protocol_whitelist": NETWORK, "format_whitelist": harmless_formats(True)}
    if url.scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    start = time.monotonic()
    try:
        return av.open(url.url, options=options, timeout=timeout)
    except (FFmpegError, OSError, ValueError) as error:
        if isinstance(error, ExitError) or time.monotonic() >= start + timeout:
            raise InferenceError(f"video {url}: no answer within {timeout:g} s") from error
        raise InferenceError(f"video {url}: cannot be opened ({reason_of(error)})") from error


def choose_stream(container: InputContainer, name: str, number: int | None) -> VideoStream:
    """The picture stream with that number among them (from 0); None: the largest.

    Cover pictures do not count. Raises InferenceError where there is none, where it cannot be
    decoded, or where its frames would be too large.
    """
    pictures = [s for s in container.streams.video if not _is_cover(s)]
    if not pictures:
        raise InferenceError(f"video {name}: has no picture stream")
    if number is not None and not 0 <= number < len(pictures):
        raise InferenceError(
            f"video {name}: no picture stream {number}: it has {len(pictures)}, counted from 0"
        )
    candidates = pictures if number is None else [pictures[number]]
    known = [s for s in candidates if s.codec_context is not None]
    if not known:
        raise InferenceError(
            f"video {name}: no frame can be decoded: this build of FFmpeg lacks its codec"
        )
    stream = max(known, key=lambda s: s.width * s.height)
    if reason := too_large(stream.width, stream.height):
        raise InferenceError(f"video {name}: {reason}")
    if not stream.width:
        raise InferenceError(
            f"video {name}: no frame can be decoded: damaged, or more than {MAX_PIXELS} pixels"
        )
    stream.codec_context.options = SANE  # should the size change on the way
    return stream


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says, without the address."""
    return getattr(error, "strerror", None) or str(error)


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, InvalidDataError):
        with path.open("rb") as file:
            if file.read(8)[4:] == b"ftyp":
                return "an MP4 without its index: it was cut off, copy or record it again"
    if isinstance(error, av.error.ArgumentError):
        return "a playlist or device: only a file that holds its video itself is read"
    return f"not a readable video ({reason_of(error)})"
