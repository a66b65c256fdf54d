"""A shard's answer, dealt out to the requests its items came from."""

from __future__ import annotations

from collections import Counter

from xinfer.batching.work import ShardResult
from xinfer.errors import XinferError
from xinfer.routing.load import Flight
from xinfer.routing.pending import FailedAttempt, PendingItem, PendingRequest, Place, ShardTrace
from xinfer.routing.tokens import TokenEstimator

ATTEMPTS_KEPT = 16
BATCHES_KEPT = 16
MESSAGE = 300
"""Attempts of a request, batches of a shard, letters of an error: the memory of a story is bounded."""


def mismatch(flight: Flight, result: ShardResult) -> str | None:
    """What is wrong with the form of an answer; None if every item has its row."""
    asked = len(flight.items)
    rows = {len(result.values), len(result.tokens), len(result.truncated)}
    if rows != {asked}:
        return f"the replica answered {min(rows)} of {asked} items"
    known = next((item.request.values for item in flight.items if item.request.values is not None), None)
    if known is not None and known.shape[1:] != result.values.shape[1:]:
        return f"the replica answered with rows of shape {result.values.shape[1:]} where others gave {known.shape[1:]}"
    return None


def deliver(flight: Flight, result: ShardResult, estimator: TokenEstimator, now: float) -> list[PendingRequest]:
    """Give each request its rows, and the estimator the true counts.

    Returns:
        Requests that this answer settled.
    """
    failed = dict(result.errors)
    by_request: dict[PendingRequest, tuple[list[PendingItem], list[int]]] = {}
    for row, item in enumerate(flight.items):
        if not item.request.settled and item.place is Place.FLYING:
            items, rows = by_request.setdefault(item.request, ([], []))
            items.append(item)
            rows.append(row)
    settled = []
    for request, (items, rows) in by_request.items():
        request.shards.append(_trace(flight, result, items, rows, now))
        good = [(item, row) for item, row in zip(items, rows, strict=True) if row not in failed] if failed else None
        if good is None:
            request.answer(items, rows, result)
        elif good:
            request.answer([item for item, _ in good], [row for _, row in good], result)
        for item, row in zip(items, rows, strict=True):
            if row in failed and not request.settled:
                request.fail_item(item, failed[row])
        if request.settled:
            settled.append(request)
    tokens, truncated = result.tokens.tolist(), result.truncated.tolist()
    estimator.observe(
        (item.size, tokens[row])
        for row, item in enumerate(flight.items)
        if not truncated[row] and row not in failed and isinstance(item.work.text, str)
    )
    return settled


def undelivered(flight: Flight, error: XinferError, now: float) -> None:
    """Note with each request that still waits for something of this call that it failed."""
    for request, items in Counter(item.request for item in flight.wanted()).items():
        request.failures += 1
        if len(request.attempts) < ATTEMPTS_KEPT:
            route, queued = flight.load.route, flight.sent_at - request.arrived
            failed = FailedAttempt(route.replica_id, route.slot, items, queued, now - flight.sent_at, error.code, error.message[:MESSAGE])
            request.attempts.append(failed)


def _trace(flight: Flight, result: ShardResult, items: list[PendingItem], rows: list[int], now: float) -> ShardTrace:
    route = flight.load.route
    tokens = int(result.tokens[rows[0]]) if len(rows) == 1 else int(result.tokens[rows].sum())
    return ShardTrace(
        replica_id=route.replica_id,
        slot=route.slot,
        items=len(items),
        shard_items=len(flight.items),
        tokens=tokens,
        shard_tokens=tokens if len(items) == len(flight.items) else int(result.tokens.sum()),
        estimated_tokens=flight.padded,
        queue_seconds=flight.sent_at - items[0].request.arrived,
        wait_seconds=result.wait_seconds,
        tokenize_seconds=result.tokenize_seconds,
        compute_seconds=result.compute_seconds,
        total_seconds=now - flight.sent_at,
        oom_splits=result.oom_splits,
        batch_count=len(result.batches),
        batches=result.batches[:BATCHES_KEPT],
        candidates=flight.candidates,
    )
