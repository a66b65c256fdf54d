"""The shards that wait at one replica: interactive ones ahead, yet bulk work always moves."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

BULK_TURN = 8
"""Interactive turns in a row after which waiting bulk work has one: it is slow then, but never starves."""


class Waiting(Protocol):
    """What the line must know of a shard.

    Attributes:
        tokens: true tokens of its items.
        urgent: interactive.
        dropped: nobody waits for it any more.
    """

    tokens: int
    urgent: bool
    dropped: bool


S = TypeVar("S", bound=Waiting)


class ShardLine(Generic[S]):
    """Each kind oldest first. Shards of one kind that fit into one batch budget together are taken together."""

    def __init__(self) -> None:
        self._urgent: deque[S] = deque()
        self._bulk: deque[S] = deque()
        self._overtaken = 0  # interactive turns in a row that bulk work waited for

    def __bool__(self) -> bool:
        return bool(self._urgent or self._bulk)

    def add(self, shard: S) -> None:
        """Queue one shard."""
        (self._urgent if shard.urgent else self._bulk).append(shard)

    def waiting(self) -> tuple[S, ...]:
        """All that wait, dropped ones too."""
        return (*self._urgent, *self._bulk)

    def take(self, budget: int) -> list[S]:
        """Take out what runs next; empty if all that waited were dropped, or none did."""
        taken = [] if self._bulk and self._overtaken >= BULK_TURN else self._next(self._urgent, budget)
        if taken:
            self._overtaken = self._overtaken + 1 if self._bulk else 0
            return taken
        self._overtaken = 0
        return self._next(self._bulk, budget) or self._next(self._urgent, budget)

    def overtaking(self, budget: int) -> list[S]:
        """Between two batches of a bulk shard: interactive shards that go ahead of its next batch; empty = go on."""
        taken = [] if self._overtaken >= BULK_TURN else self._next(self._urgent, budget)
        self._overtaken = self._overtaken + 1 if taken else 0
        return taken

    @staticmethod
    def _next(waiting: deque[S], budget: int) -> list[S]:
        taken: list[S] = []
        total = 0
        while waiting and (not taken or total + waiting[0].tokens <= budget):
            shard = waiting.popleft()
            if not shard.dropped:
                taken.append(shard)
                total += shard.tokens
        return taken
