"""An address of a stream that can be printed: its password does not show."""

import re
from dataclasses import dataclass, field

from zoo.errors import InferenceError

SCHEMES = ("rtsp", "rtsps", "http", "https")
SECRET_WORDS = "pass(word|wd)?|pwd|token|secret|(api_?)?key|auth|sig(nature)?|credential"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PLAIN_HOST = re.compile(r"(\[.*\]|[^:]*)(:\d*)?")
_SECRET_QUERY = re.compile(rf"([?&;][^=&;]*({SECRET_WORDS})[^=&;]*=)[^&;#]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """The URL as it may be shown: ``rtsp://user:***@host/path?token=***``.

    A password that holds a slash is hidden as well, though no program would accept it there.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    end = _end_of_login(rest)
    user, colon, _ = rest[:end].partition(":")
    hidden = f"{user}:***" if colon else user
    return scheme + separator + _SECRET_QUERY.sub(r"\1***", hidden + rest[end:])


def _end_of_login(rest: str) -> int:
    """Where ``user:password`` ends in what follows the ``://``; 0 where there is none."""
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        return host.rindex("@")
    if "@" in rest and not _PLAIN_HOST.fullmatch(host):
        return rest.rindex("@")
    return 0


@dataclass(frozen=True)
class StreamUrl:
    """Where a stream comes from. Printed without its password; ``url`` has it."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InferenceError(
                f"video {self}: {self.scheme}:// is not read, only {', '.join(SCHEMES)}"
            )

    def __str__(self) -> str:
        return without_password(self.url)

    @property
    def scheme(self) -> str:
        """In small letters: rtsp, http and so on."""
        return self.url.partition("://")[0].lower()


def is_url(video: str) -> bool:
    """Whether it names a stream rather than a file."""
    return _SCHEME.match(video) is not None
