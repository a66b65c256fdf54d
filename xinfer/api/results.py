"""What the dispatcher calls, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xinfer.batching.work import ShardResult, WorkItem
from xinfer.cluster.routes import Route
from xinfer.errors import XinferError
from xinfer.routing.pending import PendingRequest, ShardTrace


class ReplicaCaller(Protocol):
    """The way to the replicas. It must end when its task is cancelled."""

    async def run(self, route: Route, items: tuple[WorkItem, ...], timeout: float, urgent: bool = False) -> ShardResult:
        """Run one shard within ``timeout`` seconds, ahead of what is not urgent.

        Raises:
            ReplicaLost: process or link is gone.
            ReplicaBusy: its window is full.
            StaleEpoch: another life of the replica answers there.
            DeadlineExceeded, EngineError: it is there and did not do it.
        """

    async def probe(self, route: Route) -> bool:
        """Whether the replica of that epoch is really there and works."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The answer to one request.

    Attributes:
        values: float32, (n,) scores or (n, dim) vectors in request order; the row of a failed item is NaN.
        tokens: true tokens of all items, after truncation.
        truncated: indices of items that were cut.
        errors: (index, error), only when the caller asked for partial results.
        shards: where it ran and how long.
        meta: notes of the replicas for the client.
    """

    values: npt.NDArray[np.float32]
    tokens: int
    truncated: tuple[int, ...] = ()
    errors: tuple[tuple[int, XinferError], ...] = ()
    shards: tuple[ShardTrace, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def result_of(request: PendingRequest) -> RunResult:
    """The finished request as the caller sees it."""
    values = request.values if request.values is not None else np.full(len(request.items), np.nan, dtype=np.float32)
    return RunResult(
        values=values,
        tokens=int(request.tokens.sum()),
        truncated=tuple(np.flatnonzero(request.truncated).tolist()),
        errors=tuple(sorted(request.errors, key=lambda error: error[0])),
        shards=tuple(request.shards),
        meta=request.meta,
    )
