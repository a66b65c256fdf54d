"""The queue of one model in one API process: items, not requests; strict lanes; fair between API keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from xinfer.cluster.ids import ReplicaId
from xinfer.errors import TooManyRequests
from xinfer.routing.lengths import LengthIndex
from xinfer.routing.pending import BULK, INTERACTIVE, PendingItem, PendingRequest, Place


@dataclass(slots=True, eq=False)
class Group:
    """Items that go together before anything else: a shard tried again elsewhere, or one suspect alone."""

    items: list[PendingItem]
    avoid: frozenset[ReplicaId] = frozenset()
    alone: bool = False


@dataclass(slots=True)
class Flow:
    """One API key in one lane: tokens served so far on the lane's common scale, and its items, oldest request first."""

    served: float
    heap: list[tuple[int, int, int, int, PendingItem]] = field(default_factory=list)
    items: int = 0


class Lane:
    """Items of equal priority. The key that was served least leads; within it the oldest request's longest item.

    This is deficit round robin told in served tokens instead of granted quanta: a key is ahead of the least served one by
    at most the slack that a shard allows, and a key that was away comes back level, neither with credit nor in debt.
    The longest first within a request: its shards are then neighbours in length, and the last ones to finish are small.
    """

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}
        self._index = LengthIndex()
        self._level = 0.0
        self._entries = 0
        self.items = 0
        self.tokens = 0

    def add(self, item: PendingItem) -> None:
        """Queue one item; the order among waiting ones is by request, so one that comes back is ahead again."""
        request = item.request
        flow = self._flows.get(request.key)
        if flow is None:
            flow = self._flows[request.key] = Flow(self._level)
        self._entries += 1  # an item that comes back may meet its own stale entry: items themselves are never compared
        heappush(flow.heap, (request.seq, -item.tokens, item.index, self._entries, item))
        flow.items += 1
        self._index.add(item)
        self.items += 1
        self.tokens += item.tokens
        item.place = Place.QUEUED

    def remove(self, item: PendingItem) -> Flow:
        """Take one item out, wherever it stands; its heap entry goes stale and is skipped later."""
        self._index.remove(item)
        flow = self._flows[item.request.key]
        flow.items -= 1
        if not flow.items:
            del self._flows[item.request.key]
        self.items -= 1
        self.tokens -= item.tokens
        return flow

    def lead(self) -> PendingItem:
        """The item whose turn it is; the lane must hold one."""
        flow = min(self._flows.values(), key=lambda each: (each.served, _head(each).request.seq))
        self._level = max(self._level, flow.served)
        return _head(flow)

    def take(self, cap: int, padding: int) -> list[PendingItem]:
        """Take out the lead and what is nearest to it, charging each key for its own."""
        lead = self.lead()
        ahead = self._level + max(cap, lead.tokens)
        taken = self._index.near(lead, cap, padding, lambda key: ahead - self._flows[key].served)
        for item in taken:
            self.remove(item).served += item.tokens
            item.place = Place.FLYING
        return taken


def _head(flow: Flow) -> PendingItem:
    while True:
        item = flow.heap[0][4]
        if item.place is Place.QUEUED:
            return item
        heappop(flow.heap)


class ItemQueue:
    """Everything of one model that waits in this process.

    Args:
        max_requests, max_tokens: bounds; a request that finds the queue empty is always admitted.
    """

    def __init__(self, max_requests: int, max_tokens: int) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._lanes = {INTERACTIVE: Lane(), BULK: Lane()}
        self._waiting: dict[PendingRequest, None] = {}
        self._again_items = 0
        self._again_tokens = 0
        self._seq = 0
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

    def leading_lane(self) -> Lane | None:
        """The lane that the next ordinary shard comes from."""
        return next((lane for lane in self._lanes.values() if lane.items), None)

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
        lane = self._lanes[request.lane]
        for item in request.items:
            lane.add(item)
        self._entered(request, len(request.items))

    def push_back(self, items: Iterable[PendingItem]) -> None:
        """Items that were sent and did not run: they keep their age, so they stand at the head again."""
        for item in items:
            self._lanes[item.request.lane].add(item)
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

    def take(self, cap: int, padding: int) -> list[PendingItem]:
        """Take the next ordinary shard out of the leading lane; empty if nothing waits."""
        lane = self.leading_lane()
        taken = lane.take(cap, padding) if lane else []
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
            if item.place is Place.QUEUED:
                self._lanes[request.lane].remove(item)
                item.place = Place.SETTLED
            again = again or item.place is Place.AGAIN
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
