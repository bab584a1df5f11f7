"""A clock that only work and sleep advance, and models that take scripted times."""

from collections.abc import Callable, Iterable


class ScriptedClock:
    """Reads what was worked and slept, never the reading itself."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Work or sleep."""
        self.now += seconds

    def model(self, seconds: Iterable[float]) -> Callable[[], None]:
        """A model whose calls take these times in turn."""
        left = iter(seconds)
        return lambda: self.advance(next(left))
