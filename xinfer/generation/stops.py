"""Stop strings: an answer ends as soon as one is whole, and no part of it is ever said."""

from __future__ import annotations

from collections.abc import Sequence

from xinfer.generation.scan import held_back


class StopStrings:
    """Of one answer.

    Args:
        held: what was held back where an answer goes on that began elsewhere.

    Attributes:
        stopped_by: the stop string that ended it; None as long as none has.
    """

    def __init__(self, stops: Sequence[str], held: str = "") -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._rest = held
        self.stopped_by: str | None = None

    @property
    def held(self) -> str:
        """Text that may become a stop string."""
        return self._rest

    def feed(self, text: str) -> str:
        """More text in, what may be said out; nothing once it has stopped."""
        if self.stopped_by is not None:
            return ""
        self._rest += text
        if not self._ended():
            ready = len(self._rest) - held_back(self._rest, self._stops)
            said, self._rest = self._rest[:ready], self._rest[ready:]
            return said
        return self.end()

    def end(self) -> str:
        """No more will come: what was held back."""
        said, self._rest = self._rest, ""
        return said

    def _ended(self) -> bool:
        """Cut what waits to be said at the stop string that is whole first; of those that end together the longest."""
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := self._rest.find(stop)) >= 0]
        if not found:
            return False
        _, at, self.stopped_by = min(found)
        self._rest = self._rest[:at]
        return True
