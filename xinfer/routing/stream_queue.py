"""Answers that wait for room: those that go on first, then fair between API keys, oldest first within one."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping

from xinfer.routing.stream import Stream


class StreamQueue:
    """Of one model."""

    def __init__(self) -> None:
        self._again: list[Stream] = []
        self._by_key: dict[str, deque[Stream]] = {}

    def __len__(self) -> int:
        return len(self._again) + sum(map(len, self._by_key.values()))

    def __iter__(self) -> Iterator[Stream]:
        """Oldest first."""
        return iter(sorted([*self._again, *(s for waiting in self._by_key.values() for s in waiting)], key=lambda s: s.arrived))

    @property
    def tokens(self) -> int:
        """Likely still to be computed for all of them."""
        return sum(stream.left for stream in self)

    def push(self, stream: Stream) -> None:
        """At the end of its key's."""
        self._by_key.setdefault(stream.key, deque()).append(stream)

    def push_again(self, stream: Stream) -> None:
        """Ahead of all that have not begun: a client sees it stand still."""
        self._again.append(stream)
        self._again.sort(key=lambda s: s.arrived)

    def remove(self, stream: Stream) -> None:
        """It waits no more."""
        if stream in self._again:
            self._again.remove(stream)
            return
        waiting = self._by_key.get(stream.key)
        if waiting is not None and stream in waiting:
            waiting.remove(stream)
            if not waiting:
                del self._by_key[stream.key]

    def first(self, held: Mapping[str, int], but: Collection[Stream]) -> Stream | None:
        """Who is next: an answer that goes on, else one of the key that holds the least.

        Args:
            held: tokens of KV room by key.
            but: those that there is no room for now.
        """
        for stream in self._again:
            if stream not in but:
                return stream
        for key in sorted(self._by_key, key=lambda key: (held.get(key, 0), self._by_key[key][0].arrived)):
            for stream in self._by_key[key]:
                if stream not in but:
                    return stream
        return None
