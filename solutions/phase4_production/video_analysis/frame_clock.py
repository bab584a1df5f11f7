"""Times of frames from the timestamps that a video claims.

A tracker divides by the time between two frames and a player waits for it: it must be positive.
Timestamps of real files are often not: they start anywhere, are missing, stand still, run
backwards where two recordings were joined, or wrap around (33 bits at 90 kHz in MPEG-TS: every
26.5 hours). What is right about them must still come through: a variable rate stays variable.
"""

import math

NUDGE = 1e-3  # seconds by which a frame follows one that claims the same time
SPLICE = 1.0  # seconds backwards from which on it is another recording
STILL = 1e-6  # seconds by which a timestamp must go on to count
BELIEVABLE = 1e12  # seconds; larger ones are rubbish


class FrameClock:
    """Turns timestamps into strictly increasing seconds that start at 0.

    ``interval`` is the usual time between two frames, seconds. A stamp more than ``leap`` seconds
    ahead counts as a splice; formats that are allowed to jump (MPEG-TS) want 10 or so.
    """

    def __init__(self, interval: float, leap: float = math.inf) -> None:
        self.interval, self.leap = interval, leap
        self._offset = 0.0  # from stamps to seconds
        self._last: float | None = None  # seconds
        self._stalls = 0  # stamps in a row that did not go on

    def time(self, stamp: float | None) -> float:
        """Seconds of the frame with that timestamp (seconds; None: it has none).

        A frame without a stamp follows after ``interval``. One stamp that stands still is moved
        by a nudge; a second one in a row, or a splice, shifts all stamps from then on.
        """
        known = stamp if stamp is not None and abs(stamp) < BELIEVABLE else None
        if self._last is None:
            self._last, self._offset = 0.0, -(known or 0.0)
            return 0.0
        if known is None:
            self._last += self.interval
            return self._last
        now = known + self._offset
        self._stalls = self._stalls + 1 if now <= self._last + STILL else 0
        spliced = now < self._last - SPLICE or now > self._last + self.leap
        if spliced or self._stalls > 1:
            now = self._last + self.interval
            self._offset = now - known
        elif self._stalls:
            now = self._last + min(NUDGE, self.interval)
        self._last = max(now, math.nextafter(self._last, math.inf))
        return self._last
