"""Items of equal priority: oldest first, fair between API keys, neighbours in length together."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from xinfer.routing.lengths import LengthIndex
from xinfer.routing.pending import PendingItem, PendingRequest, Place


@dataclass(slots=True)
class Flow:
    """One API key in one lane.

    Attributes:
        served: tokens served so far, on the lane's common scale.
        later: requests whose items are not in the pool yet, oldest first.
        heap: (seq, -tokens, index, entry, item) of what is in the pool; entries of items that left go stale.
        pooled: tokens in the pool; ``items`` counts all that wait, in the pool or not.
    """

    served: float
    later: dict[PendingRequest, None] = field(default_factory=dict)
    heap: list[tuple[int, int, int, int, PendingItem]] = field(default_factory=list)
    pooled: int = 0
    items: int = 0


class Lane:
    """Items of equal priority. The key that was served least leads; within it the oldest request's longest item.

    This is deficit round robin told in served tokens instead of granted quanta: a key is ahead of the least served one by
    at most the slack that a shard allows, and a key that was away comes back level, neither with credit nor in debt.
    The longest first within a request: its shards are then neighbours in length, and the last ones to finish are small.

    What may join the lead comes from a pool: the oldest requests of each key, whole, until they are worth so many tokens.
    Large enough to find neighbours in length, small enough that early requests end early (doc/adr/0005-pool.md).

    Attributes:
        pool: those tokens, at least 1; may be set at any time.
    """

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self._flows: dict[str, Flow] = {}
        self._index = LengthIndex()
        self._level = 0.0
        self._entries = 0
        self.items = 0
        self.tokens = 0

    def enter(self, request: PendingRequest) -> None:
        """Queue all items of a new request, younger than all that wait."""
        flow = self._flow(request.key)
        flow.later[request] = None
        flow.items += len(request.items)
        self.items += len(request.items)
        self.tokens += request.total_tokens
        for item in request.items:
            item.place = Place.QUEUED
        self._fill(flow)

    def put_back(self, item: PendingItem) -> None:
        """Queue an item that was taken: the order is by request, so it is ahead again."""
        flow = self._flow(item.request.key)
        flow.items += 1
        self.items += 1
        self.tokens += item.tokens
        item.place = Place.QUEUED
        self._pool(flow, item)

    def drop(self, request: PendingRequest) -> None:
        """Take out every item of a request that waits here, wherever it stands."""
        flow = self._flows.get(request.key)
        if flow is None:
            return
        pooled = request not in flow.later
        flow.later.pop(request, None)
        for item in request.items:
            if item.place is Place.QUEUED:
                self._remove(flow, item, pooled)
                item.place = Place.SETTLED
        self._fill(flow)

    def lead(self) -> PendingItem:
        """The item whose turn it is; the lane must hold one."""
        flow = min(self._flows.values(), key=lambda each: (each.served, _head(each).request.seq))
        self._level = max(self._level, flow.served)
        return _head(flow)

    def take(self, cap: int, padding: int) -> list[PendingItem]:
        """Take out the lead and what is nearest to it in the pool, charging each key for its own.

        Args:
            cap: padded tokens of all together; the lead is taken whatever it has.
            padding: of these, tokens that may be padding.
        """
        lead = self.lead()
        ahead = self._level + max(cap, lead.tokens)
        taken = self._index.near(lead, cap, padding, lambda key: ahead - self._flows[key].served)
        for item in taken:
            flow = self._flows[item.request.key]
            self._remove(flow, item, pooled=True)
            flow.served += item.tokens
            item.place = Place.FLYING
        for key in {item.request.key for item in taken} & self._flows.keys():
            self._fill(self._flows[key])
        return taken

    def _flow(self, key: str) -> Flow:
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(self._level)
        return flow

    def _fill(self, flow: Flow) -> None:
        while flow.later and flow.pooled < self.pool:
            request = next(iter(flow.later))
            del flow.later[request]
            for item in request.items:
                self._pool(flow, item)

    def _pool(self, flow: Flow, item: PendingItem) -> None:
        self._entries += 1  # an item that comes back may meet its own stale entry: items themselves are never compared
        heappush(flow.heap, (item.request.seq, -item.tokens, item.index, self._entries, item))
        flow.pooled += item.tokens
        self._index.add(item)

    def _remove(self, flow: Flow, item: PendingItem, pooled: bool) -> None:
        """Uncount an item; its heap entry goes stale and is skipped later."""
        if pooled:
            self._index.remove(item)
            flow.pooled -= item.tokens
        flow.items -= 1
        if not flow.items:
            del self._flows[item.request.key]
        self.items -= 1
        self.tokens -= item.tokens


def _head(flow: Flow) -> PendingItem:
    while True:
        item = flow.heap[0][4]
        if item.place is Place.QUEUED:
            return item
        heappop(flow.heap)
