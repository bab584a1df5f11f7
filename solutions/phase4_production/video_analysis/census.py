"""Who came by: every track counted once, in bounded memory."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from solutions.phase4_production.video_analysis.detections import TrackedObject

GONE_AFTER = 10.0  # seconds unseen until a track is filed
EVERY = 256  # frames between filings
MOST_ROUTES = 500  # read numbers kept, the latest


@dataclass
class Life:
    """One track's time in view."""

    label: int
    first: float  # seconds
    last: float
    route: str = ""
    confidence: float = 0.0


@dataclass(frozen=True)
class Route:
    """A bus whose number was read."""

    identity: int
    number: str
    confidence: float
    seconds: float  # in view


@dataclass
class Census:
    """Objects by class and the routes read; a track has the class that it ended with."""

    filed: Counter[int] = field(default_factory=Counter)  # tracks that are gone, by label
    filed_longest: dict[int, float] = field(default_factory=dict)  # seconds, by label
    filed_routes: deque[Route] = field(default_factory=lambda: deque(maxlen=MOST_ROUTES))
    _alive: dict[int, Life] = field(default_factory=dict)
    _frames: int = 0

    def add(self, time: float, tracks: Sequence[TrackedObject]) -> None:
        """Note the tracks of a frame, ``time`` seconds into the video."""
        for track in tracks:
            life = self._alive.get(track.identity)
            if life is None:
                life = self._alive[track.identity] = Life(track.label, time, time)
            life.label, life.last = track.label, time
            if track.route:
                life.route, life.confidence = track.route, track.route_confidence
        self._frames += 1
        if self._frames % EVERY == 0:
            self._file(time)

    def _file(self, time: float) -> None:
        gone = [k for k, life in self._alive.items() if time - life.last > GONE_AFTER]
        for identity in gone:
            life = self._alive.pop(identity)
            self.filed[life.label] += 1
            longest = self.filed_longest.get(life.label, 0.0)
            self.filed_longest[life.label] = max(longest, life.last - life.first)
            if life.route:
                self.filed_routes.append(_route(identity, life))

    def counts(self) -> dict[int, int]:
        """Objects by label, most first."""
        total = self.filed + Counter(life.label for life in self._alive.values())
        return dict(total.most_common())

    def longest(self, label: int) -> float:
        """Longest time in view of an object with that label, seconds."""
        alive = (life.last - life.first for life in self._alive.values() if life.label == label)
        return max([self.filed_longest.get(label, 0.0), *alive])

    def routes(self) -> list[Route]:
        """The buses that were read, by identity."""
        alive = (_route(k, life) for k, life in self._alive.items() if life.route)
        return sorted((*self.filed_routes, *alive), key=lambda route: route.identity)


def _route(identity: int, life: Life) -> Route:
    return Route(identity, life.route, life.confidence, life.last - life.first)
