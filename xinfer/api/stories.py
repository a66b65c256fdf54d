"""What became of recent requests, for ``why``."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

from xinfer.cluster.ids import ModelUid
from xinfer.routing.pending import PendingRequest, ShardTrace

MOST = 1000
SHARDS_EACH = 64
SHARDS_IN_ALL = 8000
"""Bounds the memory: a trace names up to 16 candidates."""


@dataclass(frozen=True, slots=True)
class Story:
    """A request's way, without its texts; ``seconds`` since it arrived."""

    request_id: str
    model: ModelUid
    lane: str
    items: int
    estimated_tokens: int
    tokens: int
    outcome: str
    message: str
    seconds: float
    shard_count: int
    shards: tuple[ShardTrace, ...]

    def as_json(self) -> dict[str, Any]:
        """JSON values; made only when someone asks."""
        shards = [{**asdict(shard), "candidates": [list(candidate) for candidate in shard.candidates]} for shard in self.shards]
        return {field: getattr(self, field) for field in self.__slots__ if field != "shards"} | {"shards": shards}


class Stories:
    """The last requests that had an id: whole while they run, as a story afterwards."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[ModelUid, PendingRequest] | Story] = OrderedDict()
        self._shards = 0

    def begin(self, uid: ModelUid, request: PendingRequest) -> None:
        """A request was queued; one of the same id before it is forgotten."""
        if request.id:
            self._forget(request.id)
            self._known[request.id] = (uid, request)
            self._trim()

    def end(self, uid: ModelUid, request: PendingRequest, now: float) -> None:
        """It was answered or given up: its texts are let go."""
        known = self._known.get(request.id)
        if not isinstance(known, Story) and known is not None and known[1] is request:
            outcome = request.error.code if request.error else ("ok" if not request.left else "cancelled")
            story = _story(uid, request, now, outcome)
            self._known[request.id] = story
            self._shards += len(story.shards)
            self._trim()

    def tell(self, request_id: str, now: float) -> dict[str, Any] | None:
        """The story so far, or None if it is not known."""
        known = self._known.get(request_id)
        if known is None:
            return None
        story = known if isinstance(known, Story) else _story(*known, now, "running")
        return story.as_json()

    def _trim(self) -> None:
        while len(self._known) > MOST or self._shards > SHARDS_IN_ALL:
            self._forget(next(iter(self._known)))

    def _forget(self, request_id: str) -> None:
        known = self._known.pop(request_id, None)
        if isinstance(known, Story):
            self._shards -= len(known.shards)


def _story(uid: ModelUid, request: PendingRequest, now: float, outcome: str) -> Story:
    return Story(
        request_id=request.id,
        model=uid,
        lane=request.lane,
        items=len(request.items),
        estimated_tokens=request.total_tokens,
        tokens=int(request.tokens.sum()),
        outcome=outcome,
        message=str(request.error) if request.error else "",
        seconds=now - request.arrived,
        shard_count=len(request.shards),
        shards=tuple(request.shards[:SHARDS_EACH]),
    )
