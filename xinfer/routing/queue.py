"""The queue of one model in one API process: items, not requests; two lanes; fair between API keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xinfer.batching.line import BULK_TURN
from xinfer.cluster.ids import ReplicaId
from xinfer.errors import TooManyRequests
from xinfer.routing.lane import Lane
from xinfer.routing.pending import BULK, INTERACTIVE, PendingItem, PendingRequest, Place


@dataclass(slots=True, eq=False)
class Group:
    """Items that go together before anything else: a shard tried again elsewhere, or one suspect alone."""

    items: list[PendingItem]
    avoid: frozenset[ReplicaId] = frozenset()
    alone: bool = False


class ItemQueue:
    """Everything of one model that waits in this process.

    Args:
        max_requests, max_tokens: bounds; a request that finds the queue empty is always admitted.
        pool: tokens of the oldest requests of each API key that a shard is chosen from.
    """

    def __init__(self, max_requests: int, max_tokens: int, pool: int) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._lanes = {INTERACTIVE: Lane(pool), BULK: Lane(pool)}
        self._waiting: dict[PendingRequest, None] = {}
        self._again_items = 0
        self._again_tokens = 0
        self._seq = 0
        self._overtaken = 0  # interactive shards in a row that bulk work waited for
        self.again: deque[Group] = deque()

    @property
    def items(self) -> int:
        """Items waiting."""
        return self._again_items + sum(lane.items for lane in self._lanes.values())

    @property
    def tokens(self) -> int:
        """Estimated tokens waiting."""
        return self._again_tokens + sum(lane.tokens for lane in self._lanes.values())

    @property
    def requests(self) -> tuple[PendingRequest, ...]:
        """Requests with at least one item waiting, oldest entry first."""
        return tuple(self._waiting)

    def set_pool(self, tokens: int) -> None:
        """Another size of the pool, at least 1, from the next shard on."""
        for lane in self._lanes.values():
            lane.pool = tokens

    def turn(self) -> tuple[str, bool] | None:
        """The lane that the next ordinary shard comes from, and whether it is urgent; None if both are empty.

        Bulk work that interactive work has held up long enough is urgent for one shard: it must not be held up again
        at the replica.
        """
        interactive, bulk = self._lanes[INTERACTIVE].items, self._lanes[BULK].items
        if bulk and (not interactive or self._overtaken >= BULK_TURN):
            return BULK, bool(interactive)
        return (INTERACTIVE, True) if interactive else None

    def lane(self, name: str) -> Lane:
        """One of the two."""
        return self._lanes[name]

    def push(self, request: PendingRequest, speed: float) -> None:
        """Queue all items of a new request.

        Args:
            speed: tokens/s of all replicas together, 0 if unknown; only to say when to come back.

        Raises:
            TooManyRequests: the queue is full.
        """
        queued, tokens = self.tokens, request.total_tokens
        full = len(self._waiting) >= self._max_requests or queued + tokens > self._max_tokens
        if self._waiting and full:
            wait = min(30.0, max(1.0, queued / speed if speed > 0 else 1.0))
            raise TooManyRequests(
                f"the queue is full ({len(self._waiting)} requests, {queued} tokens waiting); try again in {wait:.0f} s",
                retry_after=wait,
            )
        self._seq += 1
        request.seq = self._seq
        self._lanes[request.lane].enter(request)
        self._entered(request, len(request.items))

    def push_back(self, items: Iterable[PendingItem]) -> None:
        """Items that were sent and did not run: they keep their age, so they stand at the head again."""
        for item in items:
            self._lanes[item.request.lane].put_back(item)
            self._entered(item.request, 1)

    def push_again(self, group: Group) -> None:
        """Queue a ready-made shard ahead of everything."""
        self.again.append(group)
        for item in group.items:
            item.place = Place.AGAIN
            self._again_items += 1
            self._again_tokens += item.tokens
            self._entered(item.request, 1)

    def take_again(self, group: Group) -> Sequence[PendingItem]:
        """Take a ready-made shard out."""
        self.again.remove(group)
        for item in group.items:
            self._again_items -= 1
            self._again_tokens -= item.tokens
            item.place = Place.FLYING
            self._left(item)
        return group.items

    def take(self, name: str, cap: int, padding: int) -> list[PendingItem]:
        """Take the next ordinary shard out of a lane that holds work."""
        self._overtaken = 0 if name == BULK or not self._lanes[BULK].items else self._overtaken + 1
        taken = self._lanes[name].take(cap, padding)
        for item in taken:
            self._left(item)
        return taken

    def drop(self, request: PendingRequest) -> int:
        """Forget every waiting item of a request; those in flight go on. Returns how many were waiting."""
        if request not in self._waiting:
            return 0
        dropped = request.queued
        again = False
        for item in request.items:
            again = again or item.place is Place.AGAIN
        self._lanes[request.lane].drop(request)
        if again:
            self._drop_again(request)
        request.queued = 0
        del self._waiting[request]
        return dropped

    def _drop_again(self, request: PendingRequest) -> None:
        for group in list(self.again):
            for item in [each for each in group.items if each.request is request]:
                group.items.remove(item)
                self._again_items -= 1
                self._again_tokens -= item.tokens
                item.place = Place.SETTLED
            if not group.items:
                self.again.remove(group)

    def _entered(self, request: PendingRequest, count: int) -> None:
        if count:
            self._waiting[request] = None
            request.queued += count

    def _left(self, item: PendingItem) -> None:
        request = item.request
        request.queued -= 1
        if not request.queued:
            del self._waiting[request]
