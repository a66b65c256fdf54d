"""What a request remembers of the calls that answered it and of those that did not."""

from __future__ import annotations

import numpy as np

from xinfer.batching.work import BatchTrace, ShardResult, WorkItem
from xinfer.cluster.ids import Address, Epoch, ReplicaId
from xinfer.cluster.routes import Route
from xinfer.errors import EngineError
from xinfer.routing import outcome
from xinfer.routing.load import Flight, ReplicaLoad
from xinfer.routing.outcome import deliver, undelivered
from xinfer.routing.pending import BULK, PendingRequest, Place
from xinfer.routing.tokens import Size, TokenEstimator


def request(count: int, arrived: float = 1.0) -> PendingRequest:
    made = PendingRequest([(WorkItem("x"), Size(4, 0), 5)] * count, lane=BULK, arrived=arrived)
    for item in made.items:
        item.place = Place.FLYING
    return made


def flight(*requests: PendingRequest) -> Flight:
    load = ReplicaLoad(Route(ReplicaId("a"), Epoch(1), "a@1", Address("127.0.0.1:1"), slot="h@0"))
    return Flight(load, [item for each in requests for item in each.items], 60, sent_at=3.0)


def test_a_trace_has_its_own_tokens_and_those_of_the_shard() -> None:
    one, many = request(1), request(3, arrived=2.5)
    batches = tuple(BatchTrace(1, 10, 10, 10, 0.1 + n) for n in range(outcome.BATCHES_KEPT + 5))
    result = ShardResult(
        np.zeros(4, np.float32), np.array([10, 1, 2, 3], np.int32), np.zeros(4, np.bool_), batches=batches, oom_splits=3, wait_seconds=0.5
    )
    deliver(flight(one, many), result, TokenEstimator(512), now=7.0)
    (first,), (second,) = one.shards, many.shards
    assert (first.items, first.shard_items, first.tokens, first.shard_tokens, first.estimated_tokens) == (1, 4, 10, 16, 60)
    assert (second.items, second.tokens, second.shard_tokens) == (3, 6, 16)
    assert (first.queue_seconds, second.queue_seconds, first.total_seconds, first.network_seconds) == (2.0, 0.5, 4.0, 3.5)
    assert (first.batch_count, first.batches, first.oom_splits) == (len(batches), batches[: outcome.BATCHES_KEPT], 3)


def test_a_failed_call_is_an_attempt_of_each_request_that_waits_for_it() -> None:
    one, gone, many = request(1), request(1), request(3)
    gone.settled = True
    many.items[0].place = Place.SETTLED
    undelivered(flight(one, gone, many), EngineError("it choked"), now=3.5)
    assert [(a.replica_id, a.slot, a.items, a.queue_seconds, a.seconds, a.error) for a in one.attempts] == [
        ("a", "h@0", 1, 2.0, 0.5, "engine_error")
    ]
    assert [a.items for a in many.attempts] == [2]
    assert (gone.failures, gone.attempts) == (0, [])


def test_attempts_are_bounded_in_number_and_in_length() -> None:
    one = request(1)
    for _ in range(100):
        undelivered(flight(one), EngineError("no " * 1000), now=3.5)
    assert (one.failures, len(one.attempts)) == (100, outcome.ATTEMPTS_KEPT)
    assert {len(attempt.message) for attempt in one.attempts} == {outcome.MESSAGE}
