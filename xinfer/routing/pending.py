"""A request on its way: its items, where each one is, and the answer as it fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xinfer.batching.work import BatchTrace, ShardResult, WorkItem
from xinfer.cluster.ids import ReplicaId
from xinfer.errors import XinferError
from xinfer.routing.tokens import Size

INTERACTIVE = "interactive"
BULK = "bulk"


class Place(Enum):
    """Where an item is."""

    QUEUED = "queued"
    AGAIN = "again"  # queued in a ready-made shard, ahead of the lanes
    FLYING = "flying"
    SETTLED = "settled"  # answered, failed, or nobody waits for it any more


class PendingItem:
    """One item of one request.

    Attributes:
        tokens: estimate, fixed when it was queued.
        size: what the estimate was made from, to correct it with.
        attempts: engine errors and deadlines it has been through.
        crashes: replicas that died while it was on them.
    """

    __slots__ = ("attempts", "crashes", "index", "place", "request", "size", "tokens", "work")

    def __init__(self, request: PendingRequest, index: int, work: WorkItem, size: Size, tokens: int) -> None:
        self.request = request
        self.index = index
        self.work = work
        self.size = size
        self.tokens = tokens
        self.place = Place.SETTLED
        self.attempts = 0
        self.crashes = 0


class ShardTrace(NamedTuple):
    """What one shard did for one request. A tuple: one is made for every request, and frozen dataclasses cost twice as much.

    Attributes:
        items, tokens: of this request in the shard, true tokens; ``shard_items`` and ``shard_tokens`` count all.
        estimated_tokens: padded tokens that the shard was formed with.
        queue_seconds: from arrival to sending; wait, tokenize and compute are at the replica, total is the whole call.
        oom_splits: passes that ran out of memory and were split.
        batch_count: forward passes; ``batches`` has the first of them, which may hold items of other shards too.
        candidates: (replica, score) that the pick saw, seconds or tokens; the lowest won.
    """

    replica_id: ReplicaId
    slot: str
    items: int
    shard_items: int
    tokens: int
    shard_tokens: int
    estimated_tokens: int
    queue_seconds: float
    wait_seconds: float
    tokenize_seconds: float
    compute_seconds: float
    total_seconds: float
    oom_splits: int = 0
    batch_count: int = 0
    batches: tuple[BatchTrace, ...] = ()
    candidates: tuple[tuple[ReplicaId, float], ...] = ()

    @property
    def network_seconds(self) -> float:
        """What neither the replica's queue nor its threads account for: packing, the wire, both event loops."""
        return max(0.0, self.total_seconds - self.wait_seconds - self.tokenize_seconds - self.compute_seconds)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A call that did not answer some of a request's items.

    Attributes:
        items: of the request, tried again elsewhere or failed with it.
        queue_seconds: from arrival to sending; ``seconds``: from sending to the failure.
    """

    replica_id: ReplicaId
    slot: str
    items: int
    queue_seconds: float
    seconds: float
    error: str
    message: str


class PendingRequest:
    """One request. ``settled`` turns True once, when the last item is done, or with ``error``.

    Attributes:
        key: the API key, for fairness; "" while auth is off.
        lane: interactive or bulk.
        seq: order of arrival; the queue sets it.
        queued: items in the queue now; the queue keeps it.
        total_tokens: estimated, of all items.
        partial: items that fail alone leave the others standing.
        failures: calls that gave it no answer; ``attempts`` has the first of them.
        values: float32 (n,) or (n, dim), None before the first row.
    """

    __slots__ = (
        "arrived", "attempts", "error", "errors", "failures", "id", "items", "key", "lane", "left", "meta", "partial", "queued",
        "seq", "settled", "shards", "tokens", "total_tokens", "truncated", "values",
    )  # fmt: skip

    def __init__(
        self,
        work: Sequence[tuple[WorkItem, Size, int]],
        *,
        lane: str,
        arrived: float,
        key: str = "",
        request_id: str = "",
        partial: bool = False,
    ) -> None:
        """``work``: (item, size, estimated tokens) in the request's order."""
        self.id = request_id
        self.key = key
        self.lane = lane
        self.seq = 0
        self.queued = 0
        self.arrived = arrived
        self.partial = partial
        self.items = [PendingItem(self, index, item, size, tokens) for index, (item, size, tokens) in enumerate(work)]
        self.left = len(self.items)
        self.total_tokens = sum(tokens for _, _, tokens in work)
        self.values: npt.NDArray[np.float32] | None = None
        self.tokens: npt.NDArray[np.int32] = np.zeros(self.left, dtype=np.int32)
        self.truncated: npt.NDArray[np.bool_] = np.zeros(self.left, dtype=np.bool_)
        self.errors: list[tuple[int, XinferError]] = []
        self.error: XinferError | None = None
        self.settled = self.left == 0
        self.shards: list[ShardTrace] = []
        self.attempts: list[FailedAttempt] = []
        self.failures = 0
        self.meta: dict[str, Any] = {}

    def answer(self, items: list[PendingItem], rows: list[int], result: ShardResult) -> None:
        """Take this request's rows out of a shard's answer."""
        if self.values is None:
            self.values = np.full((len(self.items), *result.values.shape[1:]), np.nan, dtype=np.float32)
        if len(items) == 1:  # plain indices cost a fifth of lists of them
            index, row = items[0].index, rows[0]
            self.values[index], self.tokens[index], self.truncated[index] = result.values[row], result.tokens[row], result.truncated[row]
        else:
            where = [item.index for item in items]
            self.values[where] = result.values[rows]
            self.tokens[where] = result.tokens[rows]
            self.truncated[where] = result.truncated[rows]
        if result.meta:
            self.meta.update(result.meta)
        for item in items:
            item.place = Place.SETTLED
        self.left -= len(items)
        self.settled = self.left == 0

    def fail_item(self, item: PendingItem, error: XinferError) -> None:
        """One item failed alone: its own row if the request is partial, else the whole request, naming the index."""
        named = type(error)(error.message, param=error.param, retry_after=error.retry_after, **{**error.details, "index": item.index})
        if not self.partial:
            self.fail(named)
            return
        item.place = Place.SETTLED
        self.errors.append((item.index, named))
        self.left -= 1
        self.settled = self.left == 0

    def fail(self, error: XinferError) -> None:
        """The request as a whole gets an error."""
        self.error = error
        self.settled = True
