"""What became of recent requests, for ``why``."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from xinfer.cluster.ids import ModelUid
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.routing.pending import FailedAttempt, PendingRequest, ShardTrace

MOST = 1000
SHARDS_EACH = 64
REPLICAS_EACH = 32
PARTS_IN_ALL = 40_000
"""Bounds the memory: a part is a shard, one of its batches or candidates, or an attempt; about 100 bytes each."""


class Story(NamedTuple):
    """A request's way, without its texts and its key; ``seconds`` since it arrived. A tuple: made with every request.

    Attributes:
        keyed: it came with an API key, which has a turn of its own in the queue.
        truncated: items that were cut to the model's maximum.
        shard_count, attempt_count: of which ``shards`` and ``attempts`` are the first.
        replicas: that the model had as the request arrived.
    """

    request_id: str
    model: ModelUid
    lane: str
    keyed: bool
    items: int
    truncated: int
    estimated_tokens: int
    tokens: int
    outcome: str
    message: str
    seconds: float
    replica_count: int
    replicas: tuple[Route, ...]
    shard_count: int
    shards: tuple[ShardTrace, ...]
    attempt_count: int
    attempts: tuple[FailedAttempt, ...]

    @property
    def parts(self) -> int:
        """What it weighs in memory."""
        return len(self.attempts) + sum(1 + len(shard.batches) + len(shard.candidates) for shard in self.shards)

    def as_json(self) -> dict[str, Any]:
        """JSON values; made only when someone asks."""
        replicas = [
            {"replica_id": r.replica_id, "epoch": r.epoch, "slot": r.slot, "speed": r.speed, "budget_tokens": r.budget_tokens}
            for r in self.replicas
        ]
        return self._asdict() | {
            "replicas": replicas,
            "shards": [_shard(shard) for shard in self.shards],
            "attempts": [asdict(attempt) for attempt in self.attempts],
        }


def _shard(shard: ShardTrace) -> dict[str, Any]:
    candidates = [{"replica_id": name, "score": score, "won": name == shard.replica_id} for name, score in shard.candidates]
    return shard._asdict() | {
        "padded_tokens": sum(batch.padded_tokens for batch in shard.batches),
        "network_seconds": shard.network_seconds,
        "candidates": candidates,
        "batches": [asdict(batch) for batch in shard.batches],
    }


class Stories:
    """The last requests that had an id: whole while they run, as a story afterwards."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Running | Story] = OrderedDict()
        self._parts = 0

    def begin(self, uid: ModelUid, request: PendingRequest, routes: ModelRoutes | None = None) -> None:
        """A request was queued; one of the same id before it is forgotten."""
        if request.id:
            self._forget(request.id)
            self._known[request.id] = _Running(uid, request, routes.replicas if routes else ())
            self._trim()

    def end(self, uid: ModelUid, request: PendingRequest, now: float) -> None:
        """It was answered or given up: its texts are let go."""
        known = self._known.get(request.id)
        if isinstance(known, _Running) and known.request is request:
            outcome = request.error.code if request.error else ("ok" if not request.left else "cancelled")
            story = known.story(now, outcome)
            self._known[request.id] = story
            self._parts += story.parts
            self._trim()

    def tell(self, request_id: str, now: float) -> dict[str, Any] | None:
        """The story so far, or None if it is not known."""
        known = self._known.get(request_id)
        if known is None:
            return None
        return (known if isinstance(known, Story) else known.story(now, "running")).as_json()

    def _trim(self) -> None:
        while len(self._known) > MOST or self._parts > PARTS_IN_ALL:
            self._forget(next(iter(self._known)))

    def _forget(self, request_id: str) -> None:
        known = self._known.pop(request_id, None)
        if isinstance(known, Story):
            self._parts -= known.parts


class _Running:
    """A request on its way, and the model's replicas as it arrived."""

    __slots__ = ("replicas", "request", "uid")

    def __init__(self, uid: ModelUid, request: PendingRequest, replicas: tuple[Route, ...]) -> None:
        self.uid = uid
        self.request = request
        self.replicas = replicas

    def story(self, now: float, outcome: str) -> Story:
        """What is known by now."""
        request = self.request
        return Story(
            request_id=request.id,
            model=self.uid,
            lane=request.lane,
            keyed=bool(request.key),
            items=len(request.items),
            truncated=int(np.count_nonzero(request.truncated)),
            estimated_tokens=request.total_tokens,
            tokens=sum(request.tokens.tolist()),
            outcome=outcome,
            message=str(request.error) if request.error else "",
            seconds=now - request.arrived,
            replica_count=len(self.replicas),
            replicas=self.replicas[:REPLICAS_EACH],
            shard_count=len(request.shards),
            shards=tuple(request.shards[:SHARDS_EACH]),
            attempt_count=request.failures,
            attempts=tuple(request.attempts),
        )
